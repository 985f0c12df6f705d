// Connections and fragments as dpctl/dump-conntrack, ct-stats-show, ct-bkts and ipf-get-status print them. Pure.
// Source: ovs-dpctl(8), conntrack; wording as Open vSwitch 3.1 prints it.
import type {
  ConnectionInfo,
  ConntrackStatus,
  FragmentListInfo,
  PeerInfo,
  TupleInfo,
} from "../conntrack/index.js";

const PROTOCOLS: Readonly<Record<number, string>> = {
  1: "icmp",
  6: "tcp",
  17: "udp",
  33: "dccp",
  58: "icmpv6",
  132: "sctp",
  136: "udplite",
};
const STATES = ["CLOSED", "LISTEN", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT_1"].concat(
  ["CLOSING", "LAST_ACK", "FIN_WAIT_2", "TIME_WAIT"],
);

/** One line without its end. `verbose` is -m, `times` is -s. */
export function formatConnection(one: ConnectionInfo, verbose: boolean, times: boolean): string {
  const { protocol, peers } = one;
  const tuple = (info: TupleInfo): string => formatTuple(info, protocol);
  const parts = [
    PROTOCOLS[protocol] ?? String(protocol),
    `orig=(${tuple(one.original)})`,
    `reply=(${tuple(one.reply)})`,
  ];
  if (verbose) parts.push("id=0");
  if (one.zone !== 0) parts.push(`zone=${one.zone}`);
  if (verbose) parts.push("status=0");
  if (times) parts.push(`timeout=${Math.max(0, Math.floor(one.expiresInMs / 1000))}`);
  if (one.mark !== 0) parts.push(`mark=${one.mark}`);
  if (one.label !== "0") parts.push(`labels=0x${one.label}`);
  if (peers !== undefined) {
    parts.push(`protoinfo=(${verbose ? formatPeers(...peers) : `state=${stateOf(peers)}`})`);
  }
  if (one.helper !== undefined) parts.push(`helper=${one.helper}`);
  return parts.join(",");
}

function formatTuple(info: TupleInfo, protocol: number): string {
  const ends = `src=${info.source},dst=${info.destination}`;
  if (protocol !== 1 && protocol !== 58)
    return `${ends},sport=${info.sourcePort},dport=${info.destinationPort}`;
  return `${ends},id=${info.sourcePort},type=${info.destinationPort >>> 8},code=${info.destinationPort & 0xff}`;
}

const AS_LINUX_CALLS_IT: Readonly<Record<string, string>> = {
  SYN_RECV: "ESTABLISHED",
  FIN_WAIT_2: "TIME_WAIT",
};

/** Of the two ends' states the later one, by the name that Linux's tracking has for it. */
function stateOf([opener, other]: readonly [PeerInfo, PeerInfo]): string {
  const later = STATES[Math.max(STATES.indexOf(opener.state), STATES.indexOf(other.state))] as string;
  return AS_LINUX_CALLS_IT[later] ?? later;
}

function formatPeers(opener: PeerInfo, other: PeerInfo): string {
  const scales =
    opener.windowScale === 0 && other.windowScale === 0
      ? ""
      : `,wscale_orig=${opener.windowScale},wscale_reply=${other.windowScale}`;
  const flags = `,flags_orig=${opener.flags || "0"},flags_reply=${other.flags || "0"}`;
  return `state_orig=${opener.state},state_reply=${other.state}${scales}${flags}`;
}

const COUNTED: readonly (readonly [name: string, protocol: number])[] = [
  ["TCP", 6],
  ["UDP", 17],
  ["SCTP", 132],
  ["ICMP", 1],
  ["ICMPv6", 58],
  ["IGMP", 2],
];

export function formatStatistics(all: readonly ConnectionInfo[], verbose: boolean): string {
  const lines = ["Connections Stats:", `    Total: ${all.length}`];
  for (const [name, protocol] of COUNTED) {
    const some = all.filter((one) => one.protocol === protocol);
    if (some.length > 0) lines.push(`  ${name}: ${some.length}`);
    if (protocol === 6 && verbose && some.length > 0) {
      lines.push("    Conn per TCP states:");
      for (const state of STATES) {
        const count = some.filter(({ peers }) => peers !== undefined && stateOf(peers) === state).length;
        if (count > 0) lines.push(`\t  [${state}]=${count}`);
      }
    }
  }
  const others = all.filter(({ protocol }) => !COUNTED.some(([, known]) => known === protocol)).length;
  if (others > 0) lines.push(`  Other: ${others}`);
  return lines.map((line) => `${line}\n`).join("");
}

/** There is one bucket; how many it has is told when they are more than `threshold`. */
export function formatBuckets(connections: number, threshold: number): string {
  const lines = ["Total Buckets: 1", `Current Connections: ${connections}`, ""];
  if (connections > 0) {
    const line = `+${"-".repeat(11)}+${"-".repeat(41)}+`;
    lines.push(line, `|  Buckets  |         Connections per Buckets         |`, line);
    lines.push(`   0..  7   | ${(connections > threshold ? String(connections) : ".").padStart(5)}`, "");
  }
  return lines.map((text) => `${text}\n`).join("");
}

/** `verbose` is -m. */
export function formatFragmentStatus(status: ConntrackStatus, verbose: boolean): string {
  const lines = ["Fragmentation Module Status", "---------------------------"];
  const [v4, v6] = status.fragments;
  lines.push(`v4 enabled: ${Number(v4.enabled)}`, `v6 enabled: ${Number(v6.enabled)}`);
  lines.push(`max num frags (v4/v6): ${status.fragmentsMax}`, `num frag: ${status.fragmentsHeld}`);
  for (const [name, { sizeMin, counters }] of [["v4", v4] as const, ["v6", v6] as const]) {
    lines.push(
      `min ${name} frag size: ${sizeMin}`,
      `${name} frags accepted: ${counters.accepted}`,
      `${name} frags completed: ${counters.completed}`,
      `${name} frags expired: ${counters.expired}`,
      `${name} frags too small: ${counters.tooSmall}`,
      `${name} frags overlapped: ${counters.overlapped}`,
      `${name} frags purged: ${counters.purged}`,
    );
  }
  const text = lines.map((line) => `        ${line}\n`).join("");
  if (!verbose) return text;
  const lists = status.fragmentLists.map((one) => `${formatFragmentList(one)}\n`).join("");
  return `${text}\n        Fragment Lists:\n\n${lists}`;
}

function formatFragmentList(one: FragmentListInfo): string {
  const parts = [
    `src=${one.source},dst=${one.destination},recirc_id=0,ip_id=${one.identification}`,
    `dl_type=0x${one.ipv6 ? "86dd" : "800"},zone=${one.zone},nw_proto=${one.protocol}`,
    `num_fragments=${one.count},state=${one.state}`,
  ];
  return `(${parts.join(",")})`;
}
