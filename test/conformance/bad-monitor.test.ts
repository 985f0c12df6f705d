// A QEMU that lost its mind: whatever its monitor says, the host agent comes up, gives it up, and serves.
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { HostProcess } from "../support/host-process.js";

const GREETING =
  '{"QMP":{"version":{"qemu":{"major":9,"minor":0,"micro":0},"package":""},"capabilities":[]}}\r\n';
const RETURN = '{"return":{},"id":1}\r\n';

/** What a monitor says to each line it is sent; the first answer is its greeting. */
const MONITORS: Readonly<Record<string, readonly (string | Buffer)[]>> = {
  "10000001": [Buffer.from(Array.from({ length: 500 }, (_, i) => (i * 37) & 0xff))],
  "10000002": ["{}\r\n"],
  "10000003": [`${"[".repeat(100_000)}\r\n`],
  "10000004": [`{"QMP":"${"a".repeat(20 << 20)}`],
  "10000005": [GREETING, "nonsense\r\n"],
  "10000006": [GREETING, '{"return":{},"id":99}\r\n{"event":5}\r\n{"error":7,"id":1}\r\n'],
  "10000007": [GREETING, RETURN, '{"return":[[]],"id":2}\r\n'],
};

let dir: string;
let host: HostProcess;
const servers: Server[] = [];
const sockets = new Set<Socket>();

beforeEach(() => {
  dir = mkdtempSync("/tmp/pqm-");
  writeFileSync(join(dir, "format"), '{"format":1}\n');
  host = new HostProcess(dir);
});
afterEach(async () => {
  await host.end();
  for (const socket of sockets) socket.destroy();
  for (const server of servers.splice(0)) server.close();
  rmSync(dir, { recursive: true, force: true });
});

async function listen(id: string, answers: readonly (string | Buffer)[]): Promise<void> {
  const folder = join(dir, "run", id);
  mkdirSync(folder, { recursive: true });
  const server = createServer((socket) => {
    const left = [...answers];
    sockets.add(socket);
    socket.on("error", () => {});
    const answer = (): void => {
      const next = left.shift();
      if (next !== undefined) socket.write(next);
    };
    socket.on("data", answer);
    answer();
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(join(folder, "qmp.sock"), () => resolve()));
}

test("monitors that say anything but QMP are given up, each within its deadline", async () => {
  for (const [id, answers] of Object.entries(MONITORS)) await listen(id, answers);
  await host.start();
  expect(await host.call("ping", {})).toMatchObject({ name: "host" });
  expect(await host.call("host.describe", {})).toMatchObject({ capacity: { cpus: expect.any(Number) } });
  for (const id of Object.keys(MONITORS)) expect(existsSync(join(dir, "run", id)), id).toBe(false);
});

test("records of machines that are none are left alone", async () => {
  const folder = join(dir, "host", "machines");
  mkdirSync(folder, { recursive: true });
  const records = {
    "20000001.json": "",
    "20000002.json": '{"id":5}',
    "20000003.json": "[".repeat(100_000),
    other: "x",
  };
  for (const [name, text] of Object.entries(records)) writeFileSync(join(folder, name), text);
  await host.start();
  expect(await host.call("ping", {})).toMatchObject({ name: "host" });
  for (const name of Object.keys(records)) expect(existsSync(join(folder, name)), name).toBe(true);
});
