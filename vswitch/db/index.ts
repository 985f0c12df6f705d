// The configuration database of the switch and its OVSDB server.
export { type Commit, columnDatum, Database, type DatabaseChange, DatabaseRow } from "./database.js";
export { DatabaseServer } from "./database-server.js";
export { type TransactOutcome, transact } from "./execute.js";
export type { ServedDatabase } from "./hosted-database.js";
export { OPEN_VSWITCH_SCHEMA } from "./open-vswitch-schema.js";
export type { Remote, RemoteOptions, RemoteStatus } from "./remote.js";
export { checkStorage, openStorage, type Storage, type StorageOptions } from "./storage.js";
