// The server side of the resource API: HTTPS, certificates. Only the controller needs it.
export { type ApiServer, startApiServer } from "./api-server.js";
export { loadTls } from "./tls.js";
