// Field ownership: managedFields and server-side apply.
export { parseApplyBody, readConfiguration } from "./configuration.js";
export { MANAGER_LENGTH_MAX, validateManagedFields, validateManagerName } from "./managers.js";
export { applyConfiguration, ownersAfterUpdate, sameOwners } from "./ownership.js";
