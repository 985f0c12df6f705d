// The resource API: typed clients and the registry behind them. The server, which loads much more, has a door of its
// own: server.ts.

export { admit } from "./admission.js";
export {
  ApiClient,
  type ApiClientOptions,
  collectionPath,
  connectWithKubeconfig,
  objectPath,
} from "./client.js";
export {
  formatKubeconfig,
  loadToken,
  readKubeconfig,
  type ServerAccess,
  writeKubeconfig,
} from "./credentials.js";
export { ApiError, isApiError, type Status } from "./errors.js";
export { GarbageCollector } from "./garbage-collector.js";
export { LocalClient } from "./local-client.js";
export { isQuotaExceeded } from "./quota.js";
export { ResourceRegistry } from "./registry.js";
export {
  type Change,
  type EventInput,
  formatTime,
  type Informer,
  type InformerOptions,
  type ListOptions,
  type ObjectName,
  type ResourceClient,
  type ResourceList,
  withCondition,
} from "./resource-client.js";
export type { AuditNotes, Review, ReviewedChange, Reviewer } from "./review.js";
export { formatDuration, type Table, type TableColumn } from "./table.js";
export { updateConditions, updateStatus } from "./update-status.js";
