import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isNobodyThere, QmpClient } from "./qmp-client.js";

let dir: string;
let server: Server | undefined;
const peers: Socket[] = [];
beforeEach(() => {
  dir = mkdtempSync("/tmp/pqmp-");
});
afterEach(async () => {
  for (const peer of peers.splice(0)) peer.destroy();
  await new Promise<void>((resolve) => (server === undefined ? resolve() : server.close(() => resolve())));
  server = undefined;
  rmSync(dir, { recursive: true, force: true });
});

/** A monitor that answers each line by `answer(message)`; undefined means silence. */
async function monitor(answer: (message: Record<string, unknown>) => unknown, greet = true): Promise<string> {
  const path = `${dir}/q.sock`;
  server = createServer((socket) => {
    peers.push(socket);
    if (greet) socket.write('{"QMP":{"version":{},"capabilities":[]}}\r\n');
    socket.on("data", (data) => {
      for (const line of data.toString().trim().split("\n")) {
        const message = JSON.parse(line) as Record<string, unknown>;
        const reply = message["execute"] === "qmp_capabilities" ? { return: {} } : answer(message);
        if (reply !== undefined)
          socket.write(`${JSON.stringify({ ...(reply as object), id: message["id"] })}\r\n`);
      }
    });
  });
  await new Promise<void>((resolve) => server?.listen(path, resolve));
  return path;
}

describe("QmpClient", () => {
  it("runs commands and passes on refusals", async () => {
    const path = await monitor((message) =>
      message["execute"] === "query-status"
        ? { return: { status: "running" } }
        : { error: { class: "CommandNotFound", desc: "no such command" } },
    );
    const client = await QmpClient.open({ path, deadlineMs: 5000 });
    expect(await client.execute("query-status")).toEqual({ status: "running" });
    await expect(client.execute("dance")).rejects.toMatchObject({ code: "QMP_COMMAND_FAILED" });
    client.close();
    await expect(client.execute("stop")).rejects.toMatchObject({ code: "QMP_CLOSED" });
  });

  it("gives up at the deadline of a command", async () => {
    const client = await QmpClient.open({ path: await monitor(() => undefined), deadlineMs: 5000 });
    await expect(client.execute("stop", undefined, 10)).rejects.toMatchObject({ code: "QMP_TIMEOUT" });
    client.close();
  });

  it("gives up on a monitor that never greets", async () => {
    const path = await monitor(() => undefined, false);
    await expect(QmpClient.open({ path, deadlineMs: 20 })).rejects.toMatchObject({ code: "QMP_TIMEOUT" });
  });

  it("tells an absent monitor from a silent one", async () => {
    const error = await QmpClient.open({ path: `${dir}/none.sock`, deadlineMs: 1000 }).catch((e) => e);
    expect(isNobodyThere(error)).toBe(true);
  });

  it("fails what is in flight and says so once when the monitor sends nonsense", async () => {
    let closes = 0;
    const path = await monitor(() => {
      peers[0]?.write("nonsense");
      return undefined;
    });
    const client = await QmpClient.open({ path, deadlineMs: 5000, onClose: () => closes++ });
    await expect(client.execute("stop")).rejects.toMatchObject({ code: "QMP_MALFORMED" });
    expect(client.closed).toBe(true);
    expect(closes).toBe(1);
  });
});
