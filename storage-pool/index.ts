// The storage pool: thin volumes on logs, served over NBD. The only door for other folders.
export type { AttachmentView, ExportView, PoolView, SnapshotView, VolumeView } from "./control.js";
export type { NbdTls } from "./nbd/nbd-tls.js";
export { NBD_PORT, type NbdEndpoint } from "./nbd-endpoints.js";
export { type Storaged, type StoragedOptions, startStoraged } from "./storaged.js";
