// Reads what a Port row says about VLANs. Pure.
// Source: ovs-vswitchd.conf.db(5), Port, VLAN Configuration.
import type { DatabaseRow } from "../db/index.js";
import type { PriorityTags, VlanConfig, VlanMode } from "../learn/index.js";

const QINQ_ETHERTYPES: Readonly<Record<string, number>> = { "802.1ad": 0x88a8, "802.1q": 0x8100 };

/** Anything that the schema allows gives a configuration; what is missing or unknown takes its default. */
export function readVlan(row: DatabaseRow): VlanConfig {
  const tag = row.number("tag");
  // What a port is follows from its tag when nobody says it.
  const mode = (row.optionalString("vlan_mode") ?? (tag === undefined ? "trunk" : "access")) as VlanMode;
  const otherConfig = row.map("other_config");
  const tagged = mode === "access" || mode === "dot1q-tunnel";
  return {
    mode,
    tag: mode === "trunk" ? 0 : (tag ?? 0),
    trunks: tagged ? [] : row.numbers("trunks"),
    cvlans: mode === "dot1q-tunnel" ? row.numbers("cvlans") : [],
    qinqEtherType: QINQ_ETHERTYPES[otherConfig.get("qinq-ethtype") ?? ""] ?? 0x88a8,
    priorityTags: priorityTagsOf(otherConfig.get("priority-tags")),
  };
}

/** "true" and "false" are former spellings. */
function priorityTagsOf(text: string | undefined): PriorityTags {
  if (text === "if-nonzero" || text === "true") return "if-nonzero";
  return text === "always" ? "always" : "never";
}
