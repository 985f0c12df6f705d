// Snoopers of an agent over real sockets, with a switch model in memory.
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { encodeMessage } from "../../base/openflow/index.js";
import { systemClock, waitFor } from "../../base/time/index.js";
import { ControllerPeer as Peer } from "../testing/controller-peer.js";
import { SNOOP_QUEUE_BYTES_MAX } from "./limits.js";
import { MemorySwitch } from "./memory-switch.js";
import { OpenFlowAgent } from "./openflow-agent.js";

const DEADLINE_MS = 30_000;
const EMPTY = new Uint8Array(0);
const [HELLO, ECHO_REQUEST, ECHO_REPLY, FEATURES_REQUEST, FEATURES_REPLY, BARRIER_REQUEST, BARRIER_REPLY] = [
  0, 2, 3, 5, 6, 20, 21,
];

let directory: string;
let agent: OpenFlowAgent;
const sockets: Socket[] = [];
const servers: Server[] = [];

beforeEach(async () => {
  directory = mkdtempSync("/tmp/of-snoop-");
  agent = await OpenFlowAgent.open(
    { managementSocket: join(directory, "br0.mgmt"), snoopSocket: join(directory, "br0.snoop") },
    { model: new MemorySwitch(), clock: systemClock, log: silentLog },
  );
});

afterEach(async () => {
  await agent.close();
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
  rmSync(directory, { recursive: true, force: true });
});

/** Controllers that listen, each with the connections that the switch made to it. */
async function controllers(...names: string[]): Promise<Peer[][]> {
  const accepted = names.map((): Peer[] => []);
  for (const [i, name] of names.entries()) {
    const server = createServer((socket) => {
      sockets.push(socket);
      accepted[i]?.push(new Peer(socket));
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(join(directory, name), resolve));
  }
  agent.setControllers(
    names.map((name) => ({ target: `unix:${join(directory, name)}`, probeIntervalMs: 0 })),
    "secure",
  );
  await connected();
  return accepted;
}

const connected = (): Promise<void> =>
  waitFor(() => agent.controllers.every((one) => one.isConnected), "not connected", DEADLINE_MS, 2);

class Snoop {
  readonly socket: Socket;
  isClosed = false;
  /** Types of the messages so far. */
  readonly types: number[] = [];
  #rest: Buffer = Buffer.alloc(0);

  constructor() {
    this.socket = connect(join(directory, "br0.snoop"));
    sockets.push(this.socket);
    this.socket.on("data", (more: Buffer) => this.#take(Buffer.concat([this.#rest, more])));
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.isClosed = true;
    });
  }

  #take(bytes: Buffer): void {
    let at = 0;
    while (at + 8 <= bytes.byteLength && at + bytes.readUInt16BE(at + 2) <= bytes.byteLength) {
      this.types.push(bytes[at + 1] as number);
      at += bytes.readUInt16BE(at + 2);
    }
    this.#rest = bytes.subarray(at);
  }

  async sees(...types: number[]): Promise<void> {
    await waitFor(
      () => this.types.length >= types.length,
      () => `${this.types} instead of ${types}`,
      DEADLINE_MS,
      2,
    );
    expect(this.types).toEqual(types);
  }

  async closed(): Promise<void> {
    await waitFor(() => this.isClosed, "still connected", DEADLINE_MS, 2);
  }
}

/** Resolves when everything said from then on reaches the snooper: `peer` has a part of the talk to itself until then. */
async function snoopOn(peer: Peer): Promise<Snoop> {
  const snoop = new Snoop();
  snoop.socket.write(encodeMessage({ type: "hello", xid: 1, version: 1 }));
  await snoop.sees(HELLO);
  // Its hello is on the way; what shows that it has come is that it hears something.
  for (;;) {
    peer.send({ type: "barrier_request" });
    await peer.next("barrier_reply");
    if (snoop.types.length > 1) break;
    await new Promise((resolve) => setImmediate(resolve));
  }
  await waitFor(() => snoop.types.at(-1) === BARRIER_REPLY, "no barrier reply", DEADLINE_MS, 2);
  return snoop;
}

const afterBarriers = (snoop: Snoop): number[] =>
  snoop.types.filter((type) => ![HELLO, BARRIER_REQUEST, BARRIER_REPLY].includes(type));

it("tells what both ends say, echoes too, and again when the controller came back", async () => {
  const [accepted] = (await controllers("c1")) as [Peer[]];
  const first = accepted[0] as Peer;
  const snoop = await snoopOn(first);
  expect(statSync(join(directory, "br0.snoop")).mode & 0o777).toBe(0o600);
  first.send({ type: "features_request" }, { type: "echo_request", data: EMPTY });
  const expected = [FEATURES_REQUEST, ECHO_REQUEST, FEATURES_REPLY, ECHO_REPLY].sort();
  await waitFor(() => afterBarriers(snoop).length === 4, "not told", DEADLINE_MS, 2);
  expect(afterBarriers(snoop).sort()).toEqual(expected);
  first.socket.destroy();
  await waitFor(() => accepted.length === 2, "not dialled again", DEADLINE_MS, 2);
  await connected();
  accepted[1]?.send({ type: "features_request" });
  await waitFor(() => afterBarriers(snoop).length === 6, "not told again", DEADLINE_MS, 2);
  expect(afterBarriers(snoop).slice(4)).toEqual([FEATURES_REQUEST, FEATURES_REPLY]);
  agent.setControllers([], "secure");
  await snoop.closed();
});

it("reads along with the master, and is turned away where no controller is dialled", async () => {
  const alone = new Snoop();
  await alone.closed();
  expect(alone.types).toEqual([]);
  const [[one], [two]] = (await controllers("c1", "c2")) as [[Peer], [Peer]];
  two.send({ type: "role_request", role: "master", generationId: 1n });
  await two.next("role_reply");
  const snoop = await snoopOn(two);
  one.send({ type: "features_request" });
  await one.next("features_reply");
  two.send({ type: "echo_request", data: EMPTY });
  await waitFor(() => afterBarriers(snoop).length === 2, "not told", DEADLINE_MS, 2);
  expect(afterBarriers(snoop)).toEqual([ECHO_REQUEST, ECHO_REPLY]);
});

it("hangs up on a snooper that does not read, and the controller notices nothing", async () => {
  const [[peer]] = (await controllers("c1")) as [[Peer]];
  const deaf = await snoopOn(peer);
  const other = await snoopOn(peer);
  deaf.socket.pause();
  const echo = { type: "echo_request", data: new Uint8Array(60_000) } as const;
  // Each echo passes twice. Half as much again as the queue, and what the kernel keeps; the other one keeps pace.
  const batches = Math.ceil((1.5 * SNOOP_QUEUE_BYTES_MAX) / (20 * 2 * 60_000)) + 1;
  for (let n = 1; n <= batches; n++) {
    peer.send(...Array.from({ length: 20 }, () => echo));
    await waitFor(() => afterBarriers(other).length === n * 40, "not told", DEADLINE_MS, 2);
  }
  peer.send({ type: "features_request" });
  await peer.next("features_reply");
  deaf.socket.resume();
  await deaf.closed();
  expect(afterBarriers(deaf).length).toBeLessThan(batches * 40);
  expect(other.isClosed).toBe(false);
});

it("survives whatever snoopers say", async () => {
  const [[peer]] = (await controllers("c1")) as [[Peer]];
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 4 }), async (chunks) => {
      const snoop = new Snoop();
      for (const chunk of chunks) snoop.socket.write(chunk);
      snoop.socket.end();
      await snoop.closed();
      peer.send({ type: "barrier_request" });
      expect(await peer.next("barrier_reply")).toMatchObject({ type: "barrier_reply" });
    }),
    { numRuns: 30 },
  );
});
