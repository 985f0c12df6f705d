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
import { PlainSums } from "./plain-sums.js";
import { ACK, FIN, PSH, RST, Segment, SYN, URG } from "./tcp-segment.js";
import * as T from "./timeouts.js";
import { invert, kindOf, T_DST, T_KIND, T_PORTS, T_SRC, TCP, TUPLE_WORDS, UDP, zoneOf } from "./tuple.js";

const TYPE_IPV4 = 0x0800;
const ETHERNET_SIZE = 14;
const TAG_SIZE = 4;
const IPV4_SIZE = 20;
/** Found at any time: also what has expired stands in the way. */
const EVER = Number.NEGATIVE_INFINITY;

export class FirstPackets {
  /** The connection that open() has made. */
  opened = -1;
  readonly #pool: PacketPool;
  readonly #tracker: ConnectionTracker;
  readonly #table: ConnectionTable;
  readonly #verify: boolean;
  readonly #sums: PlainSums;
  readonly #segment = new Segment();
  /** Of the packet that was met last. */
  readonly #tuple = new Int32Array(TUPLE_WORDS);
  readonly #reply = new Int32Array(TUPLE_WORDS);
  #protocol = 0;

  /** `verify`: transport checksums are looked at. */
  constructor(pool: PacketPool, tracker: ConnectionTracker, verify: boolean) {
    this.#pool = pool;
    this.#tracker = tracker;
    this.#table = tracker.table;
    this.#verify = verify;
    this.#sums = new PlainSums(pool);
  }

  /** See Tracker.meet. */
  meet(packet: number, ct: CtProgram, zone: number, port: number, nowMs: number): number {
    const { view, offset, length, checksumStart } = this.#pool;
    const start = offset[packet]!;
    const end = start + length[packet]!;
    let l3 = start + ETHERNET_SIZE;
    if (end - l3 < TAG_SIZE + IPV4_SIZE) return 0;
    let type = view.getUint16(l3 - 2);
    if (type === 0x8100 || type === 0x88a8) {
      l3 += TAG_SIZE;
      type = view.getUint16(l3 - 2);
    }
    if (type !== TYPE_IPV4 || (l3 & 1) !== 0) return 0;
    const first = view.getInt32(l3);
    const size = (first & 0xffff) - IPV4_SIZE;
    // Without options, in one piece, and with ports.
    if (first >>> 24 !== 0x45 || (view.getUint16(l3 + 6) & 0x3fff) !== 0) return 0;
    const l4 = l3 + IPV4_SIZE;
    if (size < 8 || l4 + size > end || !this.#sums.headerIsSound(l3)) return 0;
    const protocol = view.getUint8(l3 + 9);
    // A checksum that is left to hardware is not there yet.
    const verify = this.#verify && checksumStart[packet] === 0;
    if (protocol === TCP) {
      if (!this.#mayOpen(l3, size, verify)) return 0;
    } else if (protocol !== UDP || !this.#sums.datagramIsSound(l3, size, verify)) return 0;
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

  /** A sound SYN and nothing else, which is read then. */
  #mayOpen(l3: number, size: number, verify: boolean): boolean {
    const { view } = this.#pool;
    const l4 = l3 + IPV4_SIZE;
    if (size < 20 || (view.getUint8(l4 + 13) & (SYN | ACK | RST | FIN | PSH | URG)) !== SYN) return false;
    if (!this.#sums.segmentIsSound(l3, size, (view.getUint8(l4 + 12) >>> 4) << 2, verify)) return false;
    this.#segment.read(view, l4, size);
    return true;
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
