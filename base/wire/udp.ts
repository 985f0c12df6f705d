// UDP header. Source: RFC 768.
//   0 source port 2 | 2 destination port 2 | 4 length 2 | 6 checksum 2 (0 = none, IPv4 only) | 8 payload
import { needBytes, viewOf, WireError } from "./errors.js";
import { IPPROTO_UDP } from "./ipv4.js";
import { type AddressPair, transportChecksum } from "./transport.js";

export const UDP_SIZE = 8;
export const UDP_SOURCE_PORT = 0;
export const UDP_DESTINATION_PORT = 2;
export const UDP_CHECKSUM = 6;

export interface UdpDatagram {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly payload: Uint8Array;
}

/** Throws WireError. With `pair` the checksum is verified too. */
export function parseUdp(bytes: Uint8Array, pair?: AddressPair): UdpDatagram {
  needBytes("udp", bytes, UDP_SIZE);
  const view = viewOf(bytes);
  const length = view.getUint16(4);
  if (length < UDP_SIZE || length > bytes.byteLength)
    throw new WireError("udp", "length", 4, `${length} of ${bytes.byteLength} bytes`);
  if (pair !== undefined && view.getUint16(UDP_CHECKSUM) !== 0) {
    if (transportChecksum(bytes.subarray(0, length), IPPROTO_UDP, pair) !== 0)
      throw new WireError("udp", "checksum", UDP_CHECKSUM, "does not agree");
  }
  return {
    sourcePort: view.getUint16(0),
    destinationPort: view.getUint16(2),
    payload: bytes.subarray(UDP_SIZE, length),
  };
}

export function encodeUdp(datagram: UdpDatagram, pair: AddressPair): Uint8Array {
  const bytes = new Uint8Array(UDP_SIZE + datagram.payload.byteLength);
  const view = viewOf(bytes);
  view.setUint16(UDP_SOURCE_PORT, datagram.sourcePort);
  view.setUint16(UDP_DESTINATION_PORT, datagram.destinationPort);
  view.setUint16(4, bytes.byteLength);
  bytes.set(datagram.payload, UDP_SIZE);
  view.setUint16(UDP_CHECKSUM, transportChecksum(bytes, IPPROTO_UDP, pair) || 0xffff);
  return bytes;
}
