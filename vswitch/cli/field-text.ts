// Values of match fields as people write them: addresses, numbers, connection states. Pure.
// Source: ovs-fields(7). Invariant: what is formatted parses to the same value.
import { PlinthError } from "../../base/errors/index.js";
import {
  OFPP_ANY,
  OFPP_CONTROLLER,
  OFPP_IN_PORT,
  OFPP_LOCAL,
  OFPP_MAX,
  OXM_FIELDS,
  OXM_NAMES,
  type OxmField,
  type OxmFieldName,
} from "../../base/openflow/index.js";
import {
  formatIpv6Address,
  formatMac,
  ipv4Bytes,
  parseIpv4Address,
  parseIpv6Address,
  WireError,
} from "../../base/wire/index.js";
import { flowTextError } from "./errors.js";
import { type FlagSet, flagsOf, formatFlags, parseFlags } from "./flag-text.js";

const BY_NAME = new Map<string, OxmField>();
for (const field of Object.values(OXM_FIELDS)) {
  const { manual, dump, header, others } = OXM_NAMES[field.name];
  for (const name of [dump, header, manual, ...others]) if (!BY_NAME.has(name)) BY_NAME.set(name, field);
}

/** The field called `name`: our name, that of ovs-fields(7), or a header's such as NXM_NX_REG0. */
export function fieldNamed(name: string): OxmField {
  const field = BY_NAME.get(name);
  if (field === undefined) throw flowTextError(`there is no field "${name.slice(0, 60)}"`);
  return field;
}

export function isFieldName(name: string): boolean {
  return BY_NAME.has(name);
}

/** The same inside an action, where in_port has 16 bits as the header NXM_OF_IN_PORT. */
export function actionFieldNamed(name: string): OxmField {
  return fieldNamed(name === "in_port" ? "NXM_OF_IN_PORT" : name);
}

type Format = "ethernet" | "ipv4" | "ipv6" | "hexadecimal" | "port" | "fragment" | "flags";
const FORMATS: Partial<Record<OxmFieldName, Format>> = {
  ...formats("ethernet", "eth_dst", "eth_src", "arp_sha", "arp_tha", "ipv6_nd_sll", "ipv6_nd_tll"),
  ...formats("ipv4", "ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa", "tun_src", "tun_dst"),
  ...formats("ipv4", "ct_nw_src", "ct_nw_dst"),
  ...formats("ipv6", "ipv6_src", "ipv6_dst", "ipv6_nd_target", "tun_ipv6_src", "tun_ipv6_dst"),
  ...formats("ipv6", "ct_ipv6_src", "ct_ipv6_dst"),
  ...formats("hexadecimal", "eth_type", "vlan_tci", "ipv6_flabel", "ipv6_exthdr", "pbb_isid", "packet_type"),
  ...formats("hexadecimal", "tunnel_id", "metadata", "pkt_mark", "ct_mark", "ct_label", "tun_gbp_flags"),
  ...formats("hexadecimal", "dp_hash", "recirc_id", "tun_erspan_idx", "tun_erspan_hwid", "tun_gtpu_flags"),
  ...formats("hexadecimal", "nsh_spi", "nsh_c1", "nsh_c2", "nsh_c3", "nsh_c4"),
  ...formats("port", "in_port", "nxm_in_port", "in_phy_port", "actset_output"),
  ...formats("fragment", "ip_frag"),
  ...formats("flags", "ct_state", "tcp_flags", "tun_flags"),
};

function formats(format: Format, ...names: OxmFieldName[]): Partial<Record<OxmFieldName, Format>> {
  return Object.fromEntries(names.map((name) => [name, format]));
}

function formatOf(field: OxmField): Format | undefined {
  return (
    FORMATS[field.name] ?? (/^(x{0,2}reg|tun_metadata)\d+$/.test(field.name) ? "hexadecimal" : undefined)
  );
}

/** ovs-fields(7), "fragment": value and mask of the two bits. */
const FRAGMENTS: Readonly<Record<string, readonly [value: number, mask: number]>> = {
  no: [0, 3],
  yes: [1, 1],
  first: [1, 3],
  later: [3, 3],
  not_later: [0, 2],
};

export interface FieldValue {
  readonly value: Uint8Array;
  readonly mask?: Uint8Array;
}

/** Parses VALUE or VALUE/MASK for `field`. Throws FLOW_TEXT_INVALID. */
export function parseFieldValue(field: OxmField, text: string): FieldValue {
  const format = formatOf(field);
  if (format === "fragment") return parseFragment(field, text);
  const flags = flagsOf(field.name);
  if (flags !== undefined && !/^[\d]/.test(text)) return parseFlagValue(field, flags, text);
  const [valueText, maskText, more] = text.split("/") as [string, string?, string?];
  if (more !== undefined) throw flowTextError(`"${text.slice(0, 60)}" has two masks`);
  const value = parseBytes(field, format, valueText);
  if (maskText === undefined) return { value };
  if (field.isVariable) return variableValue(value, parseBytes(field, format, maskText));
  const mask =
    (format === "ipv4" || format === "ipv6") && /^\d+$/.test(maskText)
      ? prefixMask(field.size, Number(maskText))
      : parseBytes(field, format, maskText);
  return { value: value.map((byte, i) => byte & (mask[i] as number)), mask };
}

/** Value and mask as long as the longer of them. */
export function variableValue(value: Uint8Array, mask: Uint8Array): FieldValue {
  const size = Math.max(value.byteLength, mask.byteLength);
  const bits = bytesToNumber(mask);
  return { value: numberToBytes(bytesToNumber(value) & bits, size), mask: numberToBytes(bits, size) };
}

export function formatFieldValue(field: OxmField, { value, mask }: FieldValue): string {
  const format = formatOf(field);
  if (format === "fragment") return formatFragment(value, mask);
  const flags = flagsOf(field.name);
  if (flags !== undefined)
    return formatFlags(flags, Number(bytesToNumber(value)), mask && Number(bytesToNumber(mask)));
  const text = formatBytes(field, format, value);
  if (mask === undefined) return text;
  const prefix = format === "ipv4" || format === "ipv6" ? prefixOf(mask) : undefined;
  // Bits are shown in hexadecimal, also of fields whose values are decimal.
  const bits = format === undefined ? formatHex(bytesToNumber(mask)) : undefined;
  return `${text}/${prefix ?? bits ?? formatBytes(field, format, mask)}`;
}

function parseBytes(field: OxmField, format: Format | undefined, text: string): Uint8Array {
  if (format === "ethernet" && /^[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}$/.test(text))
    return Uint8Array.from(text.split(":"), (part) => Number.parseInt(part, 16));
  if (format === "ipv4" && text.includes(".")) return parseIpv4(text);
  if (format === "ipv6" && text.includes(":")) return parseIpv6(text);
  if (format === "port") return parsePortBytes(field, text);
  const number = parseNumber(text, (1n << 992n) - 1n);
  if (number >= 1n << BigInt(field.bits))
    throw flowTextError(`${text.slice(0, 60)} does not fit ${field.name} (${field.bits} bits)`);
  return fieldBytes(field, number);
}

/** As many bytes as the field has; one of variable size gets no more than the number needs. */
export function fieldBytes(field: OxmField, number: bigint): Uint8Array {
  return numberToBytes(number, field.isVariable ? byteCount(number) : field.size);
}

/** 0 for 0. */
export function byteCount(number: bigint): number {
  return number === 0n ? 0 : Math.ceil(number.toString(16).length / 2);
}

function parsePortBytes(field: OxmField, text: string): Uint8Array {
  if (field.name === "actset_output" && text.toUpperCase() === "UNSET") return numberToBytes(OFPP_UNSET, 4);
  const port = parsePort(text);
  return numberToBytes(BigInt(field.size === 2 ? port & 0xffff : port), field.size);
}

function formatBytes(field: OxmField, format: Format | undefined, bytes: Uint8Array): string {
  const number = bytesToNumber(bytes);
  switch (format) {
    case "ethernet":
      return formatMac(bytes);
    case "ipv4":
      return bytes.join(".");
    case "ipv6":
      return formatIpv6(bytes);
    case "port":
      return formatPortNumber(field.size === 2 && number >= 0xfff7n ? number | 0xffff0000n : number);
    case "hexadecimal":
      if (field.name === "vlan_tci") return `0x${number.toString(16).padStart(4, "0")}`;
      if (field.name === "ipv6_flabel") return `0x${number.toString(16).padStart(5, "0")}`;
      return formatHex(number);
    default:
      return number.toString();
  }
}

/** What has more than 16 bits and is no word for a port stands for none. */
function formatPortNumber(port: bigint): string {
  if (port > 0xffffn && port < OFPP_MAX) return "ANY";
  return port === OFPP_UNSET ? "UNSET" : formatPort(Number(port));
}

/** In hexadecimal as C prints it with "%#x": zero has no prefix. */
export function formatHex(number: bigint | number): string {
  return number === 0n || number === 0 ? "0" : `0x${number.toString(16)}`;
}

const OFPP_UNSET = 0xfffffff7n;

function parseFragment(field: OxmField, text: string): FieldValue {
  const known = Object.hasOwn(FRAGMENTS, text) ? FRAGMENTS[text] : undefined;
  const [value, mask] = known ?? text.split("/", 2).map((part) => parseSmall(part, 3));
  if (value === undefined)
    throw flowTextError(`"${text.slice(0, 60)}" is no fragment type: ${Object.keys(FRAGMENTS).join(", ")}`);
  return masked(field, value, mask);
}

function formatFragment(value: Uint8Array, mask: Uint8Array | undefined): string {
  const bits = mask === undefined ? 3 : (mask[0] as number);
  const name = Object.entries(FRAGMENTS).find(([, known]) => known[0] === value[0] && known[1] === bits)?.[0];
  return name ?? `${value[0]}${mask === undefined ? "" : `/${bits}`}`;
}

function parseFlagValue(field: OxmField, flags: FlagSet, text: string): FieldValue {
  const [value, mask] = parseFlags(flags, text, field.bits);
  return masked(field, value, mask);
}

/** `mask` of all bits, or none, means an exact value. */
function masked(field: OxmField, value: number, mask: number | undefined): FieldValue {
  const bytes = numberToBytes(BigInt(value >>> 0), field.size);
  const ones = (1n << BigInt(field.bits)) - 1n;
  if (mask === undefined || BigInt(mask >>> 0) === ones) return { value: bytes };
  return { value: bytes, mask: numberToBytes(BigInt(mask >>> 0), field.size) };
}

/** A number in decimal or hexadecimal, up to 128 bits. */
export function parseNumber(text: string, max = (1n << 128n) - 1n): bigint {
  if (!/^(\d{1,39}|0x[0-9a-fA-F]{1,248})$/i.test(text))
    throw flowTextError(`"${text.slice(0, 60)}" is no number`);
  const number = BigInt(text.toLowerCase());
  if (number > max) throw flowTextError(`${text} is larger than ${max}`);
  return number;
}

export function parseSmall(text: string, max: number): number {
  return Number(parseNumber(text, BigInt(max)));
}

/** Between the 16-bit numbers of reserved ports and their own. */
const RESERVED_OFFSET = 0xffff0000;
const PORT_NAMES: readonly (readonly [string, number])[] = [
  ["IN_PORT", OFPP_IN_PORT],
  ["TABLE", 0xfffffff9],
  ["NORMAL", 0xfffffffa],
  ["FLOOD", 0xfffffffb],
  ["ALL", 0xfffffffc],
  ["CONTROLLER", OFPP_CONTROLLER],
  ["LOCAL", OFPP_LOCAL],
  ["ANY", OFPP_ANY],
  ["NONE", OFPP_ANY],
  ["UNSET", 0xfffffff7],
];

/** As parsePort(); what is none is refused in the words of `refusal`. */
export function portOr(text: string, refusal: string): number {
  try {
    return parsePort(text);
  } catch (thrown) {
    if (thrown instanceof PlinthError) throw flowTextError(refusal);
    throw thrown;
  }
}

/** A whole number of at most `max`, or the refusal. */
export function smallOr(text: string, max: number, refusal: string): number {
  const number = /^(\d{1,15}|0x[0-9a-fA-F]{1,13})$/.test(text) ? Number(text) : Number.NaN;
  if (!(number <= max)) throw flowTextError(refusal);
  return number;
}

export function parsePort(text: string): number {
  const reserved = PORT_NAMES.find(([name]) => name === text.toUpperCase());
  if (reserved !== undefined) return reserved[1];
  // Ports are not written in hexadecimal.
  if (/^0x/i.test(text)) throw flowTextError(`${text.slice(0, 60)} is no port`);
  const port = parseSmall(text, 0xffffffff);
  if (port > 0xffff && port < OFPP_MAX) throw flowTextError(`${text} is no port`);
  // The 16-bit numbers that ovs-ofctl and the database use for reserved ports.
  return port >= 0xfff8 && port <= 0xffff ? port + 0xffff0000 : port;
}

export function formatPort(port: number): string {
  return (
    PORT_NAMES.find(([, number]) => number === port)?.[0] ??
    String(port >= OFPP_MAX ? port - RESERVED_OFFSET : port)
  );
}

/** As RFC 5952 has it, and with an IPv4 address at the end where one is embedded (RFC 4291, 2.5.5), as in C. */
export function formatIpv6(bytes: Uint8Array): string {
  const isZero = (from: number, to: number): boolean => bytes.subarray(from, to).every((byte) => byte === 0);
  const isMapped = isZero(0, 10) && bytes[10] === 0xff && bytes[11] === 0xff;
  const isCompatible = isZero(0, 12) && !isZero(12, 14);
  if (!isMapped && !isCompatible) return formatIpv6Address(bytes);
  return `::${isMapped ? "ffff:" : ""}${bytes.subarray(12).join(".")}`;
}

export function parseIpv4(text: string): Uint8Array {
  return parseAs("IPv4", text, () => ipv4Bytes(parseIpv4Address(text)));
}

export function parseIpv6(text: string): Uint8Array {
  return parseAs("IPv6", text, () => parseIpv6Address(text));
}

function parseAs(family: string, text: string, parse: () => Uint8Array): Uint8Array {
  try {
    return parse();
  } catch (thrown) {
    if (!(thrown instanceof WireError)) throw thrown;
    throw flowTextError(`"${text.slice(0, 60)}" is no ${family} address`);
  }
}

function prefixMask(size: number, bits: number): Uint8Array {
  if (bits > size * 8) throw flowTextError(`/${bits} is longer than the address`);
  return Uint8Array.from(
    { length: size },
    (_, i) => (0xff << (8 - Math.min(8, Math.max(0, bits - 8 * i)))) & 0xff,
  );
}

function prefixOf(mask: Uint8Array): number | undefined {
  const bits = [...mask].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  return /^1*0*$/.test(bits) ? bits.replaceAll("0", "").length : undefined;
}

export function numberToBytes(number: bigint, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Number((number >> BigInt(8 * (size - 1 - i))) & 0xffn));
}

export function bytesToNumber(bytes: Uint8Array): bigint {
  let number = 0n;
  for (const byte of bytes) number = (number << 8n) | BigInt(byte);
  return number;
}
