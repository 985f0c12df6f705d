// Fragments whose datagram has become whole go on, each with what tracking says of the datagram.
// Source: ovs-actions(7) ct; RFC 3022, 4.3 (fragments under translation). Thread: datapath worker. Hot: no, fragments are rare.
import type { PacketPool } from "../../base/packet/index.js";
import { type CtProgram, DROP_NO_BUFFER, FlowKey } from "../flow/index.js";
import { checksumIsRight, claimsChecksum, type Datagram, transportIsWhole } from "./datagram.js";
import type { FragmentTable, WholeDatagram } from "./fragments.js";
import type { ObservedPacket } from "./observed-packet.js";
import { KIND_QUERY, readTuple } from "./read-tuple.js";
import { hasPorts, isIcmp, T_PORTS, TCP } from "./tuple.js";

/** Tracks one fragment, which the datagram given to FragmentRelease describes, of a datagram that is whole. */
export interface PieceTracker {
  trackPiece(
    packet: number,
    whole: WholeDatagram,
    key: Int32Array,
    ct: CtProgram,
    zone: number,
    translatedHere: boolean,
    nowMs: number,
  ): number;
}

/** Whether the datagram is sound, and what its fragments need to know; `observed` describes its first fragment then. */
export function judgeWhole(
  pool: PacketPool,
  fragments: FragmentTable,
  d: number,
  zone: number,
  observed: ObservedPacket,
  verifyChecksums: boolean,
): void {
  const { datagram, tuple, quoted } = observed;
  const { bytes, view } = pool;
  const whole = fragments.whole(d);
  datagram.readFragment(view, fragments.firstAt(d));
  const plain = datagram.pieceAt === datagram.l4;
  datagram.length = fragments.total(d);
  whole.invalid = !plain || !transportIsWhole(view, datagram);
  if (whole.invalid) return;
  if (verifyChecksums && claimsChecksum(view, datagram))
    whole.invalid = !checksumIsRight(bytes, view, datagram, fragments.sum(d));
  if (readTuple(view, datagram, zone, tuple, quoted) !== KIND_QUERY) whole.invalid = true;
  whole.ports = tuple[T_PORTS] as number;
  if (datagram.protocol === TCP) whole.segment.read(view, datagram.l4, datagram.length);
}

export class FragmentRelease {
  /** Why the fragment that next() gave is to be dropped; −1: it goes on. */
  reason = -1;
  readonly #pool: PacketPool;
  readonly #fragments: FragmentTable;
  readonly #datagram: Datagram;
  #going = -1;
  #ct: CtProgram | null = null;
  #zone = 0;
  #nowMs = 0;
  #ports = 0;

  constructor(pool: PacketPool, fragments: FragmentTable, datagram: Datagram) {
    this.#pool = pool;
    this.#fragments = fragments;
    this.#datagram = datagram;
  }

  /** The fragments of `d` may go on from `ct`. */
  start(d: number, ct: CtProgram, zone: number, nowMs: number): void {
    // Translated without a table to go on in they come to this ct() once more, each for itself.
    if (ct.tableId < 0) this.#fragments.whole(d).replays = this.#fragments.count(d);
    this.#going = d;
    this.#ct = ct;
    this.#zone = zone;
    this.#nowMs = nowMs;
  }

  /** The next fragment, tracked; its reference is the caller's. −1: no more. */
  next(key: Int32Array, tracker: PieceTracker): number {
    const d = this.#going;
    const ct = this.#ct;
    if (d < 0 || ct === null) return -1;
    const packet = this.#fragments.release(d, key);
    this.reason = -1;
    if (packet < 0) {
      if (ct.nat !== null && ct.tableId >= 0)
        this.#fragments.rename(d, this.#datagram, this.#zone, this.#ports);
      this.#going = -1;
      return -1;
    }
    return ct.tableId < 0 ? packet : this.#track(packet, d, key, ct, tracker);
  }

  #track(shared: number, d: number, key: Int32Array, ct: CtProgram, tracker: PieceTracker): number {
    const pool = this.#pool;
    const datagram = this.#datagram;
    let packet = shared;
    if (ct.nat !== null && pool.isShared(shared)) {
      packet = pool.copy(shared);
      if (packet < 0) {
        this.reason = DROP_NO_BUFFER;
        return shared;
      }
      pool.free(shared);
    }
    datagram.readFragment(pool.view, (pool.offset[packet] as number) + this.#fragments.releasedAt);
    const whole = this.#fragments.whole(d);
    this.reason = tracker.trackPiece(packet, whole, key, ct, this.#zone, false, this.#nowMs);
    if ((datagram.fragment & FlowKey.FRAGMENT_LATER) === 0) this.#ports = this.#portsNow(whole);
    return packet;
  }

  /** The ports, or identifier, type and code, that the first fragment has by now. */
  #portsNow(whole: WholeDatagram): number {
    const { l4, protocol } = this.#datagram;
    const { view } = this.#pool;
    if (whole.invalid) return whole.ports;
    if (isIcmp(protocol)) return (view.getUint16(l4 + 4) << 16) | view.getUint16(l4);
    return hasPorts(protocol) ? view.getInt32(l4) : 0;
  }
}
