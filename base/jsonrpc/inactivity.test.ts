import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SimulatedClock, waitFor } from "../time/index.js";
import { type JsonRpcConnection, type JsonRpcServer, JsonStream, listenJsonRpc } from "./index.js";

const PROBE_MS = 1_000;

let dir: string;
let clock: SimulatedClock;
let server: JsonRpcServer;
let socket: Socket;
let heard: { id: unknown; method: string }[];
let reasons: (string | undefined)[];

beforeEach(async () => {
  dir = mkdtempSync("/tmp/jri-");
  clock = new SimulatedClock();
  reasons = [];
  heard = [];
  server = await listenJsonRpc(
    `punix:${join(dir, "s")}`,
    { request: () => "answer", closed: (_connection, reason) => reasons.push(reason?.message) },
    { clock, inactivityProbeMs: PROBE_MS },
  );
  socket = connect(join(dir, "s"));
  const stream = new JsonStream();
  socket.on("error", () => {});
  socket.on("data", (bytes) => heard.push(...(stream.push(bytes) as typeof heard)));
  await waitFor(() => server.connections.size === 1, "the connection", 5000);
});
afterEach(async () => {
  socket.destroy();
  await server.close();
  rmSync(dir, { recursive: true, force: true });
});

const connection = (): JsonRpcConnection => [...server.connections][0]!;
const echoes = () => heard.filter(({ method }) => method === "echo");

describe("inactivityProbeMs", () => {
  it("asks a peer that says nothing, and hangs up when it does not answer, with the reason", async () => {
    clock.advance(PROBE_MS - 1);
    expect(echoes()).toEqual([]);
    clock.advance(1);
    await waitFor(() => echoes().length === 1, "the echo", 5000);
    clock.advance(PROBE_MS);
    await waitFor(() => reasons.length === 1, "the end", 5000);
    expect(reasons[0]).toContain("said nothing for 2000 ms");
    expect(server.connections.size).toBe(0);
  });

  it("keeps a peer that answers, and does not ask one that speaks", async () => {
    for (let i = 1; i <= 3; i++) {
      clock.advance(PROBE_MS);
      await waitFor(() => echoes().length === i, "the echo", 5000);
      const before = heard.length;
      socket.write(JSON.stringify({ id: echoes()[i - 1]!.id, result: [], error: null }));
      // Heard by then: an answer to what was sent after it.
      socket.write(JSON.stringify({ id: `ask${i}`, method: "m", params: [] }));
      await waitFor(() => heard.length > before, "the answer", 5000);
      clock.advance(PROBE_MS);
    }
    expect(server.connections.size).toBe(1);
    expect(echoes()).toHaveLength(3);
  });

  it("may be changed and ended while the connection is open", async () => {
    connection().setInactivityProbe(0);
    clock.advance(10 * PROBE_MS);
    expect(echoes()).toEqual([]);
    connection().setInactivityProbe(10);
    clock.advance(10);
    await waitFor(() => echoes().length === 1, "the echo", 5000);
  });
});
