import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkAtom, type OvsdbError } from "./index.js";
import { formatNumber, formatReal } from "./number-text.js";

describe("numbers as ovsdb-server shows them", () => {
  it.each([
    [0, "0"],
    [-0, "0"],
    [0.1, "0.1"],
    [-1.5, "-1.5"],
    [0.3 + 1e-17, "0.3"],
    [0.0001, "0.0001"],
    [0.00001, "1e-05"],
    [0.0001234567890123456, "0.000123456789012346"],
    [123456789012345, "123456789012345"],
    [1e15, "1e+15"],
    [1234567890123456, "1.23456789012346e+15"],
    [-(2 ** 63), "-9.22337203685478e+18"],
    [1e100, "1e+100"],
    [Math.PI, "3.14159265358979"],
    [999999999999999.9, "1e+15"],
  ])("a real of %d", (value, text) => expect(formatReal(value)).toBe(text));

  it("any real keeps 15 digits", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        const text = formatReal(value);
        expect(Number(text) + 0).toBe(Number(value.toPrecision(15)) + 0);
        expect(text).toMatch(/^-?[0-9]+(\.[0-9]*[1-9])?(e[+-][0-9]{2,3})?$/);
      }),
    );
  });

  it("integers of 64 bits keep all of theirs, and larger ones are reals", () => {
    expect([2n ** 63n - 1n, 1e18, -(2n ** 63n), 1e3].map(formatNumber)).toEqual([
      "9223372036854775807",
      "1000000000000000000",
      "-9223372036854775808",
      "1000",
    ]);
    expect([2n ** 63n, 1e19, 1.5].map(formatNumber)).toEqual(["9.22337203685478e+18", "1e+19", "1.5"]);
  });

  it("in what is wrong with a real", () => {
    const fault = (atom: number, base: object): string => {
      try {
        checkAtom(atom, { type: "real", ...base });
      } catch (thrown) {
        return (thrown as OvsdbError).details;
      }
      return "";
    };
    expect(fault(1e17, { minReal: -1.5, maxReal: 1e16 })).toBe(
      "1e+17 is not in the valid range -1.5 to 1e+16 (inclusive)",
    );
    expect(fault(-1, { minReal: 0 })).toBe("-1 is less than minimum allowed value 0");
    expect(fault(0.5, { maxReal: 0 })).toBe("0.5 is greater than maximum allowed value 0");
    expect(fault(1, { enum: [1e15, 0.1] })).toBe("1 is not one of the allowed values ([0.1, 1e+15])");
  });
});
