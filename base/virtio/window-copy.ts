// Copies inside a window, small ones by words of eight bytes.
// A closure and not a class: where a process has one window, as the switch does, the compiler knows its arrays by
// address and length, and a move is four instructions instead of a dozen (docs/decisions/hot-path.md).
// Thread: the owner of the window. Hot: yes.

/** Copies `length` bytes. Both ranges were checked by the caller; they never overlap. */
export type WindowCopy = (to: number, from: number, length: number) => void;

/** As WindowCopy, of BLOCK_SIZE bytes. */
export type BlockCopy = (to: number, from: number) => void;

export const BLOCK_SIZE = 64;

/** Copies up to this many bytes go word by word: faster than copyWithin's call. */
const WORD_COPY_MAX = 256;

export function createWindowCopy(buffer: ArrayBuffer): WindowCopy {
  const bytes = new Uint8Array(buffer);
  const words = new Uint32Array(buffer);
  // Moved and never computed with: no number is made of them.
  const longs = new BigInt64Array(buffer, 0, buffer.byteLength >>> 3);
  const wordCopyMax = WORD_COPY_MAX;

  return (to, from, length) => {
    if (length > wordCopyMax || ((to | from) & 3) !== 0) {
      bytes.copyWithin(to, from, from + length);
      return;
    }
    // Below 2³⁰: what is added to them stays a small integer, and "| 0" says so.
    let target = to >>> 2;
    let source = from >>> 2;
    const wordsEnd = (target + (length >>> 2)) | 0;
    if (((target ^ source) & 1) === 0) {
      if ((target & 1) !== 0 && target < wordsEnd) {
        words[target] = words[source]!;
        target = (target + 1) | 0;
        source = (source + 1) | 0;
      }
      let t = target >>> 1;
      let s = source >>> 1;
      const end = wordsEnd >>> 1;
      for (; ((t + 8) | 0) <= end; t = (t + 8) | 0, s = (s + 8) | 0) {
        longs[t] = longs[s]!;
        longs[(t + 1) | 0] = longs[(s + 1) | 0]!;
        longs[(t + 2) | 0] = longs[(s + 2) | 0]!;
        longs[(t + 3) | 0] = longs[(s + 3) | 0]!;
        longs[(t + 4) | 0] = longs[(s + 4) | 0]!;
        longs[(t + 5) | 0] = longs[(s + 5) | 0]!;
        longs[(t + 6) | 0] = longs[(s + 6) | 0]!;
        longs[(t + 7) | 0] = longs[(s + 7) | 0]!;
      }
      if (((t + 4) | 0) <= end) {
        longs[t] = longs[s]!;
        longs[(t + 1) | 0] = longs[(s + 1) | 0]!;
        longs[(t + 2) | 0] = longs[(s + 2) | 0]!;
        longs[(t + 3) | 0] = longs[(s + 3) | 0]!;
        t = (t + 4) | 0;
        s = (s + 4) | 0;
      }
      for (; t < end; t = (t + 1) | 0, s = (s + 1) | 0) longs[t] = longs[s]!;
      if (t << 1 > target) {
        source = s << 1;
        target = t << 1;
      }
    }
    for (; target < wordsEnd; target = (target + 1) | 0, source = (source + 1) | 0)
      words[target] = words[source]!;
    for (let i = length & ~3; i < length; i++) bytes[to + i] = bytes[from + i]!;
  };
}

/** What a frame behind a header of twelve bytes begins with, in a buffer that is aligned, goes the short way. */
export function createBlockCopy(buffer: ArrayBuffer, copy: WindowCopy): BlockCopy {
  const words = new Uint32Array(buffer);
  const longs = new BigInt64Array(buffer, 0, buffer.byteLength >>> 3);

  return (to, from) => {
    if ((to & 7) !== 4 || (from & 7) !== 4) {
      copy(to, from, BLOCK_SIZE);
      return;
    }
    words[to >>> 2] = words[from >>> 2]!;
    const t = (to + 4) >>> 3;
    const s = (from + 4) >>> 3;
    longs[t] = longs[s]!;
    longs[(t + 1) | 0] = longs[(s + 1) | 0]!;
    longs[(t + 2) | 0] = longs[(s + 2) | 0]!;
    longs[(t + 3) | 0] = longs[(s + 3) | 0]!;
    longs[(t + 4) | 0] = longs[(s + 4) | 0]!;
    longs[(t + 5) | 0] = longs[(s + 5) | 0]!;
    longs[(t + 6) | 0] = longs[(s + 6) | 0]!;
    words[(to + 60) >>> 2] = words[(from + 60) >>> 2]!;
  };
}
