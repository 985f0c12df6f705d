// Any character of Unicode as text, for `unit` of fc.string(): the library's own "binary" says the same, but makes a table
// of all of them first, which takes seconds.
import fc from "fast-check";

const SURROGATES = { first: 0xd800, count: 0x800 } as const;
const LAST = 0x10_ffff;

export const codePoint: fc.Arbitrary<string> = fc
  .oneof(fc.nat({ max: 0x7f }), fc.nat({ max: LAST - SURROGATES.count }))
  .map((n) => String.fromCodePoint(n < SURROGATES.first ? n : n + SURROGATES.count));
