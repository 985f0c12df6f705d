// Maglev consistent hashing: an endpoint table in which every endpoint fills an almost equal share, and losing or
// gaining one endpoint moves few of the others' slots.
// Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4.
// Built off the packet path whenever the set of endpoints changes; looked up by `hash % MAGLEV_SIZE`.

/** Slots of the table; prime, and more than 100 times the endpoints we allow, as the paper asks for even shares. */
export const MAGLEV_SIZE = 65_537;

/** What a slot holds when there is no endpoint at all. */
export const NO_ENDPOINT = -1;

/**
 * The lookup table: slot → index into `names`, NO_ENDPOINT everywhere when `names` is empty.
 * The result depends on the set of names only, not on their order: each slot's owner is the same endpoint.
 */
export function buildMaglevTable(names: readonly string[], size = MAGLEV_SIZE): Int16Array {
  const table = new Int16Array(size).fill(NO_ENDPOINT);
  if (names.length === 0) return table;
  // Turn order decides ties, so it must not depend on how the caller happened to list the endpoints.
  const order = names
    .map((_, index) => index)
    .sort((a, b) => compare(names[a] as string, names[b] as string));
  const offset = order.map((index) => hashName(names[index] as string, 0x9e3779b9) % size);
  const skip = order.map((index) => (hashName(names[index] as string, 0x85ebca6b) % (size - 1)) + 1);
  const next = offset.slice();
  for (let filled = 0; ; ) {
    for (let turn = 0; turn < order.length; turn++) {
      let slot = next[turn] as number;
      while (table[slot] !== NO_ENDPOINT) slot = (slot + (skip[turn] as number)) % size;
      table[slot] = order[turn] as number;
      next[turn] = (slot + (skip[turn] as number)) % size;
      if (++filled === size) return table;
    }
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** 32-bit FNV-1a over the UTF-16 code units, finished with murmur3's mixer; `seed` makes independent hashes. */
function hashName(name: string, seed: number): number {
  let hash = (0x811c9dc5 ^ seed) >>> 0;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return mix32(hash);
}

/** Murmur3's 32-bit finalizer: every input bit changes every output bit with probability one half. Unsigned. */
export function mix32(hash: number): number {
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
