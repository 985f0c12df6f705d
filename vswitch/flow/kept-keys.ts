// Keys of flows, made so that what comes and goes by the thousand leaves little for the garbage collector: flows of one
// mask share it, and the values of some that come one after the other share a piece of memory, which is given back when
// the last of them has gone.
// Invariant: nobody changes what is kept. Thread: datapath worker.
import type { MaskedKey } from "./fields.js";
import { KEY_WORDS } from "./key.js";
import { sameWords } from "./masked-key.js";

/** Masks that were kept last: a controller uses few. */
const MASKS_SHARED = 8;
/** Values in one piece: a flow that stays keeps all of it. */
const VALUES_PER_PIECE = 16;

const masks: Int32Array[] = [];
let oldest = 0;
let piece = new ArrayBuffer(0);
let used = 0;

/** A key of the same value and mask that stays as it is whatever becomes of `passing`, which has KEY_WORDS words. */
export function keptKey(passing: MaskedKey): MaskedKey {
  return { value: keptValue(passing.value), mask: sharedMask(passing.mask) };
}

function keptValue(words: Int32Array): Int32Array {
  const size = 4 * KEY_WORDS;
  if (used + size > piece.byteLength) {
    piece = new ArrayBuffer(VALUES_PER_PIECE * size);
    used = 0;
  }
  const value = new Int32Array(piece, used, KEY_WORDS);
  used += size;
  value.set(words);
  return value;
}

function sharedMask(words: Int32Array): Int32Array {
  for (let i = 0; i < masks.length; i++) if (sameWords(masks[i]!, words)) return masks[i]!;
  const mask = words.slice();
  masks[oldest] = mask;
  oldest = (oldest + 1) % MASKS_SHARED;
  return mask;
}
