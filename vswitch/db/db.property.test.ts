import { mkdtempSync, rmSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { connectJsonRpc, JsonRpcFault } from "../../base/jsonrpc/index.js";
import { type Operation, OvsdbError, RowCache, setValue, type UpdateFormat } from "../../base/ovsdb/index.js";
import { Database } from "./database.js";
import { DatabaseServer } from "./database-server.js";
import { transact } from "./execute.js";
import { Monitor } from "./monitor.js";
import { OPEN_VSWITCH_SCHEMA } from "./open-vswitch-schema.js";
import { parseLog } from "./record-log.js";

const NAMES = ["a", "b", "c"] as const;
const name = fc.constantFrom(...NAMES);
const where = fc.oneof(
  fc.constant([]),
  name.map((value) => [["name", "==", value]]),
  name.map((value) => [["name", "!=", value]]),
);
const named = (value: string) => ["named-uuid", value];
const tag = fc.oneof(fc.integer({ min: -1, max: 3 }), fc.constant(["set", []] as unknown));

/** Operations on bridges and ports, right and wrong ones. */
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.tuple(name, name).map(([bridge, port]) => ({
    op: "insert",
    table: "Bridge",
    row: { name: bridge, ports: setValue([named(`p${port}`)]) },
    "uuid-name": `b${bridge}`,
  })),
  name.map((port) => ({
    op: "insert",
    table: "Port",
    row: { name: port, interfaces: named(`i${port}`) },
    "uuid-name": `p${port}`,
  })),
  name.map((port) => ({ op: "insert", table: "Interface", row: { name: port }, "uuid-name": `i${port}` })),
  name.map((bridge) => ({
    op: "mutate",
    table: "Open_vSwitch",
    where: [],
    mutations: [["bridges", "insert", named(`b${bridge}`)]],
  })),
  name.map((port) => ({
    op: "mutate",
    table: "Bridge",
    where: [],
    mutations: [["ports", "insert", named(`p${port}`)]],
  })),
  fc
    .tuple(where, tag)
    .map(([condition, value]) => ({ op: "update", table: "Port", where: condition, row: { tag: value } })),
  fc.tuple(where, name).map(([condition, key]) => ({
    op: "mutate",
    table: "Bridge",
    where: condition,
    mutations: [["external_ids", "insert", ["map", [[key, key]]]]],
  })),
  fc.constantFrom(
    { op: "update", table: "Open_vSwitch", where: [], row: { bridges: setValue([]) } },
    { op: "update", table: "Bridge", where: [], row: { ports: setValue([]) } },
    { op: "delete", table: "Port", where: [] },
    { op: "abort" },
  ),
);

/** A whole bridge with one port in the right order, so that many transactions succeed. */
const addBridge = fc.tuple(name, name).map(([bridge, port]): Operation[] => [
  { op: "insert", table: "Bridge", row: { name: bridge, ports: named("p") }, "uuid-name": "b" },
  { op: "insert", table: "Port", row: { name: port, interfaces: named("i") }, "uuid-name": "p" },
  { op: "insert", table: "Interface", row: { name: port }, "uuid-name": "i" },
  { op: "mutate", table: "Open_vSwitch", where: [], mutations: [["bridges", "insert", named("b")]] },
]);
const transaction = fc.oneof(addBridge, fc.array(operation, { minLength: 1, maxLength: 6 }));

function fresh(): Database {
  const database = new Database(OPEN_VSWITCH_SCHEMA);
  transact(database, [{ op: "insert", table: "Open_vSwitch", row: {} }]);
  return database;
}

function checkIntegrity(database: Database): void {
  const counts = new Map<string, number>();
  for (const table of OPEN_VSWITCH_SCHEMA.tables.values()) {
    for (const row of database.rows(table.name).values()) {
      for (const [column, { type }] of table.columns) {
        if (type.key.refTable === undefined || type.key.refType === "weak") continue;
        for (const uuid of row.strings(column)) {
          expect(database.rows(type.key.refTable).has(uuid)).toBe(true);
          counts.set(uuid, (counts.get(uuid) ?? 0) + 1);
        }
      }
    }
  }
  let rows = 0;
  for (const table of OPEN_VSWITCH_SCHEMA.tables.values()) {
    const names = new Set<string>();
    for (const row of database.rows(table.name).values()) {
      rows++;
      expect(database.referenceCount(row.uuid)).toBe(counts.get(row.uuid) ?? 0);
      if (!table.isRoot) expect(counts.get(row.uuid) ?? 0).toBeGreaterThan(0);
      if (table.indexes[0]?.[0] === "name") {
        expect(names.has(row.string("name"))).toBe(false);
        names.add(row.string("name"));
      }
    }
  }
  expect(database.rowCount).toBe(rows);
}

describe("a database", () => {
  it("keeps references, counts and indexes right over any transactions", () => {
    fc.assert(
      fc.property(fc.array(transaction, { maxLength: 12 }), (transactions) => {
        const database = fresh();
        for (const operations of transactions) {
          transact(database, operations);
          checkIntegrity(database);
        }
      }),
      { numRuns: 150 },
    );
  });

  it.each(["update", "update2"] as const)(
    "shows itself wholly through a monitor (%s)",
    (format: UpdateFormat) => {
      const condition = fc.oneof(fc.constant(undefined), where);
      fc.assert(
        fc.property(
          fc.array(transaction, { maxLength: 12 }),
          condition,
          condition,
          (transactions, portWhere, later) => {
            const database = fresh();
            const conditional = format === "update2";
            const request = (filter: unknown) =>
              conditional && filter !== undefined ? [{ where: filter }] : [{}];
            const monitor = new Monitor(database, { Port: request(portWhere), Bridge: [{}] }, format);
            const cache = new RowCache(OPEN_VSWITCH_SCHEMA);
            cache.replace(monitor.initial(database), format);
            const update = (updates: unknown) => updates !== undefined && cache.apply(updates, format);
            database.subscribe(({ changes }) => update(monitor.update(changes)));
            const compare = (filter: unknown) => {
              for (const table of ["Bridge", "Port"]) {
                const shown = [...cache.rows(table)].map(([uuid, row]) => [
                  uuid,
                  row.string("name"),
                  row.number("tag"),
                  row.strings("interfaces"),
                  row.map("external_ids"),
                ]);
                const there = [...database.rows(table)]
                  .filter(
                    ([, row]) => !conditional || table === "Bridge" || holds(filter, row.string("name")),
                  )
                  .map(([uuid, row]) => [
                    uuid,
                    row.string("name"),
                    row.number("tag"),
                    row.strings("interfaces"),
                    row.map("external_ids"),
                  ]);
                expect(shown.sort()).toEqual(there.sort());
              }
            };
            for (const operations of transactions) {
              transact(database, operations);
              compare(portWhere);
            }
            if (conditional) {
              update(monitor.changeConditions(database, { Port: request(later) }));
              compare(later);
            }
          },
        ),
        { numRuns: 150 },
      );
    },
  );
});

function holds(filter: unknown, value: string): boolean {
  if (!Array.isArray(filter) || filter.length === 0) return true;
  const [[, operator, wanted]] = filter as [[string, string, string]];
  return operator === "==" ? value === wanted : value !== wanted;
}

describe("outside input", () => {
  const word = fc.constantFrom(
    "op",
    "insert",
    "select",
    "update",
    "mutate",
    "delete",
    "wait",
    "commit",
    "assert",
    "table",
    "Port",
    "Bridge",
    "where",
    "row",
    "rows",
    "columns",
    "mutations",
    "until",
    "timeout",
    "name",
    "tag",
    "==",
    "+=",
    "includes",
    "set",
    "map",
    "uuid",
    "named-uuid",
    "uuid-name",
    "durable",
    "lock",
    "select",
    "__proto__",
    "_uuid",
  );
  const json: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 5 },
      word,
      fc.jsonValue({ maxDepth: 0 }),
      fc.array(tie("value"), { maxLength: 4 }),
      fc.dictionary(word, tie("value"), { maxKeys: 6 }),
    ),
  })).value;
  const op = fc.record(
    {
      op: fc.oneof(word, json),
      table: fc.constantFrom<unknown>("Port", "Bridge", 1),
      where: json,
      row: json,
      rows: json,
      columns: json,
      mutations: json,
      until: json,
      timeout: json,
      durable: json,
      lock: json,
    },
    { requiredKeys: ["op"] },
  );

  it("never breaks transact()", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(op, json), { maxLength: 4 }), (operations) => {
        const database = fresh();
        transact(database, operations);
        checkIntegrity(database);
      }),
      { numRuns: 500 },
    );
  });

  it("never breaks a monitor request", () => {
    fc.assert(
      fc.property(json, json, (requests, table) => {
        const database = fresh();
        for (const request of [requests, { Port: table }]) {
          try {
            const monitor = new Monitor(database, request, "update2");
            monitor.initial(database);
            monitor.changeConditions(database, { Port: table });
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(OvsdbError);
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it("never breaks the server: every request is answered", async () => {
    const dir = mkdtempSync("/tmp/odf-");
    const database = fresh();
    const server = new DatabaseServer([{ database }]);
    try {
      await server.listen(`punix:${dir}/db`);
      const method = fc.constantFrom(
        "list_dbs",
        "get_schema",
        "get_server_id",
        "set_db_change_aware",
        "transact",
        "monitor",
        "monitor_cond",
        "monitor_cond_since",
        "monitor_cond_change",
        "monitor_cancel",
        "lock",
        "steal",
        "unlock",
        "convert",
        "__proto__",
      );
      const params = fc.oneof(
        fc.array(json, { maxLength: 4 }),
        fc.array(json, { maxLength: 3 }).map((rest) => ["Open_vSwitch", ...rest]),
        fc.array(op, { maxLength: 3 }).map((rest) => ["Open_vSwitch", ...rest]),
      );
      await fc.assert(
        fc.asyncProperty(fc.array(fc.tuple(method, params), { maxLength: 5 }), async (calls) => {
          const peer = await connectJsonRpc(`unix:${dir}/db`);
          for (const [name, args] of calls) {
            // A wait may rightly take for ever.
            if (JSON.stringify(args).includes('"wait"')) continue;
            peer.notify("cancel", args);
            await peer
              .call(name, args)
              .catch((thrown: unknown) => expect(thrown).toBeInstanceOf(JsonRpcFault));
          }
          peer.close();
          checkIntegrity(database);
        }),
        { numRuns: 200 },
      );
    } finally {
      await server.close();
      rmSync(dir, { recursive: true, force: true });
    }
  });

  it("never breaks the reader of the file", () => {
    const record = fc
      .tuple(fc.integer({ min: 0, max: 30 }), fc.string())
      .map(([size, text]) => Buffer.from(`OVSDB JSON ${size} ${"0".repeat(40)}\n${text}`));
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), record), (bytes) => {
        const { goodBytes } = parseLog(bytes);
        expect(goodBytes).toBeLessThanOrEqual(bytes.length);
      }),
    );
  });
});
