// The storage pool: thin volumes on logs, served over NBD. The only door for other folders.
export { checkPools, type PoolCheck, type VolumeCheck } from "./check.js";
export type { AttachmentView, SnapshotView, VolumeView } from "./control.js";
export type { ExportView } from "./export-control.js";
export { VOLUME_SIZE_BYTES_MAX } from "./limits.js";
export type { LimitsView } from "./limits-control.js";
export { type NbdTls, readNbdTls } from "./nbd/nbd-tls.js";
export type { NbdEndpoint } from "./nbd-endpoints.js";
export type { DiskView, JobView, PoolKeyView, PoolView } from "./pool-control.js";
export type { ScrubRunView, ScrubView } from "./scrub-control.js";
export type { DiffView, GroupView } from "./snapshot-control.js";
export { type Storaged, type StoragedOptions, startStoraged } from "./storaged.js";
export type { DeletedView } from "./trash-control.js";
