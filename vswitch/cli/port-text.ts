// Ports, their counters and queues as ovs-ofctl prints them. Pure.
import {
  OFP10_VERSION,
  OFP13_VERSION,
  OFPQ_ALL,
  type PortDescription,
  type PortStats,
  type QueueStats,
} from "../../base/openflow/index.js";
import { formatMac } from "../../base/wire/index.js";
import { formatDuration } from "./duration-text.js";
import { formatNamedPort, type PortNames } from "./match-text.js";

const CONFIG_BITS: Readonly<Record<number, string>> = {
  0: "PORT_DOWN",
  1: "NO_STP",
  2: "NO_RECV",
  3: "NO_RECV_STP",
  4: "NO_FLOOD",
  5: "NO_FWD",
  6: "NO_PACKET_IN",
};
const STATE_BITS: Readonly<Record<number, string>> = { 0: "LINK_DOWN", 1: "BLOCKED", 2: "LIVE" };
const STP_STATES = ["", "STP_LEARN", "STP_FORWARD", "STP_BLOCK"] as const;
const FEATURES: readonly string[] = [
  ...["10MB-HD", "10MB-FD", "100MB-HD", "100MB-FD", "1GB-HD", "1GB-FD", "10GB-FD", "40GB-FD", "100GB-FD"],
  ...["1TB-FD", "OTHER", "COPPER", "FIBER", "AUTO_NEG", "AUTO_PAUSE", "AUTO_PAUSE_ASYM"],
];
const ALL_ONES = 0xffffffffffffffffn;

/** Names of the bits that are set, with a space between; "0" for none. */
export function formatBits(
  bits: number,
  names: Readonly<Record<number, string>> | readonly string[],
): string {
  const table = names as Readonly<Record<number, string>>;
  const words: string[] = [];
  let rest = bits >>> 0;
  for (let bit = 0; bit < 32; bit++) {
    const name = table[bit];
    if (((bits >>> bit) & 1) === 0 || name === undefined) continue;
    words.push(name);
    rest = (rest & ~(1 << bit)) >>> 0;
  }
  if (rest !== 0) words.push(`0x${rest.toString(16)}`);
  return words.length === 0 ? "0" : words.join(" ");
}

/** Bits that the versions know; what else a switch sets is not told. */
const CONFIG_MASK = 0x65;
const CONFIG_MASK_10 = 0x7f;
const STATE_MASK = 7;
const FEATURES_MASK = 0xffff;

export function configBits(bits: number, version: number = OFP13_VERSION): string {
  return formatBits(bits & (version === OFP10_VERSION ? CONFIG_MASK_10 : CONFIG_MASK), CONFIG_BITS);
}

export function featureBits(bits: number): string {
  return formatBits(bits & FEATURES_MASK, FEATURES);
}

/** The fastest first. */
const SPEEDS: readonly (readonly [bits: number, mbps: number])[] = [
  [0x200, 1_000_000],
  [0x100, 100_000],
  [0x80, 40_000],
  [0x40, 10_000],
  [0x30, 1_000],
  [0x0c, 100],
  [0x03, 10],
];

/** In 1.0 two bits tell what a spanning tree does with a port; ovs-ofctl writes the rest right behind them. */
function stateText(state: number, version: number): string {
  if (version !== OFP10_VERSION) return formatBits(state & STATE_MASK, STATE_BITS);
  const link = formatBits(state & 1, STATE_BITS);
  const stp = STP_STATES[(state >>> 8) & 3] ?? "";
  return stp === "" || link !== "0" ? stp + link : stp;
}

/** The lines of one port of `show` and dump-ports-desc. */
export function formatPortDescription(
  port: PortDescription,
  names?: PortNames,
  version: number = OFP13_VERSION,
): string {
  const features = (label: string, bits: number): string =>
    (bits & FEATURES_MASK) === 0 ? "" : `     ${label.padEnd(11)} ${featureBits(bits)}\n`;
  // 1.0 tells no numbers, only features.
  const mbps = (kbps: number, bits: number): number =>
    version === OFP10_VERSION
      ? (SPEEDS.find(([mask]) => (bits & mask) !== 0)?.[1] ?? 0)
      : Math.floor(kbps / 1000);
  const [now, max] = [mbps(port.currentSpeedKbps, port.current), mbps(port.maxSpeedKbps, port.supported)];
  return [
    ` ${formatNamedPort(port.port, names)}(${port.name}): addr:${formatMac(port.macAddress)}\n`,
    `     config:     ${configBits(port.config, version)}\n`,
    `     state:      ${stateText(port.state, version)}\n`,
    features("current:", port.current),
    features("advertised:", port.advertised),
    features("supported:", port.supported),
    features("peer:", port.peer),
    `     speed: ${now} Mbps now, ${max} Mbps max\n`,
  ].join("");
}

/** The lines of one port of dump-ports. A counter that the switch does not keep is "?". */
export function formatPortStats(stats: PortStats, names?: PortNames): string {
  const rx = [
    ["pkts", stats.rxPackets],
    ["bytes", stats.rxBytes],
    ["drop", stats.rxDropped],
    ["errs", stats.rxErrors],
    ["frame", stats.rxFrameErrors],
    ["over", stats.rxOverErrors],
    ["crc", stats.rxCrcErrors],
  ] as const;
  const tx = [
    ["pkts", stats.txPackets],
    ["bytes", stats.txBytes],
    ["drop", stats.txDropped],
    ["errs", stats.txErrors],
    ["coll", stats.collisions],
  ] as const;
  const list = (counters: readonly (readonly [string, bigint])[]): string =>
    counters.map(([name, value]) => `${name}=${counter(value)}`).join(", ");
  const port = formatNamedPort(stats.port, names).padStart(2);
  const duration =
    stats.durationSeconds === 0xffffffff ? "" : `           duration=${formatDuration(stats)}\n`;
  return `  port ${port}: rx ${list(rx)}\n           tx ${list(tx)}\n${duration}${rfc2819Text(stats.rfc2819)}${customText(stats.custom ?? [])}`;
}

const SIZES = [
  "1_to_64",
  "65_to_127",
  "128_to_255",
  "256_to_511",
  "512_to_1023",
  "1024_to_1522",
  "1523_to_max",
];
/** The names of the counters by their place on the wire. */
const RFC2819 = {
  rx: [
    ...SIZES.map((size, i) => [`${size}_packets`, i] as const),
    ...([["broadcast_packets", 15] as const, ["undersized_errors", 17], ["oversize_errors", 18]] as const),
    ...([["rx_fragmented_errors", 19] as const, ["rx_jabber_errors", 20]] as const),
  ],
  tx: [
    ...SIZES.map((size, i) => [`${size}_packets`, SIZES.length + i] as const),
    ...([["multicast_packets", 14] as const, ["broadcast_packets", 16]] as const),
  ],
} as const;

function rfc2819Text(counters: PortStats["rfc2819"]): string {
  if (counters === undefined) return "";
  const line = (way: "rx" | "tx"): string => {
    const told = RFC2819[way].flatMap(([name, at]) =>
      counters[at] === ALL_ONES ? [] : [`${name}=${counters[at]}, `],
    );
    return told.length === 0 ? "" : `           ${way} rfc2819 ${told.join("")}\n`;
  };
  return line("rx") + line("tx");
}

const CUSTOM_PER_LINE = 3;

function customText(counters: NonNullable<PortStats["custom"]>): string {
  if (counters.length === 0) return "";
  const lines: string[] = [];
  for (let at = 0; at < counters.length; at += CUSTOM_PER_LINE) {
    const row = counters.slice(at, at + CUSTOM_PER_LINE).map(({ name, value }) => `${name}=${value},`);
    lines.push(`                      ${row.join(" ")}\n`);
  }
  return `           CUSTOM Statistics\n${lines.join("")}`;
}

export function formatQueueStats(queue: QueueStats, names?: PortNames): string {
  const duration = queue.durationSeconds === 0xffffffff ? "?" : formatDuration(queue);
  const counters = `bytes=${counter(queue.txBytes)}, pkts=${counter(queue.txPackets)}, errors=${counter(queue.txErrors)}`;
  return `  port ${formatNamedPort(queue.port, names)} queue ${queue.queueId === OFPQ_ALL ? "ALL" : queue.queueId}: ${counters}, duration=${duration}\n`;
}

function counter(value: bigint): string {
  return value === ALL_ONES ? "?" : String(value);
}
