// Our definition of the Open_vSwitch schema against the one that Open vSwitch publishes, table by table and column by
// column: types, sizes, ranges, enumerations, references, ephemeral, mutable, indexes, isRoot, maxRows.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectJsonRpc } from "../../base/jsonrpc/index.js";
import { encodeSchema, parseSchema } from "../../base/ovsdb/index.js";
import { DatabaseServer, OPEN_VSWITCH_SCHEMA, openStorage, type Storage } from "../../vswitch/index.js";
import { RealOvsdbServer, VSWITCH_SCHEMA } from "../support/real-ovsdb-server.js";
import { run, runOk } from "../support/run.js";

type Json = Record<string, unknown>;
type Tables = Record<string, Json & { columns: Record<string, unknown> }>;

let dir: string;
let real: RealOvsdbServer;
let storage: Storage;
let server: DatabaseServer;
let ours: Json;
let theirs: Json;

beforeAll(async () => {
  dir = mkdtempSync("/tmp/osc-");
  real = await RealOvsdbServer.start(join(dir, "real"));
  storage = openStorage(join(dir, "ours"), OPEN_VSWITCH_SCHEMA);
  server = new DatabaseServer([storage]);
  await server.listen(`punix:${join(dir, "ours.sock")}`);
  [ours, theirs] = await Promise.all([schemaAt(`unix:${join(dir, "ours.sock")}`), schemaAt(real.endpoint)]);
});
afterAll(async () => {
  await server?.close();
  await storage?.close();
  await real?.stop();
  rmSync(dir, { recursive: true, force: true });
});

async function schemaAt(endpoint: string, database = "Open_vSwitch"): Promise<Json> {
  const peer = await connectJsonRpc(endpoint);
  const schema = (await peer.call("get_schema", [database])) as Json;
  peer.close();
  return schema;
}

/** With the members that only say the usual left out, and sets of an enumeration in order. */
function plain(json: unknown): unknown {
  if (Array.isArray(json)) return json.map(plain);
  if (typeof json !== "object" || json === null) return json;
  const entries = Object.entries(json).map(([key, value]): [string, unknown] => {
    if (key === "enum") return [key, [...((value as [string, unknown[]])[1] ?? [])].sort()];
    const inner = plain(value);
    const keys = typeof inner === "object" && inner !== null ? Object.keys(inner) : [];
    return [key, keys.length === 1 && keys[0] === "type" ? (inner as Json)["type"] : inner];
  });
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

describe("the Open_vSwitch schema", () => {
  it("has the tables of the published one, and names it by version and checksum", () => {
    const names = (schema: Json) => Object.keys(schema["tables"] as object).sort();
    expect(names(ours)).toEqual(names(theirs));
    expect(names(ours)).toHaveLength(OPEN_VSWITCH_SCHEMA.tables.size);
    for (const member of ["name", "version", "cksum"]) expect(ours[member]).toBe(theirs[member]);
  });

  it.each([...OPEN_VSWITCH_SCHEMA.tables.keys()])("%s is the published table", (name) => {
    const mine = (ours["tables"] as Tables)[name]!;
    const published = (theirs["tables"] as Tables)[name]!;
    expect(Object.keys(mine.columns).sort()).toEqual(Object.keys(published.columns).sort());
    for (const column of Object.keys(published.columns)) {
      expect({ [column]: plain(mine.columns[column]) }).toEqual({
        [column]: plain(published.columns[column]),
      });
    }
    const { columns: _ours, ...ourRest } = mine;
    const { columns: _theirs, ...theirRest } = published;
    expect(plain(ourRest)).toEqual(plain(theirRest));
  });

  it("comes out of our parser as it went in", () => {
    const file = JSON.parse(readFileSync(VSWITCH_SCHEMA, "utf8")) as Json;
    const parsed = encodeSchema(parseSchema(file));
    expect(parseSchema(parsed)).toEqual(parseSchema(encodeSchema(parseSchema(parsed))));
    for (const [name, table] of Object.entries(parsed["tables"] as Tables))
      expect({ [name]: plain(table) }).toEqual({ [name]: plain((ours["tables"] as Tables)[name]) });
  });

  it("is what ovsdb-client finds: no conversion needed, and one to another refused by name", async () => {
    const endpoint = `unix:${join(dir, "ours.sock")}`;
    expect((await runOk("ovsdb-client", ["needs-conversion", endpoint, VSWITCH_SCHEMA])).trim()).toBe("no");
    expect(await runOk("ovsdb-client", ["convert", endpoint, VSWITCH_SCHEMA])).toBe("");
    const other = JSON.parse(readFileSync(VSWITCH_SCHEMA, "utf8")) as { tables: Record<string, Json> };
    other.tables["More"] = { columns: { name: { type: "string" } } };
    const changed = join(dir, "changed.ovsschema");
    writeFileSync(changed, JSON.stringify(other));
    const refused = await run("ovsdb-client", ["convert", endpoint, changed]);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain("not supported");
    expect(refused.stderr).toContain("comes with the program");
  });

  it("of _Server is the published one", async () => {
    const [mine, published] = await Promise.all([
      schemaAt(`unix:${join(dir, "ours.sock")}`, "_Server"),
      schemaAt(real.endpoint, "_Server"),
    ]);
    expect(plain((mine["tables"] as Tables)["Database"])).toEqual(
      plain((published["tables"] as Tables)["Database"]),
    );
    expect(mine["version"]).toBe(published["version"]);
  });

  it("is told of each database by _Server, its own among them", async () => {
    for (const endpoint of [`unix:${join(dir, "ours.sock")}`, real.endpoint]) {
      const peer = await connectJsonRpc(endpoint);
      const select = { op: "select", table: "Database", where: [], columns: ["name", "schema"] };
      const [{ rows }] = (await peer.call("transact", ["_Server", select])) as [
        { rows: Record<string, string>[] },
      ];
      peer.close();
      const told = new Map(rows.map(({ name, schema }) => [name, JSON.parse(schema!) as Json]));
      expect([...told.keys()].sort()).toEqual(["Open_vSwitch", "_Server"]);
      for (const [name, schema] of told) expect(schema).toEqual(await schemaAt(endpoint, name));
    }
  });
});
