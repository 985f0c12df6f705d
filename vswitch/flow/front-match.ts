// What most frames of a port have in common, when that alone says what becomes of them: a frame is compared with it as it
// is read, and where it agrees needs no row, no hash and no cache line. One for each port at most; what it has not is
// looked for in the caches behind it.
//
//   masked key (masked-cache.ts) ─► mask and value in the words of a row (burst-keys.ts) ─► compared in registers
//
// Whether it pays is seen burst by burst: one that has less than half of the frames rests, longer each time, and makes
// room for another.
// Invariants: two untagged plain frames agree in the words of a match exactly when their keys agree in the bits that it
// was made of; a match counts only in the generation of the verdict cache that it was made in.
// Thread: datapath worker. Hot: yes (of, done).
import type { RowMatch } from "./burst-keys.js";
import * as K from "./key.js";
import { FRONT_RESTS_MAX } from "./limits.js";
import { isRowKey, writeRowMatch } from "./row-match.js";

/** Words of mask and value: as those of a row, but that the first, the port, is looked at once for all. */
const FRONT_WORDS = 10;
const PLACES = 256;

export interface FrontMatch extends RowMatch {
  port: number;
  generation: number;
  /** Of the verdict. */
  id: number;
  needsRows: boolean;
  /** Bursts to rest after the last failure, and still. */
  rests: number;
  left: number;
}

export class FrontMatches {
  /** Frames that were known by one. */
  hits = 0;
  /** By the lower bits of the port. */
  readonly #places: (FrontMatch | null)[] = new Array<FrontMatch | null>(PLACES).fill(null);

  /** The one that frames of the port, as a word of a key, are to be compared with, or null. */
  of(port: number, generation: number): FrontMatch | null {
    const match = this.#places[port & (PLACES - 1)]!;
    if (match === null || match.port !== port || match.generation !== generation) return null;
    if (match.left === 0) return match;
    match.left--;
    return null;
  }

  /** Of `count` frames that were compared with it, `hits` agreed. */
  done(match: FrontMatch, hits: number, count: number): void {
    this.hits += hits;
    if (hits * 2 >= count) {
      match.rests = 0;
      return;
    }
    match.rests = Math.min(FRONT_RESTS_MAX, 2 * match.rests + 1);
    match.left = match.rests;
  }

  /**
   * The tables came to a verdict for a frame with `key` by looking at `bits` of it, its protocol among them. Kept when
   * nothing else serves the port well. `needsRows`: what becomes of the frames depends on more.
   */
  offer(key: Int32Array, bits: Int32Array, id: number, generation: number, needsRows = false): void {
    if (!isRowKey(key)) return;
    const port = key[K.K_IN_PORT]!;
    const place = port & (PLACES - 1);
    const present = this.#places[place]!;
    if (present !== null && present.generation === generation && present.rests === 0) return;
    const match = present ?? this.#create(place);
    writeRowMatch(key, bits, match.mask, match.value);
    match.port = port;
    match.generation = generation;
    match.id = id;
    match.needsRows = needsRows;
    match.rests = 0;
    match.left = 0;
  }

  #create(place: number): FrontMatch {
    const [mask, value] = [new Int32Array(FRONT_WORDS), new Int32Array(FRONT_WORDS)]; // cold
    const match: FrontMatch = {
      port: 0,
      generation: 0,
      id: 0,
      mask,
      value,
      needsRows: false,
      rests: 0,
      left: 0,
    };
    this.#places[place] = match;
    return match;
  }
}
