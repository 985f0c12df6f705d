// The short way of the packet that begins a connection: one that belongs to nothing is only looked up and remembered by
// meet(), and committed by open() when the tables say so, without being read again. All that Conntrack.track() checks is
// checked here too; whatever is not plain (IP options, TCP from the middle of a conversation, helpers, translation, a
// connection that is expected, one for which another has to give way) is left to it.
// Invariant: where meet() returns 0 or open() false, nothing was changed. Source: as connection-tracker.ts. Thread:
// datapath worker. Hot: yes.
import { CT_STATE_NEW, CT_STATE_TRK } from "../../base/openflow/index.js";
import type { PacketPool } from "../../base/packet/index.js";
import { type CtProgram, FlowKey } from "../flow/index.js";
import { markConnection, writeTuple } from "./connection-key.js";
import type { ConnectionTable } from "./connection-table.js";
import type { ConnectionTracker } from "./connection-tracker.js";
import type { PlainIpv4 } from "./plain-ipv4.js";
import { ACK, FIN, PSH, RST, Segment, SYN, URG } from "./tcp-segment.js";
import * as T from "./timeouts.js";
import { invert, kindOf, T_DST, T_KIND, T_PORTS, T_SRC, TCP, TUPLE_WORDS, UDP, zoneOf } from "./tuple.js";

/** Found at any time: also what has expired stands in the way. */
const EVER = Number.NEGATIVE_INFINITY;

export class FirstPackets {
  /** The connection that open() has made. */
  opened = -1;
  readonly #pool: PacketPool;
  readonly #tracker: ConnectionTracker;
  readonly #table: ConnectionTable;
  readonly #plain: PlainIpv4;
  readonly #segment = new Segment();
  /** Of the packet that was met last. */
  readonly #tuple = new Int32Array(TUPLE_WORDS);
  readonly #reply = new Int32Array(TUPLE_WORDS);
  #protocol = 0;

  constructor(pool: PacketPool, tracker: ConnectionTracker, plain: PlainIpv4) {
    this.#pool = pool;
    this.#tracker = tracker;
    this.#table = tracker.table;
    this.#plain = plain;
  }

  /** See Tracker.meet. */
  meet(packet: number, ct: CtProgram, zone: number, port: number, nowMs: number): number {
    const plain = this.#plain;
    if (!plain.read(packet)) return 0;
    const { l3, l4, protocol } = plain;
    if (!plain.headerIsSound()) return 0;
    if (protocol === TCP) {
      if ((plain.flags() & (SYN | ACK | RST | FIN | PSH | URG)) !== SYN) return 0;
      if (!plain.isSegment(this.#segment)) return 0;
    } else if (protocol !== UDP || !plain.isDatagram()) return 0;
    const { view } = this.#pool;
    const tuple = this.#tuple;
    tuple[T_SRC] = view.getInt32(l3 + 12);
    tuple[T_DST] = view.getInt32(l3 + 16);
    tuple[T_PORTS] = view.getInt32(l4);
    tuple[T_KIND] = kindOf(false, protocol, zone);
    const { expectations } = this.#tracker;
    if (this.#table.find(tuple, EVER) >= 0 || expectations.find(tuple, nowMs) >= 0) return 0;
    this.#protocol = protocol;
    if (ct.commit && !this.open(ct, zone, port, nowMs, null)) return 0;
    this.#tracker.start(nowMs);
    return CT_STATE_TRK | CT_STATE_NEW;
  }

  /** See Tracker.open; without a key no mark or label can be given. */
  open(ct: CtProgram, zone: number, port: number, nowMs: number, key: Int32Array | null): boolean {
    const table = this.#table;
    const tuple = this.#tuple;
    const { zones, peers } = this.#tracker;
    if (ct.nat !== null || ct.alg !== 0 || (key === null && ct.program !== null)) return false;
    if (zone !== zoneOf(tuple[T_KIND]!) || !table.hasRoom) return false;
    const limit = zones.limitOf(zone);
    if (limit > 0 && table.zoneCount(zone) >= limit) return false;
    const reply = this.#reply;
    invert(tuple, reply);
    if (table.find(reply, EVER) >= 0) return false;
    const isTcp = this.#protocol === TCP;
    const state = isTcp ? T.TCP_SYN_SENT : T.UDP_FIRST;
    const connection = table.add(tuple, reply, port, state, nowMs, zones.timeoutMs(zone, state));
    if (isTcp) peers.open(connection, this.#segment);
    if (key !== null) markConnection(table, connection, key, ct, false);
    this.opened = connection;
    return true;
  }

  /** The ct words of the key of the packet that was met last, but its state. */
  tell(key: Int32Array): void {
    for (let i = FlowKey.K_CT_STATE; i < FlowKey.K_PKT_MARK; i++) key[i] = 0;
    writeTuple(key, this.#tuple, 0);
  }
}
