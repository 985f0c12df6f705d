// Which endpoint each client connection was given, so that a change of the endpoints moves no live connection.
// Open addressing with linear probing over typed arrays; one entry is four words:
//
//   word 0  client address            word 2  endpoint << 16 | service << 8 | protocol, 0 = free
//   word 1  client port << 16 | VIP port   word 3  last seen, seconds since the table began
//
// Bounded: a full neighbourhood gives its oldest entry away. Thread: the function's worker.
// Hot: yes. No allocation after the constructor.
import { assert } from "../../../base/assert/index.js";
import { mix32 } from "./maglev.js";

const WORDS = 4;
/** Slots looked at before the oldest of them is reused. */
const PROBE_MAX = 16;

export const MISSING = -1;

export class ConnectionTable {
  readonly #words: Uint32Array;
  readonly #mask: number;
  readonly #idleS: number;
  /** Entries given away before their time because their neighbourhood was full. */
  evicted = 0;

  /** `capacity` is a power of two; an entry not seen for `idleS` seconds is free again. */
  constructor(capacity: number, idleS: number) {
    assert(capacity >= PROBE_MAX && (capacity & (capacity - 1)) === 0, "capacity is a power of two");
    this.#words = new Uint32Array(capacity * WORDS);
    this.#mask = capacity - 1;
    this.#idleS = idleS;
  }

  /** The endpoint given to this connection, or MISSING. Marks the entry as seen at `nowS`. */
  find(client: number, ports: number, service: number, protocol: number, nowS: number): number {
    const words = this.#words;
    let slot = this.#home(client, ports, protocol);
    for (let i = 0; i < PROBE_MAX; i++) {
      const at = slot * WORDS;
      const tag = words[at + 2]!;
      if (
        words[at]! === client &&
        words[at + 1]! === ports &&
        (tag & 0xffff) === ((service << 8) | protocol) &&
        nowS - words[at + 3]! < this.#idleS
      ) {
        words[at + 3] = nowS;
        return tag >>> 16;
      }
      slot = (slot + 1) & this.#mask;
    }
    return MISSING;
  }

  /** Remembers `endpoint` (16 bit) for the connection, over an older entry of the same one. */
  put(
    client: number,
    ports: number,
    service: number,
    protocol: number,
    endpoint: number,
    nowS: number,
  ): void {
    const words = this.#words;
    let slot = this.#home(client, ports, protocol);
    let best = slot * WORDS;
    let bestSeen = 0xffffffff;
    let bestFree = false;
    for (let i = 0; i < PROBE_MAX; i++) {
      const at = slot * WORDS;
      const tag = words[at + 2]!;
      const same =
        words[at]! === client && words[at + 1]! === ports && (tag & 0xffff) === ((service << 8) | protocol);
      if (same) {
        best = at;
        bestFree = true;
        break;
      }
      const free = tag === 0 || nowS - words[at + 3]! >= this.#idleS;
      if (free && !bestFree) {
        best = at;
        bestFree = true;
      } else if (!bestFree && words[at + 3]! < bestSeen) {
        best = at;
        bestSeen = words[at + 3]!;
      }
      slot = (slot + 1) & this.#mask;
    }
    if (!bestFree) this.evicted++;
    words[best] = client;
    words[best + 1] = ports;
    words[best + 2] = ((endpoint << 16) | (service << 8) | protocol) >>> 0;
    words[best + 3] = nowS;
  }

  /** Live entries of `endpoint`. For status, not per packet. */
  countOf(endpoint: number, nowS: number): number {
    let count = 0;
    for (let at = 0; at < this.#words.length; at += WORDS) {
      const tag = this.#words[at + 2]!;
      if (tag !== 0 && tag >>> 16 === endpoint && nowS - this.#words[at + 3]! < this.#idleS) count++;
    }
    return count;
  }

  /** Forgets every connection of `endpoint`: it is gone or dead, and its clients must be given another. */
  forget(endpoint: number): void {
    for (let at = 0; at < this.#words.length; at += WORDS) {
      if (this.#words[at + 2]! !== 0 && this.#words[at + 2]! >>> 16 === endpoint) this.#words[at + 2] = 0;
    }
  }

  #home(client: number, ports: number, protocol: number): number {
    return mix32(Math.imul(client ^ protocol, 0x9e3779b1) ^ ports) & this.#mask;
  }
}
