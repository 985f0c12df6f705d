import { mkdtempSync, rmSync, statSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLogger } from "../../base/log/index.js";
import {
  PacketPool,
  PCAPNG_INTERFACE,
  PCAPNG_INTERFACE_STATISTICS,
  PCAPNG_PACKET,
  PCAPNG_SECTION_HEADER,
  parseBlock,
  parseStatistics,
} from "../../base/packet/index.js";
import { systemClock, waitFor } from "../../base/time/index.js";
import { runCapture } from "../cli/capture.js";
import { CaptureRingWriter } from "../datapath/capture-ring.js";
import type { CaptureSpec } from "../datapath/index.js";
import { CaptureServer } from "./capture-server.js";

const DEADLINE_MS = 10_000;

let dir: string;
let server: CaptureServer;
let bridges: Map<string, { ports: Map<string, { ofport: number }> }>;
let started: { readonly id: number; readonly spec: CaptureSpec }[];
let stopped: number[];
let sockets: Socket[];
/** What the datapath will say that it has lost. */
let lost: number;

beforeEach(async () => {
  dir = mkdtempSync("/tmp/pl-cap-");
  bridges = new Map([["br0", { ports: new Map([["p1", { ofport: 1 }]]) }]]);
  [started, stopped, sockets, lost] = [[], [], [], 0];
  const call = async (method: string, body: { id: number; spec?: CaptureSpec }): Promise<unknown> => {
    if (method === "startCapture") started.push({ id: body.id, spec: body.spec as CaptureSpec });
    else stopped.push(body.id);
    return method === "startCapture" ? undefined : [{ port: 1, matched: 9, lost, limited: 0 }];
  };
  server = await CaptureServer.open(join(dir, "capture.sock"), {
    datapath: { call: call as never },
    bridges: () => bridges,
    clock: systemClock,
    log: createLogger({ name: "test", level: "silent" }),
    application: "test",
  });
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await server.close();
  rmSync(dir, { recursive: true, force: true });
});

/** A client that has sent `line`; what it gets is in `chunks`. */
function client(line: string, { reads = true } = {}) {
  const socket = connect({ path: join(dir, "capture.sock"), allowHalfOpen: true });
  sockets.push(socket);
  const chunks: Buffer[] = [];
  let isEnded = false;
  socket.on("error", () => {});
  if (reads) socket.on("data", (chunk) => chunks.push(chunk));
  else socket.pause();
  socket.on("end", () => {
    isEnded = true;
  });
  socket.write(line);
  return {
    socket,
    bytes: () => Buffer.concat(chunks),
    ended: () => waitFor(() => isEnded, "the server to end", DEADLINE_MS),
  };
}

function blocksOf(bytes: Buffer) {
  const blocks = [];
  for (let at = 0; ; ) {
    const block = parseBlock(bytes.subarray(at));
    if (block === undefined) return blocks;
    blocks.push(block);
    at += block.bytes.byteLength;
  }
}

/** Frames as the datapath writes them. */
function writeFrames(capture: number, count: number, size = 60): number {
  const pool = new PacketPool({ slots: 1 });
  const packet = pool.allocateFrom(new Uint8Array(size));
  const writer = new CaptureRingWriter(started[capture]!.spec.ring);
  let written = 0;
  for (let i = 0; i < count; i++) if (writer.write(0, 1, pool, packet, size, 1, -1, -1, null)) written++;
  writer.publish();
  return written;
}

const isStarted = (count = 1) => waitFor(() => started.length === count, "the capture to start", DEADLINE_MS);
const isStopped = () => waitFor(() => stopped.length === 1, "the capture to be stopped", DEADLINE_MS);

describe("CaptureServer", () => {
  it("lets only its owner in", () => {
    expect(statSync(join(dir, "capture.sock")).mode & 0o777).toBe(0o600);
  });

  it("streams section, interface, frames and at the end the counts", async () => {
    const one = client('{"where":["p1"]}\n');
    await isStarted();
    expect(started[0]?.spec).toMatchObject({ ports: ["p1"], point: { at: "ports", direction: "both" } });
    writeFrames(0, 3);
    await waitFor(() => blocksOf(one.bytes()).length === 5, "the frames", DEADLINE_MS);
    lost = 4;
    one.socket.end();
    await one.ended();
    const blocks = blocksOf(one.bytes());
    expect(blocks.map(({ type }) => type)).toEqual([
      PCAPNG_SECTION_HEADER,
      PCAPNG_INTERFACE,
      ...[PCAPNG_PACKET, PCAPNG_PACKET, PCAPNG_PACKET],
      PCAPNG_INTERFACE_STATISTICS,
    ]);
    expect(parseStatistics(blocks[5]!)).toEqual({ interfaceId: 0, received: 9, dropped: 4 });
    expect(stopped).toEqual([started[0]?.id]);
  });

  it("ends by itself at the count, with exactly so many frames", async () => {
    const one = client('{"count":2}\n');
    await isStarted();
    writeFrames(0, 5);
    await one.ended();
    const packets = blocksOf(one.bytes()).filter(({ type }) => type === PCAPNG_PACKET);
    expect(packets.length).toBe(2);
    expect(stopped.length).toBe(1);
  });

  it("stops when its client goes without a word", async () => {
    const one = client("{}\n");
    await isStarted();
    one.socket.destroy();
    await isStopped();
  });

  it("gives another interface to a number that belongs to another port now", async () => {
    const one = client("{}\n");
    await isStarted();
    writeFrames(0, 1);
    await waitFor(() => blocksOf(one.bytes()).length === 3, "the first frame", DEADLINE_MS);
    bridges.set("br0", bridges.get("br0")!);
    bridges.get("br0")!.ports.delete("p1");
    bridges.get("br0")!.ports.set("q1", { ofport: 1 });
    writeFrames(0, 1);
    await waitFor(() => blocksOf(one.bytes()).length === 5, "the second frame", DEADLINE_MS);
    const packets = blocksOf(one.bytes()).filter(({ type }) => type === PCAPNG_PACKET);
    expect(packets.map(({ bytes }) => Buffer.from(bytes).readUInt32LE(8))).toEqual([0, 1]);
    expect(one.bytes().toString("latin1")).toMatch(/p1[\s\S]*q1/);
  });

  it("ends when the bridge is made anew, and the client says so", async () => {
    const sink = { write: () => undefined, close: () => {} };
    const ended = runCapture({
      socket: join(dir, "capture.sock"),
      request: {},
      sink,
      interrupted: new Promise(() => {}),
    });
    await isStarted();
    lost = 0;
    bridges.set("br0", { ports: new Map() });
    await expect(ended).resolves.toEqual({ frames: 0, matched: 9, lost: 0 });
  });

  it("leaves in the ring what a client does not read: it takes no memory without bound", async () => {
    const one = client('{"buffer":4194304}\n', { reads: false });
    await isStarted();
    let total = 0;
    // What the socket and one buffer take is bounded; then the ring fills and refuses.
    await waitFor(
      () => {
        const written = writeFrames(0, 200, 8000);
        total += written;
        return written === 0;
      },
      "the ring to be full",
      DEADLINE_MS,
    );
    expect(total * 8000).toBeLessThan(16 << 20);
    one.socket.destroy();
    await isStopped();
  });

  it.each([
    ["nonsense\n", "request: is not JSON"],
    ['{"where":["x"]}\n', 'where: "x" is no bridge and no port of one'],
    [`"${"x".repeat(70_000)}`, "the request is longer than 65536 characters"],
  ])("answers %.20s with the reason", async (line, reason) => {
    const one = client(line);
    await one.ended();
    expect(JSON.parse(one.bytes().toString())).toEqual({ error: reason });
    expect(started).toEqual([]);
  });

  it("tells runCapture() why it was refused", async () => {
    const sink = { write: () => undefined, close: () => {} };
    const refused = runCapture({
      socket: join(dir, "capture.sock"),
      request: { where: ["nowhere"] },
      sink,
      interrupted: new Promise(() => {}),
    });
    await expect(refused).rejects.toMatchObject({
      code: "CAPTURE_REFUSED",
      message: 'where: "nowhere" is no bridge and no port of one',
    });
  });

  it("has room for 16 clients, and tells the next", async () => {
    for (let n = 0; n < 16; n++) client("{}\n");
    await isStarted(16);
    const late = client("{}\n");
    await late.ended();
    expect(JSON.parse(late.bytes().toString())).toEqual({ error: "at most 16 captures at a time" });
  });
});
