// Which long reads go around the page cache. Filling it for them costs more than all the rest of such a read, several times
// as much where memory has to be had from a host first, and is wasted on what is read once.
//
//   short, or some of it cached ──────────────────────────► through the page cache, and the kernel reads ahead
//   the disk is slow: it has to be asked for much at a time ► the same
//   read around it not long ago, one time in ADMIT_EVERY ──► through it: from then on it is there
//   else ──────────────────────────────────────────────────► around it
//
// Thread: the pool's worker. Hot: yes.
import type { DirectFile } from "../disk/direct-file.js";
import { BLOCK_SIZE } from "../limits.js";

/** From so many blocks on nobody has to read ahead, where the disk is quick. */
const LONG_BLOCKS = 64;
/** So many long ones that were cached, one after the other: nothing comes from the disks any more. */
const WARM_TIMES = 64;
const ADMIT_EVERY = 8;
/** A disk that takes longer for a block is slow (500 MiB/s); it is tried again one time in RETRY_EVERY. */
const SLOW_MS = 0.008;
const RETRY_EVERY = 64;
const BATCHES = 16;
/** What was read around the cache last, by a hash of its place, 256 KiB each: of 16 GiB. 2 ** SEEN_BITS. */
const SEEN_BITS = 16;

export class ColdReads {
  /** Long reads had to come from the disk lately. */
  isCold = false;
  /** Runs that were read around the page cache. */
  bypassCount = 0;
  readonly #seen = new Uint32Array(2 ** SEEN_BITS);
  #warm = 0;
  #again = 0;
  #spared = 0;
  /** What a block took in the quickest of the last BATCHES batches, others being slower for want of a processor; and since. */
  #blockMs = 0;
  #least = Number.POSITIVE_INFINITY;
  #batches = 0;

  /**
   * Whether `count` blocks side by side from `location` on, at `offset` of `file`, are to be read around the page cache.
   * With `wait` false nothing is remembered: it will be asked again.
   */
  bypasses(
    file: Pick<DirectFile, "isCold">,
    offset: number,
    location: number,
    count: number,
    wait: boolean,
  ): boolean {
    if (count < LONG_BLOCKS) return false;
    if (!file.isCold(offset, count * BLOCK_SIZE)) {
      if (this.isCold && ++this.#warm >= WARM_TIMES) this.isCold = false;
      return false;
    }
    this.isCold = true;
    this.#warm = 0;
    if (this.#blockMs > SLOW_MS && (!wait || ++this.#spared % RETRY_EVERY !== 0)) return false;
    if (!wait) return true;
    if (this.#isAdmitted(location)) return false;
    this.bypassCount++;
    return true;
  }

  /** So long took a batch that read `blocks` around the page cache. */
  took(ms: number, blocks: number): void {
    this.#least = Math.min(this.#least, ms / blocks);
    if (++this.#batches < BATCHES) return;
    this.#blockMs = this.#least;
    this.#least = Number.POSITIVE_INFINITY;
    this.#batches = 0;
  }

  #isAdmitted(location: number): boolean {
    // Later reads of the same bytes may begin at other blocks.
    const place = (location - (location % LONG_BLOCKS)) / LONG_BLOCKS;
    const at = Math.imul(place, 0x9e37_79b1) >>> (32 - SEEN_BITS);
    const isKnown = this.#seen[at] === place;
    this.#seen[at] = place;
    return isKnown && ++this.#again % ADMIT_EVERY === 0;
  }
}
