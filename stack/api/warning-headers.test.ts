import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { codePoint } from "../../base/testing/code-point.js";
import { WARNINGS_SIZE_BYTES_MAX, warningHeaders } from "./warning-headers.js";

describe("warningHeaders()", () => {
  it("has one for each, quoted, in letters that a header may have", () => {
    expect(warningHeaders([])).toEqual([]);
    expect(warningHeaders(["loses a => b", 'unknown field "x\\y"', "ä\r\nSet-Cookie: a"])).toEqual([
      '299 - "loses a => b"',
      '299 - "unknown field \\"x\\\\y\\""',
      '299 - "???Set-Cookie: a"',
    ]);
  });

  it("counts those that there is no room for", () => {
    const headers = warningHeaders(
      Array.from({ length: 1000 }, (_, i) => `loses pair ${i} ${"x".repeat(100)}`),
    );
    expect(headers.length).toBeLessThan(100);
    expect(headers.at(-1)).toBe(`299 - "${1000 - headers.length + 1} warnings more"`);
  });

  it("is never too large nor breaks a header, whatever the texts", () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: codePoint, maxLength: 12_000 }), { maxLength: 20 }), (texts) => {
        const headers = warningHeaders(texts);
        expect(headers.join("").length).toBeLessThanOrEqual(WARNINGS_SIZE_BYTES_MAX);
        for (const header of headers) expect(header).toMatch(/^299 - "([^"\\]|\\["\\])*"$/);
        for (const header of headers) expect(header).toMatch(/^[\x20-\x7e]*$/);
      }),
    );
  });
});
