import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { JsonStream } from "../jsonrpc/index.js";
import { waitFor } from "../time/index.js";
import { OvsdbClient, type RowChange } from "./index.js";

const SCHEMA = {
  name: "Open_vSwitch",
  version: "1.0.0",
  tables: { T: { columns: { n: { type: "integer" } }, isRoot: true } },
};
const A = "00000000-0000-0000-0000-00000000000a";
const B = "00000000-0000-0000-0000-00000000000b";

let dir: string;
let server: Server;
let client: OvsdbClient | undefined;
const sockets = new Set<Socket>();
beforeEach(() => {
  dir = mkdtempSync("/tmp/ocl-");
});
afterEach(async () => {
  client?.close();
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
  rmSync(dir, { recursive: true, force: true });
});

/** A server that answers each method with a text of its own; undefined gives "unknown method". */
async function serve(answers: Record<string, (id: unknown) => string>): Promise<string> {
  server = createServer((socket) => {
    sockets.add(socket);
    const stream = new JsonStream();
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      for (const message of stream.push(bytes) as { id: unknown; method: string }[]) {
        const answer = answers[message.method];
        socket.write(
          answer?.(message.id) ?? JSON.stringify({ id: message.id, result: null, error: "unknown method" }),
        );
      }
    });
  });
  const path = join(dir, "s");
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return `unix:${path}`;
}

const result = (id: unknown, value: unknown) => JSON.stringify({ id, result: value, error: null });
const update = (method: string, value: unknown) =>
  JSON.stringify({ id: null, method, params: ["plinth", { T: value }] });

function connect(endpoint: string): { client: OvsdbClient; changes: RowChange[] } {
  const changes: RowChange[] = [];
  client = new OvsdbClient({ endpoint, monitor: { T: {} }, onChange: (list) => changes.push(...list) });
  return { client, changes };
}

it("falls back to the first notation of updates on a server that knows no other", async () => {
  const endpoint = await serve({
    get_schema: (id) => result(id, SCHEMA),
    monitor: (id) => result(id, { T: { [A]: { new: { n: 1 } } } }),
    transact: (id) =>
      update("update", { [A]: { old: { n: 1 }, new: { n: 2 } }, [B]: { new: { n: 3 } } }) + result(id, [{}]),
  });
  const { client, changes } = connect(endpoint);
  await client.ready(5000);
  await client.transact([{ op: "comment", comment: "x" }]);
  expect(changes.map(({ kind, uuid }) => [kind, uuid])).toEqual([
    ["insert", A],
    ["modify", A],
    ["insert", B],
  ]);
  expect(client.rows("T").get(A)!.number("n")).toBe(2);
});

it("loses no update that comes in one breath with the initial rows", async () => {
  const endpoint = await serve({
    get_schema: (id) => result(id, SCHEMA),
    monitor_cond: (id) =>
      result(id, { T: { [A]: { initial: { n: 1 } } } }) + update("update2", { [A]: { modify: { n: 5 } } }),
  });
  const { client } = connect(endpoint);
  await client.ready(5000);
  expect(client.rows("T").get(A)!.number("n")).toBe(5);
});

it("asks for everything again after an update that makes no sense", async () => {
  let connections = 0;
  const endpoint = await serve({
    get_schema: (id) => result(id, SCHEMA),
    monitor_cond: (id) => {
      connections++;
      return result(id, { T: { [A]: { initial: { n: connections } } } });
    },
    transact: () => update("update2", { [B]: { modify: { n: 9 } } }),
  });
  const { client, changes } = connect(endpoint);
  await client.ready(5000);
  await expect(client.transact([{ op: "comment", comment: "x" }])).rejects.toMatchObject({
    code: "RPC_CLOSED",
  });
  await waitFor(() => connections === 2 && client.isConnected, "the second monitor", 5000);
  expect(changes.map(({ kind }) => kind)).toEqual(["insert", "modify"]);
  expect(client.rows("T").get(A)!.number("n")).toBe(2);
});
