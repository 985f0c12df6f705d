// The datapath: bridges, ports, the poll loop, its worker and the handle on it.
export { Bridge, type BridgeChange, type BridgeOptions } from "./bridge.js";
export {
  CAPTURE_RING_SIZE_MAX,
  CAPTURE_RING_SIZE_MIN,
  CAPTURED_DROP,
  CAPTURED_HIT,
  CAPTURED_OUT,
  type CapturedRecord,
  CaptureRingReader,
  createCaptureMemory,
} from "./capture-ring.js";
export type { CaptureCount, CapturePoint, CaptureSpec } from "./capture-tap.js";
export { Datapath, type DatapathOptions } from "./datapath.js";
export { BridgeModel, DatapathHandle, type DatapathHandleOptions } from "./datapath-handle.js";
export type { BridgeEvent } from "./events.js";
export type { KnownBridgeFlow } from "./known-bridge-flows.js";
export type { PolicingConfig } from "./policer.js";
export { type Affinity, ASSIGNMENTS, type Assignment, type AssignmentRules } from "./port-assignment.js";
export type { PortSpec } from "./port-factory.js";
export { PortSlot, type PortSlotOptions, SPEED_KBPS } from "./port-slot.js";
export type { CoreStatus, WorkerLoss } from "./port-workers.js";
export type { QosConfig, QueueConfig } from "./queues.js";
export type {
  AddPort,
  BridgeCounters,
  BridgeSpec,
  FailedPort,
  Followed,
  PortState,
  TrackingCounters,
} from "./requests.js";
export type { BridgeSettings, PortSettings } from "./settings.js";
export type { ThreadCounters, ThreadStatus } from "./thread-status.js";
