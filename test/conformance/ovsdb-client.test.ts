// Our OVSDB server against clients and a server that we did not write: ovsdb-client, ovsdb-tool, ovsdb-server.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { byUuid, deleteOp, insertOp, mapValue, mutateOp, OvsdbClient } from "../../base/ovsdb/index.js";
import { waitFor } from "../../base/time/index.js";
import { DatabaseServer, OPEN_VSWITCH_SCHEMA, openStorage, type Storage } from "../../vswitch/index.js";
import { RealOvsdbServer, VSWITCH_SCHEMA } from "../support/real-ovsdb-server.js";
import { endChild, requirePrograms, run, runOk } from "../support/run.js";

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
  it("lists databases, tables and columns", async () => {
    expect((await client("list-dbs", endpoint)).split("\n")).toEqual(["Open_vSwitch", "_Server", ""]);
    expect((await client("get-schema-version", endpoint, "Open_vSwitch")).trim()).toBe("8.3.1");
    expect((await client("list-tables", endpoint)).split("\n")).toContain("Flow_Sample_Collector_Set");
    expect(await client("list-columns", endpoint, "Open_vSwitch", "Port")).toContain("vlan_mode");
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

  it("steals a lock from who holds it, and gives it back", async () => {
    const said = new Map<ChildProcess, string>();
    const start = (verb: string): ChildProcess => {
      const child = spawn("ovsdb-client", [verb, endpoint, "coveted"], {
        stdio: ["ignore", "pipe", "ignore"],
      });
      child.stdout?.on("data", (chunk: Buffer) =>
        said.set(child, (said.get(child) ?? "") + chunk.toString()),
      );
      return child;
    };
    const hears = (child: ChildProcess, word: RegExp) =>
      waitFor(
        () => word.test(said.get(child) ?? ""),
        () => `${word} in: ${said.get(child)}`,
        10_000,
      );
    const owner = start("lock");
    const thieves: ChildProcess[] = [];
    try {
      await hears(owner, /"locked":true|locked/);
      thieves.push(start("steal"));
      await hears(owner, /stolen/);
      await endChild(thieves[0] as ChildProcess);
      await hears(owner, /stolen[\s\S]*locked/);
    } finally {
      for (const child of [owner, ...thieves]) await endChild(child);
    }
  });

  it("queries without a change, and compares schemas", async () => {
    const query = JSON.stringify([
      "Open_vSwitch",
      { op: "insert", table: "Queue", row: { dscp: 61 } },
      { op: "select", table: "Queue", where: [["dscp", "==", 61]], columns: ["dscp"] },
    ]);
    const answer = JSON.parse(await client("query", endpoint, query)) as unknown[];
    expect(answer[1]).toEqual({ rows: [{ dscp: 61 }] });
    expect(await transact({ op: "select", table: "Queue", where: [["dscp", "==", 61]] })).toEqual([
      { rows: [] },
    ]);
    const schema = JSON.parse(await client("get-schema", endpoint, "Open_vSwitch")) as { cksum: string };
    expect(schema.cksum).toBe(OPEN_VSWITCH_SCHEMA.cksum);
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

/** Verbs of ovsdb-client that end by themselves, with what they print the same wherever it comes from; @ is the server. */
const VERBS: readonly (readonly string[])[] = [
  ["get-schema-version", "@"],
  ["get-schema-version", "@", "_Server"],
  ["get-schema-cksum", "@", "Open_vSwitch"],
  ["get-schema-cksum", "@", "_Server"],
  ["get-schema-cksum", "@", "nope"],
  ["list-dbs", "@"],
  ["list-tables", "@"],
  ["list-columns", "@"],
  ["list-columns", "@", "Open_vSwitch", "Nope"],
  ["get-schema", "@"],
  ["get-schema", "@", "nope"],
  ["needs-conversion", "@", VSWITCH_SCHEMA],
  ["convert", "@", VSWITCH_SCHEMA],
  ["-f", "csv", "dump", "@", "_Server", "Database", "name", "model", "connected", "leader", "cid", "index"],
  ["-f", "json", "dump", "@", "Open_vSwitch", "SSL", "private_key"],
  ["dump", "@", "Open_vSwitch", "Nope"],
  ["dump", "@", "Open_vSwitch", "Port", "nope"],
  ["wait", "@", "Open_vSwitch", "added"],
  ["wait", "@", "nope", "removed"],
  ["wait", "@", "Open_vSwitch", "whatever"],
  ["transact", "@", '["Open_vSwitch",{"op":"nope"}]'],
  ["transact", "@", '["nope"]'],
  ["query", "@", '["Open_vSwitch"]'],
  ["query", "@", '["Open_vSwitch",{"op":"delete","table":"Queue","where":[]},{"op":"abort"}]'],
  ["monitor", "@", "Open_vSwitch", "Nope"],
  ["monitor-cond", "@", "Open_vSwitch", '[["nope","==",1]]', "Bridge", "name"],
];

describe("beside a real server", () => {
  let real: RealOvsdbServer;
  beforeAll(async () => {
    real = await RealOvsdbServer.start(join(dir, "peer"));
  });
  afterAll(() => real?.stop());

  it("every verb prints the same, and ends the same", async () => {
    await transact({ op: "delete", table: "Queue", where: [] });
    const told = async (verb: readonly string[], at: string): Promise<unknown> => {
      const words = ["-vconsole:off", ...verb.map((word) => (word === "@" ? at : word))];
      const { code, stdout, stderr } = await run("ovsdb-client", words, { deadlineMs: 30_000 });
      // ovsdb-client lists tables and columns in the order of their places in its memory.
      const lines = (text: string): string[] => text.replaceAll(at, "@").split("\n").sort();
      return { verb, code, stdout: lines(stdout), stderr: lines(stderr) };
    };
    for (const verb of VERBS) {
      const [ours, theirs] = await Promise.all([told(verb, endpoint), told(verb, real.endpoint)]);
      expect(ours).toEqual(theirs);
    }
  });

  it("is one that our client speaks to in the same way", async () => {
    await transact({ op: "delete", table: "Queue", where: [] });
    for (const at of [endpoint, real.endpoint]) {
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
});
