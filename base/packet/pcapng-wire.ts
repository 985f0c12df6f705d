// pcapng blocks: what Wireshark and tshark read.
// Source: draft-ietf-opsawg-pcapng, 4.1 section header, 4.2 interface description, 4.3 enhanced packet. Little-endian.
import { concatBytes } from "../bytes/index.js";

const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const ENHANCED_PACKET = 6;
const LINKTYPE_ETHERNET = 1;
const OPTION_IF_NAME = 2;
const OPTION_EPB_FLAGS = 2;

/** Section header block and one interface description block, with microsecond timestamps. */
export function encodeCaptureHeader(interfaceName: string): Uint8Array {
  const section = new Uint8Array(16);
  const view = new DataView(section.buffer);
  view.setUint32(0, 0x1a2b3c4d, true);
  view.setUint16(4, 1, true);
  view.setBigInt64(8, -1n, true);
  const description = new Uint8Array(8);
  new DataView(description.buffer).setUint16(0, LINKTYPE_ETHERNET, true);
  const name = new TextEncoder().encode(interfaceName);
  return concatBytes([
    block(SECTION_HEADER, [section]),
    block(INTERFACE_DESCRIPTION, [description, option(OPTION_IF_NAME, name), option(0, new Uint8Array(0))]),
  ]);
}

/** One frame. `wallMs` is milliseconds since the epoch. */
export function encodeCapturedFrame(
  frame: Uint8Array,
  wallMs: number,
  direction: "inbound" | "outbound",
): Uint8Array {
  const head = new Uint8Array(20);
  const view = new DataView(head.buffer);
  const microseconds = Math.round(wallMs * 1000);
  view.setUint32(4, Math.floor(microseconds / 2 ** 32), true);
  view.setUint32(8, microseconds >>> 0, true);
  view.setUint32(12, frame.byteLength, true);
  view.setUint32(16, frame.byteLength, true);
  const flags = new Uint8Array([direction === "inbound" ? 1 : 2, 0, 0, 0]);
  return block(ENHANCED_PACKET, [
    head,
    padded(frame),
    option(OPTION_EPB_FLAGS, flags),
    option(0, new Uint8Array(0)),
  ]);
}

function block(type: number, parts: readonly Uint8Array[]): Uint8Array {
  const body = concatBytes(parts);
  const size = body.byteLength + 12;
  const out = new Uint8Array(size);
  const view = new DataView(out.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, size, true);
  out.set(body, 8);
  view.setUint32(size - 4, size, true);
  return out;
}

function option(code: number, value: Uint8Array): Uint8Array {
  const head = new Uint8Array(4);
  const view = new DataView(head.buffer);
  view.setUint16(0, code, true);
  view.setUint16(2, value.byteLength, true);
  return concatBytes([head, padded(value)]);
}

function padded(bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength % 4 === 0) return bytes;
  const out = new Uint8Array(bytes.byteLength + 4 - (bytes.byteLength % 4));
  out.set(bytes);
  return out;
}
