// Making directories, without anything native: the command line begins with it.
export { makeDirectory } from "./make-directory.js";
