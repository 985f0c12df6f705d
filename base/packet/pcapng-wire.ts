// pcapng blocks: what Wireshark and tshark read, and where one block of such a stream ends.
// Source: draft-ietf-opsawg-pcapng, 4.1 section header, 4.2 interface description, 4.3 enhanced packet, 4.6 interface
// statistics, 3.5 options. Little-endian; timestamps are microseconds since the epoch, the default of if_tsresol.
import { concatBytes } from "../bytes/index.js";
import { needBytes, viewOf, WireError } from "../wire/index.js";

export const PCAPNG_SECTION_HEADER = 0x0a0d0d0a;
export const PCAPNG_INTERFACE = 1;
export const PCAPNG_INTERFACE_STATISTICS = 5;
export const PCAPNG_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const LINKTYPE_ETHERNET = 1;
const OPT_COMMENT = 1;
const SHB_USERAPPL = 4;
const IF_NAME = 2;
const IF_DESCRIPTION = 3;
const EPB_FLAGS = 2;
const ISB_IFRECV = 4;
const ISB_IFDROP = 5;
const BLOCK_OVERHEAD = 12;
const PACKET_HEAD = 20;
/** Longest block that is taken from outside: a packet's, with its options. */
export const PCAPNG_BLOCK_SIZE_MAX = 256 * 1024;
const OPTION_SIZE_MAX = 0xffff;

export type FrameDirection = "inbound" | "outbound";

export interface PcapngInterface {
  readonly name: string;
  readonly description?: string;
  /** Bytes of a frame that are kept at most; 0 = all. */
  readonly snapLength?: number;
}

export interface PcapngPacket {
  /** Index of the interface, in the order of their blocks. */
  readonly interfaceId: number;
  /** Since the epoch; whole microseconds count. */
  readonly wallMs: number;
  readonly data: Uint8Array;
  /** Of the frame, of which `data` is the beginning. */
  readonly originalLength: number;
  readonly direction?: FrameDirection;
  readonly comment?: string;
}

export interface PcapngStatistics {
  readonly interfaceId: number;
  readonly wallMs: number;
  /** Packets that came by the interface, and those of them that could not be kept. */
  readonly received: number;
  readonly dropped: number;
  readonly comment?: string;
}

/** The block that a file begins with; `application` is what wrote it. */
export function encodeSection(application: string): Uint8Array {
  const section = new Uint8Array(16);
  const view = viewOf(section);
  view.setUint32(0, BYTE_ORDER_MAGIC, true);
  view.setUint16(4, 1, true);
  view.setBigInt64(8, -1n, true);
  return block(PCAPNG_SECTION_HEADER, [section, ...options([textOption(SHB_USERAPPL, application)])]);
}

/** An interface; packets name it by its index. */
export function encodeInterface({ name, description, snapLength = 0 }: PcapngInterface): Uint8Array {
  const head = new Uint8Array(8);
  const view = viewOf(head);
  view.setUint16(0, LINKTYPE_ETHERNET, true);
  view.setUint32(4, snapLength, true);
  return block(PCAPNG_INTERFACE, [
    head,
    ...options([textOption(IF_NAME, name), textOption(IF_DESCRIPTION, description)]),
  ]);
}

export function encodePacket(packet: PcapngPacket): Uint8Array {
  const head = new Uint8Array(PACKET_HEAD);
  const view = viewOf(head);
  view.setUint32(0, packet.interfaceId, true);
  putTimestamp(view, 4, packet.wallMs);
  view.setUint32(12, packet.data.byteLength, true);
  view.setUint32(16, packet.originalLength, true);
  return block(PCAPNG_PACKET, [
    head,
    padded(packet.data),
    ...options([textOption(OPT_COMMENT, packet.comment), directionOption(packet.direction)]),
  ]);
}

export function encodeStatistics(statistics: PcapngStatistics): Uint8Array {
  const head = new Uint8Array(12);
  const view = viewOf(head);
  view.setUint32(0, statistics.interfaceId, true);
  putTimestamp(view, 4, statistics.wallMs);
  return block(PCAPNG_INTERFACE_STATISTICS, [
    head,
    ...options([
      textOption(OPT_COMMENT, statistics.comment),
      countOption(ISB_IFRECV, statistics.received),
      countOption(ISB_IFDROP, statistics.dropped),
    ]),
  ]);
}

export interface PcapngBlock {
  readonly type: number;
  /** The whole block, a view. */
  readonly bytes: Uint8Array;
}

/**
 * The block that `bytes` begin with, or undefined while it is not there in full. Throws WireError when it cannot be the
 * beginning of a little-endian block of at most PCAPNG_BLOCK_SIZE_MAX bytes.
 */
export function parseBlock(bytes: Uint8Array): PcapngBlock | undefined {
  if (bytes.byteLength < 8) return undefined;
  const view = viewOf(bytes);
  const size = view.getUint32(4, true);
  if (size < BLOCK_OVERHEAD || size % 4 !== 0 || size > PCAPNG_BLOCK_SIZE_MAX)
    throw new WireError("pcapng", "block total length", 4, `${size} bytes`);
  if (bytes.byteLength < size) return undefined;
  const type = view.getUint32(0, true);
  const again = view.getUint32(size - 4, true);
  if (again !== size)
    throw new WireError("pcapng", "block total length", size - 4, `${again}, but ${size} in front`);
  if (type === PCAPNG_SECTION_HEADER && (size < 28 || view.getUint32(8, true) !== BYTE_ORDER_MAGIC))
    throw new WireError("pcapng", "byte-order magic", 8, "not little-endian");
  return { type, bytes: bytes.subarray(0, size) };
}

/** What an interface statistics block counts. Throws WireError. */
export function parseStatistics({
  bytes,
}: PcapngBlock): Pick<PcapngStatistics, "interfaceId" | "received" | "dropped"> {
  needBytes("pcapng", bytes, BLOCK_OVERHEAD + 12);
  const view = viewOf(bytes);
  let [received, dropped] = [0, 0];
  const end = bytes.byteLength - 4;
  for (let at = 20; at + 4 <= end; ) {
    const code = view.getUint16(at, true);
    const size = view.getUint16(at + 2, true);
    if (code === 0) break;
    if (at + 4 + size > end) throw new WireError("pcapng", "option length", at + 2, `${size} bytes`);
    if (code === ISB_IFRECV || code === ISB_IFDROP) {
      if (size !== 8) throw new WireError("pcapng", "option length", at + 2, `${size} bytes for a counter`);
      const count = Number(view.getBigUint64(at + 4, true));
      if (code === ISB_IFRECV) received = count;
      else dropped = count;
    }
    at += 4 + size + padding(size);
  }
  return { interfaceId: view.getUint32(8, true), received, dropped };
}

function putTimestamp(view: DataView, at: number, wallMs: number): void {
  const microseconds = Math.round(wallMs * 1000);
  view.setUint32(at, Math.floor(microseconds / 2 ** 32), true);
  view.setUint32(at + 4, microseconds >>> 0, true);
}

function block(type: number, parts: readonly Uint8Array[]): Uint8Array {
  let size = BLOCK_OVERHEAD;
  for (const part of parts) size += part.byteLength;
  const head = new Uint8Array(8);
  viewOf(head).setUint32(0, type, true);
  viewOf(head).setUint32(4, size, true);
  return concatBytes([head, ...parts, head.slice(4)]);
}

/** Those that are there, and the end of options; nothing when there are none. */
function options(given: readonly (Uint8Array | undefined)[]): Uint8Array[] {
  const there = given.filter((option) => option !== undefined);
  return there.length === 0 ? [] : [...there, new Uint8Array(4)];
}

function textOption(code: number, text: string | undefined): Uint8Array | undefined {
  return text === undefined ? undefined : option(code, new TextEncoder().encode(text));
}

function directionOption(direction: FrameDirection | undefined): Uint8Array | undefined {
  if (direction === undefined) return undefined;
  return option(EPB_FLAGS, Uint8Array.of(direction === "inbound" ? 1 : 2, 0, 0, 0));
}

function countOption(code: number, count: number): Uint8Array {
  const value = new Uint8Array(8);
  viewOf(value).setBigUint64(0, BigInt(count), true);
  return option(code, value);
}

function option(code: number, whole: Uint8Array): Uint8Array {
  const value = whole.subarray(0, OPTION_SIZE_MAX);
  const head = new Uint8Array(4);
  viewOf(head).setUint16(0, code, true);
  viewOf(head).setUint16(2, value.byteLength, true);
  return concatBytes([head, padded(value)]);
}

function padding(size: number): number {
  return (4 - (size % 4)) % 4;
}

function padded(bytes: Uint8Array): Uint8Array {
  const more = padding(bytes.byteLength);
  return more === 0 ? bytes : concatBytes([bytes, new Uint8Array(more)]);
}
