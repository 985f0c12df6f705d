// IPv6 header and the extension headers one must walk to reach the payload. Source: RFC 8200.
//   0 version 4 bits, class 8, flow label 20 | 4 payload length 2 | 6 next header | 7 hop limit | 8 source 16 | 24 destination 16
import { concatBytes } from "../bytes/index.js";
import { addToSum } from "./checksum.js";
import { needBytes, viewOf, WireError } from "./errors.js";

export const IPV6_SIZE = 40;
export const IPV6_PAYLOAD_LENGTH = 4;
export const IPV6_NEXT_HEADER = 6;
export const IPV6_HOP_LIMIT = 7;
export const IPV6_SOURCE = 8;
export const IPV6_DESTINATION = 24;

export interface Ipv6Packet {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly trafficClass: number;
  readonly flowLabel: number;
  readonly hopLimit: number;
  /** Of the first header after this one; extension headers are left in the payload. */
  readonly nextHeader: number;
  readonly payload: Uint8Array;
}

/** Throws WireError; padding after the payload length is cut off. */
export function parseIpv6(bytes: Uint8Array): Ipv6Packet {
  needBytes("ipv6", bytes, IPV6_SIZE);
  const view = viewOf(bytes);
  const first = view.getUint32(0);
  if (first >>> 28 !== 6) throw new WireError("ipv6", "version", 0, `${first >>> 28} is not 6`);
  const length = view.getUint16(IPV6_PAYLOAD_LENGTH);
  if (IPV6_SIZE + length > bytes.byteLength)
    throw new WireError("ipv6", "payload length", 4, `${length} of ${bytes.byteLength - IPV6_SIZE} bytes`);
  return {
    source: bytes.slice(IPV6_SOURCE, IPV6_SOURCE + 16),
    destination: bytes.slice(IPV6_DESTINATION, IPV6_DESTINATION + 16),
    trafficClass: (first >>> 20) & 0xff,
    flowLabel: first & 0xfffff,
    hopLimit: view.getUint8(IPV6_HOP_LIMIT),
    nextHeader: view.getUint8(IPV6_NEXT_HEADER),
    payload: bytes.subarray(IPV6_SIZE, IPV6_SIZE + length),
  };
}

export function encodeIpv6(packet: Ipv6Packet): Uint8Array {
  const header = new Uint8Array(IPV6_SIZE);
  const view = viewOf(header);
  view.setUint32(0, ((6 << 28) | (packet.trafficClass << 20) | packet.flowLabel) >>> 0);
  view.setUint16(IPV6_PAYLOAD_LENGTH, packet.payload.byteLength);
  view.setUint8(IPV6_NEXT_HEADER, packet.nextHeader);
  view.setUint8(IPV6_HOP_LIMIT, packet.hopLimit);
  header.set(packet.source, IPV6_SOURCE);
  header.set(packet.destination, IPV6_DESTINATION);
  return concatBytes([header, packet.payload]);
}

/** Adds the IPv6 pseudo header of a payload of `length` bytes. */
export function addPseudoIpv6(
  sum: number,
  source: Uint8Array,
  destination: Uint8Array,
  protocol: number,
  length: number,
): number {
  return (
    addToSum(destination, 0, 16, addToSum(source, 0, 16, sum)) +
    protocol +
    (length >>> 16) +
    (length & 0xffff)
  );
}
