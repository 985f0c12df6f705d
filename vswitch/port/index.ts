// The switch's own kinds of port; stream, memory, faulty and capture ports are in base/packet.
export { AfxdpPort, type AfxdpPortOptions, XDP_MODES, XDP_QUEUES_MAX, type XdpMode } from "./afxdp-port.js";
export { createDirectFrames, type DirectFrames, START_SIZE } from "./direct-frames.js";
export { DummyPort, type DummyPortOptions } from "./dummy-port.js";
export { FarPort } from "./far-port.js";
export { Inlet } from "./inlet.js";
export { InternalPort, type InternalPortOptions } from "./internal-port.js";
export { LentQueues, type LentQueuesLoan, type LentQueuesOptions } from "./lent-queues.js";
export { Neighbour } from "./neighbour.js";
export { Outlet } from "./outlet.js";
export { PatchPort, type PatchPortOptions } from "./patch-port.js";
export * from "./port-lane.js";
export { createLoanMemory, QueueLoan } from "./queue-loan.js";
export { RemotePort, type RemotePortOptions } from "./remote-port.js";
export { SlotBank, type SlotBankOptions } from "./slot-bank.js";
export { SystemPort, type SystemPortOptions } from "./system-port.js";
export { TAP_QUEUES_MAX, TapPort, type TapPortOptions } from "./tap-port.js";
export { VhostUserPort, type VhostUserPortOptions } from "./vhost-user-port.js";
