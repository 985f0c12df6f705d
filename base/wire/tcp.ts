// TCP header. Source: RFC 9293 3.1.
//   0 source port 2 | 2 destination port 2 | 4 sequence 4 | 8 acknowledgment 4 | 12 data offset 4 bits | 13 flags
//   14 window 2 | 16 checksum 2 | 18 urgent 2 | 20 options
import { needBytes, viewOf, WireError } from "./errors.js";
import { IPPROTO_TCP } from "./ipv4.js";
import { type AddressPair, transportChecksum } from "./transport.js";

export const TCP_SIZE_MIN = 20;
export const TCP_SEQUENCE = 4;
export const TCP_ACKNOWLEDGMENT = 8;
export const TCP_DATA_OFFSET = 12;
export const TCP_FLAGS = 13;
export const TCP_WINDOW = 14;
export const TCP_CHECKSUM = 16;

export const TCP_FIN = 1;
export const TCP_SYN = 2;
export const TCP_RST = 4;
export const TCP_PSH = 8;
export const TCP_ACK = 16;
export const TCP_URG = 32;

export interface TcpSegment {
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** u32. */
  readonly sequence: number;
  readonly acknowledgment: number;
  /** TCP_* bits. */
  readonly flags: number;
  readonly window: number;
  readonly urgent: number;
  /** A multiple of 4 bytes, at most 40. */
  readonly options: Uint8Array;
  readonly payload: Uint8Array;
}

export type TcpFields = Pick<TcpSegment, "sourcePort" | "destinationPort" | "sequence" | "flags"> &
  Partial<TcpSegment>;

/** Throws WireError. With `pair` the checksum is verified too. */
export function parseTcp(bytes: Uint8Array, pair?: AddressPair): TcpSegment {
  needBytes("tcp", bytes, TCP_SIZE_MIN);
  const view = viewOf(bytes);
  const headerSize = (view.getUint8(TCP_DATA_OFFSET) >>> 4) * 4;
  if (headerSize < TCP_SIZE_MIN || headerSize > bytes.byteLength)
    throw new WireError("tcp", "data offset", TCP_DATA_OFFSET, `${headerSize} of ${bytes.byteLength} bytes`);
  if (pair !== undefined && transportChecksum(bytes, IPPROTO_TCP, pair) !== 0)
    throw new WireError("tcp", "checksum", TCP_CHECKSUM, "does not agree");
  return {
    sourcePort: view.getUint16(0),
    destinationPort: view.getUint16(2),
    sequence: view.getUint32(TCP_SEQUENCE),
    acknowledgment: view.getUint32(TCP_ACKNOWLEDGMENT),
    flags: view.getUint8(TCP_FLAGS),
    window: view.getUint16(TCP_WINDOW),
    urgent: view.getUint16(18),
    options: bytes.subarray(TCP_SIZE_MIN, headerSize),
    payload: bytes.subarray(headerSize),
  };
}

/** Absent fields: window 65535, everything else 0. The checksum is computed. */
export function encodeTcp(segment: TcpFields, pair: AddressPair): Uint8Array {
  const options = segment.options ?? new Uint8Array(0);
  const payload = segment.payload ?? new Uint8Array(0);
  const headerSize = TCP_SIZE_MIN + options.byteLength;
  const bytes = new Uint8Array(headerSize + payload.byteLength);
  const view = viewOf(bytes);
  view.setUint16(0, segment.sourcePort);
  view.setUint16(2, segment.destinationPort);
  view.setUint32(TCP_SEQUENCE, segment.sequence);
  view.setUint32(TCP_ACKNOWLEDGMENT, segment.acknowledgment ?? 0);
  view.setUint8(TCP_DATA_OFFSET, (headerSize / 4) << 4);
  view.setUint8(TCP_FLAGS, segment.flags);
  view.setUint16(TCP_WINDOW, segment.window ?? 65535);
  view.setUint16(18, segment.urgent ?? 0);
  bytes.set(options, TCP_SIZE_MIN);
  bytes.set(payload, headerSize);
  view.setUint16(TCP_CHECKSUM, transportChecksum(bytes, IPPROTO_TCP, pair));
  return bytes;
}
