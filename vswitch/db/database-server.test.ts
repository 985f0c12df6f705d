import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { connectJsonRpc, type JsonRpcConnection } from "../../base/jsonrpc/index.js";
import {
  assertOp,
  insertOp,
  mapValue,
  OvsdbClient,
  OvsdbError,
  type RowChange,
  setValue,
  updateOp,
  waitOp,
} from "../../base/ovsdb/index.js";
import { waitFor } from "../../base/time/index.js";
import { Database } from "./database.js";
import { DatabaseServer } from "./database-server.js";
import { transact } from "./execute.js";
import { CLIENTS_MAX, HISTORY_TRANSACTIONS_MAX, OPERATIONS_MAX, REQUEST_BYTES_MAX } from "./limits.js";
import { OPEN_VSWITCH_SCHEMA } from "./open-vswitch-schema.js";

let dir: string;
let server: DatabaseServer;
let database: Database;
const cleanups: (() => unknown)[] = [];
const endpoint = () => `unix:${join(dir, "db")}`;

beforeEach(async () => {
  dir = mkdtempSync("/tmp/odb-");
  await start();
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await server.close();
  rmSync(dir, { recursive: true, force: true });
});

async function start(): Promise<void> {
  database = new Database(OPEN_VSWITCH_SCHEMA);
  server = new DatabaseServer([{ database }]);
  await server.listen(`punix:${join(dir, "db")}`);
}

async function peer(heard: unknown[][] = []): Promise<JsonRpcConnection> {
  const connection = await connectJsonRpc(endpoint(), {
    handler: { notification: (method, params) => heard.push([method, ...params]) },
  });
  cleanups.push(() => connection.close());
  return connection;
}

function client(options: Partial<ConstructorParameters<typeof OvsdbClient>[0]> = {}): OvsdbClient {
  const made = new OvsdbClient({ endpoint: endpoint(), ...options });
  cleanups.push(() => made.close());
  return made;
}

describe("DatabaseServer", () => {
  it("lists its databases and gives their schemas", async () => {
    const one = await peer();
    expect(await one.call("list_dbs", [])).toEqual(["Open_vSwitch", "_Server"]);
    expect(await one.call("get_schema", ["_Server"])).toMatchObject({ name: "_Server" });
    await expect(one.call("get_schema", ["x"])).rejects.toMatchObject({
      value: { error: "unknown database" },
    });
    await expect(one.call("fly", [])).rejects.toMatchObject({ value: "unknown method" });
    const [found, , rows] = (await one.call("monitor_cond_since", [
      "_Server",
      "m",
      { Database: [{}] },
      "00000000-0000-0000-0000-000000000000",
    ])) as [boolean, string, { Database: object }];
    expect(found).toBe(false);
    expect(Object.keys(rows.Database)).toHaveLength(2);
  });

  it("sends the update of a transaction before its answer", async () => {
    const heard: unknown[][] = [];
    const one = await peer(heard);
    await one.call("monitor", ["Open_vSwitch", "m", { Queue: [{ columns: ["dscp"] }] }]);
    await one.call("transact", ["Open_vSwitch", insertOp("Queue", { dscp: 3 })]);
    expect(heard).toEqual([
      ["update", "m", { Queue: { [[...database.rows("Queue").keys()][0]!]: { new: { dscp: 3 } } } }],
    ]);
    await one.call("monitor_cancel", ["m"]);
    await one.call("transact", ["Open_vSwitch", insertOp("Queue", {})]);
    expect(heard).toHaveLength(1);
  });

  it("shows rows of which no column is monitored, but only the kinds selected", async () => {
    const heard: unknown[][] = [];
    const one = await peer(heard);
    const uuid = "11111111-1111-1111-1111-111111111111";
    await one.call("transact", ["Open_vSwitch", { ...insertOp("Queue", { dscp: 1 }), uuid }]);
    const initial = await one.call("monitor_cond", ["Open_vSwitch", "m", { Queue: [{ columns: [] }] }]);
    expect(initial).toEqual({ Queue: { [uuid]: { initial: {} } } });
    const none = { initial: false, insert: false, modify: false };
    expect(await one.call("monitor_cond", ["Open_vSwitch", "n", { Queue: [{ select: none }] }])).toEqual({});
    await one.call("transact", ["Open_vSwitch", updateOp("Queue", [], { dscp: 2 })]);
    expect(heard).toEqual([]);
    await one.call("transact", ["Open_vSwitch", { op: "delete", table: "Queue", where: [] }]);
    expect(heard.map(([, id, updates]) => [id, updates])).toEqual([
      ["m", { Queue: { [uuid]: { delete: null } } }],
      ["n", { Queue: { [uuid]: { delete: null } } }],
    ]);
  });

  it("holds a waiting transaction back until another one fulfils it, or cancels it", async () => {
    const one = await peer();
    const two = await peer();
    await two.call("transact", ["Open_vSwitch", insertOp("Open_vSwitch", { next_cfg: 1 })]);
    const wait = waitOp("Open_vSwitch", [], ["cur_cfg"], "==", [{ cur_cfg: 1 }], 5000);
    const waiting = one.call("transact", ["Open_vSwitch", wait]);
    await two.call("transact", ["Open_vSwitch", updateOp("Open_vSwitch", [], { cur_cfg: 1 })]);
    expect(await waiting).toEqual([{}]);
    const never = waitOp("Open_vSwitch", [], ["cur_cfg"], "==", [{ cur_cfg: 9 }], 20);
    expect(await one.call("transact", ["Open_vSwitch", never])).toEqual([
      expect.objectContaining({ error: "timed out" }),
    ]);
    const dropped = one.call("transact", ["Open_vSwitch", { ...never, timeout: 60_000 }]);
    one.notify("cancel", [3]);
    one.notify("cancel", [2]);
    await expect(dropped).rejects.toMatchObject({ value: { error: "canceled" } });
  });

  it("hands locks on when they are released, stolen or their owner goes", async () => {
    const heard: unknown[][] = [];
    const one = await peer();
    const two = await peer(heard);
    const three = await peer();
    expect(await one.call("lock", ["L"])).toEqual({ locked: true });
    expect(await two.call("lock", ["L"])).toEqual({ locked: false });
    expect(await two.call("transact", ["Open_vSwitch", assertOp("L")])).toEqual([
      expect.objectContaining({ error: "not owner" }),
    ]);
    one.close();
    await waitFor(() => heard.length === 1, "the lock to be handed on", 2000);
    expect(heard[0]).toEqual(["locked", "L"]);
    expect(await two.call("transact", ["Open_vSwitch", assertOp("L")])).toEqual([{}]);
    expect(await three.call("steal", ["L"])).toEqual({ locked: true });
    await waitFor(() => heard.length === 2, "the lock to be stolen", 2000);
    expect(heard[1]).toEqual(["stolen", "L"]);
    await three.call("unlock", ["L"]);
    await waitFor(() => heard.length === 3, "the lock to come back to who had waited for it", 2000);
    expect(heard[2]).toEqual(["locked", "L"]);
    await expect(two.call("lock", ["L"])).rejects.toMatchObject({ value: { error: "syntax error" } });
    await two.call("unlock", ["L"]);
    // A thief that is robbed is out, until it unlocks and asks again.
    await two.call("steal", ["L"]);
    await three.call("steal", ["L"]);
    await three.call("unlock", ["L"]);
    await expect(two.call("lock", ["L"])).rejects.toMatchObject({ value: { error: "syntax error" } });
    await two.call("unlock", ["L"]);
    expect(await two.call("lock", ["L"])).toEqual({ locked: true });
    expect(heard.map(([kind]) => kind)).toEqual(["locked", "stolen", "locked", "stolen"]);
  });
});

describe("limits", { timeout: 30_000 }, () => {
  it("hangs up on a client that does not read what its monitor has for it, and on nobody else", async () => {
    const remote = await server.listen(`punix:${join(dir, "slow")}`, { backlogBytesMax: 1024 * 1024 });
    const slow = connect(join(dir, "slow"));
    cleanups.push(() => slow.destroy());
    const ended = new Promise((resolve) => slow.once("close", resolve));
    slow.on("error", () => {});
    const request = { id: 1, method: "monitor", params: ["Open_vSwitch", 1, { Queue: [{}] }] };
    slow.write(JSON.stringify(request));
    slow.once("data", () => slow.pause());
    const heard: unknown[][] = [];
    const one = await peer(heard);
    await one.call("monitor", ["Open_vSwitch", "m", { Queue: [{}] }]);
    const blob = mapValue({ blob: "x".repeat(100_000) });
    for (let i = 0; remote.connections.size > 0 && i < 200; i++)
      await one.call("transact", ["Open_vSwitch", insertOp("Queue", { dscp: i % 64, external_ids: blob })]);
    expect(remote.connections.size).toBe(0);
    expect(remote.status().lastError).toContain("does not read");
    slow.resume();
    await ended;
    expect(heard).toHaveLength(database.rows("Queue").size);
  });

  it("takes so many clients of a listener and hangs up on the next", async () => {
    const path = join(dir, "full");
    const remote = await server.listen(`punix:${path}`);
    const sockets = Array.from({ length: CLIENTS_MAX + 1 }, () => connect(path));
    let closed = 0;
    for (const socket of sockets) {
      cleanups.push(() => socket.destroy());
      socket.on("error", () => {});
      socket.on("close", () => closed++);
    }
    await waitFor(() => closed === 1, "the one too many to be hung up on", 5000);
    expect(remote.connections.size).toBe(CLIENTS_MAX);
    const [first] = sockets;
    first?.destroy();
    await waitFor(() => remote.connections.size === CLIENTS_MAX - 1, "a place", 5000);
    const late = await connectJsonRpc(`unix:${path}`);
    expect(await late.call("list_dbs", [])).toContain("_Server");
    late.close();
  });

  it("refuses what nests too deep or is too long by hanging up", async () => {
    for (const text of ["[".repeat(1001), `{"id":1,"method":"${"x".repeat(REQUEST_BYTES_MAX)}`]) {
      const socket = connect(join(dir, "db"));
      socket.on("error", () => {});
      const ended = new Promise((resolve) => socket.once("close", resolve));
      socket.write(text);
      await ended;
    }
    expect(await (await peer()).call("list_dbs", [])).toContain("_Server");
  });

  it("refuses a transaction of too many operations", async () => {
    const one = await peer();
    const many = Array.from({ length: OPERATIONS_MAX + 1 }, () => ({ op: "comment", comment: "" }));
    const results = (await one.call("transact", ["Open_vSwitch", ...many])) as { error?: string }[];
    expect(results[0]?.error).toBe("syntax error");
  });

  it("tells a client that comes back what it missed, and everything when that is too long ago", async () => {
    const none = "00000000-0000-0000-0000-000000000000";
    const one = await peer();
    const since = async (id: string) => {
      const back = await peer();
      return (await back.call("monitor_cond_since", [
        "Open_vSwitch",
        1,
        { Queue: [{ columns: ["dscp"] }] },
        id,
      ])) as [boolean, string, { Queue?: Record<string, object> }];
    };
    const [, begin] = await since(none);
    await one.call("transact", [
      "Open_vSwitch",
      insertOp("Queue", { dscp: 1 }),
      insertOp("Queue", { dscp: 2 }),
    ]);
    await one.call("transact", ["Open_vSwitch", updateOp("Queue", [["dscp", "==", 1]], { dscp: 3 })]);
    await one.call("transact", [
      "Open_vSwitch",
      { op: "delete", table: "Queue", where: [["dscp", "==", 2]] },
    ]);
    const [found, middle, updates] = await since(begin);
    expect(found).toBe(true);
    expect(Object.values(updates.Queue ?? {})).toEqual([{ insert: { dscp: 3 } }]);
    await one.call("transact", ["Open_vSwitch", { op: "delete", table: "Queue", where: [] }]);
    expect(Object.values((await since(middle))[2].Queue ?? {})).toEqual([{ delete: null }]);
    expect((await since(none))[0]).toBe(false);
    for (let i = 0; i <= HISTORY_TRANSACTIONS_MAX; i++)
      transact(database, [insertOp("Queue", { dscp: i % 64 })]);
    const [late, , rows] = await since(middle);
    expect(late).toBe(false);
    expect(Object.keys(rows.Queue ?? {})).toHaveLength(HISTORY_TRANSACTIONS_MAX + 1);
  });
});

describe("OvsdbClient", () => {
  it("keeps its cache in step and reports each change once", async () => {
    const changes: RowChange[] = [];
    const one = client({ monitor: { Queue: {} }, onChange: (list) => changes.push(...list) });
    await one.ready(2000);
    const [{ uuid }] = (await one.transact([insertOp("Queue", { dscp: 1 })])) as [{ uuid: string }];
    expect(one.rows("Queue").get(uuid)!.number("dscp")).toBe(1);
    await one.transact([updateOp("Queue", [], { dscp: setValue([]) })]);
    await one.transact([{ op: "delete", table: "Queue", where: [] }]);
    expect(changes.map((change) => change.kind)).toEqual(["insert", "modify", "delete"]);
    expect(one.rows("Queue").size).toBe(0);
    await expect(one.transact([insertOp("Queue", { dscp: 99 })])).rejects.toMatchObject({
      error: "constraint violation",
    });
    await expect(one.transact([insertOp("Queue", { dscp: 99 })])).rejects.toBeInstanceOf(OvsdbError);
  });

  it("comes back after the server went and reports the difference", async () => {
    const changes: RowChange[] = [];
    const states: boolean[] = [];
    const one = client({
      monitor: { Queue: { columns: ["dscp"] } },
      onChange: (list) => changes.push(...list),
      onState: (state) => states.push(state),
    });
    await one.transact([insertOp("Queue", { dscp: 1 })]);
    await server.close();
    await waitFor(() => !one.isConnected, "the loss to be seen", 2000);
    expect(one.rows("Queue").size).toBe(1);
    await start();
    await one.ready(5000);
    expect(states).toEqual([true, false, true]);
    expect(changes.map((change) => change.kind)).toEqual(["insert", "delete"]);
  });

  it("rejects with a deadline when there is no server", async () => {
    const one = client({ endpoint: `unix:${join(dir, "none")}` });
    await expect(one.ready(30)).rejects.toMatchObject({ error: "timed out" });
  });
});
