// Learning: MAC addresses per VLAN, and the NORMAL action built on them.
export { MAC_AGEING_MS, MAC_TABLE_ENTRIES, MacTable, type MacTableEntry } from "./mac-table.js";
export { NormalForwarder, type NormalModules, type NormalPort } from "./normal.js";
export { TRUNK_ALL, type VlanConfig, type VlanMode, VlanPort } from "./vlan-port.js";
