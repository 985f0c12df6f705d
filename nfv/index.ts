// The only door of the network functions.
export { type Nfd, type NfdOptions, startNfd } from "./nfd.js";
