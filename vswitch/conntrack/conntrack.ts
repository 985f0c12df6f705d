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
  type Headers,
  runOnKey,
  type Tracker,
} from "../flow/index.js";
import {
  type ConnectionFilter,
  type ConnectionInfo,
  connectionFits,
  describeConnection,
} from "./connection-info.js";
import {
  ConnectionTable,
  FLAG_DNAT,
  FLAG_RELATED,
  FLAG_SNAT,
  ORIGINAL,
  REPLY,
  SEEN_REPLY,
} from "./connection-table.js";
import {
  checksumIsRight,
  claimsChecksum,
  Datagram,
  headerIsSound,
  payloadSumOf,
  transportIsWhole,
} from "./datagram.js";
import { CONNECTIONS_MAX } from "./limits.js";
import { chooseReply } from "./nat.js";
import { KIND_ERROR, KIND_INVALID, Quoted, readTuple } from "./read-tuple.js";
import { SEGMENT_INVALID, SEGMENT_OPENING, SEGMENT_REOPENS, SEGMENT_VALID, TcpPeers } from "./tcp.js";
import { flagsAreImpossible, flagsMayOpen, Segment, SYN } from "./tcp-segment.js";
import * as T from "./timeouts.js";
import { translate, translateError } from "./translate.js";
import { invert, isIcmp, mayOpen, protocolOf, T_KIND, T_PORTS, TCP, TUPLE_WORDS } from "./tuple.js";
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

export class Conntrack implements Tracker {
  readonly zones = new Zones();
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
  readonly #segment = new Segment();
  readonly #quoted = new Quoted();
  readonly #tuple = new Int32Array(TUPLE_WORDS);
  readonly #reply = new Int32Array(TUPLE_WORDS);

  constructor(options: ConntrackOptions) {
    const capacity = options.connectionsMax ?? CONNECTIONS_MAX;
    this.#pool = options.pool;
    this.#table = new ConnectionTable(capacity);
    this.#peers = new TcpPeers(capacity);
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
      defaultLimit: zones.defaultLimit,
      limits: limits.map((one) => ({ ...one, count: this.#table.zoneCount(one.zone) })),
    };
  }

  sweep(nowMs: number): void {
    this.#table.sweep(nowMs);
  }

  /** Forgets the connections that `filter` means; returns how many. */
  flush(filter: ConnectionFilter, nowMs: number): number {
    const table = this.#table;
    const before = table.size;
    for (let c = 0; c < table.capacity; c++) {
      if (table.states[c] === T.STATE_NONE) continue;
      if (connectionFits(describeConnection(table, this.#peers, c, nowMs), filter)) table.remove(c);
    }
    return before - table.size;
  }

  /** Every connection that `filter` means, for dpctl/dump-conntrack. */
  connections(nowMs: number, filter: ConnectionFilter = {}): ConnectionInfo[] {
    const table = this.#table;
    const all: ConnectionInfo[] = [];
    for (let c = 0; c < table.capacity; c++) {
      if (table.states[c] === T.STATE_NONE || table.expiresMs[c]! <= nowMs) continue;
      const one = describeConnection(table, this.#peers, c, nowMs);
      if (connectionFits(one, filter)) all.push(one);
    }
    return all;
  }

  track(
    _packet: number,
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
    if (!datagram.read(view, key, headers) || datagram.fragment !== 0) return -1;
    if (!this.#isSound((before & (CT_STATE_TRK | CT_STATE_INV)) === CT_STATE_TRK)) return -1;
    const kind = readTuple(view, datagram, zone, this.#tuple, this.#quoted);
    if (kind === KIND_INVALID) return -1;
    if (kind === KIND_ERROR) {
      this.#error(key, ct, nowMs);
      return -1;
    }
    return this.#trackTuple(key, headers, ct, translatedHere, nowMs, dry);
  }

  /** `verified`: an earlier ct() has checked the checksums, and since then only we have changed the packet. */
  #isSound(verified: boolean): boolean {
    const { bytes, view } = this.#pool;
    const datagram = this.#datagram;
    if (!headerIsSound(bytes, datagram) || !transportIsWhole(view, datagram)) return false;
    if (verified || !this.#verifyChecksums || !claimsChecksum(view, datagram)) return true;
    return checksumIsRight(bytes, view, datagram, payloadSumOf(bytes, view, datagram));
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
    if (isTcp) {
      segment.read(this.#pool.view, this.#datagram);
      if (flagsAreImpossible(segment.flags)) return -1;
    }
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
    if (ct.nat !== null) this.#translate(connection, direction, key, headers, translatedHere);
    if (ct.commit) this.#mark(connection, key, ct, dry);
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
    if (!ct.commit || dry) return -1;
    return this.#commit(key, headers, ct, nowMs);
  }

  #commit(key: Int32Array, headers: Headers, ct: CtProgram, nowMs: number): number {
    const tuple = this.#tuple;
    const reply = this.#reply;
    const table = this.#table;
    const zone = tuple[T_KIND]! & 0xffff;
    const limit = this.zones.limitOf(zone);
    if (limit > 0 && table.zoneCount(zone) >= limit) return DROP_CONNTRACK_ZONE_LIMIT;
    invert(tuple, reply);
    const translates = ct.nat !== null && ct.nat.kind !== "existing";
    if (translates) {
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
    if (translates) {
      table.flags[connection] = table.flags[connection]! | (ct.nat.kind === "source" ? FLAG_SNAT : FLAG_DNAT);
      this.#translate(connection, ORIGINAL, key, headers, false);
    }
    this.#mark(connection, key, ct, false);
    return -1;
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
    key[FlowKey.K_CT_STATE] = key[FlowKey.K_CT_STATE]! | translationBit(flags, direction);
    const { bytes, view } = this.#pool;
    const seen = found * TUPLE_WORDS;
    const sent = (found ^ 1) * TUPLE_WORDS;
    translateError(table.tuples, seen, sent, bytes, view, key, this.#datagram, this.#quoted);
  }

  #translate(connection: number, direction: number, key: Int32Array, headers: Headers, done: boolean): void {
    const flags = this.#table.flags[connection]!;
    if ((flags & TRANSLATED) === 0) return;
    key[FlowKey.K_CT_STATE] = key[FlowKey.K_CT_STATE]! | translationBit(flags, direction);
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

  /** Mark, label and first packet's tuple of the connection into the key. */
  #tell(connection: number, key: Int32Array): void {
    const table = this.#table;
    writeTuple(key, table.tuples, connection * 2 * TUPLE_WORDS);
    key[FlowKey.K_CT_MARK] = table.marks[connection]!;
    for (let i = 0; i < 4; i++) key[FlowKey.K_CT_LABEL + i] = table.labels[connection * 4 + i]!;
  }

  /** Does what exec() says to mark and label. */
  #mark(connection: number, key: Int32Array, ct: CtProgram, dry: boolean): void {
    if (ct.program === null) return;
    runOnKey(ct.program, key);
    if (dry) return;
    const table = this.#table;
    table.marks[connection] = key[FlowKey.K_CT_MARK]!;
    for (let i = 0; i < 4; i++) table.labels[connection * 4 + i] = key[FlowKey.K_CT_LABEL + i]!;
  }
}

/** What has been done to a packet of that direction: the answers to what has a new source get a new destination. */
function translationBit(flags: number, direction: number): number {
  const source = ((flags & FLAG_SNAT) !== 0) === (direction === ORIGINAL);
  return source ? CT_STATE_SNAT : CT_STATE_DNAT;
}

/** The tuple at `at` into the ct words of the key; ICMP shows its type and code as ports. */
function writeTuple(key: Int32Array, tuples: Int32Array, at: number): void {
  const protocol = protocolOf(tuples[at + T_KIND]!);
  const ports = tuples[at + T_PORTS]!;
  key[FlowKey.K_CT_ZONE] = (protocol << 24) | (tuples[at + T_KIND]! & 0xffff);
  for (let i = 0; i < 8; i++) key[FlowKey.K_CT_SRC + i] = tuples[at + i]!;
  key[FlowKey.K_CT_TP] = isIcmp(protocol) ? ((ports & 0xff00) << 8) | (ports & 0xff) : ports;
}
