import fc from "fast-check";
import { expect, test } from "vitest";
import { PlinthError } from "../errors/index.js";
import { defineRecord } from "./index.js";

interface Inner {
  name: string;
  size: number;
}
interface Outer {
  id: number;
  label: string;
  on: boolean;
  blob: Uint8Array;
  list: number[];
  inners: Inner[];
}
const inner = defineRecord<Inner>("Inner", {
  name: { number: 1, type: "string" },
  size: { number: 2, type: "uint64" },
});
const outer = defineRecord<Outer>("Outer", {
  id: { number: 1, type: "uint64" },
  label: { number: 2, type: "string" },
  on: { number: 3, type: "bool" },
  blob: { number: 4, type: "bytes" },
  list: { number: 5, type: "uint32", repeated: true },
  inners: { number: 6, type: inner, repeated: true },
});

const anyOuter = fc.record({
  id: fc.maxSafeNat(),
  label: fc.string({ unit: "grapheme" }),
  on: fc.boolean(),
  blob: fc.uint8Array({ maxLength: 50 }),
  list: fc.array(fc.nat(0xffffffff)),
  inners: fc.array(fc.record({ name: fc.string(), size: fc.maxSafeNat() }), { maxLength: 5 }),
});

test("parse() gives back what encode() was given", () => {
  fc.assert(
    fc.property(anyOuter, (record) => {
      const back = outer.parse(outer.encode(record));
      expect({ ...back, blob: [...back.blob] }).toEqual({ ...record, blob: [...record.blob] });
    }),
  );
});

test("arbitrary bytes parse or raise SCHEMA_INVALID, nothing else", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        outer.parse(bytes);
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(PlinthError);
        expect((thrown as PlinthError).code).toBe("SCHEMA_INVALID");
      }
    }),
  );
});

test("an empty record reads as defaults", () => {
  const back = outer.parse(new Uint8Array());
  expect({ ...back, blob: [...back.blob] }).toEqual({
    id: 0,
    label: "",
    on: false,
    blob: [],
    list: [],
    inners: [],
  });
});
