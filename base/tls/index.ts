// TLS between switches, controllers and databases.
export { bootstrapCaCert, connectTls, mustBootstrap, type TlsTarget } from "./tls-connect.js";
export { readTlsFiles, type TlsFiles, type TlsOptions } from "./tls-files.js";
export { createTlsServer } from "./tls-server.js";
