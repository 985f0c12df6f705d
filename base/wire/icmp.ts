// ICMP and ICMPv6 messages. Source: RFC 792, RFC 4443, RFC 4861 (neighbour discovery).
//   0 type | 1 code | 2 checksum 2 | 4 rest of header 4 | 8 payload
import { checksum } from "./checksum.js";
import { needBytes, viewOf, WireError } from "./errors.js";
import { IPPROTO_ICMPV6 } from "./ipv4.js";
import { type AddressPair, transportChecksum } from "./transport.js";

export const ICMP_SIZE = 8;
export const ICMP_CHECKSUM = 2;
export const ICMP_ECHO_REPLY = 0;
export const ICMP_UNREACHABLE = 3;
export const ICMP_ECHO_REQUEST = 8;
export const ICMP_TIME_EXCEEDED = 11;

export interface IcmpMessage {
  readonly type: number;
  readonly code: number;
  /** Bytes 4–7: identifier and sequence number of an echo, or what the type says. */
  readonly rest: number;
  readonly payload: Uint8Array;
}

/** ICMP for IPv4. Throws WireError, also when the checksum does not agree. */
export function parseIcmp(bytes: Uint8Array): IcmpMessage {
  return parse(bytes, checksum(bytes, 0, bytes.byteLength));
}

export function encodeIcmp(message: IcmpMessage): Uint8Array {
  const bytes = encode(message);
  viewOf(bytes).setUint16(ICMP_CHECKSUM, checksum(bytes, 0, bytes.byteLength));
  return bytes;
}

/** ICMPv6. Throws WireError, also when the checksum does not agree. */
export function parseIcmpv6(bytes: Uint8Array, pair: AddressPair): IcmpMessage {
  return parse(bytes, transportChecksum(bytes, IPPROTO_ICMPV6, pair));
}

export function encodeIcmpv6(message: IcmpMessage, pair: AddressPair): Uint8Array {
  const bytes = encode(message);
  viewOf(bytes).setUint16(ICMP_CHECKSUM, transportChecksum(bytes, IPPROTO_ICMPV6, pair));
  return bytes;
}

function parse(bytes: Uint8Array, difference: number): IcmpMessage {
  needBytes("icmp", bytes, ICMP_SIZE);
  if (difference !== 0) throw new WireError("icmp", "checksum", ICMP_CHECKSUM, "does not agree");
  const view = viewOf(bytes);
  return {
    type: view.getUint8(0),
    code: view.getUint8(1),
    rest: view.getUint32(4),
    payload: bytes.subarray(ICMP_SIZE),
  };
}

function encode(message: IcmpMessage): Uint8Array {
  const bytes = new Uint8Array(ICMP_SIZE + message.payload.byteLength);
  const view = viewOf(bytes);
  view.setUint8(0, message.type);
  view.setUint8(1, message.code);
  view.setUint32(4, message.rest);
  bytes.set(message.payload, ICMP_SIZE);
  return bytes;
}
