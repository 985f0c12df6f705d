import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { TableFeatureProperty, TableFeatures } from "../../base/openflow/index.js";
import { describeTables } from "./capabilities.js";
import { planTables } from "./table-plan.js";

const SUPPORTED = describeTables({
  tableCount: 4,
  maxEntries: 1000,
  matchFields: ["in_port", "eth_type", "ipv4_src"],
  setFields: ["eth_src"],
  actions: ["output", "set_field"],
  instructions: ["apply_actions", "goto_table"],
});
const table = (tableId: number): TableFeatures => SUPPORTED[tableId] as TableFeatures;
const change = (tableId: number, changes: Partial<TableFeatures>): TableFeatures => ({
  ...table(tableId),
  ...changes,
});
/** Table 0 with one property changed, or left out. */
function withProperty(
  type: TableFeatureProperty["type"],
  replace: (property: TableFeatureProperty) => readonly TableFeatureProperty[],
): readonly TableFeatures[] {
  const properties = table(0).properties.flatMap((one) => (one.type === type ? replace(one) : [one]));
  return [change(0, { properties }), ...SUPPORTED.slice(1)];
}

describe("planTables", () => {
  it("takes what was reported, unchanged", () => {
    expect(planTables(SUPPORTED, SUPPORTED)).toEqual(SUPPORTED);
  });

  it("takes names, sizes and metadata, in any order of tables", () => {
    const wanted = { name: "acl", maxEntries: 10, metadataMatch: 0xffn, metadataWrite: 0xf0n };
    const planned = planTables(SUPPORTED, [table(3), change(1, wanted), table(0), table(2)]);
    expect(planned).toEqual([table(0), change(1, wanted), table(2), table(3)]);
  });

  it("leaves out tables that are not named, also as a way on", () => {
    const request = [0, 2].map((tableId) => {
      const properties = table(tableId).properties.map((property) =>
        property.type === "next_tables" ? { ...property, tables: tableId === 0 ? [2] : [] } : property,
      );
      return change(tableId, { properties });
    });
    const planned = planTables(SUPPORTED, request);
    if (typeof planned === "string") throw new Error(planned);
    expect(planned.map(({ tableId }) => tableId)).toEqual([0, 2]);
    const next = planned.map(({ properties }) => properties.find(({ type }) => type === "next_tables"));
    expect(next).toMatchObject([{ tables: [2] }, { tables: [] }]);
  });

  it("offers all it can where less is asked for", () => {
    const request = withProperty("match", (one) => [{ ...one, fields: [] } as TableFeatureProperty]);
    expect(planTables(SUPPORTED, request)).toEqual(SUPPORTED);
  });

  it.each<[string, string, readonly TableFeatures[]]>([
    ["a table that cannot be", "OFPTFFC_BAD_TABLE", [...SUPPORTED, change(0, { tableId: 9 })]],
    ["a table twice", "OFPTFFC_BAD_TABLE", [...SUPPORTED, table(1)]],
    ["no first table", "OFPTFFC_BAD_TABLE", SUPPORTED.slice(1)],
    ["more flows", "OFPTFFC_BAD_ARGUMENT", [change(0, { maxEntries: 1001 })]],
    ["configuration bits", "OFPTFFC_BAD_ARGUMENT", [change(0, { config: 1 })]],
    ["a way to a table that goes", "OFPTFFC_BAD_ARGUMENT", SUPPORTED.slice(0, 3)],
    ["no property", "OFPTFFC_BAD_ARGUMENT", withProperty("wildcards", () => [])],
    ["a property twice", "OFPTFFC_BAD_ARGUMENT", withProperty("match", (one) => [one, one])],
    [
      "a property that it has never heard of",
      "OFPTFFC_BAD_TYPE",
      withProperty("match", (one) => [
        one,
        { type: "experimenter", miss: false, experimenter: 1, expType: 1, data: new Uint8Array(0) },
      ]),
    ],
    [
      "an action that it lacks",
      "OFPTFFC_BAD_ARGUMENT",
      withProperty("apply_actions", (one) => [{ ...one, actions: [{ type: 22 }] } as TableFeatureProperty]),
    ],
    [
      "an instruction that it lacks",
      "OFPTFFC_BAD_ARGUMENT",
      withProperty("instructions", (one) => [
        { ...one, instructions: [{ type: 6 }] } as TableFeatureProperty,
      ]),
    ],
    [
      "a mask that it lacks",
      "OFPTFFC_BAD_ARGUMENT",
      withProperty("match", (one) => [
        { ...one, fields: [{ field: "in_port", maskable: true }] } as TableFeatureProperty,
      ]),
    ],
    [
      "table-miss flows that can do more",
      "OFPTFFC_BAD_ARGUMENT",
      withProperty("apply_actions", (one) => [
        one,
        { type: "apply_actions", miss: true, actions: [{ type: 22 }] },
      ]),
    ],
  ])("refuses %s with %s", (_, error, request) => {
    expect(planTables(SUPPORTED, request)).toBe(error);
  });

  it("refuses metadata bits that there are none of", () => {
    const narrow = SUPPORTED.map((one) => ({ ...one, metadataMatch: 1n }));
    expect(planTables(narrow, [change(0, { metadataMatch: 2n })])).toBe("OFPTFFC_BAD_METADATA");
  });

  it("takes again what it answered, for every choice of tables and sizes", () => {
    const choice = fc.record({ ids: fc.subarray([1, 2, 3]), size: fc.nat({ max: 1000 }) });
    fc.assert(
      fc.property(choice, ({ ids, size }) => {
        const all = [0, ...ids];
        const request = all.map((tableId) => {
          const properties = table(tableId).properties.map((property) =>
            property.type === "next_tables"
              ? { ...property, tables: all.filter((id) => id > tableId) }
              : property,
          );
          return change(tableId, { maxEntries: size, properties });
        });
        expect(planTables(SUPPORTED, request)).toEqual(request);
      }),
    );
  });
});
