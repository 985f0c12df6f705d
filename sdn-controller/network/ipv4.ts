// IPv4 prefixes over addresses as unsigned 32-bit numbers. Source: RFC 4632. Pure.
import { formatIpv4Address, tryParseIpv4Address } from "../../base/wire/index.js";

export interface Prefix {
  /** Network address; the bits below the length are zero. */
  readonly address: number;
  /** 0–32. */
  readonly length: number;
}

/** The prefix with its host bits cleared, or undefined when `text` is not "a.b.c.d/len". */
export function parsePrefix(text: string): Prefix | undefined {
  const match = /^([\d.]+)\/(0|[1-9]\d?)$/.exec(text);
  if (match === null) return undefined;
  const address = tryParseIpv4Address(match[1] as string);
  const length = Number(match[2]);
  if (address === undefined || length > 32) return undefined;
  return { address: (address & maskOf(length)) >>> 0, length };
}

export function formatPrefix(prefix: Prefix): string {
  return `${formatIpv4Address(prefix.address)}/${prefix.length}`;
}

/** The netmask of a prefix length as an unsigned number. */
export function maskOf(length: number): number {
  return length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0;
}

export function prefixContains(prefix: Prefix, address: number): boolean {
  return (address & maskOf(prefix.length)) >>> 0 === prefix.address;
}

/** Whether every address of `inner` is in `outer`. */
function prefixCovers(outer: Prefix, inner: Prefix): boolean {
  return outer.length <= inner.length && prefixContains(outer, inner.address);
}

export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  return prefixCovers(a, b) || prefixCovers(b, a);
}

export function lastAddressOf(prefix: Prefix): number {
  return (prefix.address | ~maskOf(prefix.length)) >>> 0;
}
