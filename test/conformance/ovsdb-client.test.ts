// Our OVSDB server against clients and a server that we did not write: ovsdb-client, ovsdb-tool, ovsdb-server.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectJsonRpc, type JsonRpcConnection } from "../../base/jsonrpc/index.js";
import { byUuid, deleteOp, insertOp, mapValue, mutateOp, OvsdbClient } from "../../base/ovsdb/index.js";
import { waitFor } from "../../base/time/index.js";
import { DatabaseServer, OPEN_VSWITCH_SCHEMA, openStorage, type Storage } from "../../vswitch/index.js";
import { endChild, requirePrograms, runOk } from "../support/run.js";

const SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema";
const OVSDB_SERVER = "/usr/sbin/ovsdb-server";

let dir: string;
let storage: Storage;
let server: DatabaseServer;
let endpoint: string;

beforeAll(async () => {
  requirePrograms("ovsdb-client", "ovsdb-tool", "ovsdb-server");
  dir = mkdtempSync("/tmp/ovc-");
  storage = openStorage(join(dir, "conf.db"), OPEN_VSWITCH_SCHEMA);
  server = new DatabaseServer([storage]);
  endpoint = `unix:${join(dir, "db")}`;
  await server.listen(`p${endpoint}`);
});
afterAll(async () => {
  await server.close();
  await storage.close();
  rmSync(dir, { recursive: true, force: true });
});

const client = (...args: string[]) => runOk("ovsdb-client", args, { deadlineMs: 20_000 });
const transact = async (...operations: unknown[]): Promise<unknown[]> =>
  JSON.parse(
    await client("transact", endpoint, JSON.stringify(["Open_vSwitch", ...operations])),
  ) as unknown[];

describe("ovsdb-client", () => {
  it("lists databases, tables and columns as the published schema has them", async () => {
    expect((await client("list-dbs", endpoint)).split("\n")).toEqual(["Open_vSwitch", "_Server", ""]);
    expect((await client("get-schema-version", endpoint, "Open_vSwitch")).trim()).toBe("8.3.1");
    const ours = await client("list-columns", endpoint, "Open_vSwitch");
    const schema = join(dir, "reference");
    await runOk("ovsdb-tool", ["create", schema, SCHEMA]);
    const reference = spawn(OVSDB_SERVER, [`--remote=punix:${schema}.sock`, "--unixctl=none", schema], {
      stdio: "ignore",
    });
    try {
      await waitFor(() => existsSync(`${schema}.sock`), "ovsdb-server", 10_000);
      const theirs = await client("list-columns", `unix:${schema}.sock`, "Open_vSwitch");
      const lines = (text: string) =>
        text
          .split("\n")
          .map((line) => line.trim())
          .sort();
      // Every table and column, with its type, constraints included.
      expect(lines(ours)).toEqual(lines(theirs));
    } finally {
      await endChild(reference);
    }
  });

  it("transacts, selects and dumps", async () => {
    const [inserted] = (await transact({
      op: "insert",
      table: "Queue",
      row: { dscp: 9, external_ids: ["map", [["k", "é"]]] },
    })) as [{ uuid: [string, string] }];
    expect(
      await transact({
        op: "select",
        table: "Queue",
        where: [["_uuid", "==", inserted.uuid]],
        columns: ["dscp"],
      }),
    ).toEqual([{ rows: [{ dscp: 9 }] }]);
    expect(await client("dump", endpoint, "Open_vSwitch", "Queue", "dscp", "external_ids")).toContain(
      '{k="é"}',
    );
    expect(await transact({ op: "insert", table: "Queue", row: { dscp: 64 } })).toEqual([
      { error: "constraint violation", details: expect.any(String) },
    ]);
    await client("backup", endpoint);
  });

  it.each(["monitor", "monitor-cond", "monitor-cond-since"])("%s sees every change", async (verb) => {
    const condition = verb === "monitor" ? [] : ['[["dscp",">=",0]]'];
    const args = ["Open_vSwitch", ...condition, "Queue", "dscp"];
    const child: ChildProcess = spawn("ovsdb-client", [verb, "--format=csv", endpoint, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let seen = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      seen += chunk.toString();
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      seen += `stderr: ${chunk.toString()}`;
    });
    try {
      await waitFor(
        () => seen.includes("initial"),
        () => `the initial rows, not: ${seen}`,
        10_000,
      );
      const [{ uuid }] = (await transact({ op: "insert", table: "Queue", row: { dscp: 41 } })) as [
        { uuid: unknown },
      ];
      await waitFor(
        () => /insert,41/.test(seen),
        () => `the insert in: ${seen}`,
        10_000,
      );
      await transact({ op: "update", table: "Queue", where: [["_uuid", "==", uuid]], row: { dscp: 42 } });
      await waitFor(
        () => /(new|modify),42/.test(seen),
        () => `the change in: ${seen}`,
        10_000,
      );
      await transact({ op: "delete", table: "Queue", where: [["_uuid", "==", uuid]] });
      await waitFor(
        () => /delete/.test(seen),
        () => `the deletion in: ${seen}`,
        10_000,
      );
    } finally {
      await endChild(child);
    }
  });

  it("holds a lock and waits for columns", async () => {
    const child = spawn("ovsdb-client", ["lock", endpoint, "mine"], { stdio: ["ignore", "pipe", "ignore"] });
    let seen = "";
    child.stdout.on("data", (chunk: Buffer) => {
      seen += chunk.toString();
    });
    try {
      await waitFor(
        () => seen.includes("locked"),
        () => seen,
        10_000,
      );
    } finally {
      await endChild(child);
    }
    await client("wait", endpoint, "Open_vSwitch", "connected");
  });

  it("has its file read by ovsdb-tool", async () => {
    const file = join(dir, "conf.db");
    await storage.sync();
    expect((await runOk("ovsdb-tool", ["db-name", file])).trim()).toBe("Open_vSwitch");
    const rows = await runOk("ovsdb-tool", [
      "query",
      file,
      '["Open_vSwitch",{"op":"select","table":"Queue","where":[["dscp","==",9]],"columns":["dscp"]}]',
    ]);
    expect(JSON.parse(rows)).toEqual([{ rows: [{ dscp: 9 }] }]);
  });
});

describe("beside ovsdb-server", () => {
  let reference: ChildProcess;
  let theirs: JsonRpcConnection;
  let ours: JsonRpcConnection;

  beforeAll(async () => {
    const file = join(dir, "peer");
    await runOk("ovsdb-tool", ["create", file, SCHEMA]);
    reference = spawn(OVSDB_SERVER, [`--remote=punix:${file}.sock`, "--unixctl=none", file], {
      stdio: "ignore",
    });
    await waitFor(() => existsSync(`${file}.sock`), "ovsdb-server", 10_000);
    theirs = await connectJsonRpc(`unix:${file}.sock`);
    ours = await connectJsonRpc(endpoint);
    for (const peer of [theirs, ours]) {
      await peer.call("transact", [
        "Open_vSwitch",
        { op: "delete", table: "Queue", where: [] },
        { op: "insert", table: "Open_vSwitch", row: {} },
      ]);
    }
  });
  afterAll(async () => {
    ours?.close();
    theirs?.close();
    await endChild(reference);
  });

  const names = fc.constantFrom("a", "b", "c");
  const named = (name: string) => ["named-uuid", name];
  const where = fc.oneof(
    fc.constant([]),
    names.map((name) => [["name", "==", name]]),
    names.map((name) => [["name", "!=", name]]),
    fc.integer({ min: 0, max: 4 }).map((tag) => [["tag", "<", tag]]),
    fc.integer({ min: 0, max: 4 }).map((tag) => [["trunks", "includes", ["set", [tag]]]]),
    fc.constant([["nothing", "==", 1]]),
  );
  const tag = fc.oneof(
    fc.integer({ min: 0, max: 4 }),
    fc.constantFrom<unknown>(["set", []], 4096, "x", ["set", [1, 2]]),
  );
  const operation = fc.oneof(
    fc.tuple(names, names).map(([name, port]) => ({
      op: "insert",
      table: "Bridge",
      row: { name, ports: ["set", [named(`p${port}`)]] },
      "uuid-name": `b${name}`,
    })),
    names.map((name) => ({
      op: "insert",
      table: "Port",
      row: { name, interfaces: named(`i${name}`) },
      "uuid-name": `p${name}`,
    })),
    names.map((name) => ({ op: "insert", table: "Interface", row: { name }, "uuid-name": `i${name}` })),
    names.map((name) => ({
      op: "mutate",
      table: "Open_vSwitch",
      where: [],
      mutations: [["bridges", "insert", named(`b${name}`)]],
    })),
    names.map((name) => ({
      op: "mutate",
      table: "Bridge",
      where: [],
      mutations: [["ports", "insert", named(`p${name}`)]],
    })),
    fc
      .tuple(where, tag)
      .map(([condition, value]) => ({ op: "update", table: "Port", where: condition, row: { tag: value } })),
    fc
      .tuple(
        where,
        fc.constantFrom("insert", "delete"),
        fc.uniqueArray(fc.integer({ min: 0, max: 4 }), { maxLength: 3 }),
      )
      .map(([condition, mutator, values]) => ({
        op: "mutate",
        table: "Port",
        where: condition,
        mutations: [["trunks", mutator, ["set", values]]],
      })),
    fc.tuple(where, names, names).map(([condition, key, value]) => ({
      op: "mutate",
      table: "Port",
      where: condition,
      mutations: [["external_ids", "insert", ["map", [[key, value]]]]],
    })),
    fc
      .tuple(fc.constantFrom("+=", "-=", "*=", "/=", "%="), fc.integer({ min: -2, max: 3 }))
      // ovsdb-server 3.1.0 ends when a negative number is multiplied by zero: it divides by the factor first.
      .filter(([mutator, value]) => mutator !== "*=" || value !== 0)
      .map(([mutator, value]) => ({
        op: "mutate",
        table: "Open_vSwitch",
        where: [],
        mutations: [["next_cfg", mutator, value]],
      })),
    where.map((condition) => ({
      op: "select",
      table: "Port",
      where: condition,
      columns: ["name", "tag", "trunks", "external_ids"],
    })),
    where.map((condition) => ({ op: "delete", table: "Port", where: condition })),
    fc.constantFrom<object>(
      { op: "update", table: "Bridge", where: [], row: { ports: ["set", []] } },
      { op: "update", table: "Open_vSwitch", where: [], row: { bridges: ["set", []] } },
      { op: "insert", table: "Open_vSwitch", row: {} },
      { op: "update", table: "Port", where: [], row: { name: "z" } },
      { op: "abort" },
      { op: "fly" },
      { op: "insert", table: "Nope", row: {} },
      { op: "insert", table: "Queue", row: {}, extra: 1 },
      { op: "insert", table: "Port", row: { nothing: 1 } },
      { op: "select", table: "Port", where: [], columns: ["nothing"] },
      { op: "select", table: "Port", where: [["name", "<", "x"]] },
      { op: "mutate", table: "Port", where: [], mutations: [["tag", "fly", 1]] },
      { op: "mutate", table: "Port", where: [], mutations: [["external_ids", "delete", ["set", ["a"]]]] },
      { op: "mutate", table: "Port", where: [], mutations: [["tag", "insert", 3]] },
      { op: "mutate", table: "Port", where: [], mutations: [["interfaces", "delete", ["set", []]]] },
      { op: "insert", table: "Mirror", row: { select_src_port: ["named-uuid", "pa"] }, "uuid-name": "m" },
      { op: "update", table: "Bridge", where: [], row: { mirrors: ["named-uuid", "m"] } },
      { op: "insert", table: "Flow_Sample_Collector_Set", row: { id: 1, bridge: ["named-uuid", "ba"] } },
      { op: "delete", table: "Flow_Sample_Collector_Set", where: [] },
      { op: "commit", durable: false },
      { op: "comment", comment: "x" },
      { op: "assert", lock: "nobody" },
      { op: "wait", table: "Port", where: [], columns: ["name"], until: "==", rows: [], timeout: 0 },
      {
        op: "wait",
        table: "Port",
        where: [["name", "==", "a"]],
        columns: ["tag"],
        until: "!=",
        rows: [{ tag: 1 }],
        timeout: 0,
      },
    ),
  );
  const addBridge = fc.tuple(names, names).map(([name, port]): object[] => [
    { op: "insert", table: "Bridge", row: { name, ports: named("p") }, "uuid-name": "b" },
    { op: "insert", table: "Port", row: { name: port, interfaces: named("i") }, "uuid-name": "p" },
    { op: "insert", table: "Interface", row: { name: port }, "uuid-name": "i" },
    { op: "mutate", table: "Open_vSwitch", where: [], mutations: [["bridges", "insert", named("b")]] },
  ]);
  const transaction = fc.oneof(addBridge, fc.array(operation, { minLength: 1, maxLength: 5 }));

  const sortKeys = (row: object) => Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1));

  /** Without what may differ: uuids, the order of rows, the wording of details. */
  function essence(reply: unknown): unknown {
    return (reply as Record<string, unknown>[]).map((result) => {
      if (result === null) return null;
      if ("error" in result) return { error: result["error"] };
      if ("uuid" in result) return "inserted";
      if ("rows" in result)
        return {
          rows: (result["rows"] as unknown[]).map((row) => JSON.stringify(sortKeys(row as object))).sort(),
        };
      return result;
    });
  }

  it("is spoken to by our client in the same way", async () => {
    for (const at of [endpoint, `unix:${join(dir, "peer")}.sock`]) {
      const kinds: string[] = [];
      const one = new OvsdbClient({
        endpoint: at,
        monitor: { Queue: { columns: ["dscp", "external_ids"] } },
        onChange: (changes) => kinds.push(...changes.map(({ kind }) => kind)),
      });
      try {
        await one.ready(10_000);
        expect(one.schema?.tables.size).toBe(OPEN_VSWITCH_SCHEMA.tables.size);
        const [{ uuid }] = (await one.transact([
          insertOp("Queue", { dscp: 5, external_ids: mapValue({ a: "1" }) }),
        ])) as [{ uuid: string }];
        await one.transact([
          mutateOp("Queue", byUuid(uuid), [["external_ids", "insert", mapValue({ b: "2" })]]),
        ]);
        await waitFor(() => kinds.length >= 2, "the changes", 10_000);
        expect(Object.fromEntries(one.rows("Queue").get(uuid)!.map("external_ids"))).toEqual({
          a: "1",
          b: "2",
        });
        await one.transact([deleteOp("Queue", byUuid(uuid))]);
        await waitFor(() => kinds.length === 3, "the deletion", 10_000);
        expect(kinds).toEqual(["insert", "modify", "delete"]);
        await expect(one.transact([insertOp("Queue", { dscp: 99 })])).rejects.toMatchObject({
          error: "constraint violation",
        });
      } finally {
        one.close();
      }
    }
  });

  it("answers any transactions in the same way", async () => {
    const call = (peer: JsonRpcConnection, operations: readonly unknown[]) =>
      peer.call("transact", ["Open_vSwitch", ...operations]);
    const dump = ["Bridge", "Port", "Interface", "Mirror"].map((table) => ({
      op: "select",
      table,
      where: [],
      columns: table === "Port" ? ["name", "tag", "trunks", "external_ids"] : ["name"],
    }));
    await fc.assert(
      fc.asyncProperty(fc.array(transaction, { minLength: 1, maxLength: 8 }), async (transactions) => {
        for (const peer of [ours, theirs])
          await call(peer, [
            { op: "update", table: "Open_vSwitch", where: [], row: { bridges: ["set", []], next_cfg: 0 } },
          ]);
        for (const operations of transactions) {
          expect(essence(await call(ours, operations))).toEqual(essence(await call(theirs, operations)));
          expect(essence(await call(ours, dump))).toEqual(essence(await call(theirs, dump)));
        }
      }),
      { numRuns: 150 },
    );
  });
});
