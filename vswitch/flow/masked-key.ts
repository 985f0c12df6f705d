// How two matches relate. Pure. Thread: any.
import type { MaskedKey } from "./fields.js";
import { KEY_WORDS } from "./key.js";

export function sameWords(a: Int32Array, b: Int32Array): boolean {
  if (a === b) return true;
  for (let i = 0; i < KEY_WORDS; i++) if (a[i] !== b[i]) return false;
  for (let i = KEY_WORDS; i < a.length || i < b.length; i++) if (wordOf(a, i) !== wordOf(b, i)) return false;
  return true;
}

/** What stands behind the end of a match is not matched. */
function wordOf(words: Int32Array, i: number): number {
  return i < words.length ? words[i]! : 0;
}

/** Every bit of `inner` is one of `outer`. */
export function isWithin(inner: Int32Array, outer: Int32Array): boolean {
  for (let i = 0; i < KEY_WORDS; i++) if ((inner[i]! & ~outer[i]!) !== 0) return false;
  for (let i = KEY_WORDS; i < inner.length; i++) if ((inner[i]! & ~wordOf(outer, i)) !== 0) return false;
  return true;
}

/** True when every packet that `inner` matches is matched by `outer` too. */
export function covers(outer: MaskedKey, inner: MaskedKey): boolean {
  for (let i = 0; i < KEY_WORDS; i++) {
    const mask = outer.mask[i]!;
    if ((mask & ~inner.mask[i]!) !== 0 || (inner.value[i]! & mask) !== outer.value[i]!) return false;
  }
  for (let i = KEY_WORDS; i < outer.mask.length; i++) {
    const mask = outer.mask[i]!;
    if ((mask & ~wordOf(inner.mask, i)) !== 0 || (wordOf(inner.value, i) & mask) !== outer.value[i]!)
      return false;
  }
  return true;
}

/** True when some packet matches both. */
export function overlaps(a: MaskedKey, b: MaskedKey): boolean {
  for (let i = 0; i < KEY_WORDS; i++) {
    if (((a.value[i]! ^ b.value[i]!) & a.mask[i]! & b.mask[i]!) !== 0) return false;
  }
  for (let i = KEY_WORDS; i < a.mask.length && i < b.mask.length; i++) {
    if (((a.value[i]! ^ b.value[i]!) & a.mask[i]! & b.mask[i]!) !== 0) return false;
  }
  return true;
}
