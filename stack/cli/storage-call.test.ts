import { describe, expect, test, vi } from "vitest";
import { parseGrowth, parseRate, parseSize } from "./storage-call.js";

const MIB = 2 ** 20;

describe("sizes", () => {
  test.each([
    ["1.5GiB", 1536 * MIB],
    ["10MB", 10_002_432],
    ["10Mi", 10 * MIB],
    ["1", 4096],
  ])("%s is %i bytes, in whole blocks; who asks for a part of one is told", (text, bytes) => {
    const told = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    try {
      expect(parseSize(text)).toBe(bytes);
      const isRounded = text === "10MB" || text === "1";
      const words = `plinth: ${text} is rounded up to ${bytes} bytes: sizes are multiples of 4 KiB (4096 bytes)\n`;
      expect(told.mock.calls).toEqual(isRounded ? [[words]] : []);
    } finally {
      told.mockRestore();
    }
  });

  // Of a Kubernetes quantity "m" is a thousandth: a volume of 10m would have 4 KiB, and nobody means that.
  test.each(["10m", "10g", "0", "-1GiB", "+1GiB", "0.1", "10000m", "", "NaN"])("%j is none", (text) => {
    expect(() => parseSize(text)).toThrow("expected a size such as 1GiB, 500MB or 10Mi");
  });

  test("a rate may be 0, with a unit or without", () => {
    expect([parseRate("0"), parseRate("0MiB"), parseRate("1MiB")]).toEqual([0, 0, MIB]);
    // Of a rate nothing has to be whole blocks.
    expect([parseRate("1"), parseRate("10MB")]).toEqual([1, 10_000_000]);
    expect(() => parseRate("0.1")).toThrow("expected a size");
    expect(() => parseRate("10m")).toThrow("expected a size such as 1GiB, 500MB or 10Mi");
  });

  test("growth is a new size, or so much more", () => {
    expect(parseGrowth("+1MiB")).toEqual({ bytes: MIB, isRelative: true });
    expect(parseGrowth("2MiB")).toEqual({ bytes: 2 * MIB, isRelative: false });
    expect(() => parseGrowth("++1MiB")).toThrow("expected a size");
    expect(() => parseGrowth("+10m")).toThrow("expected a size");
  });
});
