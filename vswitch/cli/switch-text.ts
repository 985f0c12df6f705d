// Messages about the switch as a whole as ovs-ofctl prints them. Pure.
import {
  type FeaturesReply,
  OFP10_VERSION,
  OFP11_VERSION,
  OFP14_VERSION,
  type Role,
} from "../../base/openflow/index.js";
import { formatBits, formatPortDescription } from "./port-text.js";

const CAPABILITIES: Readonly<Record<number, string>> = {
  0: "FLOW_STATS",
  1: "TABLE_STATS",
  2: "PORT_STATS",
  3: "GROUP_STATS",
  5: "IP_REASM",
  6: "QUEUE_STATS",
  8: "PORT_BLOCKED",
};
const CAPABILITIES_11: Readonly<Record<number, string>> = {
  0: "FLOW_STATS",
  1: "TABLE_STATS",
  2: "PORT_STATS",
  3: "GROUP_STATS",
  5: "IP_REASM",
  6: "QUEUE_STATS",
  7: "ARP_MATCH_IP",
};
const CAPABILITIES_14: Readonly<Record<number, string>> = {
  ...CAPABILITIES,
  9: "BUNDLES",
  10: "FLOW_MONITORING",
};
const CAPABILITIES_10: Readonly<Record<number, string>> = {
  0: "FLOW_STATS",
  1: "TABLE_STATS",
  2: "PORT_STATS",
  3: "STP",
  5: "IP_REASM",
  6: "QUEUE_STATS",
  7: "ARP_MATCH_IP",
};
/** Bits of OpenFlow 1.0's action types in the order in which they are told. */
export const ACTIONS_10: readonly (readonly [number, string])[] = [
  [0, "output"],
  [11, "enqueue"],
  [1, "set_vlan_vid"],
  [2, "set_vlan_pcp"],
  [3, "strip_vlan"],
  [4, "mod_dl_src"],
  [5, "mod_dl_dst"],
  [6, "mod_nw_src"],
  [7, "mod_nw_dst"],
  [8, "mod_nw_tos"],
  [9, "mod_tp_src"],
  [10, "mod_tp_dst"],
];
const FRAGMENTS = ["normal", "drop", "reassemble", "nx-match"];
const NO_GENERATION = 0xffffffffffffffffn;
const ROLES = { nochange: "nochange", equal: "equal", master: "primary", slave: "secondary" } as const;

/** What kind of fragment handling the switch's flags mean. */
export function fragmentMode(flags: number): string {
  return FRAGMENTS[flags & 3] as string;
}

export function switchFeatures(message: FeaturesReply, version: number): string {
  const names =
    version === OFP10_VERSION
      ? CAPABILITIES_10
      : version === OFP11_VERSION
        ? CAPABILITIES_11
        : version >= OFP14_VERSION
          ? CAPABILITIES_14
          : CAPABILITIES;
  const known = Object.keys(names).reduce((bits, bit) => bits | (1 << Number(bit)), 0);
  const auxiliary = message.auxiliaryId === 0 ? "" : `, auxiliary_id:${message.auxiliaryId}`;
  const lines = [
    ` dpid:${message.datapathId.toString(16).padStart(16, "0")}\n`,
    `n_tables:${message.tableCount}, n_buffers:${message.bufferCount}${auxiliary}\n`,
    `capabilities: ${formatBits(message.capabilities & known, names)}\n`,
  ];
  const { openflow10 } = message;
  if (openflow10 === undefined) return lines.join("");
  const actions = ACTIONS_10.filter(([bit]) => ((openflow10.actions >>> bit) & 1) === 1).map(
    ([, name]) => name,
  );
  if (actions.length > 0) lines.push(`actions: ${actions.join(" ")}\n`);
  const ports = [...openflow10.ports].sort((a, b) => a.port - b.port);
  return lines.join("") + ports.map((port) => formatPortDescription(port, undefined, version)).join("");
}

export function roleText({ type, role, generationId }: Role): string {
  return ` role=${ROLES[role]}${(type === "role_request" && role === "nochange") || generationId === NO_GENERATION ? "" : ` generation_id=${generationId}`}`;
}

export function niciraRoleName(role: keyof typeof ROLES): string {
  return ROLES[role];
}
