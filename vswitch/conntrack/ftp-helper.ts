// FTP: reads what control connections announce, expects it, and changes it where translation hides who will be called.
//
//   behind a translated source (PORT, EPRT)        behind a translated destination (227, 229)
//   client ──PORT C,p──> [ C → C' ] ──PORT C',q──> server ──227 S,p──> [ S → S' ] ──227 S',q──> client
//          <──── C:p <── [ C' → C ] <──── C':q ───        <──── S:p <── [ S' → S ] <──── S':q ──
//
// Only a line that stands whole in one segment, begins where a line begins, and of which nothing has passed before, is
// changed: what a receiver may already have can no more become something else. A line of which that is not true passes
// as it is and announces nothing that would need a change. An address that is not the speaker's is never believed
// (RFC 2577: the bounce attack). What tracking sees of a segment is always in the numbers of its sender.
// Source: RFC 959, 2428, 3022 4.4. Thread: datapath worker. Hot: no, only for connections committed with alg=ftp.
import type { PacketPool } from "../../base/packet/index.js";
import type { Headers } from "../flow/index.js";
import { tupleAt } from "./connection-memory.js";
import { type ConnectionTable, FLAG_DNAT, FLAG_SNAT, ORIGINAL } from "./connection-table.js";
import type { Datagram } from "./datagram.js";
import type { Expectations } from "./expectations.js";
import { FtpStream } from "./ftp-stream.js";
import {
  encodeFtpEnd,
  FTP_DATA_PORT_MIN,
  FTP_LINE_MAX,
  type FtpAnnouncement,
  parseFtpLine,
} from "./ftp-wire.js";
import { FTP_CONVERSATIONS_MAX, FTP_CONVERSATIONS_SHARE, HELPER_PORTS_MAX } from "./limits.js";
import { adjustSegment } from "./tcp-adjust.js";
import { ACK, type Segment, SYN } from "./tcp-segment.js";
import { isIpv6, T_DST, T_KIND, T_PORTS, T_SRC, TUPLE_WORDS } from "./tuple.js";

const LINE_END = 10;
/** Lines of one segment that are read. */
const LINES_MAX = 32;

type Conversation = readonly [original: FtpStream, reply: FtpStream];

export class FtpHelper {
  readonly #pool: PacketPool;
  readonly #table: ConnectionTable;
  readonly #expectations: Expectations;
  readonly #conversations = new Map<number, Conversation>();
  readonly #zoneCounts = new Map<number, number>();
  readonly #wanted = new Int32Array(TUPLE_WORDS);

  constructor(pool: PacketPool, table: ConnectionTable, expectations: Expectations) {
    this.#pool = pool;
    this.#table = table;
    this.#expectations = expectations;
  }

  /** The connection is a control connection, which begins with `segment`. False when there, or in its zone, are too many. */
  open(connection: number, segment: Segment): boolean {
    const zone = this.#table.zoneOf(connection);
    const inZone = this.#zoneCounts.get(zone) ?? 0;
    if (this.#conversations.size >= FTP_CONVERSATIONS_MAX) return false;
    if (inZone >= FTP_CONVERSATIONS_MAX / FTP_CONVERSATIONS_SHARE) return false;
    this.#zoneCounts.set(zone, inZone + 1);
    const conversation: Conversation = [new FtpStream(), new FtpStream()];
    if ((segment.flags & SYN) !== 0) conversation[ORIGINAL].begin((segment.sequence + 1) | 0);
    this.#conversations.set(connection, conversation);
    return true;
  }

  /** The connection is over. */
  forget(connection: number): void {
    if (!this.#conversations.delete(connection)) return;
    const zone = this.#table.zoneOf(connection);
    const left = (this.#zoneCounts.get(zone) as number) - 1;
    if (left === 0) this.#zoneCounts.delete(zone);
    else this.#zoneCounts.set(zone, left);
  }

  get conversations(): number {
    return this.#conversations.size;
  }

  /** Whether text has been changed in either direction. */
  changes(connection: number): boolean {
    const conversation = this.#conversations.get(connection);
    return conversation !== undefined && !(conversation[0].edits.isPlain && conversation[1].edits.isPlain);
  }

  /** Brings the numbers of a segment, `changed` when it has been through adjust(), back to those of its sender. */
  normalize(connection: number, direction: number, segment: Segment, changed: boolean): void {
    const conversation = this.#conversations.get(connection);
    if (conversation === undefined) return;
    const own = (conversation[direction] as FtpStream).edits;
    if (!changed) {
      const other = (conversation[direction ^ 1] as FtpStream).edits;
      segment.acknowledgement = other.sentOf(segment.acknowledgement);
    } else if (!own.isPlain) {
      const start = own.sentOf(segment.sequence);
      segment.size = (own.sentOf((segment.sequence + segment.size) | 0) - start) | 0;
      segment.sequence = start;
    }
  }

  /** A segment that fits its connection, in its sender's numbers; where the connection is translated, it will be next. */
  watch(connection: number, direction: number, segment: Segment, datagram: Datagram, nowMs: number): void {
    const conversation = this.#conversations.get(connection);
    if (conversation === undefined) return;
    const stream = conversation[direction] as FtpStream;
    const { flags, sequence, size } = segment;
    if ((flags & ACK) !== 0) (conversation[direction ^ 1] as FtpStream).acknowledge(segment.acknowledgement);
    if ((flags & SYN) !== 0) {
      // An end that opens anew, before anything was said.
      if (stream.edits.isPlain) stream.begin((sequence + 1) | 0);
      return;
    }
    stream.meet(sequence);
    if (size > 0 && datagram.fragment === 0)
      this.#readLines(connection, direction, stream, segment, datagram, nowMs);
    stream.advance((sequence + size) | 0);
  }

  #readLines(
    connection: number,
    direction: number,
    stream: FtpStream,
    { sequence, size }: Segment,
    { end }: Datagram,
    nowMs: number,
  ): void {
    const payload = this.#pool.bytes.slice(end - size, end);
    let at = stream.isLineStart(sequence) ? 0 : payload.indexOf(LINE_END) + 1;
    if (at === 0 && !stream.isLineStart(sequence)) return;
    for (let n = 0; n < LINES_MAX; n++) {
      const lineEnd = payload.indexOf(LINE_END, at);
      if (lineEnd < 0) break;
      const told = lineEnd - at <= FTP_LINE_MAX ? parseLine(payload, at, lineEnd, direction) : undefined;
      const lineStart = (sequence + at) | 0;
      if (told !== undefined) this.#announced(connection, stream, told, lineStart, nowMs);
      at = lineEnd + 1;
    }
    if (payload[size - 1] === LINE_END) stream.lineStartsAt((sequence + size) | 0);
  }

  #announced(
    connection: number,
    stream: FtpStream,
    told: FtpAnnouncement,
    lineStart: number,
    nowMs: number,
  ): void {
    const { tuples } = this.#table;
    const original = tupleAt(connection * 2);
    const reply = tupleAt(connection * 2 + 1);
    const { passive, address, port } = told;
    const ipv6 = isIpv6(tuples[original + T_KIND] as number);
    // Who will be called: by its own address, and by the one that the caller knows.
    const speaker = passive ? reply + T_SRC : original + T_SRC;
    const known = passive ? original + T_DST : reply + T_DST;
    if (address !== undefined && !isAddress(tuples, speaker, address, ipv6)) {
      if (!isAddress(tuples, known, address, ipv6)) return;
    }
    const hidden = !sameAddress(tuples, speaker, known);
    let chosen = port;
    if (hidden) {
      if (stream.edits.touches(lineStart, (lineStart + told.at + told.size) | 0)) return;
      chosen = this.#freePort(connection, told, known, speaker, nowMs);
      if (chosen < 0) return;
      const isTrue = address === undefined || isAddress(tuples, known, address, ipv6);
      if (chosen !== port || !isTrue) {
        // Something of it may have been received as it stands.
        if (((lineStart - stream.end) | 0) < 0) return;
        const text = encodeFtpEnd(told.form, readAddress(tuples, known, ipv6), chosen);
        const at = (lineStart + told.at) | 0;
        if (!stream.edits.add(at, told.size, text, stream.acknowledged)) return;
      }
    }
    this.#expect(connection, passive, known, chosen, hidden ? port : -1, nowMs);
  }

  /** `realPort` is the speaker's where translation hides it, −1 where it does not. */
  #expect(
    connection: number,
    passive: boolean,
    known: number,
    port: number,
    realPort: number,
    nowMs: number,
  ): void {
    const { tuples, marks, labels } = this.#table;
    const expectations = this.#expectations;
    const original = tupleAt(connection * 2);
    const reply = tupleAt(connection * 2 + 1);
    const caller = passive ? original + T_SRC : reply + T_SRC;
    const kind = tuples[original + T_KIND] as number;
    const e = expectations.add(tuples, caller, tuples, known, port, kind, nowMs);
    expectations.inherits(e, tuples, original, marks[connection] as number, labels, connection * 4);
    const translated = this.#table.flagsOf(connection);
    if (realPort >= 0)
      expectations.translated(e, T_SRC, tuples, passive ? reply + T_SRC : original + T_SRC, realPort);
    // The one that is called knows the caller by another address.
    else if (passive && (translated & FLAG_SNAT) !== 0)
      expectations.translated(e, T_DST, tuples, reply + T_DST, -1);
    else if (!passive && (translated & FLAG_DNAT) !== 0)
      expectations.translated(e, T_DST, tuples, original + T_DST, -1);
  }

  /** A port of the address at `known` for the speaker's: the same one if it can be, else one of the next; or −1. */
  #freePort(
    connection: number,
    told: FtpAnnouncement,
    known: number,
    speaker: number,
    nowMs: number,
  ): number {
    let port = told.port;
    for (let n = 0; n < HELPER_PORTS_MAX; n++) {
      if (this.#isFree(connection, told, known, speaker, port, nowMs)) return port;
      port = port === 0xffff ? FTP_DATA_PORT_MIN : port + 1;
    }
    return -1;
  }

  #isFree(
    connection: number,
    { passive, port: realPort }: FtpAnnouncement,
    known: number,
    speaker: number,
    port: number,
    nowMs: number,
  ): boolean {
    const { tuples } = this.#table;
    const wanted = this.#wanted;
    const original = tupleAt(connection * 2);
    const reply = tupleAt(connection * 2 + 1);
    const caller = passive ? original + T_SRC : reply + T_SRC;
    for (let i = 0; i < 4; i++) {
      wanted[T_SRC + i] = tuples[caller + i] as number;
      wanted[T_DST + i] = tuples[known + i] as number;
    }
    wanted[T_KIND] = tuples[original + T_KIND] as number;
    // Active data connections come from the port below the control port (RFC 959, 3.2).
    const callerPort = passive ? 0 : ((tuples[reply + T_PORTS] as number) >>> 16) - 1;
    wanted[T_PORTS] = (callerPort << 16) | port;
    const e = this.#expectations.find(wanted, nowMs);
    if (e >= 0) return this.#expectations.serves(e, tuples, original, realPort);
    // By that port the client knows something else of the server's.
    if (passive) return port !== ((tuples[original + T_PORTS] as number) & 0xffff);
    const found = this.#table.find(wanted, nowMs);
    if (found < 0) return true;
    const other = tupleAt(found ^ 1);
    const otherPort = (tuples[other + T_PORTS] as number) >>> 16;
    return sameAddress(tuples, other + T_SRC, speaker) && otherPort === realPort;
  }

  /** Makes a segment that is being translated fit the stream that its receiver knows. */
  adjust(connection: number, direction: number, packet: number, datagram: Datagram, headers: Headers): void {
    const conversation = this.#conversations.get(connection);
    if (conversation === undefined) return;
    const own = (conversation[direction] as FtpStream).edits;
    const other = (conversation[direction ^ 1] as FtpStream).edits;
    if (!own.isPlain || !other.isPlain) adjustSegment(this.#pool, packet, datagram, headers, own, other);
  }

  /** The number that the sender of `direction` has given to what its receiver knows as `received`. */
  sentOf(connection: number, direction: number, received: number): number {
    const conversation = this.#conversations.get(connection);
    return conversation === undefined
      ? received
      : (conversation[direction] as FtpStream).edits.sentOf(received);
  }
}

function parseLine(
  payload: Uint8Array,
  start: number,
  end: number,
  direction: number,
): FtpAnnouncement | undefined {
  const fromClient = direction === ORIGINAL;
  // PORT and EPRT, or 227 and 229: nothing else is looked at.
  const first = (payload[start] as number) & ~0x20;
  if (fromClient ? first !== 0x50 && first !== 0x45 : payload[start] !== 0x32) return undefined;
  return parseFtpLine(String.fromCharCode(...payload.subarray(start, end)), fromClient);
}

function isAddress(tuples: Int32Array, at: number, address: Uint8Array, ipv6: boolean): boolean {
  if ((address.byteLength === 16) !== ipv6) return false;
  const view = new DataView(address.buffer, address.byteOffset);
  for (let i = 0; i < address.byteLength / 4; i++) if (view.getInt32(i * 4) !== tuples[at + i]) return false;
  return true;
}

function sameAddress(tuples: Int32Array, a: number, b: number): boolean {
  for (let i = 0; i < 4; i++) if (tuples[a + i] !== tuples[b + i]) return false;
  return true;
}

function readAddress(tuples: Int32Array, at: number, ipv6: boolean): Uint8Array {
  const address = new Uint8Array(ipv6 ? 16 : 4);
  const view = new DataView(address.buffer);
  for (let i = 0; i < address.byteLength / 4; i++) view.setInt32(i * 4, tuples[at + i] as number);
  return address;
}
