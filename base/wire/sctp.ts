// SCTP common header; chunks are left in the payload. Source: RFC 9260 3.1 and appendix A.
//   0 source port 2 | 2 destination port 2 | 4 verification tag 4 | 8 CRC32c 4, little-endian | 12 chunks
import { crc32c } from "./checksum.js";
import { needBytes, viewOf, WireError } from "./errors.js";

export const SCTP_SIZE = 12;
export const SCTP_CHECKSUM = 8;

export interface SctpPacket {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly verificationTag: number;
  readonly chunks: Uint8Array;
}

/** Throws WireError. The checksum is verified unless `verify` is false. */
export function parseSctp(bytes: Uint8Array, verify = true): SctpPacket {
  needBytes("sctp", bytes, SCTP_SIZE);
  const view = viewOf(bytes);
  if (verify && view.getUint32(SCTP_CHECKSUM, true) !== sctpChecksum(bytes, 0, bytes.byteLength))
    throw new WireError("sctp", "checksum", SCTP_CHECKSUM, "does not agree");
  return {
    sourcePort: view.getUint16(0),
    destinationPort: view.getUint16(2),
    verificationTag: view.getUint32(4),
    chunks: bytes.subarray(SCTP_SIZE),
  };
}

export function encodeSctp(packet: SctpPacket): Uint8Array {
  const bytes = new Uint8Array(SCTP_SIZE + packet.chunks.byteLength);
  const view = viewOf(bytes);
  view.setUint16(0, packet.sourcePort);
  view.setUint16(2, packet.destinationPort);
  view.setUint32(4, packet.verificationTag);
  bytes.set(packet.chunks, SCTP_SIZE);
  view.setUint32(SCTP_CHECKSUM, sctpChecksum(bytes, 0, bytes.byteLength), true);
  return bytes;
}

const ZERO = new Uint8Array(4);

/** CRC32c of a packet whose checksum field counts as zero; store it little-endian. */
export function sctpChecksum(bytes: Uint8Array, offset: number, length: number): number {
  const head = crc32c(ZERO, 0, 4, crc32c(bytes, offset, SCTP_CHECKSUM));
  return crc32c(bytes, offset + SCTP_SIZE, length - SCTP_SIZE, head);
}
