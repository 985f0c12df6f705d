// The whole engine against one that is obviously right: random schemas, random transactions, the same results, the same
// error names, the same rows; versions that change exactly with their rows; and a file that gives it all back.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { DatabaseSchema, Datum } from "../../base/ovsdb/index.js";
import { Random } from "../../base/random/index.js";
import { NaiveDatabase } from "../testing/naive-database.js";
import { randomSchema, randomTransaction } from "../testing/random-database.js";
import { Database } from "./database.js";
import { transact } from "./execute.js";
import { openStorage } from "./storage.js";

let dir: string;
beforeAll(() => {
  dir = mkdtempSync("/tmp/ndb-");
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** In the naive one's notation. */
function print({ keys, values }: Datum): string {
  return JSON.stringify(keys.map((key, i) => [key, values?.[i] ?? true]));
}

function dump(database: Database, lastingOnly = false): Record<string, object> {
  const tables = [...database.schema.tables.values()].map((table) => {
    const columns = [...table.columns].filter(([, { ephemeral }]) => !(lastingOnly && ephemeral));
    const rows = [...database.rows(table.name)].map(([uuid, row]) => [
      uuid,
      Object.fromEntries(columns.map(([column]) => [column, print(row.datum(column))])),
    ]);
    return [table.name, Object.fromEntries(rows)];
  });
  return Object.fromEntries(tables);
}

function versions(database: Database): Map<string, { readonly version: string; readonly data: string }> {
  const found = new Map<string, { readonly version: string; readonly data: string }>();
  for (const table of database.schema.tables.values()) {
    for (const [uuid, row] of database.rows(table.name)) {
      const data = [...table.columns.keys()].map((column) => print(row.datum(column))).join();
      found.set(`${table.name} ${uuid}`, { version: row.version, data });
    }
  }
  return found;
}

/** Results in the naive one's notation. */
function essence(
  results: readonly unknown[],
  schema: DatabaseSchema,
  operations: readonly unknown[],
): unknown[] {
  return results.map((result, i) => {
    const { error, uuid, rows } = (result ?? {}) as {
      error?: string;
      uuid?: [string, string];
      rows?: object[];
    };
    if (error !== undefined) return { error };
    if (uuid !== undefined) return { uuid: uuid[1] };
    if (rows === undefined) return result;
    const { table, columns } = operations[i] as { table: string; columns: string[] };
    const types = columns.map((column) => schema.tables.get(table)?.columns.get(column)?.type);
    const texts = rows.map((row) =>
      JSON.stringify(
        columns.map((column, c) =>
          plain((row as Record<string, unknown>)[column], types[c]?.value !== undefined),
        ),
      ),
    );
    return { rows: texts.sort() };
  });
}

function plain(json: unknown, isMap: boolean): string {
  const bare = (atom: unknown): unknown => (Array.isArray(atom) ? atom[1] : atom);
  const isSet = Array.isArray(json) && json[0] === "set";
  const pairs = isMap
    ? (json as [string, [unknown, unknown][]])[1].map(([key, value]) => [bare(key), bare(value)])
    : (isSet ? (json as [string, unknown[]])[1] : [json]).map((atom) => [bare(atom), true]);
  return JSON.stringify(pairs.sort(([a], [b]) => ((a as string) < (b as string) ? -1 : 1)));
}

it("does what the naive database does, with any schema and any transactions", () => {
  let committed = 0;
  let total = 0;
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 25 }), (seed, length) => {
      const random = new Random(seed);
      const schema = randomSchema(random);
      const database = new Database(schema);
      const naive = new NaiveDatabase(schema);
      for (let i = 0; i < length; i++) {
        const operations = randomTransaction(random, schema, naive);
        const before = versions(database);
        const outcome = transact(database, operations);
        if (outcome.kind !== "done") throw new Error("it waits");
        total++;
        if (outcome.committed) committed++;
        const results = essence(outcome.results, schema, operations);
        expect(results, JSON.stringify(operations)).toEqual(naive.transact(operations));
        expect(dump(database)).toEqual(naive.dump());
        for (const [row, { version, data }] of versions(database)) {
          const old = before.get(row);
          if (old !== undefined) expect(version === old.version).toBe(data === old.data);
        }
      }
    }),
    { numRuns: 250 },
  );
  // Else it would be errors that were compared.
  expect(committed / total).toBeGreaterThan(0.2);
});

it("has everything lasting back from its file", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), async (seed) => {
      const random = new Random(seed);
      const schema = randomSchema(random);
      const path = join(dir, String(seed));
      const storage = openStorage(path, schema);
      const { database } = storage;
      const known = { uuids: (table: string) => [...database.rows(table).keys()] };
      for (let i = 0; i < 12; i++) {
        transact(database, randomTransaction(random, schema, known));
        if (random.chance(0.1)) storage.compact();
      }
      const before = dump(database, true);
      await storage.close();
      const again = openStorage(path, schema);
      expect(dump(again.database, true)).toEqual(before);
      await again.close();
      rmSync(path);
    }),
    { numRuns: 40 },
  );
});
