// Recordings in the old format of tcpdump (libpcap). Pure.
// Source: pcap-savefile(5): a header of 24 bytes whose magic number tells byte order and unit of time, then records.

/** One frame, as much of it as was recorded. */
export interface PcapRecord {
  /** Since the epoch. */
  readonly timeMs: number;
  readonly frame: Uint8Array;
}

const HEADER_SIZE = 24;
const RECORD_HEADER_SIZE = 16;
const FRAME_SIZE_MAX = 0xffff;
/** In microseconds and in nanoseconds. */
const MAGIC = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;
const VERSION = [2, 4] as const;
const SNAPLEN = 1518;
const LINKTYPE_ETHERNET = 1;

/** What a recording of Ethernet frames in microseconds begins with, little-endian. */
export function encodePcapHeader(): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, VERSION[0], true);
  view.setUint16(6, VERSION[1], true);
  view.setUint32(16, SNAPLEN, true);
  view.setUint32(20, LINKTYPE_ETHERNET, true);
  return bytes;
}

/** One whole frame behind it. */
export function encodePcapRecord({ timeMs, frame }: PcapRecord): Uint8Array {
  const bytes = new Uint8Array(RECORD_HEADER_SIZE + frame.byteLength);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.floor(timeMs / 1000), true);
  view.setUint32(4, Math.floor((timeMs % 1000) * 1000), true);
  view.setUint32(8, frame.byteLength, true);
  view.setUint32(12, frame.byteLength, true);
  bytes.set(frame, RECORD_HEADER_SIZE);
  return bytes;
}

/** The records up to the first that is not whole; undefined when it is no such recording. */
export function parsePcap(bytes: Uint8Array): PcapRecord[] | undefined {
  if (bytes.byteLength < HEADER_SIZE) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isLittle = [MAGIC, MAGIC_NANOSECONDS].includes(view.getUint32(0, true));
  const magic = view.getUint32(0, isLittle);
  if (magic !== MAGIC && magic !== MAGIC_NANOSECONDS) return undefined;
  const perMs = magic === MAGIC ? 1e3 : 1e6;
  const records: PcapRecord[] = [];
  for (let at = HEADER_SIZE; at + RECORD_HEADER_SIZE <= bytes.byteLength; ) {
    const seconds = view.getUint32(at, isLittle);
    const fraction = view.getUint32(at + 4, isLittle);
    const size = view.getUint32(at + 8, isLittle);
    const begin = at + RECORD_HEADER_SIZE;
    if (size > FRAME_SIZE_MAX || begin + size > bytes.byteLength) break;
    const timeMs = seconds * 1000 + Math.floor(fraction / perMs);
    records.push({ timeMs, frame: bytes.slice(begin, begin + size) });
    at = begin + size;
  }
  return records;
}
