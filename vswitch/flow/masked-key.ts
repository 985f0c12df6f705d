// How two matches relate. Pure. Thread: any.
import type { MaskedKey } from "./fields.js";
import { KEY_WORDS } from "./key.js";

export function sameWords(a: Int32Array, b: Int32Array): boolean {
  for (let i = 0; i < KEY_WORDS; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** True when every packet that `inner` matches is matched by `outer` too. */
export function covers(outer: MaskedKey, inner: MaskedKey): boolean {
  for (let i = 0; i < KEY_WORDS; i++) {
    const mask = outer.mask[i]!;
    if ((mask & ~inner.mask[i]!) !== 0 || (inner.value[i]! & mask) !== outer.value[i]!) return false;
  }
  return true;
}

/** True when some packet matches both. */
export function overlaps(a: MaskedKey, b: MaskedKey): boolean {
  for (let i = 0; i < KEY_WORDS; i++) {
    if (((a.value[i]! ^ b.value[i]!) & a.mask[i]! & b.mask[i]!) !== 0) return false;
  }
  return true;
}
