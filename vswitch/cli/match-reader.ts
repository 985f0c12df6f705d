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
import { bytesToNumber, type FieldValue, fieldNamed, numberToBytes, parseFieldValue } from "./field-text.js";
import { formatMatch } from "./match-text.js";
import { PROTOCOLS } from "./protocol-text.js";

/** Gives the number of a port by name; undefined when there is none. */
export type PortNumbers = (name: string) => number | undefined;

const TCP_FLAG_NAMES = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"];
const FRAGMENTS: Readonly<Record<string, readonly [value: number, mask: number]>> = {
  no: [0, 3],
  yes: [1, 1],
  first: [1, 3],
  later: [3, 3],
  not_later: [0, 2],
};
/** Words that mean different fields for different protocols, and the field without one. */
const PORT_WORDS: Readonly<Record<string, "src" | "dst">> = { tp_src: "src", tp_dst: "dst" };
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
  /** tp_src and tp_dst, until the protocol is known. */
  readonly #transport = new Map<"src" | "dst", string>();

  constructor(ports?: PortNumbers) {
    this.#ports = ports;
  }

  /** Takes "tcp", "arp" …; false when `word` is none of these. */
  takeProtocol(word: string): boolean {
    const protocol = Object.hasOwn(PROTOCOLS, word) ? PROTOCOLS[word] : undefined;
    if (protocol === undefined) return false;
    this.#set("eth_type", numberToBytes(BigInt(protocol[0]), 2));
    if (protocol[1] !== undefined) this.#set("ip_proto", Uint8Array.of(protocol[1]));
    return true;
  }

  /** Takes KEY=VALUE. False when there is no such field. Throws FLOW_TEXT_INVALID for a value that it cannot have. */
  takeField(key: string, text: string): boolean {
    const port = Object.hasOwn(PORT_WORDS, key) ? PORT_WORDS[key] : undefined;
    if (port !== undefined) {
      parseAs(OXM_FIELDS[`tcp_${port}`], text);
      this.#transport.set(port, text);
      return true;
    }
    if (this.#takeVlan(key, text) || this.#takeSpecial(key, text)) return true;
    const field = Object.hasOwn(FIELD_WORDS, key) ? FIELD_WORDS[key] : tryField(key)?.name;
    if (field === undefined) return false;
    const { value, mask } = parseAs(OXM_FIELDS[field], text, this.#ports);
    if (mask !== undefined && !OXM_FIELDS[field].maskable)
      throw flowTextError(`${text}: ${key} does not support masks`);
    this.#set(field, value, mask);
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
      const next = rest.filter((entry) => holds(entry, kept));
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
      const vid = small(text, 0xffff, key);
      this.#set("vlan_vid", numberToBytes(vid === 0xffff ? 0n : BigInt((vid & 0xfff) | 0x1000), 2));
      return true;
    }
    if (key === "vlan_tci") {
      this.#takeTci(parseAs(OXM_FIELDS.vlan_tci, text));
      return true;
    }
    if (key !== "dl_vlan_pcp" && key !== "vlan_pcp") return false;
    this.#set("vlan_pcp", Uint8Array.of(small(text, 0xff, key) & 7));
    if (!this.#entries.has("vlan_vid"))
      this.#set("vlan_vid", numberToBytes(0x1000n, 2), numberToBytes(0x1000n, 2));
    return true;
  }

  /** OpenFlow 1.3 knows the two parts of the tag, not its 16 bits. */
  #takeTci({ value, mask }: FieldValue): void {
    const [bits, all] = [bytesToNumber(value), mask === undefined ? 0xffffn : bytesToNumber(mask)];
    const tagged = (bits & all & 0x1000n) !== 0n;
    this.#set("vlan_vid", numberToBytes(bits & 0x1fffn, 2), numberToBytes(all & 0x1fffn, 2));
    if ((all & 0xe000n) === 0xe000n && tagged) this.#set("vlan_pcp", Uint8Array.of(Number(bits >> 13n)));
  }

  #takeSpecial(key: string, text: string): boolean {
    if (key === "nw_tos") {
      this.#set("ip_dscp", Uint8Array.of(small(text, 0xff, key) >> 2));
      return true;
    }
    if (key === "tcp_flags") {
      const { value, mask } = parseTcpFlags(text);
      this.#set("tcp_flags", numberToBytes(value, 2), mask === 0xfffn ? undefined : numberToBytes(mask, 2));
      return true;
    }
    if ((key !== "nw_frag" && key !== "ip_frag") || !Object.hasOwn(FRAGMENTS, text)) return false;
    const [value, mask] = FRAGMENTS[text] as readonly [number, number];
    this.#set("ip_frag", Uint8Array.of(value), mask === 3 ? undefined : Uint8Array.of(mask));
    return true;
  }

  /** Names that depend on the protocol become its fields. */
  #resolve(): void {
    const [type, protocol] = [this.#number("eth_type"), this.#number("ip_proto")];
    if (type === 0x0806 || type === 0x8035) {
      this.#rename("ipv4_src", "arp_spa");
      this.#rename("ipv4_dst", "arp_tpa");
      const code = this.#entries.get("ip_proto");
      this.#entries.delete("ip_proto");
      if (code !== undefined) this.#set("arp_op", Uint8Array.of(0, code.value[0] as number));
    }
    if (type === 0x86dd) {
      this.#rename("icmpv4_type", "icmpv6_type");
      this.#rename("icmpv4_code", "icmpv6_code");
    }
    const prefix = { 6: "tcp", 17: "udp", 132: "sctp" }[protocol ?? -1] as "tcp" | "udp" | "sctp" | undefined;
    for (const [side, text] of this.#transport) {
      const field = OXM_FIELDS[`${prefix ?? "tcp"}_${side}`];
      const { value, mask } = parseAs(field, text);
      this.#set(field.name, value, mask);
    }
  }

  #number(field: OxmFieldName): number | undefined {
    const entry = this.#entries.get(field);
    return entry && Number(bytesToNumber(entry.value));
  }

  #rename(from: OxmFieldName, to: OxmFieldName): void {
    const entry = this.#entries.get(from);
    if (entry === undefined) return;
    this.#entries.delete(from);
    this.#set(to, entry.value, entry.mask);
  }

  #set(field: OxmFieldName, value: Uint8Array, mask?: Uint8Array): void {
    // A mask of all bits is none; one of no bits matches everything.
    const all = mask === undefined || bytesToNumber(mask) === (1n << BigInt(OXM_FIELDS[field].bits)) - 1n;
    this.#entries.delete(field);
    if (mask?.every((byte) => byte === 0)) return;
    this.#entries.set(field, { field, value, ...(all ? {} : { mask }) });
  }
}

const RANK: readonly OxmFieldName[] = ["in_port", "eth_type", "vlan_vid", "ip_proto", "icmpv6_type"];

function byPrerequisite(a: OxmEntry, b: OxmEntry): number {
  const rank = ({ field }: OxmEntry): number => (RANK.includes(field) ? RANK.indexOf(field) : RANK.length);
  return rank(a) - rank(b);
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

/** parseFieldValue() with the wording of ovs-ofctl for what it refuses. */
export function parseAs(field: OxmField, text: string, ports?: PortNumbers): FieldValue {
  if (field.name === "in_port" && ports !== undefined && /^"?[A-Za-z]/.test(text)) {
    const number = ports(text.replaceAll('"', ""));
    if (number !== undefined) return { value: numberToBytes(BigInt(number), 4) };
  }
  try {
    return parseFieldValue(field, text);
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
    throw flowTextError(refusalOf(field, text));
  }
}

function refusalOf(field: OxmField, text: string): string {
  const { name } = field;
  if (name === "in_port") return `${text}: invalid or unknown port for in_port`;
  if (/^(eth_(src|dst)|arp_[st]ha|ipv6_nd_[st]ll)$/.test(name)) return `${text}: invalid Ethernet address`;
  if (/^(ipv4_|arp_[st]pa|tun_(src|dst)|ct_nw_(src|dst))/.test(name)) return `${text}: invalid IP address`;
  if (/^(ipv6_(src|dst|nd_target)|ct_ipv6_)/.test(name)) return `${text}: invalid IPv6 address`;
  if (name === "ct_state") return `${text.replace(/^[+-]/, "")}: unknown ct_state flag(s)`;
  if (/^(\d+|0x[0-9a-fA-F]+)(\/|$)/.test(text))
    return `${text}: value too large for ${field.size}-byte field ${name}`;
  return `${text}: bad syntax for ${field.ovsName} value`;
}

function small(text: string, max: number, key: string): number {
  const number = /^(\d{1,9}|0x[0-9a-fA-F]{1,8})$/.test(text) ? Number(text) : Number.NaN;
  if (number <= max) return number;
  throw flowTextError(`${text}: bad syntax for ${key} value`);
}

/** "+syn-ack", "syn|ack", or a number with or without mask. */
function parseTcpFlags(text: string): { readonly value: bigint; readonly mask: bigint } {
  const bit = (name: string): bigint => {
    const index = TCP_FLAG_NAMES.indexOf(name);
    if (index < 0) throw flowTextError(`${name}: unknown TCP flag(s)`);
    return 1n << BigInt(index);
  };
  if (/^[+-]/.test(text)) {
    let [value, mask] = [0n, 0n];
    for (const [, sign, name] of text.matchAll(/([+-])([^+-]*)/g)) {
      mask |= bit(name as string);
      if (sign === "+") value |= bit(name as string);
    }
    return { value, mask };
  }
  if (/^[a-z]/.test(text))
    return { value: text.split("|").reduce((sum, name) => sum | bit(name), 0n), mask: 0xfffn };
  const { value, mask } = parseAs(OXM_FIELDS.tcp_flags, text);
  return { value: bytesToNumber(value), mask: mask === undefined ? 0xfffn : bytesToNumber(mask) & 0xfffn };
}
