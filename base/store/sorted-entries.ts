// A map of entries with its keys in byte order, so that a prefix is found by binary search.
// Invariant: `keys` is sorted and holds exactly the map's keys. UTF-16 order equals UTF-8 byte order for every key
// without surrogates; the store refuses the others.
import type { StoreEntry } from "./store.js";

export class SortedEntries {
  readonly #byKey = new Map<string, StoreEntry>();
  #keys: string[] = [];

  get size(): number {
    return this.#keys.length;
  }

  get(key: string): StoreEntry | undefined {
    return this.#byKey.get(key);
  }

  set(entry: StoreEntry): void {
    if (!this.#byKey.has(entry.key)) this.#keys.splice(lowerBound(this.#keys, entry.key), 0, entry.key);
    this.#byKey.set(entry.key, entry);
  }

  delete(key: string): void {
    if (this.#byKey.delete(key)) this.#keys.splice(lowerBound(this.#keys, key), 1);
  }

  /** Fills an empty map from entries that come in any order. */
  load(entries: readonly StoreEntry[]): void {
    for (const entry of entries) this.#byKey.set(entry.key, entry);
    this.#keys = [...this.#byKey.keys()].sort(compareKeys);
  }

  /** All entries whose key starts with `prefix`, in order. */
  withPrefix(prefix: string): StoreEntry[] {
    const found: StoreEntry[] = [];
    for (let i = lowerBound(this.#keys, prefix); i < this.#keys.length; i++) {
      const key = this.#keys[i] as string;
      if (!key.startsWith(prefix)) break;
      found.push(this.#byKey.get(key) as StoreEntry);
    }
    return found;
  }
}

export function compareKeys(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Index of the first key that is not less than `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
