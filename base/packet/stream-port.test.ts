import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { closeFile, duplicateFile, Epoll } from "../linux/index.js";
import { waitFor } from "../time/index.js";
import { Batch } from "./batch.js";
import { RX_ERRORS, RX_PACKETS, TX_DROPPED, TX_PACKETS } from "./port.js";
import { describePort, frameOf } from "./port.suite.js";
import { StreamPort } from "./stream-port.js";
import { createWindowPool } from "./window-pool.js";

const WINDOW_SIZE = 64 << 20;

let dir = "";
beforeEach(() => {
  dir = mkdtempSync("/tmp/pl-");
});
afterEach(() => rmSync(dir, { recursive: true }));

/** A peer on Node's own sockets: parses and writes QEMU's framing independently of the port. */
class Peer {
  readonly socket: Socket;
  readonly frames: Uint8Array[] = [];
  #bytes = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      while (this.#bytes.length >= 4 && this.#bytes.length >= 4 + this.#bytes.readUInt32BE(0)) {
        const end = 4 + this.#bytes.readUInt32BE(0);
        this.frames.push(Uint8Array.from(this.#bytes.subarray(4, end)));
        this.#bytes = this.#bytes.subarray(end);
      }
    });
  }

  send(frame: Uint8Array): Promise<void> {
    const header = Buffer.alloc(4);
    header.writeUInt32BE(frame.byteLength);
    return new Promise((resolve) => this.socket.write(Buffer.concat([header, frame]), () => resolve()));
  }
}

async function linkUp(port: StreamPort): Promise<void> {
  await waitFor(
    () => {
      port.tick(performance.now());
      return port.linkUp;
    },
    () => `link of ${port.name}: ${port.lastError}`,
    5000,
    1,
  );
}

async function listenPeer(path: string): Promise<{ server: Server; accepted: Promise<Peer> }> {
  const server = createServer();
  const accepted = new Promise<Peer>((resolve) =>
    server.on("connection", (socket) => resolve(new Peer(socket))),
  );
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return { server, accepted };
}

function fixture(role: "dial" | "listen") {
  return async () => {
    const { pool, window } = createWindowPool(512, WINDOW_SIZE);
    const path = `${dir}/${role}`;
    const listening = role === "dial" ? await listenPeer(path) : undefined;
    const port = new StreamPort({ name: role, pool, window, path, role });
    let peer: Peer;
    if (listening === undefined) {
      port.tick(performance.now());
      peer = new Peer(connect(path));
    } else {
      port.tick(performance.now());
      peer = await listening.accepted;
    }
    await linkUp(port);
    return {
      pool,
      port,
      send: (frame: Uint8Array) => peer.send(frame),
      receive: () => peer.frames.splice(0),
      async close() {
        peer.socket.destroy();
        if (listening !== undefined) await new Promise((resolve) => listening.server.close(resolve));
      },
    };
  };
}

describePort("StreamPort that dials", fixture("dial"), 9216);
describePort("StreamPort that listens", fixture("listen"), 9216);

describe("StreamPort", () => {
  it("dials again after its peer was lost, and counts what had nowhere to go", async () => {
    const { pool, window } = createWindowPool(64, WINDOW_SIZE);
    const port = new StreamPort({ name: "s", pool, window, path: `${dir}/s` });
    port.tick(performance.now());
    expect(port.lastError).toContain("ENOENT");
    const batch = new Batch();
    batch.push(pool.allocateFrom(frameOf(60, 1)));
    port.tx(batch);
    expect(port.stats[TX_DROPPED]).toBe(1);
    for (let life = 0; life < 2; life++) {
      const { server, accepted } = await listenPeer(`${dir}/s`);
      await linkUp(port);
      const peer = await accepted;
      await peer.send(frameOf(60, life));
      await waitFor(
        () => {
          port.tick(performance.now());
          return port.rx(batch) === 1;
        },
        "a frame",
        5000,
        1,
      );
      batch.freeAll(pool);
      peer.socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await waitFor(
        () => {
          port.tick(performance.now());
          return !port.linkUp;
        },
        "the loss to be noticed",
        5000,
        1,
      );
    }
    port.close();
    expect(pool.available).toBe(64);
  });

  it("skips frames that no datapath takes and ends a connection whose framing is lost", async () => {
    const { port, pool, send, close } = await fixture("dial")();
    const batch = new Batch();
    await send(new Uint8Array(13));
    await send(new Uint8Array(9217));
    await send(frameOf(60, 1));
    await waitFor(() => port.rx(batch) === 1, "the good frame", 5000, 1);
    batch.freeAll(pool);
    expect(port.stats[RX_ERRORS]).toBe(2);
    await send(new Uint8Array(70000));
    await waitFor(
      () => {
        port.rx(batch);
        return !port.linkUp;
      },
      "the connection to end",
      5000,
      1,
    );
    expect(port.lastError).toContain("70000");
    expect(port.stats[RX_PACKETS]).toBe(1);
    port.close();
    await close();
  });

  it("drops and counts when its peer does not read, and delivers the rest whole", async () => {
    const { port, pool, receive, close } = await fixture("dial")();
    const batch = new Batch();
    for (let round = 0; round < 400; round++) {
      while (batch.room > 0) batch.push(pool.allocateFrom(frameOf(1500, round)));
      port.tx(batch);
    }
    const { stats } = port;
    expect(stats[TX_DROPPED]).toBeGreaterThan(0);
    expect((stats[TX_DROPPED] as number) + (stats[TX_PACKETS] as number)).toBe(400 * 64);
    let got = 0;
    await waitFor(
      () => {
        port.tick(performance.now());
        for (const frame of receive()) {
          expect(frame.byteLength).toBe(1500);
          got++;
        }
        return got === stats[TX_PACKETS];
      },
      () => `${got} of ${stats[TX_PACKETS]} frames`,
      10_000,
      1,
    );
    port.close();
    await close();
  });

  it("wakes a sleeper for a frame, and for a peer that comes", async () => {
    const { pool, window } = createWindowPool(64, WINDOW_SIZE);
    const port = new StreamPort({ name: "s", pool, window, path: `${dir}/s`, role: "listen" });
    const epoll = new Epoll();
    epoll.add(port.wakeFd, 1);
    port.tick(performance.now());
    expect(port.beginSleep()).toBe(true);
    expect(epoll.wait(0)).toBe(0);
    const peer = new Peer(connect(`${dir}/s`));
    await new Promise((resolve) => peer.socket.on("connect", resolve));
    expect(epoll.wait(1000)).toBe(1);
    port.endSleep();
    port.tick(performance.now());
    expect(port.linkUp).toBe(true);
    expect(port.beginSleep()).toBe(true);
    expect(epoll.wait(0)).toBe(0);
    await peer.send(frameOf(60, 1));
    expect(epoll.wait(1000)).toBe(1);
    port.endSleep();
    const batch = new Batch();
    expect(port.rx(batch)).toBe(1);
    batch.freeAll(pool);
    peer.socket.destroy();
    port.close();
    epoll.close();
  });
});

it("goes to another process with half a frame received and frames unsent, unnoticed by its peer", async () => {
  const { pool, window } = createWindowPool(4096, WINDOW_SIZE);
  const path = `${dir}/s`;
  let port = new StreamPort({ name: "p", pool, window, path, role: "listen" });
  port.tick(0);
  const peer = new Peer(connect(path));
  await linkUp(port);
  const frame = frameOf(900, 7);
  const header = Buffer.alloc(4);
  header.writeUInt32BE(frame.byteLength);
  const whole = Buffer.concat([header, frame]);
  const batch = new Batch();
  peer.socket.pause();
  for (let sent = 0; sent < 512; sent += 32) {
    for (let i = 0; i < 32; i++) batch.push(pool.allocateFrom(frame));
    port.tx(batch);
  }
  await new Promise<void>((resolve) => peer.socket.write(whole.subarray(0, 500), () => resolve()));
  await waitFor(
    () => {
      port.rx(batch);
      return JSON.stringify(port.handOver().state).length > 500;
    },
    "half a frame",
    30_000,
  );
  expect(batch.length).toBe(0);
  const handed = port.handOver();
  const fds = handed.fds.map(duplicateFile);
  const next = new StreamPort({
    name: "p",
    pool,
    window,
    path,
    role: "listen",
    handed: { state: handed.state, fds },
  });
  for (const fd of handed.fds) expect(fds).not.toContain(fd);
  // The end of a process, which removes no socket.
  for (const fd of handed.fds) closeFile(fd);
  port = next;
  expect(port.linkUp).toBe(true);
  peer.socket.resume();
  peer.socket.write(whole.subarray(500));
  await waitFor(
    () => {
      port.tick(performance.now());
      port.rx(batch);
      return batch.length === 1 && peer.frames.length === 512;
    },
    "everything",
    30_000,
  );
  expect(pool.frame(batch.packets[0] as number)).toEqual(frame);
  expect(peer.frames.every((one) => Buffer.from(one).equals(frame))).toBe(true);
  batch.freeAll(pool);
  // It listens on: the next peer is taken too.
  peer.socket.destroy();
  const other = new Peer(connect(path));
  await waitFor(
    () => {
      port.tick(performance.now());
      return port.linkUp && !other.socket.connecting;
    },
    "another peer",
    30_000,
  );
  other.socket.destroy();
  port.close();
});
