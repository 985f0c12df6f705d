// Addresses and prefixes of both families as numbers, for what does not care about the family: policies, proofs, traces.
// Source: RFC 4632, RFC 4291; RFC 5952 for text. Pure.
import {
  formatIpv4Address,
  formatIpv6Address,
  parseIpv6Address,
  tryParseIpv4Address,
  WireError,
} from "../../base/wire/index.js";

export type IpFamily = 4 | 6;

export interface IpAddress {
  readonly family: IpFamily;
  readonly value: bigint;
}

export interface IpPrefix {
  readonly family: IpFamily;
  /** The bits below the length are zero. */
  readonly address: bigint;
  /** 0–32, 0–128. */
  readonly length: number;
}

export const ADDRESS_BITS: Readonly<Record<IpFamily, number>> = { 4: 32, 6: 128 };

export function ipv4(value: number): IpAddress {
  return { family: 4, value: BigInt(value) };
}

export function ipv6(value: bigint): IpAddress {
  return { family: 6, value };
}

/** Undefined when `text` is no address. */
export function tryParseIpAddress(text: string): IpAddress | undefined {
  if (text.includes(":")) {
    const value = tryParseIpv6Address(text);
    return value === undefined ? undefined : { family: 6, value };
  }
  const value = tryParseIpv4Address(text);
  return value === undefined ? undefined : { family: 4, value: BigInt(value) };
}

export function tryParseIpv6Address(text: string): bigint | undefined {
  try {
    return parseIpv6Address(text).reduce((value, byte) => value * 256n + BigInt(byte), 0n);
  } catch (thrown) {
    if (thrown instanceof WireError) return undefined;
    throw thrown;
  }
}

export function formatIpAddress({ family, value }: IpAddress): string {
  return family === 4 ? formatIpv4Address(Number(value)) : formatIpv6Address(ipv6Bytes(value));
}

export function ipv6Bytes(value: bigint): Uint8Array {
  const bytes = new Uint8Array(16);
  for (let i = 15, rest = value; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return bytes;
}

/** The prefix with its host bits cleared, or undefined when `text` is not "address/length". */
export function parseIpPrefix(text: string): IpPrefix | undefined {
  const match = /^([\d.]+|[\da-fA-F:.]+)\/(0|[1-9]\d{0,2})$/.exec(text);
  const parsed = match === null ? undefined : tryParseIpAddress(match[1] as string);
  const length = Number(match?.[2]);
  if (parsed === undefined || length > ADDRESS_BITS[parsed.family]) return undefined;
  const { family, value } = parsed;
  return { family, address: value & ipMaskOf(family, length), length };
}

export function formatIpPrefix({ family, address, length }: IpPrefix): string {
  return `${formatIpAddress({ family, value: address })}/${length}`;
}

/** The netmask of a prefix length. */
export function ipMaskOf(family: IpFamily, length: number): bigint {
  const bits = ADDRESS_BITS[family];
  return ((1n << BigInt(length)) - 1n) << BigInt(bits - length);
}

export function ipPrefixContains(prefix: IpPrefix, address: IpAddress): boolean {
  return (
    prefix.family === address.family &&
    (address.value & ipMaskOf(prefix.family, prefix.length)) === prefix.address
  );
}

/** Whether every address of `inner` is in `outer`. */
function covers(outer: IpPrefix, inner: IpPrefix): boolean {
  return (
    outer.length <= inner.length && ipPrefixContains(outer, { family: inner.family, value: inner.address })
  );
}

export function ipPrefixesOverlap(a: IpPrefix, b: IpPrefix): boolean {
  return covers(a, b) || covers(b, a);
}

/** The fewest prefixes that cover `prefix` without any of `except`, in address order. */
export function subtractIpPrefixes(prefix: IpPrefix, except: readonly IpPrefix[]): IpPrefix[] {
  const touching = except.filter((other) => ipPrefixesOverlap(prefix, other));
  if (touching.length === 0) return [prefix];
  if (touching.some((other) => covers(other, prefix))) return [];
  const { family, address } = prefix;
  const length = prefix.length + 1;
  const upper = address | (1n << BigInt(ADDRESS_BITS[family] - length));
  return [
    ...subtractIpPrefixes({ family, address, length }, touching),
    ...subtractIpPrefixes({ family, address: upper, length }, touching),
  ];
}

/** The interface identifier that a machine forms from its MAC address (RFC 4291, appendix A). */
function modifiedEui64(mac: number): bigint {
  const high = BigInt(Math.floor(mac / 2 ** 24)) ^ 0x020000n;
  const low = BigInt(mac % 2 ** 24);
  return (high << 40n) | (0xfffen << 24n) | low;
}

/** fe80::/64 with the machine's own identifier (RFC 4862, 5.3). */
export function linkLocalOf(mac: number): bigint {
  return (0xfe80n << 112n) | modifiedEui64(mac);
}

/** The address that a machine gives itself in a /64 prefix that a router advertises (RFC 4862, 5.5.3). */
export function autoconfiguredOf(prefix: IpPrefix, mac: number): bigint {
  return prefix.address | modifiedEui64(mac);
}
