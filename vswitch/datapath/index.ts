// The datapath: bridges, ports, the poll loop, its worker and the handle on it.
export { Bridge, type BridgeChange, type BridgeOptions } from "./bridge.js";
export { Datapath, type DatapathOptions } from "./datapath.js";
export type { BridgeEvent } from "./events.js";
export { PortSlot, type PortSlotOptions } from "./port-slot.js";
