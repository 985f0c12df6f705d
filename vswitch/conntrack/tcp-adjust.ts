// Makes a TCP segment fit the stream that its receiver knows, where text before or in it is changed.
// Source: RFC 9293, 3.4; RFC 2018 (SACK blocks speak of the other direction); RFC 8200, 5. Invariant: the packet is not
// shared; key, headers, lengths and checksums agree afterwards. Thread: datapath worker. Hot: no.
import { LARGE_SLOT_SIZE, type PacketPool } from "../../base/packet/index.js";
import { addToSum, finishSum, updateChecksum16 } from "../../base/wire/index.js";
import type { Headers } from "../flow/index.js";
import type { Datagram } from "./datagram.js";
import type { StreamEdits } from "./stream-edits.js";
import { ACK, FIN, PSH, SYN, sackBlocks, URG } from "./tcp-segment.js";
import { TCP } from "./tuple.js";

/** A segment that grows may grow to this, IP header and all: every path takes it. Its sender sends the rest again. */
const GROWN_SIZE_MAX = 1280;
/** The shortest frame that Ethernet sends without padding. */
const FRAME_MIN = 60;

const scratch = new Uint8Array(2 * LARGE_SLOT_SIZE);

/** `own` are the edits of the segment's direction, `other` those of the direction that it acknowledges. */
export function adjustSegment(
  pool: PacketPool,
  packet: number,
  datagram: Datagram,
  headers: Headers,
  own: StreamEdits,
  other: StreamEdits,
): void {
  const { view } = pool;
  const { l4 } = datagram;
  const flags = view.getUint8(l4 + 13);
  const sequence = view.getInt32(l4 + 4);
  if ((flags & ACK) !== 0) {
    view.setInt32(l4 + 8, other.sentOf(view.getInt32(l4 + 8)));
    const blocks = sackBlocks(view, l4);
    for (let at = blocks.start; at < blocks.end; at += 4) view.setInt32(at, other.sentOf(view.getInt32(at)));
  }
  if ((flags & URG) !== 0) {
    const urgent = (own.received((sequence + view.getUint16(l4 + 18)) | 0) - own.received(sequence)) | 0;
    view.setUint16(l4 + 18, Math.min(urgent, 0xffff));
  }
  view.setInt32(l4 + 4, own.received(sequence));
  const start = (flags & SYN) === 0 ? sequence : (sequence + 1) | 0;
  adjustText(pool, packet, datagram, headers, own, start);
  const { end } = datagram;
  view.setUint16(l4 + 16, 0);
  view.setUint16(l4 + 16, tcpChecksum(pool.bytes, datagram, end - l4));
}

function adjustText(
  pool: PacketPool,
  packet: number,
  datagram: Datagram,
  headers: Headers,
  own: StreamEdits,
  start: number,
): void {
  const { bytes, view } = pool;
  const { l3, l4, end } = datagram;
  const first = l4 + ((view.getUint8(l4 + 12) >>> 4) << 2);
  if (!own.touches(start, (start + end - first) | 0)) return;
  const wanted = own.apply(bytes.subarray(first, end), start, scratch);
  const room = Math.max(end, l3 + GROWN_SIZE_MAX) - first;
  const size = Math.min(wanted, room);
  for (let i = 0; i < size; i++) bytes[first + i] = scratch[i] as number;
  // What is cut off takes the end of the stream with it.
  if (size < wanted) view.setUint8(l4 + 13, view.getUint8(l4 + 13) & ~(FIN | PSH));
  resize(pool, packet, datagram, headers, first + size);
}

/** The datagram ends at `end` from now on. */
function resize(pool: PacketPool, packet: number, datagram: Datagram, headers: Headers, end: number): void {
  const { bytes, view } = pool;
  const { l3, l4, ipv6 } = datagram;
  if (ipv6) view.setUint16(l3 + 4, end - l3 - 40);
  else {
    const before = view.getUint16(l3 + 2);
    view.setUint16(l3 + 2, end - l3);
    view.setUint16(l3 + 10, updateChecksum16(view.getUint16(l3 + 10), before, end - l3));
  }
  datagram.end = end;
  datagram.length = end - l4;
  headers.end = end;
  const frameStart = pool.offset[packet] as number;
  const padded = Math.min(pool.length[packet] as number, FRAME_MIN);
  const size = Math.max(end - frameStart, padded);
  bytes.fill(0, end, frameStart + size);
  pool.length[packet] = size;
}

function tcpChecksum(bytes: Uint8Array, { l3, l4, ipv6 }: Datagram, size: number): number {
  const sum = addToSum(bytes, ipv6 ? l3 + 8 : l3 + 12, ipv6 ? 32 : 8, TCP + size);
  return finishSum(addToSum(bytes, l4, size, sum));
}
