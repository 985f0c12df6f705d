// What a datapath of Open vSwitch would be told to do with a packet: outputs, and before each of them the changes since
// the one before. Made from the packets themselves: the packet as it was against the packet as it leaves.
// Source: ovs-actions(7) and the "Datapath actions" line of ofproto/trace. Thread: datapath worker, for traces only.
import type { CtAction, NatAction, OxmFieldName } from "../../base/openflow/index.js";
import type { PacketPool } from "../../base/packet/index.js";
import { formatIpv4Address, formatIpv6Address, formatMac } from "../../base/wire/index.js";
import type { CtExec } from "./ct-exec.js";
import { labelsOf, wholeTagsOf } from "./exact-match.js";
import { ones, readField } from "./fields.js";
import * as K from "./key.js";
import type { ControllerRequest } from "./pipeline-modules.js";

interface State {
  readonly key: Int32Array;
  readonly tags: readonly number[];
  readonly labels: readonly number[];
}

/** The bits of a field, in its own bytes, that have decided, or been set. */
export type Consulted = (field: OxmFieldName) => Uint8Array;

export interface PacketInTrace {
  /** Whether controllers would be told. */
  readonly sends: boolean;
  /** Whether the packet waits with the controller. */
  readonly waits: boolean;
  readonly recirculation: number;
}

export class DatapathActions {
  readonly actions: string[] = [];
  /** How many of the tags that the packet came with were taken off it, at most. */
  popped = 0;
  readonly #pool: PacketPool;
  readonly #headers: K.Headers;
  /** VLAN tags that it came with. */
  #tags: number | undefined;
  #base: State;
  readonly #consulted: Consulted;

  /** `headers` is for this alone; `consulted` tells what has been looked at or set so far. */
  constructor(pool: PacketPool, headers: K.Headers, packet: number, key: Int32Array, consulted: Consulted) {
    this.#pool = pool;
    this.#headers = headers;
    this.#consulted = consulted;
    this.#base = this.#stateOf(packet, key);
  }

  /** `cut`: only so many bytes leave. */
  output(port: number, cut?: number): void {
    if (cut !== undefined) this.actions.push(`trunc(${cut})`);
    this.actions.push(String(port));
  }

  /** What NORMAL makes of the packet is not told; returns −1. */
  normal(packet: number): number {
    this.commit(packet);
    this.actions.push("NORMAL");
    return -1;
  }

  controller({ maxLength, reason, controllerId, flow }: ControllerRequest, how: PacketInTrace): void {
    const cookie = flow === null ? 0xffffffffffffffffn : flow.cookie;
    const parts = [
      `reason=${reason}`,
      `dont_send=${how.sends ? 0 : 1}`,
      `continuation=${how.waits ? 1 : 0}`,
      `recirc_id=${how.recirculation}`,
      `rule_cookie=${cookie === 0n ? "0" : `0x${cookie.toString(16)}`}`,
      `controller_id=${controllerId}`,
      `max_len=${maxLength}`,
    ];
    this.actions.push(`userspace(pid=0,controller(${parts.join(",")}))`);
  }

  /** `recirculation` 0: the packet does not come back. */
  ct(action: CtAction, exec: CtExec, key: Int32Array, recirculation: number): void {
    const zone = typeof action.zone === "number" ? action.zone : zoneOf(action, key);
    const parts = [
      ...(action.commit ? [action.force ? "force_commit" : "commit"] : []),
      ...(zone === 0 ? [] : [`zone=${zone}`]),
      ...marksOf(exec),
      ...(action.alg === 0 ? [] : [`helper=${action.alg === 21 ? "ftp" : "tftp"}`]),
      ...action.actions.flatMap((inner) => (inner.type === "nat" ? [formatNat(inner)] : [])),
    ];
    this.actions.push(parts.length === 0 ? "ct" : `ct(${parts.join(",")})`);
    if (recirculation > 0) this.actions.push(`recirc(0x${recirculation.toString(16)})`);
  }

  /** What must be done for the packet to be as it is now. */
  commit(packet: number): void {
    this.#commit(this.#stateOf(packet, this.#base.key));
  }

  /** As commit(), with pipeline fields of `key`. */
  commitKey(key: Int32Array, packet: number): void {
    this.#commit(this.#stateOf(packet, key));
  }

  #stateOf(packet: number, pipeline: Int32Array): State {
    const key = pipeline.slice();
    const tags = wholeTagsOf(this.#pool, packet);
    this.#tags ??= tags.length;
    this.#headers.tagsLimit = this.#headers.tagsMax + Math.max(0, tags.length - this.#tags);
    this.#headers.parse(this.#pool, packet, key);
    return { key, tags, labels: labelsOf(this.#pool, this.#headers, key) };
  }

  #commit(now: State): void {
    const base = this.#base;
    const actions = this.actions;
    actions.push(...this.#changes(now.key, "eth", ETHERNET));
    const leavesMpls = base.labels.length > now.labels.length && now.labels.length === 0;
    if (leavesMpls) actions.push(...labelChanges(base, now));
    if (sameProtocol(base.key, now.key)) actions.push(...this.#networkChanges(now.key));
    if (!leavesMpls) actions.push(...labelChanges(base, now));
    actions.push(...tagChanges(base.tags, now.tags));
    this.popped = Math.max(this.popped, base.tags.length - commonEnd(base.tags, now.tags));
    if (queueOf(base.key) !== queueOf(now.key)) actions.push(`set(skb_priority(${hex(queueOf(now.key))}))`);
    if (base.key[K.K_PKT_MARK] !== now.key[K.K_PKT_MARK])
      actions.push(`set(skb_mark(0x${((now.key[K.K_PKT_MARK] as number) >>> 0).toString(16)}))`);
    this.#base = now;
  }

  #networkChanges(after: Int32Array): string[] {
    const type = (after[K.K_TYPE_TCI] as number) >>> 16;
    if (type === 0x0806 || type === 0x8035) return this.#changes(after, "arp", ARP);
    if (type !== 0x0800 && type !== 0x86dd) return [];
    const network = type === 0x0800 ? this.#changes(after, "ipv4", IPV4) : this.#changes(after, "ipv6", IPV6);
    const [layer, fields] = TRANSPORTS[(after[K.K_IP] as number) >>> 24] ?? [];
    return layer === undefined ? network : [...network, ...this.#changes(after, layer, fields)];
  }

  /** One set() with the fields that differ, of each the bits that count; none when nothing differs. */
  #changes(after: Int32Array, layer: string, fields: readonly FieldRow[] = []): string[] {
    const parts = fields.flatMap(([field, name, format, formatMask]) => {
      const [a, b] = [readField(this.#base.key, field)?.value, readField(after, field)?.value];
      if (a === undefined || b === undefined || a.every((byte, i) => byte === b[i])) return [];
      const mask = this.#consulted(field).map((bits, i) => bits | ((a[i] as number) ^ (b[i] as number)));
      const whole = readField(EVERY_BIT, field)?.value;
      if (whole?.every((byte, i) => byte === mask[i])) return [`${name}=${format(b)}`];
      return [`${name}=${format(b.map((byte, i) => byte & (mask[i] as number)))}/${formatMask(mask)}`];
    });
    return parts.length === 0 ? [] : [`set(${layer}(${parts.join(",")}))`];
  }
}

const EVERY_BIT = new Int32Array(K.KEY_WORDS_MAX).fill(-1);

type Format = (value: Uint8Array) => string;
type FieldRow = readonly [field: OxmFieldName, name: string, format: Format, formatMask: Format];

const hex = (value: number | bigint): string =>
  value === 0 || value === 0n ? "0" : `0x${value.toString(16)}`;
const decimal: Format = (value) => String(numberOf(value));
const bits: Format = (value) => hex(numberOf(value));
const ipv4: Format = (value) => formatIpv4Address(numberOf(value));
const ETHERNET: readonly FieldRow[] = [
  ["eth_src", "src", formatMac, formatMac],
  ["eth_dst", "dst", formatMac, formatMac],
];
const IPV4: readonly FieldRow[] = [
  ["ipv4_src", "src", ipv4, ipv4],
  ["ipv4_dst", "dst", ipv4, ipv4],
  ["ip_tos", "tos", bits, bits],
  ["nw_ttl", "ttl", decimal, bits],
];
const IPV6: readonly FieldRow[] = [
  ["ipv6_src", "src", formatIpv6Address, formatIpv6Address],
  ["ipv6_dst", "dst", formatIpv6Address, formatIpv6Address],
  ["ipv6_flabel", "label", bits, bits],
  ["ip_tos", "tclass", bits, bits],
  ["nw_ttl", "hlimit", decimal, bits],
];
const ARP: readonly FieldRow[] = [
  ["arp_spa", "sip", ipv4, ipv4],
  ["arp_tpa", "tip", ipv4, ipv4],
  ["arp_op", "op", decimal, bits],
  ["arp_sha", "sha", formatMac, formatMac],
  ["arp_tha", "tha", formatMac, formatMac],
];
const TRANSPORTS: Readonly<Record<number, readonly [layer: string, fields: readonly FieldRow[]]>> = {
  1: [
    "icmp",
    [
      ["icmpv4_type", "type", decimal, bits],
      ["icmpv4_code", "code", decimal, bits],
    ],
  ],
  6: ["tcp", portsOf("tcp_src", "tcp_dst")],
  17: ["udp", portsOf("udp_src", "udp_dst")],
  58: [
    "icmpv6",
    [
      ["icmpv6_type", "type", decimal, bits],
      ["icmpv6_code", "code", decimal, bits],
    ],
  ],
  132: ["sctp", portsOf("sctp_src", "sctp_dst")],
};

function portsOf(source: OxmFieldName, destination: OxmFieldName): FieldRow[] {
  return [
    [source, "src", decimal, bits],
    [destination, "dst", decimal, bits],
  ];
}

/** The queue that a packet with this key leaves by: none is the first one. */
export function queueOf(key: Int32Array): number {
  return Math.max(0, (key[K.K_QUEUE] as number) - 1);
}

function sameProtocol(a: Int32Array, b: Int32Array): boolean {
  return (
    (a[K.K_TYPE_TCI] as number) >>> 16 === (b[K.K_TYPE_TCI] as number) >>> 16 &&
    (a[K.K_IP] as number) >>> 24 === (b[K.K_IP] as number) >>> 24
  );
}

/** Pops until the rest is what remains, then pushes what is new. */
function tagChanges(before: readonly number[], after: readonly number[]): string[] {
  const kept = commonEnd(before, after);
  const added = after.slice(0, after.length - kept).reverse();
  return [
    ...before.slice(kept).map(() => "pop_vlan"),
    ...added.map((tag) => `push_vlan(${typeText(tag >>> 16)}vid=${tag & 0xfff},pcp=${(tag >> 13) & 7})`),
  ];
}

function typeText(type: number): string {
  return type === 0x8100 ? "" : `tpid=0x${type.toString(16)},`;
}

/** How many of the last entries the two have in common. */
function commonEnd(a: readonly number[], b: readonly number[]): number {
  let count = 0;
  while (count < a.length && count < b.length && a[a.length - 1 - count] === b[b.length - 1 - count]) count++;
  return count;
}

function labelChanges(before: State, after: State): string[] {
  const kept = commonEnd(before.labels, after.labels);
  const gone = before.labels.length - kept;
  const added = after.labels.slice(0, after.labels.length - kept).reverse();
  const label = (entry: number): string =>
    `label=${entry >>> 12},tc=${(entry >>> 9) & 7},ttl=${entry & 0xff},bos=${(entry >>> 8) & 1}`;
  if (gone === 1 && added.length === 1) return [`set(mpls(${label(added[0] as number)}))`];
  const type = ((after.key[K.K_TYPE_TCI] as number) >>> 16).toString(16);
  return [
    ...before.labels.slice(0, gone).map(() => `pop_mpls(eth_type=0x${type})`),
    ...added.map((entry) => `push_mpls(${label(entry)},eth_type=0x${type})`),
  ];
}

function zoneOf({ zone }: CtAction, key: Int32Array): number {
  if (typeof zone === "number") return zone;
  const value = readField(key, zone.field)?.value ?? new Uint8Array(0);
  let bits = 0n;
  for (const byte of value) bits = (bits << 8n) | BigInt(byte);
  return Number((bits >> BigInt(zone.offset)) & ((1n << BigInt(zone.bits)) - 1n));
}

/** mark=VALUE/MASK and label=VALUE/MASK, as the actions inside ct() ask for; a whole label is told without its mask. */
function marksOf({ ct_mark, ct_label }: CtExec): string[] {
  const text = (name: string, { value, mask }: CtExec["ct_mark"]): string[] =>
    mask === 0n ? [] : [`${name}=${hex(value)}${mask === ones(128) ? "" : `/${hex(mask)}`}`];
  return [...text("mark", ct_mark), ...text("label", ct_label)];
}

function formatNat(nat: NatAction): string {
  if (nat.direction === "existing") return "nat";
  const address = (bytes: Uint8Array): string => {
    if (bytes.byteLength === 4) return formatIpv4Address(numberOf(bytes));
    const text = formatIpv6Address(bytes);
    return nat.portMin === undefined ? text : `[${text}]`;
  };
  const ports =
    nat.portMin === undefined ? "" : `:${nat.portMin}${nat.portMax === undefined ? "" : `-${nat.portMax}`}`;
  const range =
    nat.addressMin === undefined
      ? ""
      : `=${address(nat.addressMin)}${nat.addressMax === undefined ? "" : `-${address(nat.addressMax)}`}${ports}`;
  const flags = [
    ...(nat.persistent ? ["persistent"] : []),
    ...(nat.selection === "auto" ? [] : [nat.selection]),
  ];
  return `nat(${[`${nat.direction === "source" ? "src" : "dst"}${range}`, ...flags].join(",")})`;
}

function numberOf(bytes: Uint8Array): number {
  return Number(bigOf(bytes));
}

function bigOf(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}
