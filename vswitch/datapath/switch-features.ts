// What our datapath can do, as OpenFlow describes it. Constant.
import {
  type MeterFeatures,
  type OFPAT,
  OFPGFC_SELECT_LIVENESS,
  OFPGFC_SELECT_WEIGHT,
  OFPMBT,
  OXM_FIELDS,
  type OxmFieldName,
} from "../../base/openflow/index.js";
import { describeGroups, describeTables } from "../agent/index.js";
import { BANDS_MAX, FLOWS_MAX, GROUPS_MAX, MATCHABLE_FIELDS, METERS_MAX } from "../flow/index.js";
import { TABLE_COUNT } from "./limits.js";

/** in_port can be loaded, but is no header field to OpenFlow (1.3.5, 7.2.5). */
const settable = MATCHABLE_FIELDS.filter(
  (name: OxmFieldName) => OXM_FIELDS[name].writable && name !== "in_port",
);
const ACTIONS: readonly (keyof typeof OFPAT)[] = [
  "output",
  "copy_ttl_out",
  "copy_ttl_in",
  "set_mpls_ttl",
  "dec_mpls_ttl",
  "push_vlan",
  "pop_vlan",
  "push_mpls",
  "pop_mpls",
  "set_queue",
  "group",
  "set_nw_ttl",
  "dec_nw_ttl",
  "set_field",
  "push_pbb",
  "pop_pbb",
];

export const TABLE_FEATURES = describeTables({
  tableCount: TABLE_COUNT,
  maxEntries: FLOWS_MAX,
  matchFields: MATCHABLE_FIELDS,
  setFields: settable,
  actions: ACTIONS,
  instructions: ["goto_table", "write_metadata", "write_actions", "apply_actions", "clear_actions", "meter"],
});

export const GROUP_FEATURES = describeGroups({
  types: ["all", "select", "indirect", "ff"],
  maxGroups: GROUPS_MAX,
  actions: ACTIONS,
  canChain: true,
  capabilities: OFPGFC_SELECT_WEIGHT | OFPGFC_SELECT_LIVENESS,
});

export const METER_FEATURES: MeterFeatures = {
  maxMeters: METERS_MAX,
  bandTypes: (1 << OFPMBT.drop) | (1 << OFPMBT.dscp_remark),
  // OFPMF_KBPS, PKTPS, BURST and STATS.
  capabilities: 0xf,
  maxBands: BANDS_MAX,
  maxColor: 0,
};
