// Connection tracking.
export type {
  ConnectionFilter,
  ConnectionInfo,
  PeerInfo,
  TupleFilter,
  TupleInfo,
} from "./connection-info.js";
export {
  CONNECTION_MEMORY_VERSION,
  type ConnectionMemory,
  connectionMemory,
  connectionMemorySize,
  expiryAt,
  stateAt,
  tupleAt,
} from "./connection-memory.js";
export { ConnectionTable } from "./connection-table.js";
export { Conntrack, type ConntrackOptions, PICKUP_GRACE_MS } from "./conntrack.js";
export { CONNECTIONS_MAX } from "./limits.js";
export { IpReassembler } from "./reassembly.js";
export type {
  ConntrackSettings,
  ConntrackStatus,
  FragmentListInfo,
  FragmentStatus,
  ZoneLimit,
  ZoneTimeouts,
} from "./zones.js";
