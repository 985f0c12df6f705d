import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { exactInteger, parseExactJson, stringifyExactJson } from "./index.js";

const INTEGER_MIN = -(2n ** 63n);
const INTEGER_MAX = 2n ** 63n - 1n;

const integer = fc.bigInt({ min: INTEGER_MIN, max: INTEGER_MAX }).map(exactInteger);
/** Texts that look like what is done with numbers. */
const text = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.constantFrom(
    "9223372036854775807",
    '"9223372036854775807"',
    "\\9223372036854775807",
    "[-9223372036854775808]",
  ),
);
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    integer,
    text,
    fc.double({ noDefaultInfinity: true, noNaN: true }).map((one) => one + 0),
    fc.constantFrom(null, true, false),
    fc.array(tie("value")),
    fc.dictionary(text, tie("value"), { noNullPrototype: true }),
  ),
}));

/** A number without a fraction beyond what numbers hold reads as the integer that its digits are. */
function withExactIntegers(one: unknown): unknown {
  if (typeof one === "number" && Number.isInteger(one) && /^-?[0-9]{16,19}$/.test(String(one)))
    return exactInteger(BigInt(String(one)));
  if (Array.isArray(one)) return one.map(withExactIntegers);
  if (typeof one !== "object" || one === null) return one;
  return Object.fromEntries(Object.entries(one).map(([key, inner]) => [key, withExactIntegers(inner)]));
}

describe("JSON with integers of 64 bits", () => {
  it("gives back every value", () => {
    fc.assert(
      fc.property(value, (one) => {
        expect(parseExactJson(stringifyExactJson(one))).toEqual(withExactIntegers(one));
      }),
    );
  });

  it("writes integers with their digits and reads them from between anything", () => {
    const edges = [INTEGER_MIN, INTEGER_MAX, 2n ** 53n, -(2n ** 53n)];
    const written = `{"a" : [ ${edges.join(" ,\n")}],"9007199254740993":"\\"9007199254740993","b":-9007199254740993}`;
    const read = { a: edges, "9007199254740993": '"9007199254740993', b: -9007199254740993n };
    expect(parseExactJson(written)).toEqual(read);
    expect(stringifyExactJson(read)).toBe(written.replaceAll(/\s/g, ""));
    expect(parseExactJson("[9007199254740991,-9007199254740991]")).toEqual([2 ** 53 - 1, -(2 ** 53 - 1)]);
    expect(parseExactJson("[1e300,1234567890123456789.5,1234567890123456789e2]")).toEqual([
      1e300,
      Number("1234567890123456789.5"),
      Number("1234567890123456789e2"),
    ]);
  });

  it("takes a long string as it is", () => {
    const long = `${"1\\".repeat(4_000_000)}9007199254740993`;
    expect(parseExactJson(JSON.stringify([long, 1]))).toEqual([long, 1]);
    expect(parseExactJson(`[${JSON.stringify(long)},9007199254740993]`)).toEqual([long, 9007199254740993n]);
  });

  it("refuses a number that no real can hold", () => {
    for (const huge of ["1e309", "-1E+309", "1e0309", `${"9".repeat(240)}e99`, "9".repeat(310)])
      expect(() => parseExactJson(`{"a":[${huge}]}`)).toThrow("a number is out of range");
    expect(parseExactJson('["1e309",1e308,1e-309]')).toEqual(["1e309", 1e308, 1e-309]);
  });

  it("refuses what JSON.parse refuses, in its words", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[[\]{}:,0-9"\\ e.-]{0,40}$/), (bytes) => {
        fc.pre(!/e[0-9]{3}/.test(bytes));
        let refusal: unknown;
        try {
          JSON.parse(bytes);
        } catch (thrown) {
          refusal = thrown;
        }
        if (refusal === undefined) expect(() => parseExactJson(bytes)).not.toThrow();
        else expect(() => parseExactJson(bytes)).toThrow(refusal as SyntaxError);
      }),
    );
    expect(() => parseExactJson("[9007199254740993,]")).toThrow(SyntaxError);
    const circle: unknown[] = [2n ** 60n];
    circle.push(circle);
    expect(() => stringifyExactJson(circle)).toThrow(TypeError);
  });
});
