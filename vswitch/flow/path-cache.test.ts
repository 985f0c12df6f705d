import { describe, expect, it } from "vitest";
import { K_SRC, KEY_WORDS } from "./key.js";
import { PATH_RESTS_MAX } from "./limits.js";
import { PathCache } from "./path-cache.js";

const ENTRIES = 16;
const key = new Int32Array(KEY_WORDS);

/** One packet of `sender`; whether its path was found. */
function pass(cache: PathCache, sender: number): boolean {
  if (cache.rests()) return false;
  key[K_SRC] = sender;
  const entry = cache.find(key, 0, 0, 1);
  if (entry < 0) cache.fill(-1 - entry, key, 0, 0, 1);
  return entry >= 0;
}

describe("PathCache", () => {
  it("rests where more keys come in turn than it holds, a bounded time, and finds again what comes again", () => {
    const cache = new PathCache(ENTRIES);
    const keys = 1000 * ENTRIES;
    let asked = 0;
    for (let n = 0; n < keys; n++) {
      const before = cache.misses;
      if (!cache.rests()) {
        key[K_SRC] = n;
        expect(cache.find(key, 0, 0, 1)).toBeLessThan(0);
        asked++;
      }
      expect(cache.misses).toBe(before + 1);
    }
    expect(asked).toBeGreaterThan(0);
    expect(asked).toBeLessThan(keys / PATH_RESTS_MAX);
    let waited = 0;
    while (!pass(cache, -1)) expect(++waited).toBeLessThan((PATH_RESTS_MAX + 1) * ENTRIES);
    for (let n = 0; n < keys; n++) expect(pass(cache, -1)).toBe(true);
  });
});
