// The only door of the hypervisor core.
export { hypervisorError } from "./errors.js";
export { QmpClient } from "./qmp/qmp-client.js";
