// Limits and turns at the server: several clients over real sockets, time as the test says.
import { mkdtempSync, rmSync } from "node:fs";
import { connect as connectTcp, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it, test } from "vitest";
import { addressOf, closeFile, Epoll, sysConnectUnix, sysReceive, sysSend } from "../../base/linux/index.js";
import { OK } from "../errors.js";
import { CONNECTIONS_PER_SOCKET_MAX } from "../limits.js";
import { Turns } from "../qos/turns.js";
import { VolumeShare } from "../qos/volume-share.js";
import { MemoryDevice } from "../volume/memory-device.js";
import { NbdExport } from "./nbd-export.js";
import { NbdServer } from "./nbd-server.js";

const BLOCK = 4096;
const HELLO_SIZE = 18;
const REPLY_SIZE = 16;
const READ = 0;
const WRITE = 1;
const FLUSH = 3;
/** Flags, and the default export by NBD_OPT_EXPORT_NAME. */
const OPENING = Buffer.concat([
  Buffer.from([0, 0, 0, 3]),
  Buffer.from("IHAVEOPT\0\0\0\x01\0\0\0\0", "latin1"),
]);

class Client {
  received = Buffer.alloc(0);
  readonly #fd: number;
  #queued = Buffer.alloc(0);
  readonly #buffer = new Uint8Array(1 << 20);

  constructor(path: string) {
    this.#fd = sysConnectUnix(path);
  }

  send(bytes: Uint8Array): void {
    this.#queued = Buffer.concat([this.#queued, bytes]);
    this.exchange();
  }

  /** Sends and receives as much as the socket takes and has. */
  exchange(): void {
    const copy = Uint8Array.from(this.#queued);
    const sent = copy.byteLength === 0 ? 0 : sysSend(this.#fd, addressOf(copy), copy.byteLength);
    this.#queued = this.#queued.subarray(Math.max(0, sent));
    for (;;) {
      const count = sysReceive(this.#fd, addressOf(this.#buffer), this.#buffer.byteLength);
      if (count <= 0) return;
      this.received = Buffer.concat([this.received, this.#buffer.subarray(0, count)]);
    }
  }

  close(): void {
    closeFile(this.#fd);
  }
}

let dir: string;
let epoll: Epoll;
let server: NbdServer;
let turns: Turns;
let clients: Client[];
let nowMs: number;
let sync: (onSynced: (result: number) => void) => void;

beforeEach(() => {
  dir = mkdtempSync("/tmp/nbd-");
  epoll = new Epoll();
  turns = new Turns();
  server = new NbdServer(epoll, { sync: (_inline, onSynced) => sync(onSynced) });
  clients = [];
  nowMs = 1000;
  sync = (onSynced) => onSynced(OK);
});
afterEach(() => {
  for (const client of clients) client.close();
  server.close();
  epoll.close();
  rmSync(dir, { recursive: true });
});

function serve(name: string): VolumeShare {
  const share = new VolumeShare(turns);
  const target = new NbdExport(name, "", new MemoryDevice(1 << 22), false, share);
  const exports = { open: () => target, find: () => target, list: () => [target] };
  server.listen(name, { kind: "unix", path: `${dir}/${name}` }, exports, "refused");
  return share;
}

/** A client past its handshake: NBD_OPT_EXPORT_NAME, whose answer is 8 + 2 bytes without zeroes. */
function connect(name: string): Client {
  const client = new Client(`${dir}/${name}`);
  clients.push(client);
  client.send(OPENING);
  for (let n = 0; n < 10 && client.received.byteLength < HELLO_SIZE + 10; n++) round();
  expect(client.received.byteLength).toBe(HELLO_SIZE + 10);
  client.received = Buffer.alloc(0);
  return client;
}

/** One round of the worker's loop; how long it would sleep, 0 when something went on. */
function round(): number {
  const count = epoll.wait(0);
  turns.begin(nowMs);
  for (let i = 0; i < count; i++) server.onReady(epoll.fds[i] as number, epoll.events[i] as number, nowMs);
  const waitMs = server.retryThrottled(nowMs);
  const more = server.endBreath();
  for (const client of clients) client.exchange();
  return count > 0 || more ? 0 : waitMs;
}

function requests(type: number, count: number, length = BLOCK): Buffer {
  const all: Buffer[] = [];
  for (let i = 0; i < count; i++) {
    const bytes = Buffer.alloc(28 + (type === WRITE ? length : 0), 7);
    bytes.writeUInt32BE(0x25609513, 0);
    bytes.writeUInt16BE(0, 4);
    bytes.writeUInt16BE(type, 6);
    bytes.writeBigUInt64BE(BigInt(i), 8);
    bytes.writeBigUInt64BE(BigInt(i * length), 16);
    bytes.writeUInt32BE(length, 24);
    all.push(bytes);
  }
  return Buffer.concat(all);
}

const reads = (client: Client) => Math.floor(client.received.byteLength / (REPLY_SIZE + BLOCK));

test("clients of one limited volume share its rate, each request is answered once, and time passes as it must", () => {
  serve("v").setLimits({ iops: 100, bytesPerSecond: 0, burstMs: 10 });
  const [one, two] = [connect("v"), connect("v")];
  nowMs += 10_000;
  const beganMs = nowMs;
  one.send(requests(READ, 40));
  two.send(requests(READ, 40));
  for (let n = 0; n < 5000 && reads(one) + reads(two) < 80; n++) {
    const waitMs = round();
    if (Number.isFinite(waitMs)) nowMs += waitMs;
    expect(Math.abs(reads(one) - reads(two))).toBeLessThanOrEqual(2);
  }
  expect([reads(one), reads(two)]).toEqual([40, 40]);
  // 80 requests at 100 each second, the first of them saved up.
  expect(nowMs - beganMs).toBeGreaterThan(780);
  expect(nowMs - beganMs).toBeLessThan(810);
  for (const client of [one, two]) {
    for (let i = 0; i < 40; i++) {
      expect(client.received.readUInt32BE(i * (REPLY_SIZE + BLOCK) + 4)).toBe(OK);
      expect(client.received.readBigUInt64BE(i * (REPLY_SIZE + BLOCK) + 8)).toBe(BigInt(i));
    }
  }
});

test("writes larger than what is saved up are carried out, one after the other, and no limit ends the wait", () => {
  const share = serve("v");
  share.setLimits({ iops: 0, bytesPerSecond: 1 << 20, burstMs: 1 });
  const client = connect("v");
  const beganMs = nowMs;
  client.send(requests(WRITE, 3, 512 * 1024));
  for (let n = 0; n < 5000 && client.received.byteLength < 2 * REPLY_SIZE; n++) {
    const waitMs = round();
    if (Number.isFinite(waitMs)) nowMs += waitMs;
  }
  // The second had to wait until the first was paid, and the third until the second is.
  expect(nowMs - beganMs).toBeGreaterThan(480);
  expect(nowMs - beganMs).toBeLessThan(520);
  share.setLimits({ iops: 0, bytesPerSecond: 0, burstMs: 1 });
  for (let n = 0; n < 100 && client.received.byteLength < 3 * REPLY_SIZE; n++) round();
  expect(client.received.byteLength).toBe(3 * REPLY_SIZE);
});

test("clients that do not finish their handshake keep nobody out, and no client that has is sent away for another", () => {
  serve("v");
  const worker = connect("v");
  const idle = (count: number) => {
    for (let n = 0; n < count; n++) {
      clients.push(new Client(`${dir}/v`));
      round();
    }
  };
  idle(CONNECTIONS_PER_SOCKET_MAX + 20);
  expect([server.connectionCount, server.refusedCount]).toEqual([CONNECTIONS_PER_SOCKET_MAX, 21]);
  // Those that came first go first.
  const late = connect("v");
  for (const client of [worker, late]) {
    client.send(requests(READ, 1));
    for (let n = 0; n < 10 && reads(client) < 1; n++) round();
    expect(reads(client)).toBe(1);
  }
  for (let n = 2; n < CONNECTIONS_PER_SOCKET_MAX; n++) connect("v");
  expect(server.refusedCount).toBe(22 + CONNECTIONS_PER_SOCKET_MAX - 2);
  idle(3);
  expect(server.connectionCount).toBe(CONNECTIONS_PER_SOCKET_MAX);
  worker.send(requests(READ, 1));
  for (let n = 0; n < 10 && reads(worker) < 2; n++) round();
  expect(reads(worker)).toBe(2);
});

test("a flush that another front waits for begins though no NBD client did anything", () => {
  const told: number[] = [];
  server.wait({ flushed: (tag, error) => told.push(tag, error) }, 7);
  round();
  expect(told).toEqual([7, OK]);
});

test("a client that asks for much waits for its turn while another volume is used", () => {
  serve("noisy");
  serve("quiet");
  const [noisy, quiet] = [connect("noisy"), connect("quiet")];
  let rounds = 0;
  noisy.send(requests(READ, 200));
  quiet.send(requests(READ, 1));
  // Both are seen in this round; from the next one on they take turns.
  round();
  for (let asked = 1; reads(quiet) < 20; rounds++) {
    if (reads(quiet) === asked) {
      asked++;
      noisy.send(requests(READ, 60));
      quiet.send(requests(READ, 1));
    }
    const before = reads(noisy);
    nowMs += 0.2;
    round();
    expect(reads(noisy) - before).toBeLessThanOrEqual(22);
    expect(rounds).toBeLessThan(500);
  }
  // It is answered in the round in which it asks.
  expect(rounds).toBeLessThan(80);
  const sent = 200 + 19 * 60;
  for (let n = 0; n < 500 && reads(noisy) < sent; n++) round();
  expect(reads(noisy)).toBe(sent);
});

describe("over TCP", () => {
  let socket: Socket;
  let received: Buffer;
  afterEach(() => socket.destroy());

  function dial(bytes: Buffer): void {
    const target = new NbdExport("v", "", new MemoryDevice(1 << 22), false);
    const exports = { open: () => target, find: () => target, list: () => [target] };
    const port = server.listen("v", { kind: "tcp", address: "127.0.0.1", port: 0 }, exports, "refused");
    socket = connectTcp(port, "127.0.0.1");
    socket.write(Buffer.concat([OPENING, bytes]));
    received = Buffer.alloc(0);
  }

  /** Rounds until `done`; the client takes what it is given, keeping it or not. */
  async function pump(done: () => boolean, take: (bytes: Buffer | null) => void): Promise<void> {
    for (let n = 0; n < 20_000 && !done(); n++) {
      round();
      await new Promise((resolve) => setImmediate(resolve));
      if (n > 200) take(socket.read());
    }
  }

  it("a client that takes its replies slowly gets the answers to all that it had asked at once", async () => {
    const length = 512 * 1024;
    const count = 60;
    // There the kernel takes a part of what waits for it.
    dial(Buffer.concat(Array.from({ length: count }, () => requests(READ, 1, length))));
    const expected = HELLO_SIZE + 10 + count * (REPLY_SIZE + length);
    let size = 0;
    await pump(
      () => size === expected,
      (bytes) => {
        size += bytes?.byteLength ?? 0;
      },
    );
    expect(size).toBe(expected);
  });

  it("a client that sends nothing more, but listens, is answered before the connection ends", async () => {
    const syncs: (() => void)[] = [];
    sync = (onSynced) => syncs.push(() => onSynced(OK));
    dial(Buffer.concat([requests(WRITE, 2), requests(FLUSH, 1, 0)]));
    let ended = false;
    socket.once("end", () => {
      ended = true;
    });
    const keep = (bytes: Buffer | null) => {
      if (bytes !== null) received = Buffer.concat([received, bytes]);
    };
    await pump(() => syncs.length > 0, keep);
    socket.end();
    // It closed its side long before the flush is over.
    let rounds = 0;
    await pump(() => ++rounds > 300, keep);
    expect(ended).toBe(false);
    expect(received.byteLength).toBe(HELLO_SIZE + 10 + 2 * REPLY_SIZE);
    for (const done of syncs.splice(0)) done();
    await pump(() => ended, keep);
    expect(received.byteLength).toBe(HELLO_SIZE + 10 + 3 * REPLY_SIZE);
    expect(server.connectionCount).toBe(0);
  });
});

test("who connects while a pool is opened anew is greeted afterwards, and who is there goes on then", () => {
  const device = new MemoryDevice(1 << 22);
  let target: NbdExport | undefined = new NbdExport("v", "", device, false);
  const exports = {
    open: () => target,
    find: () => target,
    list: () => (target === undefined ? [] : [target]),
  };
  server.listen("v", { kind: "unix", path: `${dir}/v` }, exports, "refused");
  const before = connect("v");
  server.park(device);
  target = undefined;
  before.send(requests(READ, 1));
  const meanwhile = new Client(`${dir}/v`);
  clients.push(meanwhile);
  meanwhile.send(OPENING);
  // Nothing is to be done: the loop may sleep.
  for (let n = 0; n < 5; n++) expect(epoll.wait(0) + (round() === 0 ? 1 : 0)).toBe(0);
  expect([reads(before), meanwhile.received.byteLength]).toEqual([0, 0]);
  target = new NbdExport("v", "", new MemoryDevice(1 << 22), false);
  server.unpark();
  for (let n = 0; n < 10; n++) round();
  expect([reads(before), meanwhile.received.byteLength]).toEqual([1, HELLO_SIZE + 10]);
});
