// Fragments of IP datagrams, held until their datagram is whole: only then there is a transport header for all of them.
// A datagram that is whole is remembered for a moment, so that its fragments are known in later ct()s of the zone.
//
//   datagram: FREE ─first fragment─> COLLECTING ─last gap closed─> WHOLE ─REMEMBERED_MS─> FREE
//                                        └─overlap, time─> FREE, and what was held is dropped and counted
//
// Overlapping fragments drop their whole datagram (RFC 5722; for IPv4 too: RFC 815 would let one rewrite another), exact
// duplicates only themselves. Invariants: a held fragment is one packet reference; no sender holds more than its share;
// where there is no room, the port that holds most gives way to one that holds less.
// Source: RFC 791, 815, 5722, 8200 4.5. Thread: datapath worker. Hot: no allocation per packet; fragments are rare.
import type { PacketPool } from "../../base/packet/index.js";
import { addToSum } from "../../base/wire/index.js";
import { FlowKey, SavedOptions } from "../flow/index.js";
import { formatAddress } from "./connection-info.js";
import type { Datagram } from "./datagram.js";
import {
  DATAGRAMS_MAX,
  FRAGMENTS_CAPACITY,
  FRAGMENTS_MAX,
  FRAGMENTS_PER_DATAGRAM_MAX,
  FRAGMENTS_SHARE,
} from "./limits.js";
import { Segment } from "./tcp-segment.js";
import { isIpv6, kindOf, protocolOf, zoneOf } from "./tuple.js";
import type { FragmentListInfo, FragmentSettings, FragmentStatus } from "./zones.js";

/** The fragment is held. */
export const FRAGMENT_HELD = -1;
/** It cannot be part of a datagram that may be put together, or there is no room. */
export const FRAGMENT_REFUSED = -2;

const PLACE_FREE = 0;
/** The same piece once more. */
const PLACE_TAKEN = 1;
const PLACE_CLASH = 2;
const FREE = 0;
const COLLECTING = 1;
const WHOLE = 2;
const HOLD_MS = 15_000;
const REMEMBERED_MS = 1000;
const DATAGRAM_SIZE_MAX = 65_535;
const SENDERS = 64;
const OWNERS = 1024;
const SAVED_WORDS = FlowKey.KEY_WORDS - FlowKey.K_PIPELINE;
/** Key of a datagram: source 4, destination 4, identification, kind, context. */
const KEY_SIZE = 11;

/** What `dpctl/ipf-get-status` counts, per IP version. */
export class FragmentCounters {
  accepted = 0;
  completed = 0;
  expired = 0;
  tooSmall = 0;
  overlapped = 0;
  purged = 0;
}

/** What every fragment of a whole datagram needs to know of its first. */
export class WholeDatagram {
  /** As in a tuple: ports, or identifier, type and code. */
  ports = 0;
  readonly segment = new Segment();
  /** It is not what it claims to be: wrong checksum, broken header, an ICMP error. */
  invalid = false;
  /** Fragments that are to come once more, untracked. */
  replays = 0;
}

export class FragmentTable {
  readonly counters = [new FragmentCounters(), new FragmentCounters()] as const;
  readonly enabled: [ipv4: boolean, ipv6: boolean] = [true, true];
  /** Of a fragment that is not the last: IP header and all. */
  readonly sizeMin: [ipv4: number, ipv6: number] = [1200, 1280];
  fragmentsMax = FRAGMENTS_MAX;
  held = 0;
  /** Of what release() gave last: its IP header, from the beginning of the frame. */
  releasedAt = 0;
  readonly #pool: PacketPool;
  readonly #states = new Uint8Array(DATAGRAMS_MAX);
  readonly #keys = new Int32Array(DATAGRAMS_MAX * KEY_SIZE);
  readonly #expiresMs = new Float64Array(DATAGRAMS_MAX);
  readonly #heads = new Int32Array(DATAGRAMS_MAX);
  readonly #counts = new Int32Array(DATAGRAMS_MAX);
  readonly #received = new Int32Array(DATAGRAMS_MAX);
  /** Bytes of payload, −1 while the last fragment is missing. */
  readonly #totals = new Int32Array(DATAGRAMS_MAX);
  readonly #sums = new Float64Array(DATAGRAMS_MAX);
  readonly #wholes = Array.from({ length: DATAGRAMS_MAX }, () => new WholeDatagram());

  readonly #packets = new Int32Array(FRAGMENTS_CAPACITY);
  readonly #offsets = new Int32Array(FRAGMENTS_CAPACITY);
  readonly #lengths = new Int32Array(FRAGMENTS_CAPACITY);
  /** Of the IP header, from the beginning of the frame. */
  readonly #headersAt = new Int32Array(FRAGMENTS_CAPACITY);
  readonly #next = new Int32Array(FRAGMENTS_CAPACITY);
  readonly #ports = new Int32Array(FRAGMENTS_CAPACITY);
  readonly #saved = new Int32Array(FRAGMENTS_CAPACITY * SAVED_WORDS);
  readonly #options = new SavedOptions();
  readonly #free = Int32Array.from({ length: FRAGMENTS_CAPACITY }, (_, i) => FRAGMENTS_CAPACITY - 1 - i);
  readonly #bySender = new Int32Array(SENDERS);
  /** By the port that the first one came in by; ports that share a counter are counted together. */
  readonly #byPort = new Int32Array(OWNERS);
  readonly #portOf = new Uint16Array(DATAGRAMS_MAX);
  readonly #wanted = new Int32Array(KEY_SIZE);

  constructor(pool: PacketPool) {
    this.#pool = pool;
  }

  /**
   * Takes a fragment; FRAGMENT_HELD, FRAGMENT_REFUSED, or the number of the datagram that it made whole. Only fragments
   * of one zone and one `context` belong together.
   */
  take(
    packet: number,
    key: Int32Array,
    datagram: Datagram,
    zone: number,
    nowMs: number,
    context: number,
  ): number {
    const version = datagram.ipv6 ? 1 : 0;
    const counters = this.counters[version];
    const { offset, length, more } = readPlace(this.#pool.view, datagram);
    const fits = length > 0 && offset + length <= DATAGRAM_SIZE_MAX && (!more || (length & 7) === 0);
    if (!this.enabled[version] || !fits) return FRAGMENT_REFUSED;
    if (more && datagram.end - datagram.l3 < this.sizeMin[version]) {
      counters.tooSmall++;
      return FRAGMENT_REFUSED;
    }
    this.#readKey(datagram, zone, context);
    const port = ownerOf(key[FlowKey.K_IN_PORT]!);
    let d = this.#find(COLLECTING);
    if (d < 0) d = this.#open(nowMs, port);
    if (d < 0 && this.#makeRoom(port, -1)) d = this.#open(nowMs, port);
    if (d < 0) return FRAGMENT_REFUSED;
    const total = more ? -1 : offset + length;
    const place = this.#place(d, offset, length, total);
    if (place !== PLACE_FREE) {
      counters.overlapped++;
      if (place === PLACE_CLASH) this.letGo(d);
      return FRAGMENT_REFUSED;
    }
    if (!this.#hold(d, packet, key, datagram, offset)) {
      if (this.#counts[d] === 0) this.#states[d] = FREE;
      return FRAGMENT_REFUSED;
    }
    counters.accepted++;
    if (total >= 0) this.#totals[d] = total;
    this.#received[d] = this.#received[d]! + length;
    this.#sums[d] = addToSum(this.#pool.bytes, datagram.pieceAt, length, this.#sums[d]!);
    if (this.#received[d] !== this.#totals[d]) return FRAGMENT_HELD;
    counters.completed++;
    this.#states[d] = WHOLE;
    this.#expiresMs[d] = nowMs + REMEMBERED_MS;
    return d;
  }

  /** The datagram that a fragment belongs to which has been held once, or undefined. */
  known(datagram: Datagram, zone: number, tracked: boolean, nowMs: number): WholeDatagram | undefined {
    this.#readKey(datagram, zone, 0);
    const d = this.#find(WHOLE);
    if (d < 0 || this.#expiresMs[d]! <= nowMs) return undefined;
    const whole = this.#wholes[d]!;
    if (tracked) return whole;
    if (whole.replays === 0) return undefined;
    whole.replays--;
    return whole;
  }

  whole(d: number): WholeDatagram {
    return this.#wholes[d]!;
  }
  total(d: number): number {
    return this.#totals[d]!;
  }
  /** Over the payload of all fragments, as addToSum makes it. */
  sum(d: number): number {
    return this.#sums[d]!;
  }
  count(d: number): number {
    return this.#counts[d]!;
  }

  /** Arena offset of the IP header of a whole datagram's first fragment. */
  firstAt(d: number): number {
    let f = this.#heads[d]!;
    while (this.#offsets[f] !== 0) f = this.#next[f]!;
    return this.#pool.offset[this.#packets[f]!]! + this.#headersAt[f]!;
  }

  /** Gives the next packet of a whole datagram and its reference back, its pipeline words into `key`; −1 = no more. */
  release(d: number, key: Int32Array): number {
    const f = this.#heads[d]!;
    if (f < 0) return -1;
    this.#options.restore(f, key);
    key[FlowKey.K_IN_PORT] = this.#ports[f]!;
    for (let i = 0; i < SAVED_WORDS; i++) key[FlowKey.K_PIPELINE + i] = this.#saved[f * SAVED_WORDS + i]!;
    this.releasedAt = this.#headersAt[f]!;
    this.#unlink(d);
    return this.#packets[f]!;
  }

  /** From now on its fragments have the addresses that `datagram` has now, and these ports. */
  rename(d: number, datagram: Datagram, zone: number, ports: number): void {
    this.#readKey(datagram, zone, 0);
    for (let i = 0; i < KEY_SIZE; i++) this.#keys[d * KEY_SIZE + i] = this.#wanted[i]!;
    this.#wholes[d]!.ports = ports;
  }

  sweep(nowMs: number): void {
    for (let d = 0; d < DATAGRAMS_MAX; d++) {
      if (this.#states[d] === FREE || this.#expiresMs[d]! > nowMs) continue;
      const counters = this.counters[((this.#keys[d * KEY_SIZE + 9]! >>> 24) & 1) as 0 | 1];
      counters.expired += this.#counts[d]!;
      this.letGo(d);
    }
  }

  /** `max` counts up to the size of the table; an IP version that is switched off lets go of what it holds. */
  configure({ version, enabled, sizeMin, max }: FragmentSettings): void {
    if (max !== undefined) this.fragmentsMax = Math.min(max, FRAGMENTS_CAPACITY);
    for (let v = 0; v < 2; v++) {
      if (version !== undefined && version !== (v === 0 ? 4 : 6)) continue;
      if (enabled !== undefined) this.enabled[v as 0 | 1] = enabled;
      if (sizeMin !== undefined) this.sizeMin[v as 0 | 1] = sizeMin;
    }
    if (enabled === false) this.purge(version);
  }

  status(version: 0 | 1): FragmentStatus {
    return {
      enabled: this.enabled[version],
      sizeMin: this.sizeMin[version],
      counters: { ...this.counters[version] },
    };
  }

  /** The datagrams of which something is held. */
  lists(): FragmentListInfo[] {
    const all: FragmentListInfo[] = [];
    for (let d = 0; d < DATAGRAMS_MAX; d++) {
      if (this.#states[d] !== COLLECTING) continue;
      const at = d * KEY_SIZE;
      const kind = this.#keys[at + 9]!;
      const ipv6 = isIpv6(kind);
      all.push({
        ipv6,
        source: formatAddress(this.#keys, at, ipv6),
        destination: formatAddress(this.#keys, at + 4, ipv6),
        identification: this.#keys[at + 8]! >>> 0,
        zone: zoneOf(kind),
        protocol: protocolOf(kind),
        count: this.#counts[d]!,
        state: this.#stateName(d),
      });
    }
    return all;
  }

  #stateName(d: number): FragmentListInfo["state"] {
    let first = false;
    for (let f = this.#heads[d]!; f >= 0; f = this.#next[f]!) if (this.#offsets[f] === 0) first = true;
    const last = this.#totals[d]! >= 0;
    if (first) return last ? "first/last frag" : "first frag";
    return last ? "last frag" : "open";
  }

  /** Lets go of everything, or of one IP version. */
  purge(version?: 4 | 6): void {
    for (let d = 0; d < DATAGRAMS_MAX; d++) {
      const v = isIpv6(this.#keys[d * KEY_SIZE + 9]!) ? 1 : 0;
      if (this.#states[d] === FREE || (version !== undefined && version !== (v === 0 ? 4 : 6))) continue;
      this.counters[v].purged += this.#counts[d]!;
      this.letGo(d);
    }
  }

  #readKey(datagram: Datagram, zone: number, context: number): void {
    const { view } = this.#pool;
    const { l3, ipv6 } = datagram;
    const wanted = this.#wanted;
    for (let i = 0; i < 8; i++) wanted[i] = ipv6 ? view.getInt32(l3 + 8 + 4 * i) : 0;
    if (!ipv6) {
      wanted[0] = view.getInt32(l3 + 12);
      wanted[4] = view.getInt32(l3 + 16);
    }
    wanted[8] = ipv6 ? view.getInt32(datagram.fragmentAt + 4) : view.getUint16(l3 + 4);
    // Of IPv6 the protocol is known from the first fragment only, and is no part of what fragments have in common.
    wanted[9] = kindOf(ipv6, ipv6 ? 0 : datagram.protocol, zone);
    wanted[10] = context;
  }

  #find(state: number): number {
    const wanted = this.#wanted;
    for (let d = 0; d < DATAGRAMS_MAX; d++) {
      const at = d * KEY_SIZE;
      if (this.#states[d] !== state || this.#keys[at + 8] !== wanted[8]) continue;
      let same = true;
      for (let i = 0; i < KEY_SIZE && same; i++) same = this.#keys[at + i] === wanted[i];
      if (same) return d;
    }
    return -1;
  }

  /** A slot for a new datagram: one that is free, else one that is only remembered. */
  #open(nowMs: number, port: number): number {
    let slot = -1;
    for (let d = 0; d < DATAGRAMS_MAX && slot < 0; d++) if (this.#states[d] === FREE) slot = d;
    for (let d = 0; d < DATAGRAMS_MAX && slot < 0; d++)
      if (this.#states[d] === WHOLE && this.#counts[d] === 0) slot = d;
    if (slot < 0) return -1;
    for (let i = 0; i < KEY_SIZE; i++) this.#keys[slot * KEY_SIZE + i] = this.#wanted[i]!;
    this.#states[slot] = COLLECTING;
    this.#expiresMs[slot] = nowMs + HOLD_MS;
    this.#portOf[slot] = port;
    this.#heads[slot] = -1;
    this.#counts[slot] = 0;
    this.#received[slot] = 0;
    this.#totals[slot] = -1;
    this.#sums[slot] = 0;
    this.#wholes[slot]!.invalid = false;
    this.#wholes[slot]!.replays = 0;
    return slot;
  }

  /** A piece clashes that overlaps another, or says something else of the datagram's end. */
  #place(d: number, offset: number, length: number, total: number): number {
    const known = this.#totals[d]!;
    if (known >= 0 && (offset + length > known || (total >= 0 && total !== known))) return PLACE_CLASH;
    for (let f = this.#heads[d]!; f >= 0; f = this.#next[f]!) {
      const start = this.#offsets[f]!;
      const end = start + this.#lengths[f]!;
      if (start === offset && end === offset + length) return PLACE_TAKEN;
      if ((offset < end && offset + length > start) || (total >= 0 && end > total)) return PLACE_CLASH;
    }
    return PLACE_FREE;
  }

  #hold(d: number, packet: number, key: Int32Array, datagram: Datagram, offset: number): boolean {
    const sender = this.#sender(d);
    const share = Math.max(2, Math.floor(this.fragmentsMax / FRAGMENTS_SHARE));
    if (this.#bySender[sender]! >= share || this.#counts[d]! >= FRAGMENTS_PER_DATAGRAM_MAX) return false;
    // The last packets are for those that are on their way.
    const full = this.held >= this.fragmentsMax || this.#pool.available < this.#pool.slots >> 2;
    if (full && !this.#makeRoom(this.#portOf[d]!, d)) return false;
    const f = this.#free[FRAGMENTS_CAPACITY - 1 - this.held++]!;
    this.#pool.retain(packet);
    this.#packets[f] = packet;
    this.#offsets[f] = offset;
    this.#lengths[f] = datagram.end - datagram.pieceAt;
    this.#headersAt[f] = datagram.l3 - this.#pool.offset[packet]!;
    this.#ports[f] = key[FlowKey.K_IN_PORT]!;
    this.#options.save(f, key);
    for (let i = 0; i < SAVED_WORDS; i++) this.#saved[f * SAVED_WORDS + i] = key[FlowKey.K_PIPELINE + i]!;
    this.#next[f] = this.#heads[d]!;
    this.#heads[d] = f;
    this.#counts[d] = this.#counts[d]! + 1;
    this.#bySender[sender] = this.#bySender[sender]! + 1;
    this.#byPort[this.#portOf[d]!] = this.#byPort[this.#portOf[d]!]! + 1;
    return true;
  }

  /** The port that most came in by loses its oldest datagram, not `kept`, to a port that holds less; false when there is none. */
  #makeRoom(port: number, kept: number): boolean {
    let victim = -1;
    let most = this.#byPort[port]! + 1;
    for (let d = 0; d < DATAGRAMS_MAX; d++) {
      if (this.#states[d] !== COLLECTING || d === kept) continue;
      const count = this.#byPort[this.#portOf[d]!]!;
      if (count < most || (count === most && victim >= 0 && this.#expiresMs[d]! >= this.#expiresMs[victim]!))
        continue;
      victim = d;
      most = count;
    }
    if (victim < 0) return false;
    const version = isIpv6(this.#keys[victim * KEY_SIZE + 9]!) ? 1 : 0;
    this.counters[version].purged += this.#counts[victim]!;
    this.letGo(victim);
    return true;
  }

  /** Takes the head off its list; its packet reference is the caller's. */
  #unlink(d: number): void {
    const f = this.#heads[d]!;
    const sender = this.#sender(d);
    this.#heads[d] = this.#next[f]!;
    this.#counts[d] = this.#counts[d]! - 1;
    this.#bySender[sender] = this.#bySender[sender]! - 1;
    this.#byPort[this.#portOf[d]!] = this.#byPort[this.#portOf[d]!]! - 1;
    this.#free[FRAGMENTS_CAPACITY - this.held--] = f;
  }

  /** Forgets the datagram, and gives back what is held of it. */
  letGo(d: number): void {
    while (this.#heads[d]! >= 0) {
      this.#pool.free(this.#packets[this.#heads[d]!]!);
      this.#unlink(d);
    }
    this.#states[d] = FREE;
  }

  #sender(d: number): number {
    let hash = this.#keys[d * KEY_SIZE + 9]! & 0xffff;
    for (let i = 0; i < 4; i++) hash = Math.imul(hash ^ this.#keys[d * KEY_SIZE + i]!, 0x9e3779b1);
    return hash >>> 26;
  }
}

function ownerOf(port: number): number {
  return (port ^ (port >>> 10)) & (OWNERS - 1);
}

const PLACE = { offset: 0, length: 0, more: false };

/** Where in its datagram the fragment belongs. The object is used again. */
function readPlace(view: DataView, datagram: Datagram): typeof PLACE {
  const { l3, ipv6, end } = datagram;
  const field = view.getUint16(ipv6 ? datagram.fragmentAt + 2 : l3 + 6);
  PLACE.offset = ipv6 ? field & 0xfff8 : (field & 0x1fff) << 3;
  PLACE.more = ipv6 ? (field & 1) !== 0 : (field & 0x2000) !== 0;
  PLACE.length = end - datagram.pieceAt;
  return PLACE;
}
