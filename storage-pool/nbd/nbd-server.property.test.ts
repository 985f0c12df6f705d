// Clients that mean harm, over real sockets: any bytes in any pieces, any flags and lengths, replies not read, and gone
// at any moment. An honest client beside them is served, and nothing is left behind.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { addressOf, closeFile, Epoll, sysConnectUnix, sysReceive, sysSend } from "../../base/linux/index.js";
import { OK } from "../errors.js";
import { SnapshottedDevice } from "../testing/snapshotted-device.js";
import { NbdExport } from "./nbd-export.js";
import { NbdServer } from "./nbd-server.js";

const SIZE = 1 << 20;

class Rig {
  readonly dir = mkdtempSync("/tmp/nbd-");
  readonly epoll = new Epoll();
  readonly server: NbdServer;
  #synced: ((result: number) => void)[] = [];

  constructor() {
    this.server = new NbdServer(this.epoll, { sync: (_inline, onSynced) => this.#synced.push(onSynced) });
    const target = new NbdExport("v", "", new SnapshottedDevice(SIZE), false);
    const open = (name: string): NbdExport | undefined => (name === "v" || name === "" ? target : undefined);
    const exports = { open, find: open, list: () => [target] };
    this.server.listen("s", { kind: "unix", path: this.path }, exports, "allowed");
  }

  get path(): string {
    return `${this.dir}/s`;
  }

  /** Until nothing more happens; a sync takes a turn of the loop. */
  pump(): void {
    for (let quiet = 0; quiet < 2; quiet++) {
      const count = this.epoll.wait(0);
      for (let i = 0; i < count; i++) {
        this.server.onReady(this.epoll.fds[i] as number, this.epoll.events[i] as number, 0);
      }
      while (this.server.endBreath());
      const synced = this.#synced;
      this.#synced = [];
      for (const onSynced of synced) onSynced(OK);
      if (count > 0 || synced.length > 0) quiet = -1;
    }
  }

  close(): void {
    this.server.close();
    this.pump();
    this.epoll.close();
    rmSync(this.dir, { recursive: true });
  }
}

class Client {
  readonly fd: number;
  readonly #buffer = new Uint8Array(1 << 20);

  constructor(path: string) {
    this.fd = sysConnectUnix(path);
  }

  send(bytes: Uint8Array): void {
    const copy = bytes.slice();
    if (copy.byteLength > 0) sysSend(this.fd, addressOf(copy), copy.byteLength);
  }

  receive(): Buffer {
    const count = sysReceive(this.fd, addressOf(this.#buffer), this.#buffer.byteLength);
    return Buffer.from(this.#buffer.subarray(0, Math.max(0, count)));
  }

  close(): void {
    closeFile(this.fd);
  }
}

const option = (number: number, data: Uint8Array): Buffer => {
  const head = Buffer.alloc(16);
  head.write("IHAVEOPT");
  head.writeUInt32BE(number, 8);
  head.writeUInt32BE(data.byteLength, 12);
  return Buffer.concat([head, data]);
};
const FLAGS = Buffer.from([0, 0, 0, 3]);
const GO = option(7, Buffer.from([0, 0, 0, 1, 0x76, 0, 0]));
const CONTEXTS = option(
  10,
  Buffer.concat([Buffer.from([0, 0, 0, 1, 0x76, 0, 0, 0, 1, 0, 0, 0, 15]), Buffer.from("base:allocation")]),
);

function request(extended: boolean, type: number, flags: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(extended ? 32 : 28);
  bytes.writeUInt32BE(extended ? 0x21e41c71 : 0x25609513, 0);
  bytes.writeUInt16BE(flags, 4);
  bytes.writeUInt16BE(type, 6);
  bytes.writeUInt32BE(offset, 20);
  bytes.writeUInt32BE(length, extended ? 28 : 24);
  return bytes;
}

const openings = [
  [],
  [FLAGS],
  [FLAGS, GO],
  [FLAGS, option(8, new Uint8Array()), CONTEXTS, GO],
  [FLAGS, option(11, new Uint8Array()), CONTEXTS, GO],
  [FLAGS, option(5, new Uint8Array())],
  [FLAGS, option(1, Buffer.from("v"))],
];
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 60 }).map((each) => Buffer.from(each)),
  fc.constantFrom(...openings.flat()),
  fc
    .tuple(
      fc.boolean(),
      fc.oneof(fc.nat(8), fc.nat(0xffff)),
      fc.oneof(fc.constantFrom(0, 1, 4, 8, 32, 33), fc.nat(0xffff)),
      fc.oneof(fc.nat(SIZE), fc.nat(0xffff_ffff)),
      fc.oneof(fc.nat(300), fc.nat(400_000), fc.nat(0xffff_ffff)),
    )
    .map((fields) => request(...fields)),
  fc.nat(300_000).map((length) => Buffer.alloc(length, 7)),
);
const action = fc.record({
  client: fc.nat(2),
  what: fc.oneof(
    { weight: 6, arbitrary: bytes },
    { weight: 1, arbitrary: fc.constant("read" as const) },
    { weight: 1, arbitrary: fc.constant("leave" as const) },
  ),
  pump: fc.boolean(),
});

test("hostile clients end at worst in closed connections; an honest one is served beside them; nothing leaks", () => {
  const rig = new Rig();
  const before = readdirSync("/proc/self/fd").length;
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...openings), { minLength: 3, maxLength: 3 }),
      fc.array(action, { maxLength: 25 }),
      (starts, actions) => {
        const clients = starts.map((start): Client | undefined => {
          const client = new Client(rig.path);
          client.send(Buffer.concat(start));
          return client;
        });
        for (const { client: number, what, pump } of actions) {
          const client = clients[number];
          if (client === undefined) continue;
          if (what === "read") client.receive();
          else if (what === "leave") {
            client.close();
            clients[number] = undefined;
          } else client.send(what);
          if (pump) rig.pump();
        }
        honest(rig);
        for (const client of clients) client?.close();
        rig.pump();
        expect(rig.server.connectionCount).toBe(0);
        expect(readdirSync("/proc/self/fd").length).toBe(before);
      },
    ),
    { numRuns: 150 },
  );
  rig.close();
});

/** Negotiates, writes, flushes, reads back, says goodbye. */
function honest(rig: Rig): void {
  const client = new Client(rig.path);
  client.send(Buffer.concat([FLAGS, GO]));
  rig.pump();
  client.receive();
  client.send(
    Buffer.concat([request(false, 1, 1, 8192, 4), Buffer.from("okay"), request(false, 3, 0, 0, 0)]),
  );
  rig.pump();
  expect(client.receive().toString("hex")).toBe(`67446698${"0".repeat(24)}67446698${"0".repeat(24)}`);
  client.send(request(false, 0, 0, 8192, 4));
  rig.pump();
  expect(client.receive().toString("hex")).toBe(`67446698${"0".repeat(24)}6f6b6179`);
  client.send(request(false, 2, 0, 0, 0));
  rig.pump();
  client.close();
}
