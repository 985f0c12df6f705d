// The short way through connection tracking: a packet whose connection is known beforehand, because one with the same
// headers was tracked before. All that Conntrack.track() checks and changes is checked and changed here too; whatever
// is not plain (IP options, SYN, FIN and RST, helpers, a connection that changes) is left to it, untouched.
// Invariant: where pass() returns 0, neither packet nor connection was changed.
// Source: as connection-tracker.ts. Thread: datapath worker. Hot: yes.
import {
  CT_STATE_EST,
  CT_STATE_NEW,
  CT_STATE_REL,
  CT_STATE_RPL,
  CT_STATE_TRK,
} from "../../base/openflow/index.js";
import type { PacketPool } from "../../base/packet/index.js";
import type { CtProgram } from "../flow/index.js";
import { translationBit } from "./connection-key.js";
import { tupleAt } from "./connection-memory.js";
import {
  type ConnectionTable,
  FLAG_FTP,
  FLAG_RELATED,
  FLAG_SNAT,
  FLAG_TFTP,
  REPLY,
  SEEN_REPLY,
} from "./connection-table.js";
import type { ConnectionTracker } from "./connection-tracker.js";
import { PlainSums } from "./plain-sums.js";
import { SEGMENT_VALID } from "./tcp.js";
import { ACK, FIN, RST, Segment, SYN } from "./tcp-segment.js";
import { STATE_NONE } from "./timeouts.js";
import { setWord } from "./translate.js";
import { TRANSLATED } from "./translator.js";
import { kindOf, T_DST, T_KIND, T_PORTS, T_SRC, TCP, UDP } from "./tuple.js";
import { hashIpv4 } from "./tuple-hash.js";

const WATCHED = FLAG_FTP | FLAG_TFTP;
const TYPE_IPV4 = 0x0800;
const ETHERNET_SIZE = 14;
const TAG_SIZE = 4;
const IPV4_SIZE = 20;

export class KnownPackets {
  readonly #pool: PacketPool;
  readonly #tracker: ConnectionTracker;
  readonly #table: ConnectionTable;
  readonly #verify: boolean;
  readonly #sums: PlainSums;
  readonly #segment = new Segment();

  /** `verify`: transport checksums are looked at. */
  constructor(pool: PacketPool, tracker: ConnectionTracker, verify: boolean) {
    this.#pool = pool;
    this.#tracker = tracker;
    this.#table = tracker.table;
    this.#verify = verify;
    this.#sums = new PlainSums(pool);
  }

  /** See Tracker.seek. */
  seek(packets: Int32Array, from: number, to: number, zone: number, found: Int32Array): void {
    const { view, offset, length } = this.#pool;
    for (let i = from; i < to; i++) {
      const packet = packets[i]!;
      const start = offset[packet]!;
      const size = length[packet]!;
      found[i] = 0;
      if (size < ETHERNET_SIZE + TAG_SIZE + IPV4_SIZE + 4) continue;
      const type = view.getUint16(start + ETHERNET_SIZE - 2);
      const l3 = start + ETHERNET_SIZE + (type === 0x8100 || type === 0x88a8 ? TAG_SIZE : 0);
      const kind = kindOf(false, view.getUint8(l3 + 9), zone);
      found[i] = hashIpv4(
        view.getInt32(l3 + 12),
        view.getInt32(l3 + 16),
        view.getInt32(l3 + IPV4_SIZE),
        kind,
      );
    }
    if (this.#table.seek(found, from, to) > 0) this.#expect(packets, from, to, zone, found);
  }

  /** Most packets that belong to nothing begin something. */
  #expect(packets: Int32Array, from: number, to: number, zone: number, found: Int32Array): void {
    const table = this.#table;
    const { view, offset, length } = this.#pool;
    let expected = 0;
    for (let i = from; i < to; i++) {
      if (found[i] !== -1) continue;
      const packet = packets[i]!;
      const start = offset[packet]!;
      if (length[packet]! < ETHERNET_SIZE + TAG_SIZE + IPV4_SIZE + 4) continue;
      const type = view.getUint16(start + ETHERNET_SIZE - 2);
      const l3 = start + ETHERNET_SIZE + (type === 0x8100 || type === 0x88a8 ? TAG_SIZE : 0);
      const protocol = view.getUint8(l3 + 9);
      const ports = view.getInt32(l3 + IPV4_SIZE);
      const answers = (ports << 16) | (ports >>> 16);
      const kind = kindOf(false, protocol, zone);
      table.expect(hashIpv4(view.getInt32(l3 + 16), view.getInt32(l3 + 12), answers, kind), expected++);
    }
  }

  /** See Tracker.pass. */
  pass(packet: number, found: number, ct: CtProgram, zone: number, nowMs: number): number {
    const table = this.#table;
    const connection = found >> 1;
    if (table.stateOf(connection) === STATE_NONE || table.expiryOf(connection) <= nowMs) return 0;
    const flags = table.flagsOf(connection);
    if ((flags & WATCHED) !== 0 || (ct.commit && (ct.force || ct.program !== null))) return 0;
    const { view, offset, length, checksumStart } = this.#pool;
    const start = offset[packet]!;
    let l3 = start + ETHERNET_SIZE;
    let type = view.getUint16(l3 - 2);
    if (type === 0x8100 || type === 0x88a8) {
      l3 += TAG_SIZE;
      type = view.getUint16(l3 - 2);
    }
    const end = start + length[packet]!;
    if (type !== TYPE_IPV4 || (l3 & 1) !== 0 || end - l3 < IPV4_SIZE) return 0;
    const first = view.getInt32(l3);
    const total = first & 0xffff;
    // Without options, in one piece.
    if (first >>> 24 !== 0x45 || l3 + total > end || (view.getUint16(l3 + 6) & 0x3fff) !== 0) return 0;
    const protocol = view.getUint8(l3 + 9);
    if (!this.#isOf(found, l3, kindOf(false, protocol, zone))) return 0;
    if (!this.#sums.headerIsSound(l3)) return 0;
    const size = total - IPV4_SIZE;
    // A checksum that is left to hardware is not there yet.
    const verify = this.#verify && checksumStart[packet] === 0;
    let established: boolean;
    if (protocol === TCP) {
      if (!this.#passSegment(found, l3, size, verify)) return 0;
      established = true;
    } else if (protocol === UDP) {
      if (!this.#sums.datagramIsSound(l3, size, verify)) return 0;
      established = (flags & SEEN_REPLY) !== 0 || (found & 1) === REPLY;
    } else return 0;
    this.#tracker.advance(protocol, connection, found & 1, nowMs);
    const state =
      CT_STATE_TRK |
      (established ? CT_STATE_EST : CT_STATE_NEW) |
      ((found & 1) === REPLY ? CT_STATE_RPL : 0) |
      ((flags & FLAG_RELATED) !== 0 ? CT_STATE_REL : 0);
    if (ct.nat === null || (flags & TRANSLATED) === 0) return state;
    this.#translate(found, l3, protocol);
    return state | translationBit((flags & FLAG_SNAT) !== 0, found & 1);
  }

  /** Whether the packet has the tuple that `found` names. It holds ports: size is checked behind. */
  #isOf(found: number, l3: number, kind: number): boolean {
    const { tuples } = this.#table;
    const { view } = this.#pool;
    const at = tupleAt(found);
    return (
      tuples[at + T_SRC]! === view.getInt32(l3 + 12) &&
      tuples[at + T_DST]! === view.getInt32(l3 + 16) &&
      tuples[at + T_PORTS]! === view.getInt32(l3 + IPV4_SIZE) &&
      tuples[at + T_KIND]! === kind
    );
  }

  /** A segment of an open connection: whole, sound, and where its ends can be. */
  #passSegment(found: number, l3: number, size: number, verify: boolean): boolean {
    const { view } = this.#pool;
    const l4 = l3 + IPV4_SIZE;
    if (size < 20) return false;
    const headerSize = (view.getUint8(l4 + 12) >>> 4) << 2;
    const flags = view.getUint8(l4 + 13);
    if ((flags & (SYN | FIN | RST | ACK)) !== ACK) return false;
    if (!this.#sums.segmentIsSound(l3, size, headerSize, verify)) return false;
    const segment = this.#segment;
    segment.flags = flags;
    segment.sequence = view.getInt32(l4 + 4);
    segment.acknowledgement = view.getInt32(l4 + 8);
    segment.window = view.getUint16(l4 + 14);
    segment.size = size - headerSize;
    const { peers, checkSequence } = this.#tracker;
    return peers.pass(found >> 1, found & 1, segment, checkSequence, false) === SEGMENT_VALID;
  }

  /** Makes the packet what the other side of its connection expects. */
  #translate(found: number, l3: number, protocol: number): void {
    const { tuples } = this.#table;
    const { view } = this.#pool;
    const other = tupleAt(found ^ 1);
    const l4 = l3 + IPV4_SIZE;
    const isUdp = protocol === UDP;
    const covered = !isUdp ? l4 + 16 : view.getUint16(l4 + 6) !== 0 ? l4 + 6 : -1;
    const ports = tuples[other + T_PORTS]!;
    setWord(view, l3 + 12, tuples[other + T_DST]!, l3 + 10, covered, isUdp);
    setWord(view, l3 + 16, tuples[other + T_SRC]!, l3 + 10, covered, isUdp);
    setWord(view, l4, (ports << 16) | (ports >>> 16), -1, covered, isUdp);
  }
}
