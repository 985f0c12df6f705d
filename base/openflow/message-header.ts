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
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, OFP_HEADER_SIZE);
  return {
    version: view.getUint8(0),
    typeCode: view.getUint8(1),
    length: view.getUint16(2),
    xid: view.getUint32(4),
  };
}
