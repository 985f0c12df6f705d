import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeEscapedUtf8, invalidSequenceIn } from "./index.js";

/** The bytes that a text with escapes stands for. */
function bytesOf(text: string): Buffer {
  return Buffer.concat(
    [...text].map((one) => {
      const point = one.codePointAt(0) as number;
      return point >= 0xd800 && point < 0xe000 ? Buffer.of(point - 0xdc00) : Buffer.from(one);
    }),
  );
}

describe("bytes as text", () => {
  it("come back, whatever they are", () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 6 }),
      fc.string({ unit: "binary" }).map((text) => Buffer.from(text)),
      fc.constantFrom(
        [0xed, 0xa0, 0x80],
        [0xe2, 0x82],
        [0xf4, 0x90, 0x80, 0x80],
        [0xc0, 0x80],
        [0xef, 0xbb, 0xbf],
      ),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 4 }), (pieces) => {
        const bytes = Buffer.concat(pieces.map((one) => Buffer.from(one)));
        const text = decodeEscapedUtf8(bytes);
        expect(bytesOf(text).equals(bytes)).toBe(true);
        const isUtf8 = Buffer.from(bytes.toString("utf8")).equals(bytes);
        expect(invalidSequenceIn(text).length > 0).toBe(!isUtf8);
        if (isUtf8) expect(text).toBe(bytes.toString("utf8"));
      }),
    );
  });

  it.each([
    [[0x61, 0xff, 0x62], [0xff]],
    [
      [0xe2, 0x82],
      [0xe2, 0x82, 0],
    ],
    [[0xc0, 0x80], [0xc0]],
    [
      [0xed, 0xa0, 0x80],
      [0xed, 0xa0],
    ],
    [
      [0xf0, 0x9f, 0x98, 0xc3, 0xa4],
      [0xf0, 0x9f, 0x98, 0xc3],
    ],
    [[0xc3, 0xa4], []],
  ])("%j is wrong for %j", (bytes, wrong) =>
    expect(invalidSequenceIn(decodeEscapedUtf8(Uint8Array.from(bytes)))).toEqual(wrong),
  );
});
