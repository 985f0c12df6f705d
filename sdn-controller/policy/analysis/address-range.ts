// Ranges of IPv4 and IPv6 addresses, and the pieces into which the blocks of policies cut the address space. Pure.
import {
  formatIpv4Address,
  formatIpv6Address,
  parseIpv6Address,
  tryParseIpv4Address,
} from "../../../base/wire/index.js";

export type Family = 4 | 6;

/** Inclusive. */
export interface AddressRange {
  readonly family: Family;
  readonly first: bigint;
  readonly last: bigint;
}

const LAST: Readonly<Record<Family, bigint>> = { 4: (1n << 32n) - 1n, 6: (1n << 128n) - 1n };

export function wholeRange(family: Family): AddressRange {
  return { family, first: 0n, last: LAST[family] };
}

/** Undefined when `text` is no address. */
export function parseAddress(text: string): { family: Family; address: bigint } | undefined {
  if (!text.includes(":")) {
    const address = tryParseIpv4Address(text);
    return address === undefined ? undefined : { family: 4, address: BigInt(address) };
  }
  try {
    const address = parseIpv6Address(text).reduce((value, byte) => value * 256n + BigInt(byte), 0n);
    return { family: 6, address };
  } catch {
    return undefined;
  }
}

/** The addresses of a block such as 10.0.0.0/8; bits beyond the length do not count. Undefined when it is none. */
export function parseCidr(text: string): AddressRange | undefined {
  const match = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text);
  const parsed = parseAddress(match?.[1] ?? "");
  if (match === null || parsed === undefined) return undefined;
  const bits = parsed.family === 4 ? 32 : 128;
  const length = Number(match[2]);
  if (length > bits) return undefined;
  const host = (1n << BigInt(bits - length)) - 1n;
  const first = parsed.address & ~host;
  return { family: parsed.family, first, last: first | host };
}

/** `range` without `holes`, in order. */
export function subtractRanges(range: AddressRange, holes: readonly AddressRange[]): AddressRange[] {
  let left: AddressRange[] = [range];
  for (const hole of holes) {
    left = left.flatMap((piece) => {
      if (!overlaps(piece, hole)) return [piece];
      const pieces: AddressRange[] = [];
      if (piece.first < hole.first) pieces.push({ ...piece, last: hole.first - 1n });
      if (piece.last > hole.last) pieces.push({ ...piece, first: hole.last + 1n });
      return pieces;
    });
  }
  return left;
}

export function rangeContains(outer: AddressRange, inner: AddressRange): boolean {
  return outer.family === inner.family && outer.first <= inner.first && inner.last <= outer.last;
}

function overlaps(a: AddressRange, b: AddressRange): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last;
}

/**
 * The whole space of `family` cut at every border of `blocks`: no piece is partly inside a block. Touching pieces are
 * kept apart even when nothing distinguishes them.
 */
export function cutSpace(family: Family, blocks: readonly AddressRange[]): AddressRange[] {
  const starts = new Set<bigint>([0n]);
  for (const block of blocks) {
    if (block.family !== family) continue;
    starts.add(block.first);
    if (block.last < LAST[family]) starts.add(block.last + 1n);
  }
  const sorted = [...starts].sort((a, b) => (a < b ? -1 : 1));
  return sorted.map((first, i) => ({ family, first, last: (sorted[i + 1] ?? LAST[family] + 1n) - 1n }));
}

/** Joins ranges that touch or overlap; sorted. */
export function mergeRanges(ranges: readonly AddressRange[]): AddressRange[] {
  const sorted = [...ranges].sort((a, b) => a.family - b.family || (a.first < b.first ? -1 : 1));
  const result: AddressRange[] = [];
  for (const range of sorted) {
    const before = result.at(-1);
    if (before !== undefined && before.family === range.family && range.first <= before.last + 1n)
      result[result.length - 1] = { ...before, last: range.last > before.last ? range.last : before.last };
    else result.push(range);
  }
  return result;
}

/** "10.0.0.0-10.255.255.255". */
export function formatRange(range: AddressRange): string {
  return `${formatAddress(range.family, range.first)}-${formatAddress(range.family, range.last)}`;
}

function formatAddress(family: Family, address: bigint): string {
  if (family === 4) return formatIpv4Address(Number(address));
  const bytes = new Uint8Array(16);
  for (let i = 15, rest = address; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return formatIpv6Address(bytes);
}
