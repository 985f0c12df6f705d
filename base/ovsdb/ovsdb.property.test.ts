import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  applyDiff,
  type ColumnType,
  type Datum,
  diffDatums,
  encodeDatum,
  encodeSchema,
  mapOf,
  OvsdbError,
  parseDatum,
  parseSchema,
  parseTransactReply,
  RowCache,
  setOf,
} from "./index.js";

const UNLIMITED = Number.POSITIVE_INFINITY;
const SET: ColumnType = { key: { type: "integer" }, min: 0, max: UNLIMITED };
const MAP: ColumnType = { key: { type: "string" }, value: { type: "string" }, min: 0, max: UNLIMITED };
const OPTIONAL: ColumnType = { key: { type: "uuid" }, min: 0, max: 1 };

const text = fc.string({ unit: "grapheme", maxLength: 4 }).filter((s) => !s.includes("\0"));
const setDatum = fc.uniqueArray(fc.integer({ min: -5, max: 5 })).map(setOf);
const mapDatum = fc.uniqueArray(fc.tuple(text, text), { selector: (pair) => pair[0] }).map(mapOf);
const optionalDatum = fc.uniqueArray(fc.uuid(), { maxLength: 1 }).map(setOf);
const cases: [string, ColumnType, fc.Arbitrary<Datum>][] = [
  ["set", SET, setDatum],
  ["map", MAP, mapDatum],
  ["optional", OPTIONAL, optionalDatum],
];

/** JSON that looks like OVSDB now and then. */
const hostileJson: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.jsonValue({ maxDepth: 1 }),
    fc.constantFrom("set", "map", "uuid", "named-uuid", "unlimited", "string", "integer", "__proto__"),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.tuple(fc.constantFrom("set", "map", "uuid", "named-uuid"), tie("value")),
    fc.dictionary(
      fc.constantFrom(
        "name",
        "version",
        "tables",
        "columns",
        "type",
        "key",
        "value",
        "min",
        "max",
        "enum",
        "T",
        "error",
        "new",
        "old",
        "modify",
        "initial",
        "delete",
      ),
      tie("value"),
    ),
  ),
})).value;

function onlyOvsdbErrors(work: () => unknown): void {
  try {
    work();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(OvsdbError);
  }
}

describe.each(cases)("a %s column", (_name, type, arbitrary) => {
  it("survives encode and parse", () => {
    fc.assert(
      fc.property(arbitrary, (datum) => {
        const json: unknown = JSON.parse(JSON.stringify(encodeDatum(datum, type)));
        expect(parseDatum(json, type)).toEqual(datum);
      }),
    );
  });

  it("is carried from one value to the other by their difference", () => {
    fc.assert(
      fc.property(arbitrary, arbitrary, (before, after) => {
        expect(applyDiff(before, diffDatums(before, after, type), type)).toEqual(after);
      }),
    );
  });

  it("raises only OVSDB errors on arbitrary JSON", () => {
    fc.assert(
      fc.property(hostileJson, (json) => onlyOvsdbErrors(() => parseDatum(json, type))),
      { numRuns: 400 },
    );
  });
});

describe("schemas and updates", () => {
  it("raise only OVSDB errors on arbitrary JSON", () => {
    const schema = parseSchema({
      name: "D",
      version: "1.0.0",
      tables: { T: { columns: { name: { type: "string" } } } },
    });
    fc.assert(
      fc.property(hostileJson, (json) => {
        onlyOvsdbErrors(() => parseSchema(json));
        onlyOvsdbErrors(() =>
          parseSchema({ name: "D", version: "1.0.0", tables: { T: { columns: { c: { type: json } } } } }),
        );
        onlyOvsdbErrors(() => parseTransactReply(json, []));
        onlyOvsdbErrors(() => new RowCache(schema).apply(json, "update2"));
        onlyOvsdbErrors(() =>
          new RowCache(schema).apply({ T: { "00000000-0000-0000-0000-000000000001": json } }, "update"),
        );
      }),
      { numRuns: 500 },
    );
  });

  it("give back the schema that was encoded", () => {
    const bound = fc.record({ minInteger: fc.integer(), maxInteger: fc.integer() }, { requiredKeys: [] });
    const column = fc.record({
      type: fc.record(
        {
          key: fc.oneof(
            fc.constant("string"),
            bound.map((limits) => ({ type: "integer", ...limits })),
            fc.constant({ type: "uuid", refTable: "T", refType: "weak" }),
            fc.constant({ type: "string", enum: ["set", ["a", "b"]] }),
          ),
          min: fc.constantFrom(0, 1),
          max: fc.constantFrom(1, 3, "unlimited"),
        },
        { requiredKeys: ["key"] },
      ),
      mutable: fc.boolean(),
      ephemeral: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom("a", "b", "c"), column), (columns) => {
        const schema = parseSchema({ name: "D", version: "1.2.3", tables: { T: { columns, isRoot: true } } });
        expect(parseSchema(JSON.parse(JSON.stringify(encodeSchema(schema))))).toEqual(schema);
      }),
    );
  });
});
