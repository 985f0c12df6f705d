// The eight bytes that every OpenFlow message of every version begins with.
// Source: OpenFlow Switch Specification 1.3.5, 7.1.

import { OFP_HEADER_SIZE } from "./constants.js";

export interface MessageHeader {
  readonly version: number;
  /** The number on the wire, of which OFPT lists the known ones. */
  readonly typeCode: number;
  /** Of the whole message. */
  readonly length: number;
  readonly xid: number;
}

/** The header at `offset`, or undefined while fewer than 8 bytes are there. */
export function parseHeader(bytes: Uint8Array, offset = 0): MessageHeader | undefined {
  if (bytes.byteLength - offset < OFP_HEADER_SIZE) return undefined;
  return {
    version: bytes[offset] as number,
    typeCode: bytes[offset + 1] as number,
    length: u16(bytes, offset + 2),
    xid: u16(bytes, offset + 4) * 0x10000 + u16(bytes, offset + 6),
  };
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}
