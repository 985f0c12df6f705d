// Which port a MAC address was last seen on, per VLAN: a bounded, set-associative table in typed arrays.
// Invariants: a (VLAN, address) is in at most one place of its set; a full set gives up its oldest entry, so one
// station that invents addresses cannot push out the whole table at once. Source: IEEE 802.1Q-2022 8.7 and 8.8.
// Thread: datapath worker. Hot: yes (learn, find).
import { secretMultiplier } from "../../base/random/index.js";

// A station that could aim at the set of another would push it out, and have its frames flooded.
const MIX_LOW = secretMultiplier();
const MIX_ALL = secretMultiplier();
/** Entries that are compared per address. */
const WAYS = 8;
const EMPTY = -1;

export const MAC_TABLE_ENTRIES = 8192;
export const MAC_AGEING_MS = 300_000;

export interface MacTableEntry {
  readonly vlan: number;
  readonly mac: Uint8Array;
  readonly port: number;
  readonly ageMs: number;
}

export class MacTable {
  ageingMs = MAC_AGEING_MS;
  /** Stations that were seen on another port than before. */
  moves = 0;
  readonly #sets: number;
  /** High 32 bits of the address. */
  readonly #high: Int32Array;
  /** Low 16 bits of the address, and the VLAN above them. */
  readonly #low: Int32Array;
  readonly #ports: Float64Array;
  readonly #seenMs: Float64Array;

  /** Holds at least `entries` stations at best; rounded up to a power of two. */
  constructor(entries: number = MAC_TABLE_ENTRIES) {
    this.#sets = 1;
    while (this.#sets * WAYS < entries) this.#sets *= 2;
    const size = this.#sets * WAYS;
    this.#high = new Int32Array(size);
    this.#low = new Int32Array(size);
    this.#ports = new Float64Array(size).fill(EMPTY);
    this.#seenMs = new Float64Array(size);
  }

  /** Remembers that the station sent from `port`. `high` and `low16` are the address's 32 and 16 bits. */
  learn(high: number, low16: number, vlan: number, port: number, nowMs: number): void {
    const low = (vlan << 16) | low16;
    const first = this.#first(high, low);
    let oldest = first;
    for (let i = first; i < first + WAYS; i++) {
      if (this.#ports[i]! !== EMPTY && this.#high[i]! === high && this.#low[i]! === low) {
        if (this.#ports[i]! !== port) {
          this.#ports[i] = port;
          this.moves++;
        }
        this.#seenMs[i] = nowMs;
        return;
      }
      if (this.#ports[oldest]! === EMPTY) continue;
      if (this.#ports[i]! === EMPTY || this.#seenMs[i]! < this.#seenMs[oldest]!) oldest = i;
    }
    this.#high[oldest] = high;
    this.#low[oldest] = low;
    this.#ports[oldest] = port;
    this.#seenMs[oldest] = nowMs;
  }

  /** The port of the station, or −1. */
  find(high: number, low16: number, vlan: number, nowMs: number): number {
    const low = (vlan << 16) | low16;
    const first = this.#first(high, low);
    for (let i = first; i < first + WAYS; i++) {
      if (this.#ports[i]! === EMPTY || this.#high[i]! !== high || this.#low[i]! !== low) continue;
      return nowMs - this.#seenMs[i]! > this.ageingMs ? -1 : this.#ports[i]!;
    }
    return -1;
  }

  /** Forgets the stations of a port, or all. */
  flush(port?: number): void {
    for (let i = 0; i < this.#ports.length; i++) {
      if (port === undefined || this.#ports[i] === port) this.#ports[i] = EMPTY;
    }
  }

  /** Every station that is not too old, in no particular order. */
  entries(nowMs: number): MacTableEntry[] {
    const all: MacTableEntry[] = [];
    for (let i = 0; i < this.#ports.length; i++) {
      const ageMs = nowMs - this.#seenMs[i]!;
      if (this.#ports[i]! === EMPTY || ageMs > this.ageingMs) continue;
      const mac = new Uint8Array(6);
      const view = new DataView(mac.buffer);
      view.setInt32(0, this.#high[i]!);
      view.setUint16(4, this.#low[i]! & 0xffff);
      all.push({ vlan: this.#low[i]! >>> 16, mac, port: this.#ports[i]!, ageMs });
    }
    return all;
  }

  #first(high: number, low: number): number {
    let hash = Math.imul(high ^ Math.imul(low, MIX_LOW), MIX_ALL);
    hash = Math.imul(hash ^ (hash >>> 16), MIX_ALL);
    hash ^= hash >>> 15;
    return (hash & (this.#sets - 1)) * WAYS;
  }
}
