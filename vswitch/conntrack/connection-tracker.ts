// What a packet is to the connections: which it belongs to, whether it can, what it changes there, and what its key is
// told of it.
// Invariant: a packet is looked up once; only commit adds. Source: ovs-actions(7) ct, ovs-fields(7) ct_state. Thread:
// datapath worker. Hot: yes.
import {
  CT_STATE_EST,
  CT_STATE_INV,
  CT_STATE_NEW,
  CT_STATE_REL,
  CT_STATE_RPL,
  CT_STATE_TRK,
} from "../../base/openflow/index.js";
import type { PacketPool } from "../../base/packet/index.js";
import { type CtProgram, DROP_HELPER_FRAGMENT, FlowKey, type Headers } from "../flow/index.js";
import { markConnection, tellConnection, tellExpected, writeTuple } from "./connection-key.js";
import { connectionMemory } from "./connection-memory.js";
import { ConnectionOpener } from "./connection-opener.js";
import {
  ConnectionTable,
  FLAG_FTP,
  FLAG_RELATED,
  FLAG_TFTP,
  ORIGINAL,
  REPLY,
  SEEN_REPLY,
} from "./connection-table.js";
import { Expectations } from "./expectations.js";
import { FtpHelper } from "./ftp-helper.js";
import type { ObservedPacket } from "./observed-packet.js";
import { SEGMENT_INVALID, SEGMENT_OPENING, SEGMENT_REOPENS, SEGMENT_VALID, TcpPeers } from "./tcp.js";
import { flagsAreImpossible, flagsMayOpen, SYN } from "./tcp-segment.js";
import { watchTftp } from "./tftp-helper.js";
import * as T from "./timeouts.js";
import { TRANSLATED, Translator } from "./translator.js";
import { invert, isIcmp, mayOpen, T_PORTS, TCP, TUPLE_WORDS } from "./tuple.js";
import type { Zones } from "./zones.js";

const WATCHED = FLAG_FTP | FLAG_TFTP;

export class ConnectionTracker {
  readonly table: ConnectionTable;
  readonly peers: TcpPeers;
  readonly expectations = new Expectations();
  readonly ftp: FtpHelper;
  /** Refuse TCP segments outside their connection's windows. */
  checkSequence = true;
  readonly zones: Zones;
  readonly #graceMs: number;
  readonly #opener: ConnectionOpener;
  readonly #translator: Translator;
  /** connection × 2 + direction of the packet in hand when pass() may take the next like it; −1 otherwise. */
  found = -1;
  #startMs = Number.NaN;
  readonly #inverse = new Int32Array(TUPLE_WORDS);

  /** `capacity` is a power of two; `memory` has room for it. */
  constructor(
    pool: PacketPool,
    zones: Zones,
    capacity: number,
    graceMs: number,
    memory = connectionMemory(capacity),
  ) {
    this.zones = zones;
    this.#graceMs = graceMs;
    const forget = (connection: number): void => {
      this.ftp.forget(connection);
      this.#opener.forget(connection);
    };
    this.table = new ConnectionTable(capacity, forget, memory);
    this.peers = new TcpPeers(memory);
    this.ftp = new FtpHelper(pool, this.table, this.expectations);
    this.#translator = new Translator(pool, this.table, this.ftp);
    const { table, peers, expectations, ftp } = this;
    this.#opener = new ConnectionOpener({ zones, table, peers, expectations, ftp });
  }

  /** Time begins with the first packet. */
  start(nowMs: number): void {
    if (Number.isNaN(this.#startMs)) this.#startMs = nowMs;
  }

  /** The packet's connection into the key, and the packet into its connection. Returns −1 or a drop reason. */
  track(
    observed: ObservedPacket,
    key: Int32Array,
    headers: Headers,
    ct: CtProgram,
    nowMs: number,
    dry: boolean,
  ): number {
    const isTcp = observed.datagram.protocol === TCP;
    const { segment } = observed;
    if (isTcp && flagsAreImpossible(segment.flags)) return -1;
    const found = this.#find(observed, nowMs);
    if (found < 0) return this.#unknown(observed, key, headers, ct, nowMs, dry);
    const connection = found >> 1;
    let verdict = SEGMENT_VALID;
    if (isTcp) {
      if ((this.table.flagsOf(connection) & FLAG_FTP) !== 0) {
        if (observed.datagram.fragment === 0)
          this.ftp.normalize(connection, found & 1, segment, observed.isTranslated);
        // Its numbers change, and it cannot be told what of its text is in which fragment.
        else if (this.ftp.changes(connection)) return DROP_HELPER_FRAGMENT;
      }
      verdict = this.peers.pass(connection, found & 1, segment, this.checkSequence, dry);
    }
    const turned = ct.commit && ct.force && (found & 1) === REPLY;
    if (verdict === SEGMENT_REOPENS || (turned && verdict !== SEGMENT_INVALID)) {
      if (!dry) this.table.remove(connection);
      return this.#unknown(observed, key, headers, ct, nowMs, dry);
    }
    this.#known(observed, key, headers, ct, found, verdict, nowMs, dry);
    return -1;
  }

  /** A packet that this zone has translated already is known by the answers to it. */
  #find(observed: ObservedPacket, nowMs: number): number {
    const found = this.table.find(observed.tuple, nowMs);
    if (found >= 0 || !observed.isTranslated) return found;
    invert(observed.tuple, this.#inverse);
    const answer = this.table.find(this.#inverse, nowMs);
    return answer < 0 ? -1 : answer ^ 1;
  }

  /** A packet of a committed connection. */
  #known(
    observed: ObservedPacket,
    key: Int32Array,
    headers: Headers,
    ct: CtProgram,
    found: number,
    verdict: number,
    nowMs: number,
    dry: boolean,
  ): void {
    const { table } = this;
    const connection = found >> 1;
    const direction = found & 1;
    this.tell(connection, key);
    if (verdict === SEGMENT_INVALID) {
      // Whoever forwards it all the same must not show the other side addresses that it does not know.
      if (ct.nat !== null) this.#translator.packet(observed, connection, direction, key, headers);
      return;
    }
    if (!observed.isTranslated) this.found = found;
    if (!dry) this.advance(observed.datagram.protocol, connection, direction, nowMs);
    const flags = table.flagsOf(connection);
    const isTcp = observed.datagram.protocol === TCP;
    const established = isTcp
      ? verdict !== SEGMENT_OPENING
      : (flags & SEEN_REPLY) !== 0 || direction === REPLY;
    key[FlowKey.K_CT_STATE] =
      CT_STATE_TRK |
      (established ? CT_STATE_EST : CT_STATE_NEW) |
      (direction === REPLY ? CT_STATE_RPL : 0) |
      ((flags & FLAG_RELATED) !== 0 ? CT_STATE_REL : 0);
    if (!dry && (flags & WATCHED) !== 0) this.#watch(observed, found, ct, nowMs);
    if (ct.nat !== null) this.#translator.packet(observed, connection, direction, key, headers);
    if (ct.commit) markConnection(table, connection, key, ct, dry);
  }

  /** A packet of no committed connection. Returns −1 or a drop reason. */
  #unknown(
    observed: ObservedPacket,
    key: Int32Array,
    headers: Headers,
    ct: CtProgram,
    nowMs: number,
    dry: boolean,
  ): number {
    const { tuple, segment } = observed;
    const isTcp = observed.datagram.protocol === TCP;
    if (!mayOpen(tuple) || (isTcp && !flagsMayOpen(segment.flags))) return -1;
    writeTuple(key, tuple, 0);
    if (isTcp && (segment.flags & SYN) === 0 && !ct.commit && this.#looksLikeReply(tuple, nowMs)) {
      key[FlowKey.K_CT_STATE] = CT_STATE_TRK | CT_STATE_EST | CT_STATE_RPL;
      return -1;
    }
    key[FlowKey.K_CT_STATE] = CT_STATE_TRK | CT_STATE_NEW;
    const { expectations } = this;
    const expected = expectations.find(tuple, nowMs);
    if (expected >= 0) {
      key[FlowKey.K_CT_STATE] = key[FlowKey.K_CT_STATE]! | CT_STATE_REL;
      tellExpected(expectations, expected, key);
    }
    if (!ct.commit || dry) return -1;
    const reason = this.#opener.open(observed, ct, expected, key[FlowKey.K_IN_PORT]!, nowMs);
    if (reason >= 0) return reason;
    const { opened } = this.#opener;
    // An earlier connection of the zone may have translated the packet; this one has not.
    observed.isTranslated = false;
    this.#translator.packet(observed, opened, ORIGINAL, key, headers);
    markConnection(this.table, opened, key, ct, false);
    return -1;
  }

  /** A helper reads what goes along the connection: once, and where it can be changed if it has to be. */
  #watch(observed: ObservedPacket, found: number, ct: CtProgram, nowMs: number): void {
    const connection = found >> 1;
    const direction = found & 1;
    const flags = this.table.flagsOf(connection);
    if (observed.isTranslated) return;
    if ((flags & FLAG_TFTP) !== 0) {
      if (direction === ORIGINAL) watchTftp(this.table, this.expectations, connection, nowMs);
    } else if (ct.nat !== null || (flags & TRANSLATED) === 0) {
      this.ftp.watch(connection, direction, observed.segment, observed.datagram, nowMs);
    }
  }

  /** The connection into the key; of an announced one the tuple told is its parent's. */
  tell(connection: number, key: Int32Array): void {
    tellConnection(this.table, connection, key);
    if ((this.table.flagsOf(connection) & FLAG_RELATED) === 0) return;
    const parent = this.#opener.parentOf(connection);
    if (parent !== undefined) writeTuple(key, parent, 0);
  }

  #looksLikeReply(tuple: Int32Array, nowMs: number): boolean {
    const ports = tuple[T_PORTS]!;
    return nowMs - this.#startMs < this.#graceMs && ports >>> 16 < (ports & 0xffff);
  }

  /** An ICMP error: related to the connection of what it quotes, or to none. */
  error(observed: ObservedPacket, key: Int32Array, ct: CtProgram, nowMs: number): void {
    // It travels with the answers to what it quotes.
    invert(observed.tuple, this.#inverse);
    const found = this.table.find(this.#inverse, nowMs);
    if (found < 0) return;
    const connection = found >> 1;
    const direction = found & 1;
    this.tell(connection, key);
    key[FlowKey.K_CT_STATE] = CT_STATE_TRK | CT_STATE_REL | (direction === REPLY ? CT_STATE_RPL : 0);
    if (ct.nat !== null) this.#translator.error(observed, connection, direction, key);
  }

  /** The packet moves the connection on and renews its time. */
  advance(protocol: number, connection: number, direction: number, nowMs: number): void {
    const { table } = this;
    if (direction === REPLY) table.setFlags(connection, table.flagsOf(connection) | SEEN_REPLY);
    const answered = (table.flagsOf(connection) & SEEN_REPLY) !== 0;
    let state: number;
    if (protocol === TCP) state = this.peers.stateOf(connection);
    else if (isIcmp(protocol)) state = answered ? T.ICMP_REPLIED : T.ICMP_FIRST;
    else state = answered ? T.UDP_MULTIPLE : T.UDP_SINGLE;
    table.setState(connection, state);
    table.setExpiry(connection, nowMs + this.zones.timeoutMs(table.zoneOf(connection), state));
  }
}

/** What is invalid unless something better is found. */
export function tellInvalid(key: Int32Array, zone: number): void {
  key[FlowKey.K_CT_ZONE] = zone;
  key[FlowKey.K_CT_STATE] = CT_STATE_TRK | CT_STATE_INV;
}
