// Learning: MAC addresses per VLAN, the NORMAL action built on them, and mirrors.
export { FrameVlans, TAGS_READ_MAX, VID_BITS } from "./frame-vlans.js";
export {
  type KnownStation,
  MAC_AGEING_MS,
  MAC_TABLE_ENTRIES,
  MacTable,
  type MacTableEntry,
  type MacTableStats,
} from "./mac-table.js";
export {
  MIRRORS_MAX,
  type MirrorConfig,
  type MirrorModules,
  type MirrorPort,
  type MirrorStats,
  Mirrors,
} from "./mirrors.js";
export {
  comesFromNowhere,
  NORMAL_DEFAULTS,
  type NormalConfig,
  NormalForwarder,
  type NormalModules,
  type NormalPort,
  sourceHigh,
} from "./normal.js";
export { type PriorityTags, TRUNK_ALL, type VlanConfig, type VlanMode, VlanPort } from "./vlan-port.js";
