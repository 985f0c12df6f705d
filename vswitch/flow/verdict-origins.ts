// By what packets verdicts are known, and how many each has judged: what people see of the caches. A verdict that follows
// from the key of one packet in some of its bits has a number of its own for these, so that it is counted by itself; when
// there are very many, or it follows from whole keys, those that fare alike share one.
// Invariant: numbers are those of one generation of the verdict cache. Thread: datapath worker. Hot: yes (count).
import { VERDICTS_MAX } from "./limits.js";

export interface Origin {
  /** Of the first packet that was found to fare so, as its run began. */
  readonly key: Int32Array;
  /** What of it decided; null: all. */
  readonly bits: Int32Array | null;
  /** How often other keys were found to fare so, too. */
  others: number;
}

export interface Counts {
  readonly packets: number;
  readonly bytes: number;
  readonly usedMs: number;
}

const COUNTS_SHIFT = 2;
const BYTES = 1;
const USED_MS = 2;

export class VerdictOrigins {
  /** By verdict, half a line of the cache each: packets that it has judged, their bytes, and when the last of them came. The
   *  first of each kind, which has gone through the tables, is not among them. */
  readonly #counts = new Float64Array(VERDICTS_MAX << COUNTS_SHIFT);
  readonly #all: (Origin | null)[] = [];

  /** A new verdict, made for a packet with the key; null: nobody has its key. */
  begin(id: number, key: Int32Array | null, bits: Int32Array | null): void {
    this.#counts.fill(0, id << COUNTS_SHIFT, (id + 1) << COUNTS_SHIFT);
    this.#all[id] = key === null ? null : { key: key.slice(), bits: bits?.slice() ?? null, others: 0 };
  }

  /** One that there is has been found to be that of a packet with the key. */
  add(id: number, key: Int32Array | null, bits: Int32Array | null): void {
    if (key === null) return;
    const origin = this.#all[id]!;
    if (origin === null) this.#all[id] = { key: key.slice(), bits: bits?.slice() ?? null, others: 0 };
    else if (!this.isOf(id, key, bits)) origin.others++;
  }

  /** Undefined: nobody has its key. */
  of(id: number): Origin | undefined {
    return this.#all[id] ?? undefined;
  }

  /** Whether the verdict was made for packets that agree with the key in just these bits. */
  isOf(id: number, key: Int32Array, bits: Int32Array | null): boolean {
    const origin = this.#all[id]!;
    if (origin === null || (origin.bits === null) !== (bits === null)) return false;
    for (let i = 0; i < origin.key.length; i++) {
      const mask = bits === null ? -1 : bits[i]!;
      if (bits !== null && origin.bits![i] !== mask) return false;
      if (((origin.key[i]! ^ key[i]!) & mask) !== 0) return false;
    }
    return true;
  }

  count(id: number, packets: number, sizeBytes: number, nowMs: number): void {
    const counts = this.#counts;
    const at = id << COUNTS_SHIFT;
    counts[at] = counts[at]! + packets;
    counts[at + BYTES] = counts[at + BYTES]! + sizeBytes;
    counts[at + USED_MS] = nowMs;
  }

  countsOf(id: number): Counts {
    const at = id << COUNTS_SHIFT;
    const counts = this.#counts;
    return { packets: counts[at]!, bytes: counts[at + BYTES]!, usedMs: counts[at + USED_MS]! };
  }
}

/** Of a key in some of its bits; never 0. */
export function hashMasked(key: Int32Array, bits: Int32Array): number {
  let hash = 0;
  for (let i = 0; i < key.length; i++) {
    hash = Math.imul(hash ^ bits[i]!, 0x9e3779b1);
    hash = Math.imul(hash ^ (hash >>> 15) ^ (key[i]! & bits[i]!), 0x85ebca6b);
  }
  return hash | 1;
}
