// Collects the fields of a match as they are written, in any order, and gives the OXM match they mean. Pure.
// Source: ovs-fields(7). What is named twice counts as it was named last; a field whose prerequisite is not matched
// is left out and told, as ovs-ofctl does.

import { PlinthError } from "../../base/errors/index.js";
import {
  inWireOrder,
  type Match,
  OXM_FIELDS,
  type OxmEntry,
  type OxmField,
  type OxmFieldName,
  prerequisiteHolds,
} from "../../base/openflow/index.js";
import { flowTextError } from "./errors.js";
import { entryProtocols, exactProtocols } from "./field-protocols.js";
import { type PortNumbers, readFieldText, readVidText } from "./field-reader.js";
import {
  byteCount,
  bytesToNumber,
  type FieldValue,
  fieldNamed,
  formatHex,
  numberToBytes,
  parseNumber,
} from "./field-text.js";
import { formatMatch } from "./match-text.js";
import { Carriers, P_NXM_OF11_UP, P_NXM_OXM, type ProtocolSet } from "./protocol-set.js";
import { PROTOCOLS } from "./protocol-text.js";
import { parseRange } from "./range-text.js";

export type { PortNumbers } from "./field-reader.js";

/** Words for the ports of whatever transport protocol the match names: "udp,tcp_dst=53" matches that port of UDP. */
const PORT_WORDS: Readonly<Record<string, "src" | "dst">> = Object.fromEntries(
  ["tp", "tcp", "udp", "sctp"].flatMap((word) => [
    [`${word}_src`, "src"],
    [`${word}_dst`, "dst"],
  ]),
);
/** Where OpenFlow 1.0 keeps the type and the code of ICMP. */
const ICMP_PARTS = { src: "type", dst: "code" } as const;
/** What lies in the same place of ARP and of other packets. */
const SHARED: readonly (readonly [other: OxmFieldName, arp: OxmFieldName])[] = [
  ["ip_proto", "arp_op"],
  ["ipv4_src", "arp_spa"],
  ["ipv4_dst", "arp_tpa"],
  ["ipv6_nd_sll", "arp_sha"],
  ["ipv6_nd_tll", "arp_tha"],
];
/** Fields that are told by words of their own where they are no numbers with masks. */
const NUMBERS = /^(dl_vlan1?|(dl_)?vlan_pcp|nw_tos|nw_ecn|nw_proto|dl_type)$/;
const FIELD_WORDS: Readonly<Record<string, OxmFieldName>> = {
  ip_src: "ipv4_src",
  ip_dst: "ipv4_dst",
  tun_id: "tunnel_id",
  tunnel_id: "tunnel_id",
  nw_frag: "ip_frag",
  in_port_oxm: "in_port",
};

export class MatchReader {
  readonly #ports: PortNumbers | undefined;
  readonly #entries = new Map<OxmFieldName, OxmEntry>();
  /** Ports, or type and code of ICMP, until the protocol is known. */
  readonly #transport = new Map<"src" | "dst", { readonly value: number; readonly mask: number }>();

  readonly #carriers: Carriers;

  constructor(ports?: PortNumbers, carriers: Carriers = new Carriers()) {
    this.#ports = ports;
    this.#carriers = carriers;
  }

  /** Takes "tcp", "arp" …; false when `word` is none of these. */
  takeProtocol(word: string): boolean {
    // Every frame has an Ethernet header here.
    if (word === "eth") return true;
    const protocol = Object.hasOwn(PROTOCOLS, word) ? PROTOCOLS[word] : undefined;
    if (protocol === undefined) return false;
    this.#set("eth_type", numberToBytes(BigInt(protocol[0]), 2));
    if (protocol[1] !== undefined) this.#set("ip_proto", Uint8Array.of(protocol[1]));
    return true;
  }

  /** Takes KEY=VALUE. False when there is no such field. Throws FLOW_TEXT_INVALID for a value that it cannot have. */
  takeField(key: string, text: string): boolean {
    // No bits of a number are asked for.
    if (text === "0/0" && NUMBERS.test(key)) return true;
    const port = Object.hasOwn(PORT_WORDS, key) ? PORT_WORDS[key] : undefined;
    if (port !== undefined) {
      const field = `${key.startsWith("tp") ? "tcp" : key.split("_")[0]}_${port}` as OxmFieldName;
      const { value, mask } = readFieldText(OXM_FIELDS[field], text);
      this.#carriers.restrict(protocolsOf({ field, value, ...(mask && { mask }) }));
      this.#setTransport(port, value, mask);
      return true;
    }
    if (this.#takeVlan(key, text) || this.#takeSpecial(key, text) || this.#takePart(key, text)) return true;
    const field = Object.hasOwn(FIELD_WORDS, key) ? FIELD_WORDS[key] : tryField(key)?.name;
    if (field === undefined) return false;
    const { value, mask } = readFieldText(OXM_FIELDS[field], text, this.#ports, key);
    this.#carriers.restrict(
      key === "in_port_oxm" ? P_NXM_OF11_UP : protocolsOf({ field, value, ...(mask && { mask }) }),
    );
    const side = /^icmpv[46]_(type|code)$/.exec(field)?.[1];
    if (side !== undefined) this.#setTransport(side === "type" ? "src" : "dst", value, mask);
    else if (field.startsWith("tun_metadata") && this.#entries.has(field))
      throw flowTextError(`field ${key} set multiple times`);
    else if (field === "arp_op") this.#set(field, Uint8Array.of(0, value[1] as number));
    else this.#set(field, value, mask);
    return true;
  }

  #setTransport(side: "src" | "dst", value: Uint8Array, mask: Uint8Array | undefined): void {
    const bits = mask === undefined ? 0xffff : Number(bytesToNumber(mask));
    this.#transport.delete(side);
    if (bits !== 0) this.#transport.set(side, { value: Number(bytesToNumber(value)), mask: bits });
  }

  /** FIELD[BIT], FIELD[FIRST..LAST] and FIELD[]. */
  #takePart(key: string, text: string): boolean {
    if (!key.endsWith("]")) return false;
    const { field, offset, bits } = parseRange(key);
    const { isVariable } = OXM_FIELDS[field];
    const number = parseNumber(text);
    if (number >= 1n << BigInt(bits))
      throw flowTextError(`${key}: value ${formatHex(number)} does not fit into ${bits} bits`);
    const part = ((1n << BigInt(bits)) - 1n) << BigInt(offset);
    // The other bits stay as they were asked for before.
    const before = this.#entries.get(field);
    const all = (1n << BigInt(OXM_FIELDS[field].bits)) - 1n;
    const known = before === undefined ? 0n : before.mask === undefined ? all : bytesToNumber(before.mask);
    const value = before === undefined ? 0n : bytesToNumber(before.value) & ~part;
    const size = isVariable ? byteCount(known | part) : OXM_FIELDS[field].size;
    const merged = numberToBytes(value | (number << BigInt(offset)), size);
    const mask = numberToBytes(known | part, size);
    this.#carriers.restrict(protocolsOf({ field, value: merged, mask }));
    this.#set(field, merged, mask);
    return true;
  }

  /** Takes the name of an option of tunnels, which asks for its presence. */
  takePresence(key: string): boolean {
    const field = tryField(key);
    if (field?.isVariable !== true) return false;
    this.#carriers.restrict(P_NXM_OXM);
    this.#entries.set(field.name, { field: field.name, value: new Uint8Array(0), mask: new Uint8Array(0) });
    return true;
  }

  /** The match, and lines about what had to be left out. */
  finish(): { readonly match: Match; readonly notes: readonly string[] } {
    this.#resolve();
    const all = [...this.#entries.values()].sort(byPrerequisite);
    const kept: OxmEntry[] = [];
    let rest = all;
    // Each round keeps what has its prerequisites by now; a match has them in order on the wire.
    for (;;) {
      const next = rest.filter((entry) => holds(entry, kept) || isNeverLeftOut(entry, kept));
      if (next.length === 0) break;
      kept.push(next[0] as OxmEntry);
      rest = rest.filter((entry) => entry !== next[0]);
    }
    const notes =
      rest.length === 0
        ? []
        : [
            "normalization changed ofp_match, details:",
            ` pre: ${formatMatch(all)}`,
            `post: ${formatMatch(kept)}`,
          ];
    return { match: inWireOrder(kept), notes };
  }

  #takeVlan(key: string, text: string): boolean {
    if (key === "dl_vlan" || key === "dl_vlan1") {
      // All bits count, or it is no mask for this.
      const [vidText = "", maskText] = text.split("/", 2);
      if (maskText !== undefined && small(maskText, 0xffff, key) !== 0xffff)
        throw flowTextError(`${text}: invalid mask for field ${key}`);
      const vid = small(vidText, 0xffff, key);
      if (vid === 0xffff) for (const field of ["vlan_tci", "vlan_pcp"] as const) this.#entries.delete(field);
      this.#setVid(numberToBytes(vid === 0xffff ? 0n : BigInt((vid & 0xfff) | 0x1000), 2));
      return true;
    }
    if (key === "vlan_tci") {
      this.#takeTci(readFieldText(OXM_FIELDS.vlan_tci, text));
      return true;
    }
    if (key === "vlan_vid") {
      this.#takeVid(text);
      return true;
    }
    if (key !== "dl_vlan_pcp" && key !== "vlan_pcp") return false;
    const priority = small(text, 0xff, key) & 7;
    if (this.#mergeTag({ value: BigInt(priority << 13) | 0x1000n, mask: 0xf000n })) return true;
    this.#set("vlan_pcp", Uint8Array.of(priority));
    // What has a priority has a tag, whatever was said before.
    const vid = this.#entries.get("vlan_vid");
    const present = (bytes: Uint8Array): Uint8Array => numberToBytes(bytesToNumber(bytes) | 0x1000n, 2);
    if (vid === undefined) this.#set("vlan_vid", numberToBytes(0x1000n, 2), numberToBytes(0x1000n, 2));
    else this.#set("vlan_vid", present(vid.value), vid.mask && present(vid.mask));
    return true;
  }

  /** A number of 16 bits, of which 13 count. */
  #takeVid(text: string): void {
    const { value, mask } = readVidText(text);
    const isPart = mask !== undefined && bytesToNumber(mask) !== 0xffffn && bytesToNumber(mask) !== 0n;
    this.#carriers.restrict(isPart ? P_NXM_OXM : exactProtocols("vlan_vid"));
    const cut = (bytes: Uint8Array): Uint8Array => numberToBytes(bytesToNumber(bytes) & 0x1fffn, 2);
    this.#setVid(cut(value), mask && cut(mask));
  }

  #setVid(value: Uint8Array, mask?: Uint8Array): void {
    const isMerged = this.#mergeTag({
      value: bytesToNumber(value),
      mask: 0x1fffn,
      ...(mask && { asked: bytesToNumber(mask) }),
    });
    if (!isMerged) this.#set("vlan_vid", value, mask);
  }

  /** Puts the bits of a part of the tag that `mask` names into the tag's 16 bits; false when those are not matched. */
  #mergeTag({ value, mask, asked = mask }: { value: bigint; mask: bigint; asked?: bigint }): boolean {
    const tci = this.#entries.get("vlan_tci");
    if (tci === undefined) return false;
    const [bits, all] = [bytesToNumber(tci.value), bytesToNumber(tci.mask ?? Uint8Array.of(0xff, 0xff))];
    this.#setTag((bits & ~mask) | (value & mask), (all & ~mask) | (asked & mask));
    return true;
  }

  /** OpenFlow 1.3 knows the two parts of the tag, not its 16 bits, which is a field of Nicira's. */
  #takeTci({ value, mask }: FieldValue): void {
    this.#carriers.restrict(protocolsOf({ field: "vlan_tci", value, ...(mask && { mask }) }));
    this.#setTag(bytesToNumber(value), mask === undefined ? 0xffffn : bytesToNumber(mask));
  }

  #setTag(bits: bigint, all: bigint): void {
    for (const field of ["vlan_tci", "vlan_vid", "vlan_pcp"] as const) this.#entries.delete(field);
    const isAsked = (bits & all & 0x1fffn) !== 0n;
    const priority = all & 0xe000n;
    // A part of the priority, or a priority of whatever VLAN, is in no other field.
    if (all !== 0xffffn && priority !== 0n && (priority !== 0xe000n || !isAsked)) {
      this.#set("vlan_tci", numberToBytes(bits, 2), numberToBytes(all, 2));
      return;
    }
    this.#set("vlan_vid", numberToBytes(bits & 0x1fffn, 2), numberToBytes(all & 0x1fffn, 2));
    if (priority === 0xe000n && isAsked) this.#set("vlan_pcp", Uint8Array.of(Number(bits >> 13n)));
  }

  #takeSpecial(key: string, text: string): boolean {
    if (key === "nw_tos") {
      this.#set("ip_dscp", Uint8Array.of(small(text, 0xff, key) >> 2));
      return true;
    }
    return false;
  }

  /** Names that depend on the protocol become its fields. */
  #resolve(): void {
    const packetType = this.#number("packet_type");
    const type = this.#number("eth_type") ?? (packetType === undefined ? undefined : etherTypeOf(packetType));
    const isArp = type === 0x0806 || type === 0x8035;
    for (const [other, arp] of SHARED) this.#decide(other, arp, isArp);
    const protocol = this.#number("ip_proto");
    const isDeep = protocol !== undefined || this.#transport.size > 0;
    if (type === 0x86dd && (isDeep || this.#entries.has("ip_dscp") || this.#entries.has("ip_ecn")))
      this.#carriers.restrict(P_NXM_OXM);
    const prefix = { 6: "tcp", 17: "udp", 132: "sctp" }[protocol ?? -1] as "tcp" | "udp" | "sctp" | undefined;
    const icmp = protocol === 1 ? "icmpv4" : protocol === 58 ? "icmpv6" : undefined;
    for (const [side, { value, mask }] of this.#transport) {
      if (icmp !== undefined) this.#set(`${icmp}_${ICMP_PARTS[side]}`, Uint8Array.of(value & 0xff));
      else
        this.#set(
          `${prefix ?? "tcp"}_${side}`,
          numberToBytes(BigInt(value), 2),
          numberToBytes(BigInt(mask), 2),
        );
    }
  }

  /** Two fields of which a match has one, by the protocol: what was said last counts. */
  #decide(other: OxmFieldName, arp: OxmFieldName, isArp: boolean): void {
    const said = [...this.#entries.keys()].filter((field) => field === other || field === arp);
    const last = said.at(-1);
    if (last === undefined) return;
    const { value, mask } = this.#entries.get(last) as OxmEntry;
    for (const field of said) this.#entries.delete(field);
    const field = isArp ? arp : other;
    if (last === field) this.#set(field, value, mask);
    else if (field === "arp_op") this.#set(field, Uint8Array.of(0, value[0] as number));
    else if (field === "ip_proto") this.#set(field, Uint8Array.of(value[1] as number));
    else this.#set(field, value, mask);
  }

  #number(field: OxmFieldName): number | undefined {
    const entry = this.#entries.get(field);
    return entry && Number(bytesToNumber(entry.value));
  }

  #set(field: OxmFieldName, value: Uint8Array, mask?: Uint8Array): void {
    // A mask of all bits is none; one of no bits matches everything.
    const all = mask === undefined || isWhole({ field, value, mask });
    this.#entries.delete(field);
    if (mask?.every((byte) => byte === 0)) return;
    this.#entries.set(field, { field, value, ...(all ? {} : { mask }) });
  }
}

/** Of a packet type of the namespace of EtherTypes. */
function etherTypeOf(packetType: number): number | undefined {
  return packetType >>> 16 === 1 ? packetType & 0xffff : undefined;
}

/** As entryProtocols(), where a mask of all bits is none. */
function protocolsOf(entry: OxmEntry): ProtocolSet {
  return isWhole(entry) ? exactProtocols(entry.field) : entryProtocols(entry);
}

function isWhole({ field, value, mask }: OxmEntry): boolean {
  const { bits, isVariable } = OXM_FIELDS[field];
  const ones = (1n << BigInt(isVariable ? value.byteLength * 8 : bits)) - 1n;
  return mask === undefined || bytesToNumber(mask) === ones;
}

const RANK: readonly OxmFieldName[] = ["in_port", "eth_type", "vlan_vid", "ip_proto", "icmpv6_type"];

function byPrerequisite(a: OxmEntry, b: OxmEntry): number {
  const rank = ({ field }: OxmEntry): number => (RANK.includes(field) ? RANK.indexOf(field) : RANK.length);
  return rank(a) - rank(b);
}

/** What asks for a tracked connection, NSH, of IPv4 a label or of a VID without its bit of presence a priority: the switch is to refuse it rather than to match more. */
function isNeverLeftOut({ field }: OxmEntry, kept: Match): boolean {
  if (field === "ipv6_flabel") return prerequisiteHolds("ipv4", kept);
  if (field === "vlan_pcp")
    return kept.some((one) => one.field === "vlan_vid" && bytesToNumber(one.value) !== 0n);
  return OXM_FIELDS[field].prerequisite.startsWith("ct") || field.startsWith("nsh_");
}

function holds(entry: OxmEntry, match: Match): boolean {
  return prerequisiteHolds(OXM_FIELDS[entry.field].prerequisite, match);
}

function tryField(key: string): OxmField | undefined {
  try {
    return fieldNamed(key);
  } catch (thrown) {
    if (thrown instanceof PlinthError) return undefined;
    throw thrown;
  }
}

function small(text: string, max: number, key: string): number {
  const number = /^(\d{1,9}|0x[0-9a-fA-F]{1,8})$/.test(text) ? Number(text) : Number.NaN;
  if (number <= max) return number;
  if (Number.isSafeInteger(number) && max <= 0xff)
    throw flowTextError(`${text}: value too large for 1-byte field ${key}`);
  throw flowTextError(`${text}: bad syntax for ${key} value`);
}
