// Which port a MAC address was last seen on, per VLAN: a hash table in typed arrays with one list per port and one of
// all, oldest station first.
//
//   buckets ─► entry ─► entry        ports ─► oldest ⇄ … ⇄ newest        first ⇄ … ⇄ last
//
// Invariants: a (VLAN, address) is there at most once; never more than `entriesMax` stations; a full table gives up
// the oldest station of the port that has most, so that one port's flood of addresses costs that port alone; static
// stations neither age, move nor give way. A station that is seen again within a second keeps its place and its age.
// Source: IEEE 802.1Q-2022 8.7 and 8.8; ovs-vswitchd.conf.db(5), Bridge
// other_config:mac-table-size. Thread: datapath worker. Hot: yes (learn, find).
import { secretMultiplier } from "../../base/random/index.js";

// A station that could aim at the chain of another would make it long.
const MIX_LOW = secretMultiplier();
const MIX_ALL = secretMultiplier();
const NONE = -1;
/** OFPP_LOCAL; its number in the table is 0, which no other port has. */
const LOCAL = 0xfffffffe;
/** Added entries until the arrays are made larger. */
const ENTRIES_FIRST = 1024;
/** A station that was seen so short a time ago need not be noted again. */
const REFRESH_MS = 1000;

export const MAC_TABLE_ENTRIES = 8192;
export const MAC_AGEING_MS = 300_000;

export interface MacTableEntry {
  readonly vlan: number;
  readonly mac: Uint8Array;
  readonly port: number;
  readonly ageMs: number;
  readonly isStatic: boolean;
}

export type KnownStation = Pick<MacTableEntry, "port" | "isStatic">;

/** As `fdb/stats-show` has them; the last four count since the table was made. */
export interface MacTableStats {
  readonly current: number;
  readonly maximum: number;
  readonly statics: number;
  readonly learned: number;
  readonly expired: number;
  readonly evicted: number;
  readonly moved: number;
}

export class MacTable {
  ageingMs = MAC_AGEING_MS;
  #entriesMax: number;
  #size = 0;
  #statics = 0;
  #learned = 0;
  #expired = 0;
  #evicted = 0;
  #moved = 0;
  /** How often a static station's address came in by another port. */
  heldInPlace = 0;
  /** Called before a station goes or moves on which somebody relies; learn() may be called then of stations that stay. */
  onForgetting: () => void = () => undefined;

  // By entry. `high` is the address's first 32 bits, `low` its last 16 with the VLAN above them.
  #high = new Int32Array(ENTRIES_FIRST);
  #low = new Int32Array(ENTRIES_FIRST);
  #port = new Int32Array(ENTRIES_FIRST);
  /** Infinity for static stations. */
  #seenMs = new Float64Array(ENTRIES_FIRST);
  #chain = new Int32Array(ENTRIES_FIRST);
  #older = new Int32Array(ENTRIES_FIRST);
  #newer = new Int32Array(ENTRIES_FIRST);
  #before = new Int32Array(ENTRIES_FIRST);
  #behind = new Int32Array(ENTRIES_FIRST);
  /** When somebody came to rely on it: a number of #reliance. */
  #reliedIn = new Int32Array(ENTRIES_FIRST);
  #buckets = new Int32Array(ENTRIES_FIRST).fill(NONE);
  /** First of the unused entries, linked by #chain; then those that never were used. */
  #free = NONE;
  #used = 0;
  /** The ends of the list of all. */
  #first = NONE;
  #last = NONE;

  #reliance = 1;
  /** Stations that somebody relies on now. */
  #relied = 0;

  // By port.
  #oldest = new Int32Array(64).fill(NONE);
  #newest = new Int32Array(64).fill(NONE);
  #count = new Int32Array(64);

  constructor(entriesMax: number = MAC_TABLE_ENTRIES) {
    this.#entriesMax = entriesMax;
  }

  get stats(): MacTableStats {
    return {
      current: this.#size,
      maximum: this.#entriesMax,
      statics: this.#statics,
      learned: this.#learned,
      expired: this.#expired,
      evicted: this.#evicted,
      moved: this.#moved,
    };
  }

  /** Stations that were learned, or have moved, so far. */
  get news(): number {
    return this.#learned + this.#moved;
  }

  /**
   * Remembers that the station sent from `port`; whether it was not known there. `high` and `low16` are the address's 32
   * and 16 bits.
   */
  learn(high: number, low16: number, vlan: number, port: number, nowMs: number): boolean {
    const low = (vlan << 16) | low16;
    const found = this.#lookup(high, low);
    if (found === NONE) {
      const entry = this.#insert(high, low, port, nowMs);
      if (entry === NONE) return false;
      this.#learned++;
      return true;
    }
    const number = numberOf(port);
    const isElsewhere = this.#port[found]! !== number;
    const silentMs = nowMs - this.#seenMs[found]!;
    if (!isElsewhere && silentMs < REFRESH_MS) return false;
    if (this.#seenMs[found]! === Number.POSITIVE_INFINITY) {
      this.heldInPlace++;
      return false;
    }
    if (isElsewhere) this.#tellOf(found);
    const isNews = isElsewhere || silentMs > this.ageingMs;
    if (isElsewhere) this.#moved++;
    this.#detach(found);
    this.#attach(found, number, nowMs);
    return isNews;
  }

  /** The port of the station, or −1. */
  find(high: number, low16: number, vlan: number, nowMs: number): number {
    const found = this.#lookup(high, (vlan << 16) | low16);
    if (found === NONE || nowMs - this.#seenMs[found]! > this.ageingMs) return -1;
    return portOf(this.#port[found]!);
  }

  /** As find(); the caller relies on the answer until onForgetting is called, or relyNoMore(). */
  relyOn(high: number, low16: number, vlan: number, nowMs: number): number {
    const found = this.#lookup(high, (vlan << 16) | low16);
    if (found === NONE || nowMs - this.#seenMs[found]! > this.ageingMs) return -1;
    if (this.#reliedIn[found] !== this.#reliance) {
      this.#reliedIn[found] = this.#reliance;
      this.#relied++;
    }
    return portOf(this.#port[found]!);
  }

  relyNoMore(): void {
    if (this.#relied === 0) return;
    this.#relied = 0;
    this.#reliance = (this.#reliance + 1) | 0;
    if (this.#reliance !== 0) return;
    this.#reliedIn.fill(0);
    this.#reliance = 1;
  }

  /** The station goes or moves; whether somebody had to be told, so that others may have been learned anew. */
  #tellOf(entry: number): boolean {
    if (this.#relied === 0 || this.#reliedIn[entry] !== this.#reliance) return false;
    this.onForgetting();
    this.relyNoMore();
    return true;
  }

  /** Many stations may go. */
  #tellOfAny(): void {
    if (this.#relied === 0) return;
    this.onForgetting();
    this.relyNoMore();
  }

  /** What the table has of the station, however old. */
  known(high: number, low16: number, vlan: number): KnownStation | undefined {
    const found = this.#lookup(high, (vlan << 16) | low16);
    if (found === NONE) return undefined;
    const isStatic = this.#seenMs[found]! === Number.POSITIVE_INFINITY;
    return { port: portOf(this.#port[found]!), isStatic };
  }

  /** A station that stays on `port` until it is removed. False when the table is full of static ones. */
  addStatic(high: number, low16: number, vlan: number, port: number): boolean {
    const low = (vlan << 16) | low16;
    const found = this.#lookup(high, low);
    if (found !== NONE) {
      if (this.#seenMs[found]! === Number.POSITIVE_INFINITY && this.#port[found]! === numberOf(port))
        return true;
      this.#tellOf(found);
      this.#remove(found);
    }
    if (this.#insert(high, low, port, Number.POSITIVE_INFINITY) === NONE) return false;
    this.#statics++;
    return true;
  }

  /** What another table's entries() gave is known here too, as old as there. */
  recall(stations: readonly MacTableEntry[], nowMs: number): void {
    for (let i = 0; i < stations.length; i++) {
      const { mac, vlan, port, ageMs, isStatic } = stations[i]!;
      const view = new DataView(mac.buffer, mac.byteOffset, 6);
      const [high, low16] = [view.getInt32(0), view.getUint16(4)];
      if (isStatic) this.addStatic(high, low16, vlan, port);
      else this.learn(high, low16, vlan, port, nowMs - ageMs);
    }
  }

  /** Forgets a static station; false when it was not there. */
  removeStatic(high: number, low16: number, vlan: number): boolean {
    const found = this.#lookup(high, (vlan << 16) | low16);
    if (found === NONE || this.#seenMs[found]! !== Number.POSITIVE_INFINITY) return false;
    this.#tellOf(found);
    this.#remove(found);
    return true;
  }

  /** Forgets the learned stations: of a port, of the VLANs for which `inVlan` says so, or all. */
  flush(port?: number, inVlan?: (vlan: number) => boolean): void {
    this.#tellOfAny();
    const only = port === undefined ? NONE : numberOf(port);
    for (let number = 0; number < this.#oldest.length; number++) {
      if (only !== NONE && number !== only) continue;
      for (let entry = this.#oldest[number]!; entry !== NONE; ) {
        const next = this.#newer[entry]!;
        const isStatic = this.#seenMs[entry]! === Number.POSITIVE_INFINITY;
        if (!isStatic && (inVlan === undefined || inVlan(this.#low[entry]! >>> 16))) this.#remove(entry);
        entry = next;
      }
    }
  }

  /** Forgets everything of a port that goes, static stations too. */
  removePort(port: number): void {
    const number = numberOf(port);
    if (number >= this.#oldest.length) return;
    this.#tellOfAny();
    while (this.#oldest[number]! !== NONE) this.#remove(this.#oldest[number]!);
  }

  /** Forgets stations that were silent for too long. */
  expire(nowMs: number): void {
    for (let number = 0; number < this.#oldest.length; number++) {
      for (let entry = this.#oldest[number]!; entry !== NONE; entry = this.#oldest[number]!) {
        if (!(nowMs - this.#seenMs[entry]! > this.ageingMs)) break;
        if (this.#tellOf(entry)) continue;
        this.#remove(entry);
        this.#expired++;
      }
    }
  }

  /** A larger or smaller table; what is too much gives way as in a full one. */
  resize(entriesMax: number): void {
    this.#entriesMax = entriesMax;
    while (this.#size > this.#entriesMax && this.#evict());
  }

  /** Every station that is not too old, the oldest first; static ones stand where they were added. */
  entries(nowMs: number): MacTableEntry[] {
    const all: MacTableEntry[] = [];
    for (let entry = this.#first; entry !== NONE; entry = this.#behind[entry]!) {
      const seenMs = this.#seenMs[entry]!;
      if (nowMs - seenMs > this.ageingMs) continue;
      const isStatic = seenMs === Number.POSITIVE_INFINITY;
      const mac = new Uint8Array(6);
      const view = new DataView(mac.buffer);
      view.setInt32(0, this.#high[entry]!);
      view.setUint16(4, this.#low[entry]! & 0xffff);
      const [vlan, port] = [this.#low[entry]! >>> 16, portOf(this.#port[entry]!)];
      all.push({ vlan, mac, port, ageMs: isStatic ? 0 : nowMs - seenMs, isStatic });
    }
    return all;
  }

  #lookup(high: number, low: number): number {
    let entry = this.#buckets[this.#bucket(high, low)]!;
    while (entry !== NONE && (this.#high[entry]! !== high || this.#low[entry]! !== low))
      entry = this.#chain[entry]!;
    return entry;
  }

  /** The new entry, or NONE when nobody could give way. */
  #insert(high: number, low: number, port: number, seenMs: number): number {
    if (this.#size >= this.#entriesMax && !this.#evict()) return NONE;
    const number = numberOf(port);
    if (number >= this.#oldest.length) this.#growPorts(number);
    let entry = this.#free;
    if (entry !== NONE) this.#free = this.#chain[entry]!;
    else {
      if (this.#used === this.#high.length) this.#growEntries();
      entry = this.#used++;
    }
    const bucket = this.#bucket(high, low);
    this.#reliedIn[entry] = 0;
    this.#high[entry] = high;
    this.#low[entry] = low;
    this.#chain[entry] = this.#buckets[bucket]!;
    this.#buckets[bucket] = entry;
    this.#size++;
    this.#attach(entry, number, seenMs);
    return entry;
  }

  #remove(entry: number): void {
    if (this.#seenMs[entry]! === Number.POSITIVE_INFINITY) this.#statics--;
    this.#detach(entry);
    const bucket = this.#bucket(this.#high[entry]!, this.#low[entry]!);
    if (this.#buckets[bucket]! === entry) this.#buckets[bucket] = this.#chain[entry]!;
    else {
      let before = this.#buckets[bucket]!;
      while (this.#chain[before]! !== entry) before = this.#chain[before]!;
      this.#chain[before] = this.#chain[entry]!;
    }
    this.#chain[entry] = this.#free;
    this.#free = entry;
    this.#size--;
  }

  /** Takes the oldest station from the port that has most of those that can give way. */
  #evict(): boolean {
    let port = NONE;
    for (let number = 0; number < this.#count.length; number++) {
      if (this.#count[number]! > (port === NONE ? 0 : this.#count[port]!)) port = number;
    }
    if (port === NONE) return false;
    // It may not be the oldest any more.
    this.#tellOf(this.#oldest[port]!);
    this.#remove(this.#oldest[port]!);
    this.#evicted++;
    return true;
  }

  /** As the newest station of all and of the port, where static ones stand behind all others and are not counted. */
  #attach(entry: number, number: number, seenMs: number): void {
    if (number >= this.#oldest.length) this.#growPorts(number);
    const isStatic = seenMs === Number.POSITIVE_INFINITY;
    let older = this.#newest[number]!;
    if (!isStatic) {
      while (older !== NONE && this.#seenMs[older]! === Number.POSITIVE_INFINITY) older = this.#older[older]!;
      this.#count[number] = this.#count[number]! + 1;
    }
    const newer = older === NONE ? this.#oldest[number]! : this.#newer[older]!;
    this.#before[entry] = this.#last;
    this.#behind[entry] = NONE;
    if (this.#last === NONE) this.#first = entry;
    else this.#behind[this.#last] = entry;
    this.#last = entry;
    this.#port[entry] = number;
    this.#seenMs[entry] = seenMs;
    this.#older[entry] = older;
    this.#newer[entry] = newer;
    if (older === NONE) this.#oldest[number] = entry;
    else this.#newer[older] = entry;
    if (newer === NONE) this.#newest[number] = entry;
    else this.#older[newer] = entry;
  }

  #detach(entry: number): void {
    const number = this.#port[entry]!;
    const older = this.#older[entry]!;
    const newer = this.#newer[entry]!;
    if (older === NONE) this.#oldest[number] = newer;
    else this.#newer[older] = newer;
    if (newer === NONE) this.#newest[number] = older;
    else this.#older[newer] = older;
    const before = this.#before[entry]!;
    const behind = this.#behind[entry]!;
    if (before === NONE) this.#first = behind;
    else this.#behind[before] = behind;
    if (behind === NONE) this.#last = before;
    else this.#before[behind] = before;
    if (this.#seenMs[entry]! !== Number.POSITIVE_INFINITY) this.#count[number] = this.#count[number]! - 1;
  }

  #bucket(high: number, low: number): number {
    let hash = Math.imul(high ^ Math.imul(low, MIX_LOW), MIX_ALL);
    hash = Math.imul(hash ^ (hash >>> 16), MIX_ALL);
    hash ^= hash >>> 15;
    return hash & (this.#buckets.length - 1);
  }

  #growEntries(): void {
    const length = this.#high.length * 2;
    this.#high = grown(this.#high, length);
    this.#low = grown(this.#low, length);
    this.#port = grown(this.#port, length);
    this.#chain = grown(this.#chain, length);
    this.#older = grown(this.#older, length);
    this.#newer = grown(this.#newer, length);
    this.#before = grown(this.#before, length);
    this.#behind = grown(this.#behind, length);
    this.#reliedIn = grown(this.#reliedIn, length, 0);
    const seenMs = new Float64Array(length);
    seenMs.set(this.#seenMs);
    this.#seenMs = seenMs;
    this.#buckets = new Int32Array(length).fill(NONE);
    // Arrays only grow when no entry is unused: every one below #used is in a chain.
    for (let entry = 0; entry < this.#used; entry++) {
      const bucket = this.#bucket(this.#high[entry]!, this.#low[entry]!);
      this.#chain[entry] = this.#buckets[bucket]!;
      this.#buckets[bucket] = entry;
    }
  }

  #growPorts(number: number): void {
    let length = this.#oldest.length;
    while (length <= number) length *= 2;
    this.#oldest = grown(this.#oldest, length);
    this.#newest = grown(this.#newest, length);
    this.#count = grown(this.#count, length, 0);
  }
}

function grown(old: Int32Array, length: number, fill = NONE): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(length).fill(fill);
  larger.set(old);
  return larger;
}

function numberOf(port: number): number {
  return port === LOCAL ? 0 : port;
}

function portOf(number: number): number {
  return number === 0 ? LOCAL : number;
}
