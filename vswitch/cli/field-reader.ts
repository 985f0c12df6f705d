// Values of match fields as ovs-ofctl reads them from flows, and its words for what it refuses. Pure.
// Source: ovs-fields(7); the wording is that of ovs-ofctl. What ovs-ofctl cuts to the width of a field is refused here.

import { PlinthError } from "../../base/errors/index.js";
import { OXM_FIELDS, OXM_NAMES, type OxmField } from "../../base/openflow/index.js";
import { flowTextError } from "./errors.js";
import {
  bytesToNumber,
  type FieldValue,
  fieldBytes,
  numberToBytes,
  parseFieldValue,
  parsePort,
  variableValue,
} from "./field-text.js";
import { type FlagSet, flagsOf } from "./flag-text.js";
import { cNumber } from "./number-text.js";

/** Gives the number of a port by name; undefined when there is none. */
export type PortNumbers = (name: string) => number | undefined;

const FRAGMENT_WORDS: ReadonlySet<string> = new Set(["no", "yes", "first", "later", "not_later"]);
const FLAG_FIELDS: Readonly<Record<string, string>> = {
  ct_state: "ct_state",
  tcp_flags: "TCP",
  tun_flags: "tunnel",
};
const OFPP_NONE = 0xffffffff;

/** Throws FLOW_TEXT_INVALID. `ports` are those of the switch, where there is one; `key` is the word for the field. */
export function readFieldText(
  field: OxmField,
  text: string,
  ports?: PortNumbers,
  key: string = nameOf(field),
): FieldValue {
  const read = readRaw(field, text, ports, key);
  const isPartial = read.mask !== undefined && !isExact(field, read.mask) && bytesToNumber(read.mask) !== 0n;
  if (isPartial && !field.maskable) throw flowTextError(`${text}: invalid mask for field ${nameOf(field)}`);
  return read;
}

const VID_TEXT: OxmField = { ...OXM_FIELDS.vlan_vid, bits: 16 };

/** Of vlan_vid: a number of 16 bits, of which 13 count. */
export function readVidText(text: string): FieldValue {
  return readFieldText(VID_TEXT, text);
}

function isExact(field: OxmField, mask: Uint8Array): boolean {
  return bytesToNumber(mask) === (1n << BigInt(field.bits)) - 1n;
}

function nameOf(field: OxmField): string {
  return field.name === "in_port" ? "in_port" : OXM_NAMES[field.name].manual;
}

function readRaw(field: OxmField, text: string, ports: PortNumbers | undefined, key: string): FieldValue {
  const { name } = field;
  if (name === "in_port" || name === "nxm_in_port" || name === "actset_output" || name === "in_phy_port")
    return readPort(field, text, ports, key);
  if (name === "packet_type") return readPacketType(text);
  if (name === "ip_frag") return readFragment(field, text);
  const flags = flagsOf(name);
  if (flags !== undefined) return readFlags(field, flags, text);
  const refusal = addressRefusal(field, text);
  if (refusal === undefined) return readInteger(field, text);
  try {
    return parseFieldValue(field, text);
  } catch (thrown) {
    if (thrown instanceof PlinthError) throw flowTextError(refusal);
    throw thrown;
  }
}

function readPort(field: OxmField, text: string, ports: PortNumbers | undefined, key: string): FieldValue {
  const named = ports?.(text.replaceAll('"', ""));
  const port = named ?? portNumber(field, text, key);
  return { value: numberToBytes(BigInt(field.size === 2 ? port & 0xffff : port), field.size) };
}

function portNumber(field: OxmField, text: string, key: string): number {
  if (/^none$/i.test(text)) return OFPP_NONE;
  try {
    // Ports are not written in hexadecimal.
    if (/^0x/i.test(text)) throw flowTextError(text);
    if (field.name === "actset_output" && /^unset$/i.test(text)) return 0xfffffff7;
    const port = parsePort(text);
    // From 65280 on stand the reserved ports of 1.0, of which not all have a name.
    if (port <= 0xffff) return port < 0xff00 ? port : port + 0xffff0000;
    if (port >= 0xffffff00) return port;
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
  }
  const isOld = field.name !== "actset_output" && key !== "in_port_oxm";
  const refusal = isOld ? "invalid or unknown port" : "port value out of range";
  throw flowTextError(`${text}: ${refusal} for ${isOld ? nameOf(field) : key}`);
}

/** "(NAMESPACE,TYPE)". */
function readPacketType(text: string): FieldValue {
  const match = /^\(\s*(\d{1,5}|0x[0-9a-fA-F]{1,4})\s*,\s*(\d{1,5}|0x[0-9a-fA-F]{1,4})\s*\)$/.exec(text);
  const [namespace, type] = [Number(match?.[1]), Number(match?.[2])];
  if (!(namespace <= 0xffff && type <= 0xffff))
    throw flowTextError(`${text}: bad syntax for packet type${text.startsWith("(") ? "" : " missing '('"}`);
  return { value: numberToBytes(BigInt(namespace * 0x10000 + type), 4) };
}

function readFragment(field: OxmField, text: string): FieldValue {
  if (FRAGMENT_WORDS.has(text)) return parseFieldValue(field, text);
  throw flowTextError(
    `${text}: unknown fragment type (valid types are "no", "yes", "first", "later", "not_later"`,
  );
}

/** "+syn-ack" means these bits, "syn|ack" all of them; or a number with or without a mask. */
function readFlags(field: OxmField, flags: FlagSet, text: string): FieldValue {
  const kind = FLAG_FIELDS[field.name] ?? field.name;
  const known = (1n << BigInt(flags.length)) - 1n;
  if (/^\d/.test(text)) {
    if (BigInt(/^(0x[0-9a-fA-F]+|\d+)/.exec(text)?.[0] ?? 0) >> BigInt(field.bits) !== 0n)
      throw flowTextError(`${text}: unknown ${kind} flag(s)`);
    const read = readInteger(field, text);
    if ((bytesToNumber(read.value) & ~known) !== 0n) throw flowTextError(`${text}: unknown ${kind} flag(s)`);
    return { value: read.value, mask: read.mask ?? numberToBytes(known, field.size) };
  }
  const isSigned = /^[+-]/.test(text);
  const parts = isSigned ? text.matchAll(/([+-])([^+-]*)/g) : text.matchAll(/(^|\|)([^|]*)/g);
  let [value, mask] = [0n, 0n];
  for (const [, sign, word = ""] of parts) {
    const index = flags.indexOf(word);
    if (index < 0) throw flowTextError(`${isSigned ? word : text}: unknown ${kind} flag(s)`);
    const bit = 1n << BigInt(index);
    if (isSigned && (mask & bit) !== 0n)
      throw flowTextError(`${word}: Each ${kind} flag can be specified only once`);
    mask |= bit;
    if (sign !== "-") value |= bit;
  }
  return {
    value: numberToBytes(value, field.size),
    mask: numberToBytes(isSigned ? mask : known, field.size),
  };
}

/** What is said of an address that is none; undefined for fields that are numbers. */
function addressRefusal({ name }: OxmField, text: string): string | undefined {
  const prefix = Number(/\/(\d{1,4})$/.exec(text)?.[1] ?? 0);
  if (/^(eth_(src|dst)|arp_[st]ha|ipv6_nd_[st]ll)$/.test(name)) {
    const part = "[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}";
    const refusal = `${text}: invalid Ethernet address`;
    if (!new RegExp(`^${part}(/${part})?$`).test(text)) throw flowTextError(refusal);
    return refusal;
  }
  if (/^(ipv4_|arp_[st]pa|tun_(src|dst)|ct_nw_(src|dst))/.test(name)) {
    if (!text.includes(".")) throw flowTextError(`${text}: invalid IP address`);
    return prefix > 32
      ? `${text}: IPv4 network prefix bits not between 0 and 32, inclusive`
      : `${text}: invalid IP address`;
  }
  if (/^(ipv6_(src|dst|nd_target)|ct_ipv6_|tun_ipv6_)/.test(name)) {
    if (!text.includes(":")) throw flowTextError(`${text}: invalid IPv6 address`);
    return prefix > 128
      ? `${text}: IPv6 network prefix bits not between 0 and 128, inclusive`
      : `${text}: invalid IPv6 address`;
  }
  return undefined;
}

const INTEGER = /^(-?\d+|0x[0-9a-fA-F]+)$/;

/** VALUE or VALUE/MASK. */
function readInteger(field: OxmField, text: string): FieldValue {
  const slash = text.indexOf("/");
  const [valueText, maskText] = slash < 0 ? [text] : [text.slice(0, slash), text.slice(slash + 1)];
  const value = integer(field, text, valueText, "value");
  if (maskText === undefined) return { value: fieldBytes(field, value) };
  const mask = integer(field, text, maskText, "mask");
  if (field.isVariable) return variableValue(fieldBytes(field, value), fieldBytes(field, mask));
  return { value: numberToBytes(value & mask, field.size), mask: numberToBytes(mask, field.size) };
}

function integer(field: OxmField, text: string, part: string, what: "value" | "mask"): bigint {
  const given = part === "0x" ? 0n : INTEGER.test(part) ? cNumber(part) : undefined;
  if (given === undefined) throw flowTextError(`${text}: bad syntax for ${nameOf(field)} ${what}`);
  // All ones of 64 bits, as C reads it.
  const number = given < 0n && field.size >= 8 ? BigInt.asUintN(64, given) : given;
  const bits = what === "mask" ? field.size * 8 : field.bits;
  if (number < 0n || number >= 1n << BigInt(bits))
    throw flowTextError(`${text}: ${what} too large for ${field.size}-byte field ${nameOf(field)}`);
  return number;
}
