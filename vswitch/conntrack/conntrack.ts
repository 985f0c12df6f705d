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
// Invariant: a packet is looked up once per ct(); only commit adds; the table never exceeds its capacity.
// Source: ovs-actions(7) ct; RFC 5382, 4787, 5508 for behaviour. Thread: datapath worker. Hot: yes.
import {
  CT_STATE_DNAT,
  CT_STATE_EST,
  CT_STATE_INV,
  CT_STATE_NEW,
  CT_STATE_REL,
  CT_STATE_RPL,
  CT_STATE_SNAT,
  CT_STATE_TRK,
} from "../../base/openflow/index.js";
import type { PacketPool } from "../../base/packet/index.js";
import {
  type CtProgram,
  DROP_CONNTRACK_FULL,
  DROP_CONNTRACK_ZONE_LIMIT,
  DROP_NAT_EXHAUSTED,
  FlowKey,
  Headers,
  TRACK_HELD,
  type Tracker,
} from "../flow/index.js";
import {
  type ConnectionFilter,
  type ConnectionInfo,
  flushConnections,
  listConnections,
} from "./connection-info.js";
import {
  markConnection,
  tellConnection,
  tellExpected,
  translationBit,
  writeTuple,
} from "./connection-key.js";
import {
  ConnectionTable,
  FLAG_DNAT,
  FLAG_FTP,
  FLAG_RELATED,
  FLAG_SNAT,
  FLAG_TFTP,
  ORIGINAL,
  REPLY,
  SEEN_REPLY,
} from "./connection-table.js";
import { Datagram, datagramIsSound, headerIsSound } from "./datagram.js";
import { Expectations } from "./expectations.js";
import { FragmentRelease, judgeWhole, type PieceTracker } from "./fragment-release.js";
import { FRAGMENT_HELD, FRAGMENT_REFUSED, FragmentTable, type WholeDatagram } from "./fragments.js";
import { helperFlag, watchFtp, watchTftp } from "./helper.js";
import { CONNECTIONS_MAX } from "./limits.js";
import { chooseReply } from "./nat.js";
import { KIND_ERROR, KIND_INVALID, Quoted, readAddresses, readTuple } from "./read-tuple.js";
import { SEGMENT_INVALID, SEGMENT_OPENING, SEGMENT_REOPENS, SEGMENT_VALID, TcpPeers } from "./tcp.js";
import { flagsAreImpossible, flagsMayOpen, Segment, SYN } from "./tcp-segment.js";
import * as T from "./timeouts.js";
import { translate, translateError } from "./translate.js";
import { invert, isIcmp, kindOf, mayOpen, T_KIND, T_PORTS, TCP, TUPLE_WORDS } from "./tuple.js";
import { type ConntrackSettings, type ConntrackStatus, Zones } from "./zones.js";

/** How long after the start segments of unknown TCP connections from the lower port pass as replies. */
export const PICKUP_GRACE_MS = 30_000;

const TRANSLATED = FLAG_SNAT | FLAG_DNAT;

export interface ConntrackOptions {
  readonly pool: PacketPool;
  /** A power of two; CONNECTIONS_MAX when absent. */
  readonly connectionsMax?: number;
  /** PICKUP_GRACE_MS when absent; 0 = no grace. */
  readonly pickupGraceMs?: number;
  /** False where packets come with checksums that hardware has still to fill in; true when absent. */
  readonly verifyChecksums?: boolean;
}

export class Conntrack implements Tracker, PieceTracker {
  readonly zones = new Zones();
  readonly fragments: FragmentTable;
  readonly expectations = new Expectations();
  readonly #going: FragmentRelease;
  readonly #pool: PacketPool;
  readonly #table: ConnectionTable;
  readonly #peers: TcpPeers;
  readonly #graceMs: number;
  readonly #verifyChecksums: boolean;
  /** Refuse TCP segments outside their connection's windows. */
  #checkSequence = true;
  #startMs = Number.NaN;

  // Of the packet in hand.
  readonly #datagram = new Datagram();
  readonly #ownSegment = new Segment();
  #segment = this.#ownSegment;
  readonly #quoted = new Quoted();
  /** First tuples of the parents of announced connections; of others what is here means nothing. */
  readonly #parents = new Map<number, Int32Array>();
  /** A fragment's transport header is no part of the key. */
  readonly #noHeaders = new Headers();
  readonly #tuple = new Int32Array(TUPLE_WORDS);
  readonly #reply = new Int32Array(TUPLE_WORDS);

  constructor(options: ConntrackOptions) {
    const capacity = options.connectionsMax ?? CONNECTIONS_MAX;
    this.#pool = options.pool;
    this.#table = new ConnectionTable(capacity);
    this.#peers = new TcpPeers(capacity);
    this.fragments = new FragmentTable(options.pool);
    this.#going = new FragmentRelease(options.pool, this.fragments, this.#datagram);
    this.#graceMs = options.pickupGraceMs ?? PICKUP_GRACE_MS;
    this.#verifyChecksums = options.verifyChecksums ?? true;
  }

  get size(): number {
    return this.#table.size;
  }
  get evictions(): number {
    return this.#table.evictions;
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
    if (timeouts !== undefined) zones.setTimeouts(timeouts);
    if (settings.fragments !== undefined) this.fragments.configure(settings.fragments);
    if (connectionsMax !== undefined)
      this.#table.connectionsMax = Math.min(connectionsMax, this.#table.capacity);
    if (checkSequence !== undefined) this.#checkSequence = checkSequence;
    if (defaultLimit !== undefined) zones.defaultLimit = defaultLimit;
    for (let i = 0; i < limits.length; i++) zones.setLimit(limits[i]!.zone, limits[i]!.limit);
    for (let i = 0; i < deleteLimits.length; i++) zones.deleteLimit(deleteLimits[i]!);
  }

  /** With the limits of `chosen`, or of the zones that have one of their own. */
  status(chosen?: readonly number[]): ConntrackStatus {
    const { zones } = this;
    const limits = chosen?.map((zone) => ({ zone, limit: zones.limitOf(zone) })) ?? zones.limits();
    return {
      connections: this.#table.size,
      connectionsMax: this.#table.connectionsMax,
      checkSequence: this.#checkSequence,
      fragmentsMax: this.fragments.fragmentsMax,
      fragmentsHeld: this.fragments.held,
      fragments: [this.fragments.status(0), this.fragments.status(1)],
      defaultLimit: zones.defaultLimit,
      limits: limits.map((one) => ({ ...one, count: this.#table.zoneCount(one.zone) })),
    };
  }

  sweep(nowMs: number): void {
    this.#table.sweep(nowMs);
    this.fragments.sweep(nowMs);
    this.expectations.sweep(nowMs);
  }

  /** Forgets the connections that `filter` means; returns how many. */
  flush(filter: ConnectionFilter, nowMs: number): number {
    return flushConnections(this.#table, this.#peers, filter, nowMs);
  }

  /** Every connection that `filter` means, for dpctl/dump-conntrack. */
  connections(nowMs: number, filter: ConnectionFilter = {}): ConnectionInfo[] {
    return listConnections(this.#table, this.#peers, filter, nowMs);
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
    if (Number.isNaN(this.#startMs)) this.#startMs = nowMs;
    const before = key[FlowKey.K_CT_STATE]!;
    const translatedHere =
      (before & (CT_STATE_SNAT | CT_STATE_DNAT)) !== 0 && (key[FlowKey.K_CT_ZONE]! & 0xffff) === zone;
    for (let i = FlowKey.K_CT_STATE; i < FlowKey.K_PKT_MARK; i++) key[i] = 0;
    key[FlowKey.K_CT_ZONE] = zone;
    key[FlowKey.K_CT_STATE] = CT_STATE_TRK | CT_STATE_INV;
    const { view } = this.#pool;
    const datagram = this.#datagram;
    if (!datagram.read(view, key, headers)) return -1;
    if (datagram.fragment !== 0) {
      const tracked = (before & CT_STATE_TRK) !== 0;
      return dry ? -1 : this.#trackFragment(packet, key, ct, zone, tracked, translatedHere, nowMs);
    }
    // An earlier ct() has checked the checksums, and since then only we have changed the packet.
    const verified = (before & (CT_STATE_TRK | CT_STATE_INV)) === CT_STATE_TRK;
    const { bytes } = this.#pool;
    if (!datagramIsSound(bytes, view, datagram, this.#verifyChecksums && !verified)) return -1;
    const kind = readTuple(view, datagram, zone, this.#tuple, this.#quoted);
    if (kind === KIND_INVALID) return -1;
    if (kind === KIND_ERROR) {
      this.#error(key, ct, nowMs);
      return -1;
    }
    this.#segment = this.#ownSegment;
    if (datagram.protocol === TCP) this.#segment.read(view, datagram);
    return this.#trackTuple(key, headers, ct, translatedHere, nowMs, dry);
  }

  /** Holds the fragment until its datagram is whole, or knows what it belongs to. */
  #trackFragment(
    packet: number,
    key: Int32Array,
    ct: CtProgram,
    zone: number,
    tracked: boolean,
    translatedHere: boolean,
    nowMs: number,
  ): number {
    const { fragments } = this;
    const datagram = this.#datagram;
    if (!headerIsSound(this.#pool.bytes, datagram)) return -1;
    const whole = fragments.known(datagram, zone, tracked, nowMs);
    if (whole !== undefined) return this.trackPiece(whole, key, ct, zone, translatedHere, nowMs);
    key[FlowKey.K_CT_STATE] = 0;
    key[FlowKey.K_CT_ZONE] = 0;
    const taken = fragments.take(packet, key, datagram, zone, nowMs, 0);
    if (taken === FRAGMENT_REFUSED) {
      key[FlowKey.K_CT_ZONE] = zone;
      key[FlowKey.K_CT_STATE] = CT_STATE_TRK | CT_STATE_INV;
      return -1;
    }
    if (taken === FRAGMENT_HELD) return TRACK_HELD;
    judgeWhole(
      this.#pool,
      fragments,
      taken,
      zone,
      datagram,
      this.#tuple,
      this.#quoted,
      this.#verifyChecksums,
    );
    this.#going.start(taken, ct, zone, nowMs);
    return TRACK_HELD;
  }

  /** One fragment of a datagram that is whole. */
  trackPiece(
    whole: WholeDatagram,
    key: Int32Array,
    ct: CtProgram,
    zone: number,
    translatedHere: boolean,
    nowMs: number,
  ): number {
    const datagram = this.#datagram;
    key[FlowKey.K_CT_ZONE] = zone;
    key[FlowKey.K_CT_STATE] = CT_STATE_TRK | CT_STATE_INV;
    if (whole.invalid) return -1;
    readAddresses(this.#pool.view, datagram.l3, datagram.ipv6, this.#tuple);
    this.#tuple[T_PORTS] = whole.ports;
    this.#tuple[T_KIND] = kindOf(datagram.ipv6, datagram.protocol, zone);
    this.#segment = whole.segment;
    return this.#trackTuple(key, this.#noHeaders, ct, translatedHere, nowMs, false);
  }

  release(key: Int32Array): number {
    return this.#going.next(key, this);
  }
  get releaseReason(): number {
    return this.#going.reason;
  }

  #trackTuple(
    key: Int32Array,
    headers: Headers,
    ct: CtProgram,
    translatedHere: boolean,
    nowMs: number,
    dry: boolean,
  ): number {
    const isTcp = this.#datagram.protocol === TCP;
    const segment = this.#segment;
    if (isTcp && flagsAreImpossible(segment.flags)) return -1;
    const found = this.#find(translatedHere, nowMs);
    if (found < 0) return this.#unknown(key, headers, ct, nowMs, dry);
    const connection = found >> 1;
    let verdict = SEGMENT_VALID;
    if (isTcp) verdict = this.#peers.pass(connection, found & 1, segment, this.#checkSequence, dry);
    const turned = ct.commit && ct.force && (found & 1) === REPLY;
    if (verdict === SEGMENT_REOPENS || (turned && verdict !== SEGMENT_INVALID)) {
      if (!dry) this.#table.remove(connection);
      return this.#unknown(key, headers, ct, nowMs, dry);
    }
    this.#known(key, headers, ct, found, verdict, translatedHere, nowMs, dry);
    return -1;
  }

  /** A packet that this zone has translated already is known by the answers to it. */
  #find(translatedHere: boolean, nowMs: number): number {
    const found = this.#table.find(this.#tuple, nowMs);
    if (found >= 0 || !translatedHere) return found;
    invert(this.#tuple, this.#reply);
    const answer = this.#table.find(this.#reply, nowMs);
    return answer < 0 ? -1 : answer ^ 1;
  }

  /** A packet of a committed connection. */
  #known(
    key: Int32Array,
    headers: Headers,
    ct: CtProgram,
    found: number,
    verdict: number,
    translatedHere: boolean,
    nowMs: number,
    dry: boolean,
  ): void {
    const table = this.#table;
    const connection = found >> 1;
    const direction = found & 1;
    this.#tell(connection, key);
    if (verdict === SEGMENT_INVALID) {
      // Whoever forwards it all the same must not show the other side addresses that it does not know.
      if (ct.nat !== null) this.#translate(connection, direction, key, headers, translatedHere);
      return;
    }
    if (!dry) this.#advance(connection, direction, nowMs);
    const flags = table.flags[connection]!;
    const isTcp = this.#datagram.protocol === TCP;
    const established = isTcp
      ? verdict !== SEGMENT_OPENING
      : (flags & SEEN_REPLY) !== 0 || direction === REPLY;
    key[FlowKey.K_CT_STATE] =
      CT_STATE_TRK |
      (established ? CT_STATE_EST : CT_STATE_NEW) |
      (direction === REPLY ? CT_STATE_RPL : 0) |
      ((flags & FLAG_RELATED) !== 0 ? CT_STATE_REL : 0);
    if (!dry && (flags & (FLAG_FTP | FLAG_TFTP)) !== 0 && !translatedHere) this.#watch(found, nowMs);
    if (ct.nat !== null) this.#translate(connection, direction, key, headers, translatedHere);
    if (ct.commit) markConnection(table, connection, key, ct, dry);
  }

  /** A packet of no committed connection. Returns −1 or a drop reason. */
  #unknown(key: Int32Array, headers: Headers, ct: CtProgram, nowMs: number, dry: boolean): number {
    const tuple = this.#tuple;
    const isTcp = this.#datagram.protocol === TCP;
    if (!mayOpen(tuple) || (isTcp && !flagsMayOpen(this.#segment.flags))) return -1;
    writeTuple(key, tuple, 0);
    if (isTcp && (this.#segment.flags & SYN) === 0 && !ct.commit && this.#looksLikeReply(nowMs)) {
      key[FlowKey.K_CT_STATE] = CT_STATE_TRK | CT_STATE_EST | CT_STATE_RPL;
      return -1;
    }
    key[FlowKey.K_CT_STATE] = CT_STATE_TRK | CT_STATE_NEW;
    const expected = this.expectations.find(tuple, nowMs);
    if (expected >= 0) {
      key[FlowKey.K_CT_STATE] = key[FlowKey.K_CT_STATE]! | CT_STATE_REL;
      tellExpected(this.expectations, expected, key);
    }
    if (!ct.commit || dry) return -1;
    return this.#commit(key, headers, ct, expected, nowMs);
  }

  #commit(key: Int32Array, headers: Headers, ct: CtProgram, expected: number, nowMs: number): number {
    const tuple = this.#tuple;
    const reply = this.#reply;
    const table = this.#table;
    const zone = tuple[T_KIND]! & 0xffff;
    const limit = this.zones.limitOf(zone);
    if (limit > 0 && table.zoneCount(zone) >= limit) return DROP_CONNTRACK_ZONE_LIMIT;
    invert(tuple, reply);
    const { expectations } = this;
    const announced = expected >= 0 && ct.nat !== null && expectations.translate(expected, reply);
    const chooses = !announced && ct.nat !== null && ct.nat.kind !== "existing";
    if (chooses) {
      if (!chooseReply(table, ct.nat, tuple, reply, nowMs)) return DROP_NAT_EXHAUSTED;
    } else if (table.find(reply, nowMs) >= 0) {
      // The answers would belong to another connection, one whose addresses are translated.
      return DROP_NAT_EXHAUSTED;
    }
    const protocol = this.#datagram.protocol;
    const state = protocol === TCP ? T.TCP_SYN_SENT : isIcmp(protocol) ? T.ICMP_FIRST : T.UDP_FIRST;
    const timeoutMs = this.zones.timeoutMs(zone, state);
    const connection = table.add(tuple, reply, key[FlowKey.K_IN_PORT]!, state, nowMs, timeoutMs);
    if (connection < 0) return DROP_CONNTRACK_FULL;
    if (protocol === TCP) this.#peers.open(connection, this.#segment);
    let flags = helperFlag(ct.alg, protocol);
    if (expected >= 0) {
      flags |= FLAG_RELATED;
      this.#adopt(connection, expected);
    }
    if (chooses) flags |= ct.nat.kind === "source" ? FLAG_SNAT : FLAG_DNAT;
    if (announced) flags |= expectations.goesElsewhere(expected) ? FLAG_DNAT : FLAG_SNAT;
    table.flags[connection] = flags;
    if (expected >= 0) expectations.remove(expected);
    this.#translate(connection, ORIGINAL, key, headers, false);
    if ((flags & FLAG_TFTP) !== 0) watchTftp(table, expectations, connection, nowMs);
    markConnection(table, connection, key, ct, false);
    return -1;
  }

  /** An announced connection has its parent's mark and label, and remembers its first tuple. */
  #adopt(connection: number, expected: number): void {
    const table = this.#table;
    const { expectations } = this;
    const words = expectations.words();
    const parent = new Int32Array(TUPLE_WORDS);
    for (let i = 0; i < TUPLE_WORDS; i++) parent[i] = words[expectations.parentAt(expected) + i]!;
    this.#parents.set(connection, parent);
    table.marks[connection] = expectations.mark(expected);
    for (let i = 0; i < 4; i++) table.labels[connection * 4 + i] = words[expectations.labelAt(expected) + i]!;
  }

  /** A helper reads what goes along the connection. */
  #watch(found: number, nowMs: number): void {
    const connection = found >> 1;
    const datagram = this.#datagram;
    if ((this.#table.flags[connection]! & FLAG_TFTP) !== 0) {
      if ((found & 1) === ORIGINAL) watchTftp(this.#table, this.expectations, connection, nowMs);
    } else if (datagram.fragment === 0 && this.#segment.size > 0) {
      const { size } = this.#segment;
      watchFtp(this.#table, this.expectations, connection, found & 1, this.#pool, datagram, size, nowMs);
    }
  }

  /** Of an announced connection the tuple that the key tells is its parent's. */
  #tell(connection: number, key: Int32Array): void {
    tellConnection(this.#table, connection, key);
    if ((this.#table.flags[connection]! & FLAG_RELATED) === 0) return;
    const parent = this.#parents.get(connection);
    if (parent !== undefined) writeTuple(key, parent, 0);
  }

  #looksLikeReply(nowMs: number): boolean {
    const ports = this.#tuple[T_PORTS]!;
    return nowMs - this.#startMs < this.#graceMs && ports >>> 16 < (ports & 0xffff);
  }

  /** An ICMP error: related to the connection of what it quotes, or to none. */
  #error(key: Int32Array, ct: CtProgram, nowMs: number): void {
    const table = this.#table;
    // It travels with the answers to what it quotes.
    invert(this.#tuple, this.#reply);
    const found = table.find(this.#reply, nowMs);
    if (found < 0) return;
    const connection = found >> 1;
    const direction = found & 1;
    this.#tell(connection, key);
    key[FlowKey.K_CT_STATE] = CT_STATE_TRK | CT_STATE_REL | (direction === REPLY ? CT_STATE_RPL : 0);
    const flags = table.flags[connection]!;
    if (ct.nat === null || (flags & TRANSLATED) === 0) return;
    key[FlowKey.K_CT_STATE] = key[FlowKey.K_CT_STATE]! | translationBit((flags & FLAG_SNAT) !== 0, direction);
    const { bytes, view } = this.#pool;
    const seen = found * TUPLE_WORDS;
    const sent = (found ^ 1) * TUPLE_WORDS;
    translateError(table.tuples, seen, sent, bytes, view, key, this.#datagram, this.#quoted);
  }

  #translate(connection: number, direction: number, key: Int32Array, headers: Headers, done: boolean): void {
    const flags = this.#table.flags[connection]!;
    if ((flags & TRANSLATED) === 0) return;
    key[FlowKey.K_CT_STATE] = key[FlowKey.K_CT_STATE]! | translationBit((flags & FLAG_SNAT) !== 0, direction);
    if (done) return;
    const { bytes, view } = this.#pool;
    const other = (connection * 2 + (1 - direction)) * TUPLE_WORDS;
    translate(this.#table.tuples, other, bytes, view, key, headers, this.#datagram);
  }

  /** The packet moves the connection on and renews its time. */
  #advance(connection: number, direction: number, nowMs: number): void {
    const table = this.#table;
    if (direction === REPLY) table.flags[connection] = table.flags[connection]! | SEEN_REPLY;
    const answered = (table.flags[connection]! & SEEN_REPLY) !== 0;
    const { protocol } = this.#datagram;
    let state: number;
    if (protocol === TCP) state = this.#peers.stateOf(connection);
    else if (isIcmp(protocol)) state = answered ? T.ICMP_REPLIED : T.ICMP_FIRST;
    else state = answered ? T.UDP_MULTIPLE : T.UDP_SINGLE;
    table.states[connection] = state;
    table.expiresMs[connection] = nowMs + this.zones.timeoutMs(table.zoneOf(connection), state);
  }
}
