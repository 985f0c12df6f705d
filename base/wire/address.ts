// Addresses as people write them. In values a MAC or IPv6 address is a Uint8Array (6, 16), an IPv4 address a u32.
// Source: RFC 5952 for IPv6 text. Thread: any.
import { WireError } from "./errors.js";

export const MAC_BROADCAST: Uint8Array = Uint8Array.of(255, 255, 255, 255, 255, 255);
export const MAC_ZERO: Uint8Array = new Uint8Array(6);

/** "52:54:00:12:34:56". Throws WireError. */
export function parseMac(text: string): Uint8Array {
  if (!/^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$/.test(text))
    throw new WireError("mac", "text", 0, `"${text.slice(0, 40)}" is no MAC address`);
  return Uint8Array.from(text.split(/[:-]/), (part) => Number.parseInt(part, 16));
}

export function formatMac(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** Dotted decimal → u32. Throws WireError. */
export function parseIpv4Address(text: string): number {
  const address = tryParseIpv4Address(text);
  if (address === undefined)
    throw new WireError("ipv4", "text", 0, `"${text.slice(0, 40)}" is no IPv4 address`);
  return address;
}

/** The same, undefined when `text` is not four decimal octets without leading zeros (octal to some readers). */
export function tryParseIpv4Address(text: string): number | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  let address = 0;
  for (const part of parts) {
    const octet = Number(part);
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || octet > 255) return undefined;
    address = address * 256 + octet;
  }
  return address;
}

export function formatIpv4Address(address: number): string {
  return `${(address >>> 24) & 255}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

export function ipv4Bytes(address: number): Uint8Array {
  return Uint8Array.of(address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255, address & 255);
}

/** The first four of `bytes` as u32. */
export function ipv4FromBytes(bytes: Uint8Array): number {
  return (
    (((bytes[0] as number) << 24) |
      ((bytes[1] as number) << 16) |
      ((bytes[2] as number) << 8) |
      (bytes[3] as number)) >>>
    0
  );
}

/** Throws WireError. Zone indices are not accepted. */
export function parseIpv6Address(text: string): Uint8Array {
  const bad = (): WireError => new WireError("ipv6", "text", 0, `"${text.slice(0, 60)}" is no IPv6 address`);
  const halves = text.split("::");
  if (halves.length > 2) throw bad();
  const groupsOf = (half: string): number[] => {
    if (half === "") return [];
    return half.split(":").flatMap((part, i, all) => {
      if (part.includes(".") && i === all.length - 1) {
        const v4 = parseIpv4Address(part);
        return [v4 >>> 16, v4 & 0xffff];
      }
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) throw bad();
      return [Number.parseInt(part, 16)];
    });
  };
  const head = groupsOf(halves[0] as string);
  const tail = halves.length === 2 ? groupsOf(halves[1] as string) : [];
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) throw bad();
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  return Uint8Array.from(groups.flatMap((group) => [group >>> 8, group & 255]));
}

export function formatIpv6Address(bytes: Uint8Array): string {
  const groups = Array.from(
    { length: 8 },
    (_, i) => ((bytes[2 * i] as number) << 8) | (bytes[2 * i + 1] as number),
  );
  let bestStart = -1;
  let bestLength = 1;
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > bestLength) [bestStart, bestLength] = [start, length];
  }
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(":");
  if (bestStart < 0) return text(groups);
  return `${text(groups.slice(0, bestStart))}::${text(groups.slice(bestStart + bestLength))}`;
}
