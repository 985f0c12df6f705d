// Connections that another one has announced: FTP's data connections, TFTP's transfers.
// An expectation names both addresses, the protocol and the port it goes to; the port it comes from may be any.
//
//   entry: source 4 | destination 4 | destination port | kind || parent's first tuple 10 | mark | label 4
//          | translation: place in the reply tuple or −1 | address 4 | port or −1
//
// Invariant: at most EXPECTATIONS_MAX; each serves one connection and ends after EXPECTED_MS; where there are too many,
// the zone that has most loses its oldest. Thread: datapath worker.
// Hot: yes (find, which costs nothing while nothing is expected).
import { EXPECTATIONS_MAX } from "./limits.js";
import { T_KIND, T_PORTS, T_SRC, TUPLE_WORDS, zoneOf } from "./tuple.js";

const EXPECTED_MS = 30_000;
const E_PORT = 8;
const E_KIND = 9;
const E_PARENT = 10;
const E_MARK = E_PARENT + TUPLE_WORDS;
const E_LABEL = E_MARK + 1;
const E_PLACE = E_LABEL + 4;
const E_ADDRESS = E_PLACE + 1;
const E_TO_PORT = E_ADDRESS + 4;
const ENTRY_WORDS = E_TO_PORT + 1;

export class Expectations {
  readonly #entries = new Int32Array(EXPECTATIONS_MAX * ENTRY_WORDS);
  readonly #expiresMs = new Float64Array(EXPECTATIONS_MAX);
  readonly #zoneCounts = new Int32Array(65_536);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /**
   * Expects a connection from `source` to `destination` (four words each) and `port`; the same one again renews it.
   * Returns its number, for translated().
   */
  add(
    source: Int32Array,
    sourceAt: number,
    destination: Int32Array,
    destinationAt: number,
    port: number,
    kind: number,
    nowMs: number,
  ): number {
    const wanted = this.#scratch;
    for (let i = 0; i < 4; i++) {
      wanted[i] = source[sourceAt + i]!;
      wanted[4 + i] = destination[destinationAt + i]!;
    }
    wanted[E_PORT] = port;
    wanted[E_KIND] = kind;
    let e = -1;
    for (let other = 0; other < this.#count; other++) if (this.#fits(other, wanted)) e = other;
    if (e < 0) {
      this.#makeRoom(nowMs);
      e = this.#count++;
      this.#countZone(kind, 1);
    }
    for (let i = 0; i < E_PARENT; i++) this.#entries[e * ENTRY_WORDS + i] = wanted[i]!;
    this.#entries[e * ENTRY_WORDS + E_PLACE] = -1;
    this.#entries[e * ENTRY_WORDS + E_TO_PORT] = -1;
    this.#expiresMs[e] = nowMs + EXPECTED_MS;
    return e;
  }
  readonly #scratch = new Int32Array(TUPLE_WORDS);

  /** What the connection inherits: the parent's tuple at `at` in `tuples`, its mark and its label at `label`. */
  inherits(e: number, tuples: Int32Array, at: number, mark: number, labels: Int32Array, label: number): void {
    const base = e * ENTRY_WORDS;
    for (let i = 0; i < TUPLE_WORDS; i++) this.#entries[base + E_PARENT + i] = tuples[at + i]!;
    this.#entries[base + E_MARK] = mark;
    for (let i = 0; i < 4; i++) this.#entries[base + E_LABEL + i] = labels[label + i]!;
  }

  /** Its reply tuple gets this address at `place` (T_SRC or T_DST), and this port there unless −1. */
  translated(e: number, place: number, addresses: Int32Array, at: number, port: number): void {
    const base = e * ENTRY_WORDS;
    this.#entries[base + E_PLACE] = place;
    for (let i = 0; i < 4; i++) this.#entries[base + E_ADDRESS + i] = addresses[at + i]!;
    this.#entries[base + E_TO_PORT] = port;
  }

  /** Whether its parent is the connection whose first tuple stands at `at`, and what it leads to has that port. */
  serves(e: number, tuples: Int32Array, at: number, port: number): boolean {
    const base = e * ENTRY_WORDS;
    if (this.#entries[base + E_TO_PORT] !== port) return false;
    for (let i = 0; i < TUPLE_WORDS; i++)
      if (this.#entries[base + E_PARENT + i] !== tuples[at + i]) return false;
    return true;
  }

  /** The expectation that a connection with this tuple meets, or −1. */
  find(tuple: Int32Array, nowMs: number): number {
    for (let e = 0; e < this.#count; e++) {
      const at = e * ENTRY_WORDS;
      if (this.#entries[at + E_PORT] !== (tuple[T_PORTS]! & 0xffff)) continue;
      if (this.#entries[at + E_KIND] !== tuple[T_KIND]! || this.#expiresMs[e]! <= nowMs) continue;
      let same = true;
      for (let i = 0; i < 8 && same; i++) same = this.#entries[at + i] === tuple[i];
      if (same) return e;
    }
    return -1;
  }

  remove(e: number): void {
    this.#countZone(this.#entries[e * ENTRY_WORDS + E_KIND]!, -1);
    const last = --this.#count;
    this.#entries.copyWithin(e * ENTRY_WORDS, last * ENTRY_WORDS, (last + 1) * ENTRY_WORDS);
    this.#expiresMs[e] = this.#expiresMs[last]!;
  }

  sweep(nowMs: number): void {
    for (let e = this.#count - 1; e >= 0; e--) if (this.#expiresMs[e]! <= nowMs) this.remove(e);
  }

  /** The first tuple of its parent, as an index into words(). */
  parentAt(e: number): number {
    return e * ENTRY_WORDS + E_PARENT;
  }
  words(): Int32Array {
    return this.#entries;
  }
  mark(e: number): number {
    return this.#entries[e * ENTRY_WORDS + E_MARK]!;
  }
  labelAt(e: number): number {
    return e * ENTRY_WORDS + E_LABEL;
  }

  /** Changes `reply` as the expectation says; false when it says nothing. True twice over: `source` tells which. */
  translate(e: number, reply: Int32Array): boolean {
    const base = e * ENTRY_WORDS;
    const place = this.#entries[base + E_PLACE]!;
    if (place < 0) return false;
    for (let i = 0; i < 4; i++) reply[place + i] = this.#entries[base + E_ADDRESS + i]!;
    const port = this.#entries[base + E_TO_PORT]!;
    if (port < 0) return true;
    reply[T_PORTS] =
      place === T_SRC ? (port << 16) | (reply[T_PORTS]! & 0xffff) : (reply[T_PORTS]! & ~0xffff) | port;
    return true;
  }

  /** Whether translate() changes where the connection goes, not where it seems to come from. */
  goesElsewhere(e: number): boolean {
    return this.#entries[e * ENTRY_WORDS + E_PLACE] === T_SRC;
  }

  #fits(e: number, wanted: Int32Array): boolean {
    for (let i = 0; i < E_PARENT; i++) if (this.#entries[e * ENTRY_WORDS + i] !== wanted[i]) return false;
    return true;
  }

  #countZone(kind: number, change: number): void {
    const zone = zoneOf(kind);
    this.#zoneCounts[zone] = this.#zoneCounts[zone]! + change;
  }

  #zoneCount(e: number): number {
    return this.#zoneCounts[zoneOf(this.#entries[e * ENTRY_WORDS + E_KIND]!)]!;
  }

  #makeRoom(nowMs: number): void {
    if (this.#count === EXPECTATIONS_MAX) this.sweep(nowMs);
    if (this.#count < EXPECTATIONS_MAX) return;
    let victim = 0;
    for (let e = 1; e < this.#count; e++) {
      const more = this.#zoneCount(e) - this.#zoneCount(victim);
      if (more > 0 || (more === 0 && this.#expiresMs[e]! < this.#expiresMs[victim]!)) victim = e;
    }
    this.remove(victim);
  }
}
