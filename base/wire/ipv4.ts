// IPv4 header. Source: RFC 791, RFC 2474 (DSCP), RFC 3168 (ECN).
//   0 version+ihl | 1 dscp+ecn | 2 total length 2 | 4 id 2 | 6 flags+fragment offset 2 | 8 ttl | 9 protocol
//   10 checksum 2 | 12 source 4 | 16 destination 4 | 20 options
import { concatBytes } from "../bytes/index.js";
import { checksum } from "./checksum.js";
import { needBytes, viewOf, WireError } from "./errors.js";

export const IPV4_SIZE_MIN = 20;
export const IPV4_TOS = 1;
export const IPV4_TOTAL_LENGTH = 2;
export const IPV4_FRAGMENT = 6;
export const IPV4_TTL = 8;
export const IPV4_PROTOCOL = 9;
export const IPV4_CHECKSUM = 10;
export const IPV4_SOURCE = 12;
export const IPV4_DESTINATION = 16;

export const IPPROTO_ICMP = 1;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_ICMPV6 = 58;
export const IPPROTO_SCTP = 132;

export interface Ipv4Packet {
  /** u32. */
  readonly source: number;
  readonly destination: number;
  readonly protocol: number;
  readonly ttl: number;
  readonly dscp: number;
  readonly ecn: number;
  readonly identification: number;
  readonly dontFragment: boolean;
  readonly moreFragments: boolean;
  /** In bytes. */
  readonly fragmentOffset: number;
  readonly options: Uint8Array;
  readonly payload: Uint8Array;
}

export type Ipv4Fields = Pick<Ipv4Packet, "source" | "destination" | "protocol" | "payload"> &
  Partial<Ipv4Packet>;

/** Throws WireError; padding after the total length is cut off. The checksum is verified unless `verify` is false. */
export function parseIpv4(bytes: Uint8Array, verify = true): Ipv4Packet {
  needBytes("ipv4", bytes, IPV4_SIZE_MIN);
  const view = viewOf(bytes);
  const first = view.getUint8(0);
  const headerSize = (first & 15) * 4;
  if (first >>> 4 !== 4) throw new WireError("ipv4", "version", 0, `${first >>> 4} is not 4`);
  if (headerSize < IPV4_SIZE_MIN || headerSize > bytes.byteLength)
    throw new WireError("ipv4", "header length", 0, `${headerSize} bytes`);
  const totalLength = view.getUint16(IPV4_TOTAL_LENGTH);
  if (totalLength < headerSize || totalLength > bytes.byteLength)
    throw new WireError("ipv4", "total length", 2, `${totalLength} of ${bytes.byteLength} bytes`);
  if (verify && checksum(bytes, 0, headerSize) !== 0)
    throw new WireError("ipv4", "checksum", IPV4_CHECKSUM, "does not agree");
  const fragment = view.getUint16(IPV4_FRAGMENT);
  return {
    source: view.getUint32(IPV4_SOURCE),
    destination: view.getUint32(IPV4_DESTINATION),
    protocol: view.getUint8(IPV4_PROTOCOL),
    ttl: view.getUint8(IPV4_TTL),
    dscp: view.getUint8(IPV4_TOS) >>> 2,
    ecn: view.getUint8(IPV4_TOS) & 3,
    identification: view.getUint16(4),
    dontFragment: (fragment & 0x4000) !== 0,
    moreFragments: (fragment & 0x2000) !== 0,
    fragmentOffset: (fragment & 0x1fff) * 8,
    options: bytes.subarray(IPV4_SIZE_MIN, headerSize),
    payload: bytes.subarray(headerSize, totalLength),
  };
}

/** Absent fields: ttl 64, everything else 0. The checksum is computed. `options` is a multiple of 4 bytes, at most 40. */
export function encodeIpv4(packet: Ipv4Fields): Uint8Array {
  const options = packet.options ?? new Uint8Array(0);
  const headerSize = IPV4_SIZE_MIN + options.byteLength;
  const header = new Uint8Array(headerSize);
  const view = viewOf(header);
  view.setUint8(0, 0x40 | (headerSize / 4));
  view.setUint8(IPV4_TOS, ((packet.dscp ?? 0) << 2) | (packet.ecn ?? 0));
  view.setUint16(IPV4_TOTAL_LENGTH, headerSize + packet.payload.byteLength);
  view.setUint16(4, packet.identification ?? 0);
  const flags = (packet.dontFragment ? 0x4000 : 0) | (packet.moreFragments ? 0x2000 : 0);
  view.setUint16(IPV4_FRAGMENT, flags | ((packet.fragmentOffset ?? 0) >>> 3));
  view.setUint8(IPV4_TTL, packet.ttl ?? 64);
  view.setUint8(IPV4_PROTOCOL, packet.protocol);
  view.setUint32(IPV4_SOURCE, packet.source);
  view.setUint32(IPV4_DESTINATION, packet.destination);
  header.set(options, IPV4_SIZE_MIN);
  view.setUint16(IPV4_CHECKSUM, checksum(header, 0, headerSize));
  return concatBytes([header, packet.payload]);
}
