// The resource API: server, registry and typed clients.
export {
  ApiClient,
  type ApiClientOptions,
  collectionPath,
  connectWithKubeconfig,
  objectPath,
} from "./client.js";
export { readKubeconfig, type ServerAccess } from "./credentials.js";
export { ApiError, isApiError, type Status } from "./errors.js";
export { LocalClient } from "./local-client.js";
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
export { formatDuration, type Table } from "./table.js";
