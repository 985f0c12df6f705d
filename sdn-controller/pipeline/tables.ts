// The pipeline as data: tables, registers, flags and cookies. The flow builder refuses what this file does not allow.
//
//   classify → guard ┬→ dhcp → controller
//                    ├→ arp → ingress port
//                    │   └→ neighbour → ingress port
//                    └→ steer ┬→ (network function's port)
//                             ├→ source ┐
//                             └─────────┴→ track → connection → destination ┐
//      ┌─────────────────────────────────────────────────────────────────────┘
//      └→ admin-egress → egress [→ staged-egress] → admin-ingress → ingress [→ staged-ingress] → commit → output
//               └───────────┴────────────┴───────────────┴────────────┴──────────────┴→ denied → dropped
//
// Registers
//   reg0  segment number (bits 0–15), also the connection-tracking zone
//   reg2  identity of the source         reg3  identity of the destination      (0 = no port of ours)
//   reg4  output port
//   reg5  number of the network function that the frame came from (0 = none)
//   reg6  bit 0: exempt from policy (replies, and what a network function sends in its own name)
//         bit 1: denied already, while staged policies are asked     bit 2: a rule that is to be logged decided
//   reg7  what denied it: hash of the resource's name, as in cookies
//   reg8  the rule of the egress direction that is to be logged, reg9 that of ingress: hash of the policy's name
//
// Mark of a connection: bits 0–23 the network function that made it, bit 30 set on every connection that we committed,
// bit 31 set when policy has cut it.
//
// Connections and policy: the packets of the opener's direction are judged by policy one by one for as long as the
// connection lives, so a connection that policy no longer allows is cut with the opener's next packet; that packet
// also sets the cut mark, after which replies are dropped too. Allowing it again clears the mark. A policy may say that
// it leaves open connections alone; then what is established passes where only such policies would deny it.
import type { OxmFieldName } from "../../base/openflow/index.js";

export type TableName =
  | "classify"
  | "guard"
  | "dhcp"
  | "arp"
  | "neighbour"
  | "steer"
  | "source"
  | "track"
  | "connection"
  | "destination"
  | "admin-egress"
  | "egress"
  | "staged-egress"
  | "admin-ingress"
  | "ingress"
  | "staged-ingress"
  | "commit"
  | "output"
  | "denied"
  | "dropped";

/** What a table's flows may do: "load:F", "set:F" and "move:F" name the field that is written. */
export type Permission =
  | `load:${OxmFieldName}`
  | `set:${OxmFieldName}`
  | `move:${OxmFieldName}`
  | "output"
  | "controller"
  | "ct"
  | "ct_commit"
  | "conjunction";

export interface TableDeclaration {
  readonly id: number;
  /** The app folder that owns the table; nobody else adds flows to it. */
  readonly owner: AppName;
  readonly purpose: string;
  readonly matches: readonly OxmFieldName[];
  readonly actions: readonly Permission[];
  readonly next: readonly TableName[];
}

export type AppName =
  | "classify"
  | "spoof-guard"
  | "dhcp"
  | "arp"
  | "load-balancer"
  | "connection"
  | "l2"
  | "drops"
  | "policy";

const IP: readonly OxmFieldName[] = ["eth_type", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst"];
const ND: readonly OxmFieldName[] = ["icmpv6_type", "ipv6_nd_target", "ipv6_nd_sll"];
const L4: readonly OxmFieldName[] = ["ip_proto", "tcp_dst", "udp_dst", "sctp_dst"];

/** What tables that judge may do; clauses of a conjunction do nothing by themselves. */
const JUDGE: readonly Permission[] = ["load:reg6", "load:reg7", "load:reg8", "load:reg9", "conjunction"];

export const TABLES: Readonly<Record<TableName, TableDeclaration>> = {
  classify: {
    id: 0,
    owner: "classify",
    purpose: "gives a frame from an access port its segment and source identity; drops tagged frames",
    matches: ["in_port", "vlan_vid"],
    actions: ["load:reg0", "load:reg2"],
    next: ["guard"],
  },
  guard: {
    id: 1,
    owner: "spoof-guard",
    purpose:
      "passes only what the port may send: its own MAC and addresses, IPv4, IPv6, ARP, neighbour discovery and DHCP",
    matches: [
      "in_port",
      "eth_src",
      "eth_dst",
      ...IP,
      "ip_proto",
      "udp_src",
      "udp_dst",
      "arp_op",
      "arp_spa",
      "arp_sha",
      ...ND,
    ],
    actions: [],
    next: ["dhcp", "arp", "steer"],
  },
  dhcp: {
    id: 2,
    owner: "dhcp",
    purpose: "hands a port's DHCP requests and router solicitations to the controller",
    matches: ["in_port"],
    actions: ["controller"],
    next: [],
  },
  arp: {
    id: 3,
    owner: "arp",
    purpose:
      "answers ARP requests for every known address of the segment; makes solicitations advertisements",
    matches: ["in_port", "reg0", "eth_type", "arp_op", "arp_tpa", "ip_proto", ...ND],
    actions: [
      "move:eth_dst",
      "set:eth_src",
      "set:arp_op",
      "move:arp_tha",
      "move:arp_tpa",
      "set:arp_sha",
      "set:arp_spa",
      "set:icmpv6_type",
      "output",
    ],
    next: ["neighbour"],
  },
  neighbour: {
    id: 4,
    owner: "arp",
    purpose: "answers neighbour solicitations for every known address of the segment",
    matches: ["reg0", "eth_type", "ip_proto", ...ND],
    actions: [
      "move:eth_dst",
      "set:eth_src",
      "move:ipv6_dst",
      "set:ipv6_src",
      "set:nd_reserved",
      "set:nd_options_type",
      "set:ipv6_nd_tll",
      "output",
    ],
    next: [],
  },
  steer: {
    id: 5,
    owner: "load-balancer",
    purpose: "takes frames for a network function to it, and judges whose name its own frames are sent in",
    matches: ["in_port", "reg0", "eth_dst", ...IP],
    actions: ["output", "load:reg5", "load:reg6"],
    next: ["source", "track", "destination"],
  },
  source: {
    id: 6,
    owner: "l2",
    purpose: "finds the identity behind a source address, for frames that a network function passes on",
    matches: ["reg0", ...IP],
    actions: ["load:reg2"],
    next: ["track"],
  },
  track: {
    id: 7,
    owner: "connection",
    purpose: "sends the packet through connection tracking in its segment's zone",
    matches: ["reg0", ...IP],
    actions: ["ct"],
    next: ["connection"],
  },
  connection: {
    id: 8,
    owner: "connection",
    purpose:
      "exempts replies from policy, steers those of a network function, drops invalid and cut connections",
    matches: ["reg0", "ct_state", "ct_mark", "eth_type", "ip_proto", "ipv4_src", "tcp_src"],
    actions: ["load:reg6", "output"],
    next: ["destination"],
  },
  destination: {
    id: 9,
    owner: "l2",
    purpose: "finds port and identity of the destination by its MAC and address together",
    matches: ["reg0", "eth_dst", ...IP],
    actions: ["load:reg3", "load:reg4"],
    next: ["admin-egress"],
  },
  "admin-egress": {
    id: 10,
    owner: "policy",
    purpose: "judges what the source may send by admin policies, first match first",
    matches: ["conj_id", "reg2", "reg3", "reg6", "ct_state", ...IP, ...L4],
    actions: JUDGE,
    next: ["egress", "admin-ingress", "output", "denied"],
  },
  egress: {
    id: 11,
    owner: "policy",
    purpose: "judges what the source may send by network policies, or else by the baseline",
    matches: ["conj_id", "reg2", "reg3", "ct_state", "ct_mark", ...IP, ...L4],
    actions: JUDGE,
    next: ["admin-ingress", "staged-egress"],
  },
  "staged-egress": {
    id: 12,
    owner: "policy",
    purpose: "counts what staged policies would do to what the source sends; changes nothing",
    matches: ["reg2", "reg3", "reg6", ...IP, ...L4],
    actions: [],
    next: ["admin-ingress", "denied"],
  },
  "admin-ingress": {
    id: 13,
    owner: "policy",
    purpose: "judges what the destination may receive by admin policies, first match first",
    matches: ["conj_id", "reg2", "reg3", "ct_state", ...IP, ...L4],
    actions: JUDGE,
    next: ["ingress", "commit", "denied"],
  },
  ingress: {
    id: 14,
    owner: "policy",
    purpose: "judges what the destination may receive by network policies, or else by the baseline",
    matches: ["conj_id", "reg2", "reg3", "ct_state", "ct_mark", ...IP, ...L4],
    actions: JUDGE,
    next: ["commit", "staged-ingress"],
  },
  "staged-ingress": {
    id: 15,
    owner: "policy",
    purpose: "counts what staged policies would do to what the destination gets; changes nothing",
    matches: ["reg2", "reg3", "reg6", ...IP, ...L4],
    actions: [],
    next: ["commit", "denied"],
  },
  commit: {
    id: 16,
    owner: "connection",
    purpose: "remembers a new connection, and clears the cut mark of one that is allowed again",
    matches: ["reg0", "reg5", "reg6", "eth_type", "ct_state", "ct_mark"],
    actions: ["ct_commit", "controller"],
    next: ["output"],
  },
  output: {
    id: 17,
    owner: "l2",
    purpose: "sends the frame out of its port",
    matches: ["reg4"],
    actions: ["output"],
    next: [],
  },
  denied: {
    id: 18,
    owner: "connection",
    purpose: "marks the connection as cut if there is one, and tells of it",
    matches: ["reg0", "eth_type", "ct_state", "ct_mark"],
    actions: ["ct_commit", "controller"],
    next: ["dropped"],
  },
  dropped: {
    id: 19,
    owner: "drops",
    purpose: "drops; tells of pairs that are new and of what is to be logged, counts those that are known",
    matches: ["in_port", "reg2", "reg4", "reg6", "reg7"],
    actions: ["controller"],
    next: [],
  },
};

export const TABLE_NAMES = Object.keys(TABLES) as TableName[];

export const FLAG_EXEMPT = 1;
export const FLAG_DENIED = 2;
export const FLAG_LOGGED = 4;
export const MARK_FUNCTION_MASK = 0x00ffffff;
export const MARK_KNOWN = 0x40000000;
export const MARK_CUT = 0x80000000;

/** Why a packet ends in a flow without output; the last two, what a staged policy would do to one. Codes are part of cookies: never reuse one. */
export const DROP_REASONS = {
  "tagged-frame": 1,
  "unknown-port": 2,
  "spoofed-mac": 3,
  "spoofed-ip": 4,
  "spoofed-arp": 5,
  "ipv6-not-enabled": 6,
  "unsupported-ethertype": 7,
  "dhcp-server-on-access-port": 8,
  "arp-for-unknown-address": 9,
  "arp-announcement": 10,
  "invalid-connection": 11,
  "connection-cut": 12,
  "unknown-destination": 13,
  "multicast-not-enabled": 14,
  "egress-policy": 15,
  "ingress-policy": 16,
  "unknown-segment": 17,
  "spoofed-nd": 18,
  "nd-announcement": 19,
  "nd-for-unknown-address": 20,
  "router-advertisement-on-access-port": 21,
  "dhcpv6-not-served": 22,
  "would-deny": 23,
  "would-allow": 24,
} as const;

export type DropReason = keyof typeof DROP_REASONS;
