// Connection tracking.
export { type ConnectionInfo, Conntrack, type ConntrackOptions, PICKUP_GRACE_MS } from "./conntrack.js";
export { CONNECTIONS_MAX } from "./limits.js";
