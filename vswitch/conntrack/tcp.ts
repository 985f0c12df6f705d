// TCP connections seen from the middle: the state of both ends, and which segments can belong to them.
//
// Each end has a window of sequence numbers that it may be sending from. A segment that lies outside, or acknowledges
// what the other end cannot have sent, is refused (+inv), so that nobody who only knows the ports can reset, close or
// feed a connection. Per end:
//
//        windowMax of the other end           what the other end's window allows
//      |<------------------------->|        |
//   ---+---------------------------+--------+----->  sequence numbers
//      oldest retransmission       sentEnd  limit
//
// A connection that was picked up in the middle has unknown window scales; the largest is assumed, which is liberal.
// Source: RFC 9293, 3.10.7.4 (acceptable segments), RFC 7323 (window scale), RFC 5961, 3.2 (RST); the bounds are those
// of Guido van Rooij, Real Stateful TCP Packet Filtering in IP Filter (2000). Thread: datapath worker. Hot: yes.
import {
  type ConnectionMemory,
  peerStateAt,
  scaleAt,
  W_LIMIT,
  W_SENT_END,
  W_WINDOW_MAX,
  wordAt,
} from "./connection-memory.js";
import { ACK, FIN, RST, type Segment, SYN, WINDOW_SCALE_MAX } from "./tcp-segment.js";
import * as T from "./timeouts.js";

/** States of one end, numbered and named as Open vSwitch prints them. */
export const PEER_CLOSED = 0;
export const PEER_SYN_SENT = 2;
export const PEER_ESTABLISHED = 4;
/** Has sent FIN. */
export const PEER_CLOSING = 7;
/** Its FIN is acknowledged. */
export const PEER_FIN_WAIT_2 = 9;
export const PEER_TIME_WAIT = 10;
export const PEER_STATE_NAMES = [
  "CLOSED",
  "LISTEN",
  "SYN_SENT",
  "SYN_RECV",
  "ESTABLISHED",
  "CLOSE_WAIT",
  "FIN_WAIT_1",
  "CLOSING",
  "LAST_ACK",
  "FIN_WAIT_2",
  "TIME_WAIT",
] as const;

/** What a segment is to its connection. */
export const SEGMENT_INVALID = 0;
export const SEGMENT_VALID = 1;
/** A SYN of the opener whom nobody has answered yet. */
export const SEGMENT_OPENING = 2;
/** Begins a connection anew where the former one is over. */
export const SEGMENT_REOPENS = 3;

/** How far an acknowledgement may lie behind: a full unscaled window and a frame. */
const ACK_SKEW_MAX = 0xffff + 1500;
/** The end has said that it scales its windows. */
export const SCALE_KNOWN = 0x80;
const SCALE_UNKNOWN = 0x40;
const SCALE_MASK = 0x0f;

export class TcpPeers {
  /** All by connection × 2 + direction of the end that sends. */
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;

  constructor(memory: ConnectionMemory) {
    this.#words = memory.words;
    this.#bytes = memory.bytes;
  }

  /** PEER_. */
  peerState(end: number): number {
    return this.#bytes[peerStateAt(end)]!;
  }
  #setState(end: number, state: number): void {
    this.#bytes[peerStateAt(end)] = state;
  }

  /** SCALE_ and the shift. */
  scaleOf(end: number): number {
    return this.#bytes[scaleAt(end)]!;
  }
  #setScale(end: number, scale: number): void {
    this.#bytes[scaleAt(end)] = scale;
  }

  /** The connection begins with `segment` from its opener. */
  open(connection: number, segment: Segment): void {
    const opener = connection * 2;
    const other = opener + 1;
    const isSyn = (segment.flags & SYN) !== 0;
    const scale = isSyn ? scaleOf(segment) : SCALE_UNKNOWN;
    // Who speaks in the middle of a conversation has opened it long ago.
    const isFin = (segment.flags & FIN) !== 0;
    this.#setState(opener, isSyn ? PEER_SYN_SENT : isFin ? PEER_CLOSING : PEER_ESTABLISHED);
    this.#setState(other, PEER_CLOSED);
    this.#setScale(opener, scale);
    this.#setScale(other, isSyn ? 0 : SCALE_UNKNOWN);
    this.#words[wordAt(opener, W_SENT_END)] = segment.sequence + segment.span;
    this.#words[wordAt(opener, W_LIMIT)] = segment.sequence + segment.span + 1;
    const shift = isSyn ? 0 : WINDOW_SCALE_MAX;
    this.#words[wordAt(opener, W_WINDOW_MAX)] = Math.max(1, segment.window << shift);
    this.#words[wordAt(other, W_SENT_END)] = 0;
    this.#words[wordAt(other, W_LIMIT)] = 0;
    this.#words[wordAt(other, W_WINDOW_MAX)] = 1;
  }

  /**
   * What `segment` from the end `direction` is, and, unless `dry`, what it changes. Without `strict` sequence numbers
   * are followed but never refused.
   */
  pass(connection: number, direction: number, segment: Segment, strict: boolean, dry: boolean): number {
    const sender = connection * 2 + direction;
    const receiver = sender ^ 1;
    const { flags } = segment;
    if ((flags & (SYN | ACK)) === SYN) {
      const state = this.peerState(sender);
      if (state >= PEER_FIN_WAIT_2 && this.peerState(receiver) >= PEER_FIN_WAIT_2) return SEGMENT_REOPENS;
      if (state <= PEER_SYN_SENT && direction === 0) {
        // It may come with another number, of an attempt after the one that we saw.
        if (!dry && this.peerState(receiver) === PEER_CLOSED) this.open(connection, segment);
        return SEGMENT_OPENING;
      }
    }
    return this.#judge(sender, receiver, segment, strict, dry) ? SEGMENT_VALID : SEGMENT_INVALID;
  }

  #judge(sender: number, receiver: number, segment: Segment, strict: boolean, dry: boolean): boolean {
    const { flags } = segment;
    const first = this.peerState(sender) < PEER_SYN_SENT;
    const scale = first && (flags & SYN) !== 0 ? scaleOf(segment) : this.scaleOf(sender);
    const window = this.#windowOf(segment, scale, receiver);
    const receiverWindow = this.#words[wordAt(receiver, W_WINDOW_MAX)]!;
    let start = segment.sequence;
    let end = (start + segment.span) | 0;
    let sentEnd = first ? start : this.#words[wordAt(sender, W_SENT_END)]!;
    const limit = first ? (end + receiverWindow) | 0 : this.#words[wordAt(sender, W_LIMIT)]!;
    // A reset of a connection that never was carries no acknowledgement worth the name.
    const acknowledges = (flags & ACK) !== 0 && !((flags & RST) !== 0 && segment.acknowledgement === 0);
    const acknowledged = acknowledges ? segment.acknowledgement : this.#words[wordAt(receiver, W_SENT_END)]!;
    if (start === end) {
      // Without data it only has to be about this connection: keep-alives and window probes lie elsewhere.
      start = sentEnd;
      end = sentEnd;
    }
    // What answers first may acknowledge anything: a host that still has an older connection says so with an ACK of that.
    const skew = first ? 0 : (this.#words[wordAt(receiver, W_SENT_END)]! - acknowledged) | 0;
    const fits =
      ((limit - end) | 0) >= 0 &&
      ((start - sentEnd + receiverWindow) | 0) >= 0 &&
      skew >= -ACK_SKEW_MAX &&
      skew <= ACK_SKEW_MAX * 2 ** (scale & SCALE_MASK) &&
      ((flags & RST) === 0 || nextTo(segment.sequence, sentEnd));
    if (!fits && strict && !this.#lax(sender, receiver, start, end, sentEnd, limit)) return false;
    if (dry) return true;
    if (first) this.#begin(sender, receiver, segment, scale);
    if (window > this.#words[wordAt(sender, W_WINDOW_MAX)]!)
      this.#words[wordAt(sender, W_WINDOW_MAX)] = window;
    if (((end - sentEnd) | 0) > 0) sentEnd = end;
    this.#words[wordAt(sender, W_SENT_END)] = sentEnd;
    this.#words[wordAt(sender, W_LIMIT)] = limit;
    const reach = (acknowledged + Math.max(1, window)) | 0;
    if (
      this.peerState(receiver) !== PEER_CLOSED &&
      ((reach - this.#words[wordAt(receiver, W_LIMIT)]!) | 0) >= 0
    )
      this.#words[wordAt(receiver, W_LIMIT)] = reach;
    this.#advance(sender, receiver, flags, fits || !strict);
    return true;
  }

  /**
   * Both ends may speak first at once, a conversation may be older than we are, and its last segments may come late:
   * then a window on either side is enough.
   */
  #lax(
    sender: number,
    receiver: number,
    start: number,
    end: number,
    sentEnd: number,
    limit: number,
  ): boolean {
    const state = this.peerState(receiver);
    if (state >= PEER_SYN_SENT && state < PEER_FIN_WAIT_2 && this.peerState(sender) < PEER_FIN_WAIT_2)
      return false;
    return ((limit - end + ACK_SKEW_MAX) | 0) >= 0 && ((start - sentEnd + ACK_SKEW_MAX) | 0) >= 0;
  }

  /** The announced window in bytes. The windows of SYNs are never scaled, and later ones only where both SYNs said so. */
  #windowOf(segment: Segment, scale: number, receiver: number): number {
    const other = this.scaleOf(receiver);
    if ((segment.flags & SYN) !== 0) return segment.window;
    if ((scale & SCALE_UNKNOWN) !== 0 && (other & SCALE_UNKNOWN) !== 0)
      return segment.window << WINDOW_SCALE_MAX;
    const both = (scale & SCALE_KNOWN) !== 0 && (other & SCALE_KNOWN) !== 0;
    return both ? segment.window << (scale & SCALE_MASK) : segment.window;
  }

  /** The first segment of the answering end. */
  #begin(sender: number, receiver: number, segment: Segment, scale: number): void {
    const isSyn = (segment.flags & SYN) !== 0;
    const pickedUp = (this.scaleOf(receiver) & SCALE_UNKNOWN) !== 0;
    this.#setState(sender, pickedUp && !isSyn ? PEER_ESTABLISHED : PEER_SYN_SENT);
    if (!isSyn) return;
    this.#setScale(sender, scale);
    if ((scale & SCALE_KNOWN) === 0) this.#setScale(receiver, this.scaleOf(receiver) & SCALE_UNKNOWN);
  }

  #advance(sender: number, receiver: number, flags: number, certain: boolean): void {
    if ((flags & RST) !== 0) {
      this.#setState(sender, PEER_TIME_WAIT);
      this.#setState(receiver, PEER_TIME_WAIT);
      return;
    }
    if ((flags & FIN) !== 0 && this.peerState(sender) < PEER_CLOSING) this.#setState(sender, PEER_CLOSING);
    if (!certain || (flags & ACK) === 0) return;
    if (this.peerState(receiver) === PEER_SYN_SENT) this.#setState(receiver, PEER_ESTABLISHED);
    else if (this.peerState(receiver) === PEER_CLOSING) this.#setState(receiver, PEER_FIN_WAIT_2);
  }

  /** The time-out that runs now. */
  stateOf(connection: number): number {
    const a = this.peerState(connection * 2);
    const b = this.peerState(connection * 2 + 1);
    if (a >= PEER_FIN_WAIT_2 && b >= PEER_FIN_WAIT_2) return T.TCP_CLOSE;
    if (a >= PEER_CLOSING && b >= PEER_CLOSING) return T.TCP_TIME_WAIT;
    if (b === PEER_CLOSED) return T.TCP_SYN_SENT;
    if (a < PEER_ESTABLISHED || b < PEER_ESTABLISHED) return T.TCP_SYN_RECV;
    return a >= PEER_CLOSING || b >= PEER_CLOSING ? T.TCP_FIN_WAIT : T.TCP_ESTABLISHED;
  }
}

function scaleOf(segment: Segment): number {
  return segment.scale < 0 ? 0 : SCALE_KNOWN | segment.scale;
}

/** A reset must hit the next octet, or one beside it where an end counts its SYN or FIN differently. */
function nextTo(sequence: number, sentEnd: number): boolean {
  const distance = (sequence - sentEnd) | 0;
  return distance >= -1 && distance <= 1;
}
