// The Store: where control planes and catalogues keep their state.
export { isStoreError, type StoreErrorCode } from "./errors.js";
export type { HistoryLimits } from "./history.js";
export { Lease, type LeaseOptions } from "./lease.js";
export { openLevelStore } from "./level-store.js";
export {
  HISTORY_EVENTS_MAX,
  KEY_SIZE_BYTES_MAX,
  TRANSACTION_OPERATIONS_MAX,
  VALUE_SIZE_BYTES_MAX,
} from "./limits.js";
export { openMemoryStore } from "./memory-store.js";
export type {
  Condition,
  ListOptions,
  ListResult,
  Operation,
  Store,
  StoreEntry,
  StoreEvent,
  Transaction,
  Watch,
  WatchOptions,
  WriteOptions,
} from "./store.js";
