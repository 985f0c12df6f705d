// The link to a controller over time, with a clock that the test moves: who is asked whether it is there, and when a
// controller is dialled again.
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { encodeMessage } from "../../base/openflow/index.js";
import { SimulatedClock, waitFor } from "../../base/time/index.js";
import { MemorySwitch } from "./memory-switch.js";
import { OpenFlowAgent } from "./openflow-agent.js";

const DEADLINE_MS = 30_000;
const OFPT_ECHO_REQUEST = 2;
const HELLO = encodeMessage({ type: "hello", xid: 1, version: 4, versions: [4] });

let directory: string;
let clock: SimulatedClock;
let agent: OpenFlowAgent;
let server: Server;
let accepted: Socket[];
/** Types of the messages that each connection has been sent. */
let heard: number[][];

beforeEach(async () => {
  directory = mkdtempSync("/tmp/of-link-");
  clock = new SimulatedClock();
  const model = new MemorySwitch();
  const managementSocket = join(directory, "br0.mgmt");
  agent = await OpenFlowAgent.open({ managementSocket }, { model, clock, log: silentLog });
  accepted = [];
  heard = [];
  server = createServer((socket) => {
    const types: number[] = [];
    accepted.push(socket);
    heard.push(types);
    socket.on("error", () => {});
    socket.on("data", (bytes: Buffer) => {
      for (let at = 0; at + 4 <= bytes.length; at += bytes.readUInt16BE(at + 2))
        types.push(bytes[at + 1] ?? -1);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});

afterEach(async () => {
  await agent.close();
  for (const socket of accepted) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
  rmSync(directory, { recursive: true, force: true });
});

function until(condition: () => boolean, what: string): Promise<void> {
  return waitFor(condition, what, DEADLINE_MS, 2);
}

/** The switch dials, and the controller says hello. */
async function connected(settings: { probeIntervalMs?: number; maxBackoffMs?: number } = {}): Promise<void> {
  const { port } = server.address() as { port: number };
  agent.setControllers([{ target: `tcp:127.0.0.1:${port}`, ...settings }], "secure");
  await until(() => accepted.length === 1, "not dialled");
  accepted[0]?.write(HELLO);
  await until(() => agent.controllers[0]?.isConnected === true, "not connected");
}

describe("a silent controller", () => {
  it("is asked after inactivity_probe, has as long to answer, and is left when it does not", async () => {
    await connected({ probeIntervalMs: 5000 });
    clock.advance(4999);
    expect(agent.controllers[0]?.state).toBe("ACTIVE");
    clock.advance(1);
    expect(agent.controllers[0]?.state).toBe("IDLE");
    await until(() => heard[0]?.includes(OFPT_ECHO_REQUEST) === true, "not asked");
    clock.advance(4999);
    expect(agent.controllers[0]).toMatchObject({ isConnected: true, role: "other", connectedAtMs: 0 });
    clock.advance(1);
    expect(agent.controllers[0]).toMatchObject({ isConnected: false, role: undefined, state: "BACKOFF" });
    expect(agent.controllers[0]).toMatchObject({ connectedAtMs: 0, disconnectedAtMs: 10_000 });
    expect(agent.controllers[0]?.lastError).toContain("echo");
  });

  it("is never asked when inactivity_probe is 0", async () => {
    await connected({ probeIntervalMs: 0 });
    clock.advance(1_000_000);
    expect(agent.controllers[0]?.state).toBe("ACTIVE");
    expect(heard[0]).not.toContain(OFPT_ECHO_REQUEST);
  });
});

describe("a controller that ends every connection at once", () => {
  it("is dialled after ever longer pauses, up to max_backoff, and at once again after a connection that lasted", async () => {
    await connected({ probeIntervalMs: 0, maxBackoffMs: 1600 });
    const pauses: number[] = [];
    for (let round = 1; round <= 6; round++) {
      accepted.at(-1)?.destroy();
      await until(() => agent.controllers[0]?.state === "BACKOFF", "the end is not seen");
      expect(agent.controllers[0]?.lastError).toBe("End of file");
      pauses.push(pause());
      await until(() => accepted.length === round + 1, "not dialled again");
      accepted.at(-1)?.write(HELLO);
      await until(() => agent.controllers[0]?.isConnected === true, "not connected again");
      // What went wrong last is told also when all is well again.
      expect(agent.controllers[0]?.lastError).toBe("End of file");
    }
    expect(pauses).toEqual([100, 200, 400, 800, 1600, 1600]);
    clock.advance(1600);
    accepted.at(-1)?.destroy();
    await until(() => agent.controllers[0]?.state === "BACKOFF", "the end is not seen");
    expect(pause()).toBe(100);
  });
});

/** Lets time pass until the switch dials; returns how long it waited. */
function pause(): number {
  for (let passedMs = 0; ; passedMs += 100) {
    if (agent.controllers[0]?.state !== "BACKOFF") return passedMs;
    clock.advance(100);
  }
}
