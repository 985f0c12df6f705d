// Addresses and prefixes as resources write them. Pure.
import ipaddr from "ipaddr.js";

/** First and last address as numbers of `bits` bits. */
export interface Prefix {
  readonly bits: 32 | 128;
  readonly first: bigint;
  readonly last: bigint;
  readonly length: number;
}

/** A prefix with no bits set right of its mask, in the four-part or RFC 4291 form; undefined otherwise. */
export function parsePrefix(text: string): Prefix | undefined {
  const block = parseBlock(text);
  return block === undefined || block.given !== block.first ? undefined : block;
}

/** The same as Kubernetes reads the blocks of policies: bits right of the mask do not count. `given` is with them. */
export function parseBlock(text: string): (Prefix & { readonly given: bigint }) | undefined {
  const slash = text.indexOf("/");
  const length = text.slice(slash + 1);
  if (slash < 0 || !/^\d{1,3}$/.test(length)) return undefined;
  const address = parseAddress(text.slice(0, slash));
  if (address === undefined || Number(length) > address.bits) return undefined;
  const hostBits = BigInt(address.bits - Number(length));
  const first = (address.value >> hostBits) << hostBits;
  const last = first + (1n << hostBits) - 1n;
  return { bits: address.bits, first, last, length: Number(length), given: address.value };
}

/** A warning where a block is not what it says. Kubernetes takes such blocks, too. */
export function blockAdvice(text: string, field: string): string[] {
  const block = parseBlock(text);
  if (block === undefined || block.given === block.first) return [];
  const first = (block.bits === 32 ? ipaddr.IPv4 : ipaddr.IPv6).networkAddressFromCIDR(text).toString();
  return [`${field}: ${text} has bits behind its length and counts as ${first}/${block.length}`];
}

export interface Address {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

/** One address; IPv4 must have four decimal parts without leading zeros. */
export function parseAddress(text: string): Address | undefined {
  if (text.length > 45 || text.includes("%")) return undefined;
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) {
    if (/(^|\.)0\d/.test(text)) return undefined;
    return { bits: 32, value: toNumber(ipaddr.IPv4.parse(text).toByteArray()) };
  }
  if (!text.includes(":") || !ipaddr.IPv6.isValid(text)) return undefined;
  return { bits: 128, value: toNumber(ipaddr.IPv6.parse(text).toByteArray()) };
}

export function prefixContains(prefix: Prefix, address: Address): boolean {
  return prefix.bits === address.bits && address.value >= prefix.first && address.value <= prefix.last;
}

export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  return a.bits === b.bits && a.first <= b.last && b.first <= a.last;
}

/** True when `inner` lies in `outer` and is smaller. */
export function prefixInside(inner: Prefix, outer: Prefix): boolean {
  return (
    inner.bits === outer.bits &&
    inner.first >= outer.first &&
    inner.last <= outer.last &&
    inner.length > outer.length
  );
}

/** True for an address that a machine may have in an IPv4 or IPv6 prefix: not the network, not the broadcast address. */
export function isHostAddress(prefix: Prefix, address: Address): boolean {
  if (!prefixContains(prefix, address)) return false;
  if (prefix.bits === 128 || prefix.length >= 31) return true;
  return address.value !== prefix.first && address.value !== prefix.last;
}

/** A unicast MAC address in lower-case colon form. */
export function isMacAddress(text: string): boolean {
  return /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(text) && (Number.parseInt(text.slice(0, 2), 16) & 1) === 0;
}

function toNumber(bytes: readonly number[]): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}
