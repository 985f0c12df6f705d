// What a split virtqueue does for each chain of a burst: read a descriptor that stands alone, write a used element; or
// both, and the frame between.
// A closure, one for each window, and not a class: see window-copy.ts.
// Source: VIRTIO 1.2, 2.7. Invariant: a descriptor is read once. Thread: the owner of the window. Hot: yes.
import { VRING_DESC_F_WRITE } from "./descriptor-chain.js";
import { BLOCK_SIZE, type BlockCopy, type WindowCopy } from "./window-copy.js";

/** What `near` holds: the words of the first guest address, size in bytes (0: it tells nothing), window offset. */
export const NEAR_LOW = 0;
export const NEAR_HIGH = 1;
export const NEAR_SIZE = 2;
export const NEAR_START = 3;

/** In place of an offset: the address, which stands in farLow and farHigh, is still to be translated. */
export const ELSEWHERE = 0xffffffff;
export const SOME_ELSEWHERE = 0x10000;

/** Chains of a burst: head, window offset and length of each. */
export interface BurstChains {
  readonly burstHeads: Uint16Array;
  readonly burstOffsets: Uint32Array;
  readonly burstLengths: Uint32Array;
  /** The words of the guest address where the offset is ELSEWHERE. */
  readonly farLow: Uint32Array;
  readonly farHigh: Uint32Array;
}

/** Frames that lie in two places: their first BLOCK_SIZE bytes at `starts`, what is behind those still at `sources`. */
export interface SplitFrames {
  readonly starts: Int32Array;
  /** Where the whole frame was; not read before what is behind the start. */
  readonly sources: Int32Array;
  readonly lengths: Int32Array;
}

/** Bytes of the header before each frame: three words, of which the last is HEADER_LAST_WORD: one buffer holds it. */
const HEADER_SIZE = 12;
const HEADER_LAST_WORD = 0x10000;
/** Frames that fill() writes at most. */
const FILLED_MAX = 256;

/** The line behind the one that a buffer begins in. */
const LINE_SIZE = 64;

export interface SplitRing {
  /** A sum of words, of no meaning: it keeps the compiler from dropping the touching. */
  readonly touched: () => number;
  /**
   * Reads `count` elements of the available ring from index `next` on, and the descriptor of each: to `chains`, from the
   * place `at` on. The available ring's elements start at window offset `available`, the table at `descriptors`. Of a
   * chain that is not one descriptor with the flags `wanted`, the length is 0; of one that lies outside the region
   * `near`, the offset is ELSEWHERE. Returns how many it read, fewer when a head lies outside the table, and beside that
   * SOME_ELSEWHERE. A word of each, `touchAt` bytes in, is touched: what is not in the cache comes in while the next is
   * read.
   */
  take(
    chains: BurstChains,
    at: number,
    count: number,
    available: number,
    descriptors: number,
    size: number,
    next: number,
    wanted: number,
    near: Uint32Array,
    touchAt: number,
  ): number;
  /**
   * Writes the `count` frames from `first` on, each behind a header that says nothing but that one buffer holds it, into
   * the next chains, one into each, and those to the used ring. Up to the first chain that is not one descriptor for
   * writing in the region `near`, with room for the frame at a whole word, and up to the first frame that is longer
   * than `lengthMax`; returns how many. The rest as take() and give().
   */
  fill(
    frames: SplitFrames,
    first: number,
    count: number,
    lengthMax: number,
    available: number,
    descriptors: number,
    used: number,
    size: number,
    nextAvailable: number,
    nextUsed: number,
    near: Uint32Array,
  ): number;
  /** Writes the first `count` chains to the used ring, whose elements start at `used`, from index `next` on; with the
   *  lengths that stand in `chains`, or 0 when they were only read. */
  give(chains: BurstChains, count: number, used: number, size: number, next: number, isRead: boolean): void;
}

export function createSplitRing(buffer: ArrayBuffer, copy: WindowCopy, copyBlock: BlockCopy): SplitRing {
  const u16 = new Uint16Array(buffer);
  const words = new Int32Array(buffer);
  /** Where the frames of a burst go. */
  const places = new Int32Array(FILLED_MAX);
  let touched = 0;
  return {
    touched: () => touched,
    take(chains, at, count, available, descriptors, size, next, wanted, near, touchAt) {
      const { burstHeads, burstOffsets, burstLengths, farLow, farHigh } = chains;
      const ring = available >>> 1;
      const table = descriptors >>> 2;
      const mask = (size - 1) | 0;
      const nearLow = near[NEAR_LOW]! | 0;
      const nearHigh = near[NEAR_HIGH]! | 0;
      const nearSize = near[NEAR_SIZE]!;
      const nearStart = near[NEAR_START]! | 0;
      let elsewhere = 0;
      let sum = 0;
      for (let i = 0; i < count; i = (i + 1) | 0) {
        const head = u16[(ring + ((next + i) & mask)) | 0]!;
        if (head >= size) return i | elsewhere;
        const descriptor = (table + (head << 2)) | 0;
        const low = words[descriptor]!;
        const high = words[(descriptor + 1) | 0]!;
        const length = words[(descriptor + 2) | 0]! >>> 0;
        const flags = words[(descriptor + 3) | 0]! & 0xffff;
        // In whole numbers of 32 bits, as the region has but one upper word.
        const relative = (low - nearLow) >>> 0;
        const isNear =
          high === nearHigh &&
          low >>> 0 >= nearLow >>> 0 &&
          relative < nearSize &&
          length <= (nearSize - relative) >>> 0;
        const place = (at + i) | 0;
        burstHeads[place] = head;
        burstLengths[place] = flags === wanted ? length : 0;
        if (isNear) {
          burstOffsets[place] = (nearStart + relative) | 0;
          continue;
        }
        burstOffsets[place] = ELSEWHERE;
        elsewhere = SOME_ELSEWHERE;
        farLow[place] = low;
        farHigh[place] = high;
      }
      // In a loop of its own, so that the processor fetches as many lines at a time as it can.
      for (let i = at, end = (at + count) | 0; i < end; i = (i + 1) | 0) {
        const offset = burstOffsets[i]! | 0;
        const length = burstLengths[i]! | 0;
        if (length <= touchAt || offset === -1) continue;
        sum = (sum + words[(offset + touchAt) >>> 2]!) | 0;
        if (length > LINE_SIZE) sum = (sum + words[(offset + LINE_SIZE) >>> 2]!) | 0;
      }
      touched = sum;
      return count | elsewhere;
    },
    fill(
      { starts, sources, lengths },
      first,
      count,
      lengthMax,
      available,
      descriptors,
      used,
      size,
      nextAvailable,
      nextUsed,
      near,
    ) {
      const ring = available >>> 1;
      const table = descriptors >>> 2;
      const elements = used >>> 2;
      const mask = (size - 1) | 0;
      const nearLow = near[NEAR_LOW]! | 0;
      const nearHigh = near[NEAR_HIGH]! | 0;
      const nearSize = near[NEAR_SIZE]!;
      const nearStart = near[NEAR_START]! | 0;
      const most = count < FILLED_MAX ? count : FILLED_MAX;
      let filled = 0;
      for (; filled < most; filled = (filled + 1) | 0) {
        const head = u16[(ring + ((nextAvailable + filled) & mask)) | 0]!;
        if (head >= size) break;
        const descriptor = (table + (head << 2)) | 0;
        const low = words[descriptor]!;
        const high = words[(descriptor + 1) | 0]!;
        const room = words[(descriptor + 2) | 0]! >>> 0;
        const flags = words[(descriptor + 3) | 0]! & 0xffff;
        const relative = (low - nearLow) >>> 0;
        const isNear =
          high === nearHigh &&
          low >>> 0 >= nearLow >>> 0 &&
          relative < nearSize &&
          room <= (nearSize - relative) >>> 0;
        const length = lengths[(first + filled) | 0]!;
        const whole = (length + HEADER_SIZE) | 0;
        const offset = (nearStart + relative) | 0;
        if (!isNear || flags !== VRING_DESC_F_WRITE || room < whole || length > lengthMax) break;
        if (offset < 0 || (offset & 3) !== 0) break;
        const word = offset >>> 2;
        words[word] = 0;
        words[(word + 1) | 0] = 0;
        words[(word + 2) | 0] = HEADER_LAST_WORD;
        places[filled] = (offset + HEADER_SIZE) | 0;
        const element = (elements + (((nextUsed + filled) & mask) << 1)) | 0;
        words[element] = head;
        words[(element + 1) | 0] = whole;
      }
      for (let i = 0; i < filled; i = (i + 1) | 0) {
        const frame = (first + i) | 0;
        const length = lengths[frame]!;
        const to = places[i]!;
        if (length < BLOCK_SIZE) copy(to, starts[frame]!, length);
        else copyBlock(to, starts[frame]!);
        if (length > BLOCK_SIZE)
          copy((to + BLOCK_SIZE) | 0, (sources[frame]! + BLOCK_SIZE) | 0, (length - BLOCK_SIZE) | 0);
      }
      return filled;
    },
    give({ burstHeads, burstLengths }, count, used, size, next, isRead) {
      const elements = used >>> 2;
      const mask = (size - 1) | 0;
      for (let i = 0; i < count; i = (i + 1) | 0) {
        const at = (elements + (((next + i) & mask) << 1)) | 0;
        words[at] = burstHeads[i]!;
        words[(at + 1) | 0] = isRead ? 0 : burstLengths[i]!;
      }
    },
  };
}
