import fc from "fast-check";
import { expect, it } from "vitest";
import {
  type Atom,
  type BaseType,
  type ColumnSchema,
  encodeDatum,
  insertOp,
  mapOf,
  namedUuid,
  type Operation,
  type OvsdbRowJson,
  type OvsdbValue,
  setOf,
} from "../../base/ovsdb/index.js";
import { Database, OPEN_VSWITCH_SCHEMA, transact } from "../db/index.js";
import { DummyAddresses } from "./dummy.js";
import { plan } from "./plan.js";
import { readModel } from "./read-model.js";
import { runOperations } from "./write-back.js";

const WORDS = [
  "br0",
  "a",
  "../x",
  "",
  "stream",
  "patch",
  "internal",
  "dpdkvhostuser",
  "path",
  "peer",
  "hwaddr",
  "datapath-id",
  "02:00:00:00:00:01",
  "ff",
  "0",
  "-1",
  "é",
];

function atom(base: BaseType): fc.Arbitrary<Atom> {
  if (base.enum !== undefined) return fc.constantFrom(...base.enum);
  if (base.type === "integer")
    return fc.integer({
      min: Number(base.minInteger ?? -9),
      max: Math.min(Number(base.maxInteger ?? 70_000), 70_000),
    });
  if (base.type === "boolean") return fc.boolean();
  return fc.constantFrom(...WORDS);
}

function value({ type }: ColumnSchema): fc.Arbitrary<OvsdbValue> {
  const size = { minLength: type.min, maxLength: Math.min(type.max, 3) };
  const datum =
    type.value === undefined
      ? fc.uniqueArray(atom(type.key), size).map(setOf)
      : fc
          .uniqueArray(fc.tuple(atom(type.key), atom(type.value)), { ...size, selector: ([key]) => key })
          .map(mapOf);
  return datum.map((one) => encodeDatum(one, type) as OvsdbValue);
}

/** Any values for the columns of `table` that refer to no other row. */
function row(table: string): fc.Arbitrary<OvsdbRowJson> {
  const columns = [...OPEN_VSWITCH_SCHEMA.tables.get(table)!.columns].filter(
    ([name, { type }]) => name !== "name" && type.key.type !== "uuid" && type.value?.type !== "uuid",
  );
  return fc.record(Object.fromEntries(columns.map(([name, schema]) => [name, value(schema)])), {
    requiredKeys: [],
  }) as fc.Arbitrary<OvsdbRowJson>;
}

const contents = fc.record({
  root: row("Open_vSwitch"),
  bridge: row("Bridge"),
  controllers: fc.array(row("Controller"), { maxLength: 2 }),
  ports: fc.uniqueArray(fc.tuple(fc.constantFrom(...WORDS), row("Port"), row("Interface")), {
    maxLength: 4,
    selector: ([name]) => name,
  }),
  bridgeName: fc.constantFrom(...WORDS),
});

it("readModel() gives a model for any rows that the schema allows, and reporting it is always possible", () => {
  fc.assert(
    fc.property(contents, ({ root, bridge, controllers, ports, bridgeName }) => {
      const named = (kind: string, count: number): OvsdbValue => [
        "set",
        Array.from({ length: count }, (_, i) => namedUuid(`${kind}${i}`)),
      ];
      const operations: Operation[] = [
        insertOp("Open_vSwitch", { ...root, bridges: namedUuid("b") }),
        insertOp(
          "Bridge",
          {
            ...bridge,
            name: bridgeName,
            ports: named("p", ports.length),
            controller: named("c", controllers.length),
          },
          "b",
        ),
        ...controllers.map((one, i) => insertOp("Controller", one, `c${i}`)),
        ...ports.flatMap(([name, port, iface], i) => [
          insertOp("Port", { ...port, name, interfaces: namedUuid(`i${i}`) }, `p${i}`),
          insertOp("Interface", { ...iface, name }, `i${i}`),
        ]),
      ];
      const database = new Database(OPEN_VSWITCH_SCHEMA);
      expect(transact(database, operations)).toMatchObject({ committed: true });
      const model = readModel(database, { dummy: "off", addresses: new DummyAddresses(), dir: "/d" });
      expect(model.bridges).toHaveLength(1);
      expect(model.bridges[0]!.ports).toHaveLength(ports.length);
      expect(model.bridges[0]!.config.datapathId).toMatch(/^[0-9a-f]{16}$/);
      plan(new Map(), model);
      expect(transact(database, runOperations(model, new Map(), new Map()))).toMatchObject({
        committed: true,
      });
    }),
    { numRuns: 300 },
  );
});
