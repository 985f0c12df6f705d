// The server side of the resource API: HTTPS, certificates. Only the controller needs it.

export {
  DEFAULT_CLUSTER_ROLE_BINDINGS,
  DEFAULT_CLUSTER_ROLES,
  loadTokenKey,
} from "./access/index.js";
export { type ApiServer, startApiServer } from "./api-server.js";
export { issueUserCertificate, loadTls } from "./tls.js";
