// Connection tracking for IPv4: TCP, UDP, SCTP, ICMP and plain IP, in zones, with marks and address translation.
// The ct_state bits mean what ovs-fields(7) says: new = not committed, est = committed, rpl = against the direction
// of the first packet, rel = an ICMP error about a connection, inv = cannot be tracked.
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
  DROP_NAT_EXHAUSTED,
  FlowKey,
  type Headers,
  type Rewriter,
  runOnKey,
  type Tracker,
} from "../flow/index.js";
import { ConnectionTable, FLAG_DNAT, FLAG_SNAT, REPLY, SEEN_REPLY } from "./connection-table.js";
import { CONNECTIONS_MAX } from "./limits.js";
import { chooseReply, translate, translateError } from "./nat.js";
import { finFlag, flagsInvalid, nextState, openingState, reopens } from "./tcp.js";
import * as T from "./timeouts.js";
import { invert, KIND_ERROR, KIND_INVALID, mayOpen, readTuple, TUPLE_WORDS } from "./tuple.js";

/** How long after the start segments of unknown TCP connections from the lower port pass as replies. */
export const PICKUP_GRACE_MS = 30_000;

export interface ConntrackOptions {
  readonly pool: PacketPool;
  /** A power of two; CONNECTIONS_MAX when absent. */
  readonly connectionsMax?: number;
  /** PICKUP_GRACE_MS when absent; 0 = no grace. */
  readonly pickupGraceMs?: number;
}

/** One connection, for people. */
export interface ConnectionInfo {
  readonly zone: number;
  readonly protocol: number;
  readonly source: number;
  readonly destination: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly state: (typeof T.STATE_NAMES)[number];
  readonly mark: number;
  readonly seenReply: boolean;
  readonly expiresInMs: number;
}

export class Conntrack implements Tracker {
  readonly #pool: PacketPool;
  readonly #table: ConnectionTable;
  readonly #graceMs: number;
  #startMs = Number.NaN;
  readonly #tuple = new Int32Array(TUPLE_WORDS);
  readonly #reply = new Int32Array(TUPLE_WORDS);

  constructor(options: ConntrackOptions) {
    this.#pool = options.pool;
    this.#table = new ConnectionTable(options.connectionsMax ?? CONNECTIONS_MAX);
    this.#graceMs = options.pickupGraceMs ?? PICKUP_GRACE_MS;
  }

  get size(): number {
    return this.#table.size;
  }
  get evictions(): number {
    return this.#table.evictions;
  }

  sweep(nowMs: number): void {
    this.#table.sweep(nowMs);
  }

  /** Forgets the connections of `zone`, or all. */
  flush(zone?: number): void {
    const table = this.#table;
    for (let c = 0; c < table.capacity; c++) {
      if (table.states[c] === T.STATE_NONE) continue;
      if (zone === undefined || (table.tuples[c * 2 * TUPLE_WORDS + 3]! & 0xffff) === zone) table.remove(c);
    }
  }

  track(
    packet: number,
    key: Int32Array,
    headers: Headers,
    rewriter: Rewriter,
    ct: CtProgram,
    zone: number,
    nowMs: number,
    dry: boolean,
  ): number {
    if (Number.isNaN(this.#startMs)) this.#startMs = nowMs;
    key[FlowKey.K_CT_ZONE] = zone;
    key[FlowKey.K_CT_MARK] = 0;
    key[FlowKey.K_CT_STATE] = CT_STATE_TRK | CT_STATE_INV;
    const tuple = this.#tuple;
    const kind = readTuple(this.#pool.view, key, headers, zone, tuple);
    if (kind === KIND_INVALID) return -1;
    if (kind === KIND_ERROR) {
      this.#related(packet, key, headers, rewriter, ct, nowMs);
      return -1;
    }
    const tcp = headers.l4Protocol === 6;
    const flags = key[FlowKey.K_TCP_FLAGS]!;
    if (tcp && flagsInvalid(flags)) return -1;
    let found = this.#table.find(tuple, nowMs);
    if (found >= 0 && !dry && this.#mustStartAnew(found, tcp, flags, ct)) {
      this.#table.remove(found >> 1);
      found = -1;
    }
    if (found >= 0) {
      this.#known(packet, key, headers, rewriter, ct, found, tcp ? flags : -1, nowMs, dry);
      return -1;
    }
    return this.#unknown(packet, key, headers, rewriter, ct, tcp ? flags : -1, nowMs, dry);
  }

  #mustStartAnew(found: number, tcp: boolean, flags: number, ct: CtProgram): boolean {
    if (tcp && reopens(this.#table.states[found >> 1]!, flags)) return true;
    return ct.commit && ct.force && (found & 1) === REPLY;
  }

  /** A packet of a committed connection. `flags` is −1 for other protocols than TCP. */
  #known(
    packet: number,
    key: Int32Array,
    headers: Headers,
    rewriter: Rewriter,
    ct: CtProgram,
    found: number,
    flags: number,
    nowMs: number,
    dry: boolean,
  ): void {
    const table = this.#table;
    const connection = found >> 1;
    const direction = found & 1;
    if (!dry) this.#advance(connection, direction, flags, nowMs);
    key[FlowKey.K_CT_STATE] = this.#stateBits(connection, direction) | CT_STATE_EST;
    key[FlowKey.K_CT_MARK] = table.marks[connection]!;
    if (ct.nat !== null && (table.flags[connection]! & (FLAG_SNAT | FLAG_DNAT)) !== 0) {
      translate(table, connection, direction, packet, this.#pool.view, key, headers, rewriter);
    }
    if (ct.commit && ct.program !== null) this.#mark(connection, key, ct, dry);
  }

  /** A packet of no committed connection. Returns −1 or a drop reason. */
  #unknown(
    packet: number,
    key: Int32Array,
    headers: Headers,
    rewriter: Rewriter,
    ct: CtProgram,
    flags: number,
    nowMs: number,
    dry: boolean,
  ): number {
    const tuple = this.#tuple;
    if (!mayOpen(tuple)) return -1;
    const state = flags < 0 ? T.STATE_SINGLE : openingState(flags);
    if (state === T.STATE_NONE) return -1;
    if (flags >= 0 && state !== T.TCP_SYN_SENT && this.#looksLikeReply(nowMs) && !ct.commit) {
      key[FlowKey.K_CT_STATE] = CT_STATE_TRK | CT_STATE_EST | CT_STATE_RPL;
      return -1;
    }
    key[FlowKey.K_CT_STATE] = CT_STATE_TRK | CT_STATE_NEW;
    if (!ct.commit || dry) return -1;
    const reply = this.#reply;
    invert(tuple, reply);
    const translates = ct.nat !== null && ct.nat.kind !== "existing";
    if (translates) {
      if (!chooseReply(this.#table, ct.nat, tuple, reply, nowMs)) return DROP_NAT_EXHAUSTED;
    } else if (this.#table.find(reply, nowMs) >= 0) {
      // The answers would belong to another connection, one whose addresses are translated.
      return DROP_NAT_EXHAUSTED;
    }
    const connection = this.#table.add(tuple, reply, state, nowMs, T.TIMEOUTS_MS[state]!);
    if (connection < 0) return DROP_CONNTRACK_FULL;
    if (flags >= 0) this.#table.flags[connection] = finFlag(flags, 0);
    if (translates) {
      this.#table.flags[connection] =
        this.#table.flags[connection]! | (ct.nat.kind === "source" ? FLAG_SNAT : FLAG_DNAT);
      translate(this.#table, connection, 0, packet, this.#pool.view, key, headers, rewriter);
      key[FlowKey.K_CT_STATE] = this.#stateBits(connection, 0) | CT_STATE_NEW;
    }
    if (ct.program !== null) this.#mark(connection, key, ct, dry);
    return -1;
  }

  #looksLikeReply(nowMs: number): boolean {
    const ports = this.#tuple[2]!;
    return nowMs - this.#startMs < this.#graceMs && ports >>> 16 < (ports & 0xffff);
  }

  #related(
    packet: number,
    key: Int32Array,
    headers: Headers,
    rewriter: Rewriter,
    ct: CtProgram,
    nowMs: number,
  ): void {
    // The quoted packet, as the speaker saw it, is the inverse of what would answer it.
    const table = this.#table;
    const inverse = this.#reply;
    invert(this.#tuple, inverse);
    const found = table.find(inverse, nowMs);
    if (found < 0) return;
    const connection = found >> 1;
    const direction = found & 1;
    key[FlowKey.K_CT_STATE] = this.#stateBits(connection, direction) | CT_STATE_REL;
    key[FlowKey.K_CT_MARK] = table.marks[connection]!;
    if (ct.nat !== null && (table.flags[connection]! & (FLAG_SNAT | FLAG_DNAT)) !== 0) {
      const { bytes, view } = this.#pool;
      translateError(table, connection, direction, packet, bytes, view, key, headers, rewriter);
    }
  }

  #stateBits(connection: number, direction: number): number {
    const flags = this.#table.flags[connection]!;
    return (
      CT_STATE_TRK |
      (direction === REPLY ? CT_STATE_RPL : 0) |
      ((flags & FLAG_SNAT) !== 0 ? CT_STATE_SNAT : 0) |
      ((flags & FLAG_DNAT) !== 0 ? CT_STATE_DNAT : 0)
    );
  }

  /** The packet moves the connection on and renews its time. */
  #advance(connection: number, direction: number, flags: number, nowMs: number): void {
    const table = this.#table;
    if (direction === REPLY) table.flags[connection] = table.flags[connection]! | SEEN_REPLY;
    let state = table.states[connection]!;
    if (flags >= 0) {
      const all = table.flags[connection]! | finFlag(flags, direction);
      table.flags[connection] = all;
      state = nextState(state, flags, direction, all);
    } else if (direction === REPLY) state = T.STATE_MULTIPLE;
    table.states[connection] = state;
    table.expiresMs[connection] = nowMs + T.TIMEOUTS_MS[state]!;
  }

  #mark(connection: number, key: Int32Array, ct: CtProgram, dry: boolean): void {
    if (ct.program === null) return;
    key[FlowKey.K_CT_MARK] = this.#table.marks[connection]!;
    runOnKey(ct.program, key);
    if (!dry) this.#table.marks[connection] = key[FlowKey.K_CT_MARK]!;
  }

  /** Every connection, for dpctl/dump-conntrack. */
  connections(nowMs: number): ConnectionInfo[] {
    const { tuples, states, flags, marks, expiresMs, capacity } = this.#table;
    const all: ConnectionInfo[] = [];
    for (let c = 0; c < capacity; c++) {
      if (states[c] === T.STATE_NONE) continue;
      const base = c * 2 * TUPLE_WORDS;
      all.push({
        zone: tuples[base + 3]! & 0xffff,
        protocol: tuples[base + 3]! >>> 16,
        source: tuples[base]! >>> 0,
        destination: tuples[base + 1]! >>> 0,
        sourcePort: tuples[base + 2]! >>> 16,
        destinationPort: tuples[base + 2]! & 0xffff,
        state: T.STATE_NAMES[states[c]!]!,
        mark: marks[c]! >>> 0,
        seenReply: (flags[c]! & SEEN_REPLY) !== 0,
        expiresInMs: expiresMs[c]! - nowMs,
      });
    }
    return all;
  }
}
