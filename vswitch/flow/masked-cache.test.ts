import { describe, expect, it } from "vitest";
import { K_DST, K_IN_PORT, K_PIPELINE, K_SRC } from "./key.js";
import { MASKS_MAX } from "./limits.js";
import { MaskedCache } from "./masked-cache.js";

describe("MaskedCache", () => {
  it("knows what was kept last by whatever bits, with no more masks than there may be", () => {
    const cache = new MaskedCache();
    const key = new Int32Array(K_PIPELINE);
    key[K_IN_PORT] = 1;
    let verdict = 0;
    for (let from = 1; from <= 32; from++) {
      for (let to = 1; to <= 32; to++) {
        key[K_SRC] = 0x0a000000 + from;
        key[K_DST] = 0x0b000000 + to;
        const bits = new Int32Array(K_PIPELINE);
        bits[K_IN_PORT] = -1;
        bits[K_SRC] = -1 << (32 - from);
        bits[K_DST] = -1 << (32 - to);
        cache.keep(key, bits, ++verdict, 1);
        const other = key.slice();
        other[K_SRC] = key[K_SRC]! ^ (1 << (32 - from));
        const found = cache.find(key, 1);
        expect(found).toBeGreaterThan(0);
        expect(cache.find(other, 1)).not.toBe(verdict);
        expect(cache.foundBits[K_IN_PORT]).toBe(-1);
      }
    }
    expect(cache.maskCount).toBeGreaterThan(16);
    expect(cache.maskCount).toBeLessThanOrEqual(MASKS_MAX);
  });
});
