// What our own flow, group and meter tables can do, as OpenFlow feature values: constant for every bridge.
// Invariant: nothing stands here that the tables refuse (the tests add a flow for each field and action).

import {
  type GroupFeatures,
  type MeterFeatures,
  type OFPAT,
  OFPGFC_SELECT_LIVENESS,
  OFPGFC_SELECT_WEIGHT,
  OFPMBT,
  OFPMF_BURST,
  OFPMF_KBPS,
  OFPMF_PKTPS,
  OFPMF_STATS,
  OXM_FIELDS,
  type TableFeatures,
} from "../../base/openflow/index.js";
import { BANDS_MAX, FLOWS_MAX, GROUPS_MAX, MATCHABLE_FIELDS, METERS_MAX, TABLES } from "../flow/index.js";
import { describeGroups, describeTables } from "./capabilities.js";

const ACTIONS = [
  "output",
  "copy_ttl_out",
  "copy_ttl_in",
  "set_mpls_ttl",
  "dec_mpls_ttl",
  "push_vlan",
  "pop_vlan",
  "push_mpls",
  "pop_mpls",
  "group",
  "set_nw_ttl",
  "dec_nw_ttl",
  "set_field",
  "push_pbb",
  "pop_pbb",
] as const satisfies readonly (keyof typeof OFPAT)[];

export const TABLE_FEATURES: readonly TableFeatures[] = describeTables({
  tableCount: TABLES,
  maxEntries: FLOWS_MAX,
  matchFields: MATCHABLE_FIELDS,
  setFields: MATCHABLE_FIELDS.filter((name) => OXM_FIELDS[name].writable),
  actions: ACTIONS,
  instructions: ["goto_table", "write_metadata", "write_actions", "apply_actions", "clear_actions", "meter"],
});

export const GROUP_FEATURES: GroupFeatures = describeGroups({
  types: ["all", "select", "indirect", "ff"],
  maxGroups: GROUPS_MAX,
  actions: ACTIONS,
  canChain: true,
  capabilities: OFPGFC_SELECT_WEIGHT | OFPGFC_SELECT_LIVENESS,
});

export const METER_FEATURES: MeterFeatures = {
  maxMeters: METERS_MAX,
  bandTypes: (1 << OFPMBT.drop) | (1 << OFPMBT.dscp_remark),
  capabilities: OFPMF_KBPS | OFPMF_PKTPS | OFPMF_BURST | OFPMF_STATS,
  maxBands: BANDS_MAX,
  maxColor: 0,
};
