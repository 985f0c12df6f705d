// Connection tracking: TCP, UDP, SCTP, ICMP and plain IP, of both versions, in zones, with marks, labels and address
// translation. The ct_state bits mean what ovs-fields(7) says: new = not committed, or answered by nobody yet; est =
// seen from both sides; rpl = against the direction of the first packet; rel = an ICMP error about a connection, or a
// connection that another one announced; inv = cannot be tracked, or cannot belong to the connection it names.
//
// After a restart the table is empty while conversations go on. A TCP segment from their opener looks new (+new), is
// judged by policy and committed: mid-stream pick-up. A segment from the other side cannot be judged that way, and
// where only that side talks nothing would ever be picked up. So for PICKUP_GRACE_MS after the start such a segment
// (ACK without SYN or RST, from the lower port) passes as est+rpl, without being remembered: the opener's own next
// segment, the answer to it, still needs policy. Outside that time it is new like any other.
//
// This is the tracker as the pipeline and the management see it; connection-tracker.ts says what a packet is.
// Invariant: the table never exceeds its capacity.
// Source: ovs-actions(7) ct; RFC 5382, 4787, 5508 for behaviour. Thread: datapath worker. Hot: yes.
import { CT_STATE_DNAT, CT_STATE_INV, CT_STATE_SNAT, CT_STATE_TRK } from "../../base/openflow/index.js";
import type { PacketPool } from "../../base/packet/index.js";
import { type CtProgram, FlowKey, Headers, TRACK_HELD, type Tracker } from "../flow/index.js";
import {
  type ConnectionFilter,
  type ConnectionInfo,
  flushConnections,
  listConnections,
} from "./connection-info.js";
import type { ConnectionMemory } from "./connection-memory.js";
import { ConnectionTracker, tellInvalid } from "./connection-tracker.js";
import { datagramIsSound, headerIsSound } from "./datagram.js";
import type { Expectations } from "./expectations.js";
import { FirstPackets } from "./first-packets.js";
import { FragmentRelease, judgeWhole, type PieceTracker } from "./fragment-release.js";
import { FRAGMENT_HELD, FRAGMENT_REFUSED, FragmentTable, type WholeDatagram } from "./fragments.js";
import { KnownPackets } from "./known-packets.js";
import { CONNECTIONS_MAX } from "./limits.js";
import { ObservedPacket } from "./observed-packet.js";
import { KIND_ERROR, KIND_INVALID, readAddresses, readTuple } from "./read-tuple.js";
import { kindOf, T_KIND, T_PORTS, TCP } from "./tuple.js";
import { type ConntrackSettings, type ConntrackStatus, Zones } from "./zones.js";

/** How long after the start segments of unknown TCP connections from the lower port pass as replies. */
export const PICKUP_GRACE_MS = 30_000;

/** Contexts of fragments: those that wait, and those that have gone on while their datagram is not whole. */
const WAITING = 0;
const PASSING = 1;

export interface ConntrackOptions {
  readonly pool: PacketPool;
  /** A power of two; CONNECTIONS_MAX when absent. */
  readonly connectionsMax?: number;
  /** For connectionsMax connections; of its own when absent. */
  readonly memory?: ConnectionMemory;
  /** PICKUP_GRACE_MS when absent; 0 = no grace. */
  readonly pickupGraceMs?: number;
  /** False where packets come with checksums that hardware has still to fill in; true when absent. */
  readonly verifyChecksums?: boolean;
}

export class Conntrack implements Tracker, PieceTracker {
  readonly zones = new Zones();
  readonly fragments: FragmentTable;
  readonly #going: FragmentRelease;
  readonly #pool: PacketPool;
  readonly #tracker: ConnectionTracker;
  readonly #known: KnownPackets;
  readonly #first: FirstPackets;
  readonly #verifyChecksums: boolean;
  readonly #observed = new ObservedPacket();
  /** A fragment's transport header is no part of the key. */
  readonly #noHeaders = new Headers();

  constructor(options: ConntrackOptions) {
    const { pool } = options;
    const graceMs = options.pickupGraceMs ?? PICKUP_GRACE_MS;
    this.#pool = pool;
    this.#tracker = new ConnectionTracker(
      pool,
      this.zones,
      options.connectionsMax ?? CONNECTIONS_MAX,
      graceMs,
      options.memory,
    );
    this.fragments = new FragmentTable(pool);
    this.#going = new FragmentRelease(pool, this.fragments, this.#observed.datagram);
    this.#verifyChecksums = options.verifyChecksums ?? true;
    this.#known = new KnownPackets(pool, this.#tracker, this.#verifyChecksums);
    this.#first = new FirstPackets(pool, this.#tracker, this.#verifyChecksums);
  }

  get size(): number {
    return this.#tracker.table.size;
  }
  /** Connections that were committed so far. */
  get begun(): number {
    return this.#tracker.table.begun;
  }

  get evictions(): number {
    return this.#tracker.table.evictions;
  }
  get expectations(): Expectations {
    return this.#tracker.expectations;
  }

  /** `connectionsMax` counts up to the size of the table. Throws TOO_MANY_TIMEOUT_POLICIES. */
  configure(settings: ConntrackSettings): void {
    const {
      connectionsMax,
      checkSequence,
      defaultLimit,
      limits = [],
      deleteLimits = [],
      timeouts,
    } = settings;
    const { zones } = this;
    const { table } = this.#tracker;
    if (timeouts !== undefined) zones.setTimeouts(timeouts);
    if (settings.fragments !== undefined) this.fragments.configure(settings.fragments);
    if (connectionsMax !== undefined) table.connectionsMax = Math.min(connectionsMax, table.capacity);
    if (checkSequence !== undefined) this.#tracker.checkSequence = checkSequence;
    if (defaultLimit !== undefined) zones.defaultLimit = defaultLimit;
    for (let i = 0; i < limits.length; i++) zones.setLimit(limits[i]!.zone, limits[i]!.limit);
    for (let i = 0; i < deleteLimits.length; i++) zones.deleteLimit(deleteLimits[i]!);
  }

  /** With the limits of `chosen`, or of the zones that have one of their own. */
  status(chosen?: readonly number[]): ConntrackStatus {
    const { zones } = this;
    const limits = chosen?.map((zone) => ({ zone, limit: zones.limitOf(zone) })) ?? zones.limits();
    return {
      connections: this.#tracker.table.size,
      connectionsMax: this.#tracker.table.connectionsMax,
      checkSequence: this.#tracker.checkSequence,
      fragmentsMax: this.fragments.fragmentsMax,
      fragmentsHeld: this.fragments.held,
      fragmentLists: this.fragments.lists(),
      fragments: [this.fragments.status(0), this.fragments.status(1)],
      defaultLimit: zones.defaultLimit,
      limits: limits.map((one) => ({ ...one, count: this.#tracker.table.zoneCount(one.zone) })),
    };
  }

  /** See ConnectionTable.foresee. */
  foresee(): void {
    this.#tracker.table.foresee();
  }

  /** See ConnectionTable.restore. */
  restore(nowMs: number, shiftMs: number): number {
    return this.#tracker.table.restore(nowMs, shiftMs);
  }

  /** Connections that have expired go, in `share` of the table; see ConnectionTable.sweep. */
  sweepConnections(nowMs: number, share: number): void {
    this.#tracker.table.sweep(nowMs, share);
  }

  sweep(nowMs: number): void {
    this.#tracker.table.sweep(nowMs);
    this.sweepOthers(nowMs);
  }

  /** What else has a time-out. */
  sweepOthers(nowMs: number): void {
    this.fragments.sweep(nowMs);
    this.#tracker.expectations.sweep(nowMs);
  }

  /** Forgets the connections that `filter` means; returns how many. */
  flush(filter: ConnectionFilter, nowMs: number): number {
    return flushConnections(this.#tracker.table, this.#tracker.peers, filter, nowMs);
  }

  /** Every connection that `filter` means, for dpctl/dump-conntrack. */
  connections(nowMs: number, filter: ConnectionFilter = {}): ConnectionInfo[] {
    return listConnections(this.#tracker.table, this.#tracker.peers, filter, nowMs);
  }

  track(
    packet: number,
    key: Int32Array,
    headers: Headers,
    ct: CtProgram,
    zone: number,
    nowMs: number,
    dry: boolean,
  ): number {
    this.#tracker.start(nowMs);
    this.#tracker.found = -1;
    const observed = this.#observed;
    const before = key[FlowKey.K_CT_STATE]!;
    const isTranslated =
      (before & (CT_STATE_SNAT | CT_STATE_DNAT)) !== 0 && (key[FlowKey.K_CT_ZONE]! & 0xffff) === zone;
    observed.packet = packet;
    observed.isTranslated = isTranslated;
    for (let i = FlowKey.K_CT_STATE; i < FlowKey.K_PKT_MARK; i++) key[i] = 0;
    tellInvalid(key, zone);
    const { view } = this.#pool;
    const { datagram } = observed;
    if (!datagram.read(view, key, headers)) return -1;
    if (datagram.fragment !== 0) {
      const tracked = (before & CT_STATE_TRK) !== 0;
      return dry ? -1 : this.#trackFragment(packet, key, ct, zone, tracked, isTranslated, nowMs);
    }
    // An earlier ct() has checked the checksums, and since then only we have changed the packet.
    const verified = (before & (CT_STATE_TRK | CT_STATE_INV)) === CT_STATE_TRK;
    const { bytes, checksumStart } = this.#pool;
    const verify = this.#verifyChecksums && !verified && checksumStart[observed.packet] === 0;
    if (!datagramIsSound(bytes, view, datagram, verify)) return -1;
    const kind = readTuple(view, datagram, zone, observed.tuple, observed.quoted);
    if (kind === KIND_INVALID) return -1;
    if (kind === KIND_ERROR) {
      this.#tracker.error(observed, key, ct, nowMs);
      return -1;
    }
    observed.segment = observed.ownSegment;
    if (datagram.protocol === TCP) observed.segment.read(view, datagram.l4, datagram.length);
    return this.#tracker.track(observed, key, headers, ct, nowMs, dry);
  }

  /** Holds the fragment until its datagram is whole, or knows what it belongs to. */
  #trackFragment(
    packet: number,
    key: Int32Array,
    ct: CtProgram,
    zone: number,
    tracked: boolean,
    isTranslated: boolean,
    nowMs: number,
  ): number {
    const { fragments } = this;
    const observed = this.#observed;
    const { datagram } = observed;
    if (!headerIsSound(this.#pool.bytes, datagram)) return -1;
    const whole = fragments.known(datagram, zone, tracked, nowMs);
    if (whole === undefined && ct.tableId < 0 && ct.nat === null)
      return this.#passFragment(packet, key, ct, zone, nowMs);
    if (whole !== undefined) return this.trackPiece(packet, whole, key, ct, zone, isTranslated, nowMs);
    key[FlowKey.K_CT_STATE] = 0;
    key[FlowKey.K_CT_ZONE] = 0;
    const taken = fragments.take(packet, key, datagram, zone, nowMs, WAITING);
    if (taken === FRAGMENT_REFUSED) {
      tellInvalid(key, zone);
      return -1;
    }
    if (taken === FRAGMENT_HELD) return TRACK_HELD;
    judgeWhole(this.#pool, fragments, taken, zone, observed, this.#verifyChecksums);
    this.#going.start(taken, ct, zone, nowMs);
    return TRACK_HELD;
  }

  /**
   * Nothing behind a ct() without a table and without nat depends on what it finds: the fragment goes on at once, and
   * the datagram is tracked when its last fragment is here. That one is dropped when its connection may not be.
   */
  #passFragment(packet: number, key: Int32Array, ct: CtProgram, zone: number, nowMs: number): number {
    const { fragments } = this;
    const taken = fragments.take(packet, key, this.#observed.datagram, zone, nowMs, PASSING);
    if (taken < 0) return -1;
    judgeWhole(this.#pool, fragments, taken, zone, this.#observed, this.#verifyChecksums);
    const reason = this.trackPiece(packet, fragments.whole(taken), key, ct, zone, false, nowMs);
    fragments.letGo(taken);
    return reason;
  }

  /** One fragment of a datagram that is whole. */
  trackPiece(
    packet: number,
    whole: WholeDatagram,
    key: Int32Array,
    ct: CtProgram,
    zone: number,
    isTranslated: boolean,
    nowMs: number,
  ): number {
    const observed = this.#observed;
    const { datagram, tuple } = observed;
    tellInvalid(key, zone);
    if (whole.invalid) return -1;
    readAddresses(this.#pool.view, datagram.l3, datagram.ipv6, tuple);
    tuple[T_PORTS] = whole.ports;
    tuple[T_KIND] = kindOf(datagram.ipv6, datagram.protocol, zone);
    observed.packet = packet;
    observed.isTranslated = isTranslated;
    observed.segment = whole.segment;
    return this.#tracker.track(observed, key, this.#noHeaders, ct, nowMs, false);
  }

  get found(): number {
    return this.#tracker.found;
  }

  epochOf(found: number): number {
    return this.#tracker.table.epochs[found >> 1]!;
  }

  noteOf(found: number): number {
    return this.#tracker.table.noteOf(found);
  }

  note(found: number, note: number): void {
    this.#tracker.table.note(found, note);
  }

  nextNote(): number {
    return this.#tracker.table.nextNote();
  }

  seek(packets: Int32Array, from: number, to: number, zone: number, found: Int32Array): void {
    this.#known.seek(packets, from, to, zone, found);
  }

  pass(packet: number, found: number, ct: CtProgram, zone: number, nowMs: number): number {
    return this.#known.pass(packet, found, ct, zone, nowMs);
  }

  meet(packet: number, ct: CtProgram, zone: number, port: number, nowMs: number): number {
    return this.#first.meet(packet, ct, zone, port, nowMs);
  }

  get opened(): number {
    return this.#first.opened * 2;
  }

  open(ct: CtProgram, zone: number, port: number, nowMs: number, key: Int32Array): boolean {
    return this.#first.open(ct, zone, port, nowMs, key);
  }

  tell(found: number, state: number, key: Int32Array): void {
    if (found < 0) this.#first.tell(key);
    else this.#tracker.tell(found >> 1, key);
    key[FlowKey.K_CT_STATE] = state;
  }

  release(key: Int32Array): number {
    return this.#going.next(key, this);
  }
  get releaseReason(): number {
    return this.#going.reason;
  }
}
