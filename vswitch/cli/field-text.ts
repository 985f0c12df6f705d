// Values of match fields as people write them: addresses, numbers, connection states. Pure.
// Source: ovs-fields(7).
import {
  OFPP_ANY,
  OFPP_CONTROLLER,
  OFPP_IN_PORT,
  OFPP_LOCAL,
  OXM_FIELDS,
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

const BY_NAME = new Map<string, OxmField>();
for (const field of Object.values(OXM_FIELDS)) BY_NAME.set(field.name, field);
for (const field of Object.values(OXM_FIELDS))
  if (!BY_NAME.has(field.ovsName)) BY_NAME.set(field.ovsName, field);

/** The field called `name` (our name, that of ovs-fields(7), or NXM_NX_REG0 and the like). */
export function fieldNamed(name: string): OxmField {
  const plain = name.replace(/^(NXM_NX_|NXM_OF_|OXM_OF_)/, "");
  const field = BY_NAME.get(name) ?? (plain === name ? undefined : BY_NAME.get(plain.toLowerCase()));
  if (field === undefined) throw flowTextError(`there is no field "${name.slice(0, 60)}"`);
  return field;
}

const STATE_BITS = ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"] as const;
const MAC_FIELDS: readonly OxmFieldName[] = [
  "eth_dst",
  "eth_src",
  "arp_sha",
  "arp_tha",
  "ipv6_nd_sll",
  "ipv6_nd_tll",
];
const IPV4_FIELDS: readonly OxmFieldName[] = [
  "ipv4_src",
  "ipv4_dst",
  "arp_spa",
  "arp_tpa",
  "tun_src",
  "tun_dst",
  "ct_nw_src",
  "ct_nw_dst",
];
const IPV6_FIELDS: readonly OxmFieldName[] = [
  "ipv6_src",
  "ipv6_dst",
  "ipv6_nd_target",
  "ct_ipv6_src",
  "ct_ipv6_dst",
];

export interface FieldValue {
  readonly value: Uint8Array;
  readonly mask?: Uint8Array;
}

/** Parses VALUE or VALUE/MASK for `field`. Throws FLOW_TEXT_INVALID. */
export function parseFieldValue(field: OxmField, text: string): FieldValue {
  if (field.name === "ct_state" && /^[+-]/.test(text)) return parseState(text, field);
  const [valueText, maskText, more] = text.split("/") as [string, string?, string?];
  if (more !== undefined) throw flowTextError(`"${text.slice(0, 60)}" has two masks`);
  const value = parseBytes(field, valueText);
  if (maskText === undefined) return { value };
  const mask =
    IPV4_FIELDS.includes(field.name) && /^\d+$/.test(maskText)
      ? prefixMask(4, Number(maskText))
      : IPV6_FIELDS.includes(field.name) && /^\d+$/.test(maskText)
        ? prefixMask(16, Number(maskText))
        : parseBytes(field, maskText);
  return { value: value.map((byte, i) => byte & (mask[i] as number)), mask };
}

export function formatFieldValue(field: OxmField, { value, mask }: FieldValue): string {
  const text = formatBytes(field, value);
  if (mask === undefined) return text;
  if (field.name === "ct_state" && (bytesToNumber(mask) & ~0xffn) === 0n) return formatState(value, mask);
  const prefix = prefixOf(mask);
  const isAddress = IPV4_FIELDS.includes(field.name) || IPV6_FIELDS.includes(field.name);
  return `${text}/${isAddress && prefix !== undefined ? prefix : formatBytes(field, mask)}`;
}

function parseBytes(field: OxmField, text: string): Uint8Array {
  if (MAC_FIELDS.includes(field.name) && /^[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}$/.test(text))
    return Uint8Array.from(text.split(":"), (part) => Number.parseInt(part, 16));
  if (IPV4_FIELDS.includes(field.name) && text.includes(".")) return parseIpv4(text);
  if (IPV6_FIELDS.includes(field.name) && text.includes(":")) return parseIpv6(text);
  if (field.name === "in_port" || field.name === "actset_output")
    return numberToBytes(BigInt(parsePort(text)), 4);
  const number = parseNumber(text);
  if (number >= 1n << BigInt(field.bits))
    throw flowTextError(`${text.slice(0, 60)} does not fit ${field.name} (${field.bits} bits)`);
  return numberToBytes(number, field.size);
}

function formatBytes(field: OxmField, bytes: Uint8Array): string {
  if (MAC_FIELDS.includes(field.name)) return formatMac(bytes);
  if (IPV4_FIELDS.includes(field.name)) return bytes.join(".");
  if (IPV6_FIELDS.includes(field.name)) return formatIpv6Address(bytes);
  const number = bytesToNumber(bytes);
  if (field.name === "in_port" || field.name === "actset_output") return formatPort(Number(number));
  return number > 9n && field.bits > 8 && !/^(tcp|udp|sctp)_(src|dst)$/.test(field.name)
    ? `0x${number.toString(16)}`
    : number.toString();
}

/** A number in decimal or hexadecimal, up to 128 bits. */
export function parseNumber(text: string, max = (1n << 128n) - 1n): bigint {
  if (!/^(\d{1,39}|0x[0-9a-fA-F]{1,32})$/.test(text))
    throw flowTextError(`"${text.slice(0, 60)}" is no number`);
  const number = BigInt(text);
  if (number > max) throw flowTextError(`${text} is larger than ${max}`);
  return number;
}

export function parseSmall(text: string, max: number): number {
  return Number(parseNumber(text, BigInt(max)));
}

const PORT_NAMES: readonly (readonly [string, number])[] = [
  ["IN_PORT", OFPP_IN_PORT],
  ["TABLE", 0xfffffff9],
  ["NORMAL", 0xfffffffa],
  ["FLOOD", 0xfffffffb],
  ["ALL", 0xfffffffc],
  ["CONTROLLER", OFPP_CONTROLLER],
  ["LOCAL", OFPP_LOCAL],
  ["ANY", OFPP_ANY],
];

export function parsePort(text: string): number {
  const reserved = PORT_NAMES.find(([name]) => name === text.toUpperCase());
  if (reserved !== undefined) return reserved[1];
  const port = parseSmall(text, 0xffffffff);
  // The 16-bit numbers that ovs-ofctl and the database use for reserved ports.
  return port >= 0xfff8 && port <= 0xffff ? port + 0xffff0000 : port;
}

export function formatPort(port: number): string {
  return PORT_NAMES.find(([, number]) => number === port)?.[0] ?? String(port);
}

function parseState(text: string, field: OxmField): FieldValue {
  let value = 0;
  let mask = 0;
  for (const [part, sign, name] of text.matchAll(/([+-])([a-z]*)/g)) {
    const bit = STATE_BITS.indexOf(name as (typeof STATE_BITS)[number]);
    if (bit < 0) throw flowTextError(`"${part}" is no connection state`);
    mask |= 1 << bit;
    if (sign === "+") value |= 1 << bit;
  }
  if (!/^([+-][a-z]+)+$/.test(text)) throw flowTextError(`"${text.slice(0, 60)}" is no connection state`);
  return { value: numberToBytes(BigInt(value), field.size), mask: numberToBytes(BigInt(mask), field.size) };
}

function formatState(value: Uint8Array, mask: Uint8Array): string {
  const bits = bytesToNumber(mask);
  const set = bytesToNumber(value);
  return STATE_BITS.flatMap((name, i) =>
    (bits >> BigInt(i)) & 1n ? [`${(set >> BigInt(i)) & 1n ? "+" : "-"}${name}`] : [],
  ).join("");
}

export function parseIpv4(text: string): Uint8Array {
  return parseAs("IPv4", text, () => ipv4Bytes(parseIpv4Address(text)));
}

function parseIpv6(text: string): Uint8Array {
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
