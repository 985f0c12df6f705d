// A guest's block device against a model, with requests cut into buffers anyhow; and against guests that mean harm.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { closeFile, createMemfd, Epoll, FileMapping, sysConnectUnix } from "../../base/linux/index.js";
import { FakeFrontEnd, FRONT_END_GUEST_BASE } from "../../base/virtio/fake-front-end.js";
import * as wire from "../../base/virtio/index.js";
import type { FlushWaiter } from "../nbd/flush-rounds.js";
import { NbdExport } from "../nbd/nbd-export.js";
import { MemoryDevice } from "../volume/memory-device.js";
import { BlkServer } from "./blk-server.js";
import * as blk from "./virtio-blk-wire.js";

const SIZE = 1 << 20;
/** Behind rings and the front-end's own buffers. */
const ARENA = 4 << 20;
const READ = 0;
const WRITE = wire.VRING_DESC_F_WRITE;
const FEATURES = [9, 11, 13, 14, 28, 29, 32].reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);

const PACKED = 1n << BigInt(wire.VIRTIO_F_RING_PACKED);

let dir: string;
let epoll: Epoll;
beforeEach(() => {
  dir = mkdtempSync("/tmp/blk-");
  epoll = new Epoll();
});
afterEach(() => {
  epoll.close();
  rmSync(dir, { recursive: true });
});

/** A buffer, by its place in the arena. */
interface Piece {
  readonly at: number;
  readonly length: number;
  readonly flags: number;
}

/** A device with one guest, in this thread. */
class Rig {
  readonly device = new MemoryDevice(SIZE);
  readonly waiting: [FlushWaiter, number][] = [];
  readonly server: BlkServer;
  readonly guest: FakeFrontEnd;
  readonly #path: string;

  constructor(readOnly = false, features = FEATURES) {
    this.#path = `${dir}/s`;
    const target = new NbdExport("shop/db", "", this.device, readOnly);
    this.server = new BlkServer(epoll, { wait: (waiter, tag) => this.waiting.push([waiter, tag]) });
    this.server.listen(this.#path, () => target, undefined);
    const fd = sysConnectUnix(this.#path);
    this.guest = new FakeFrontEnd({ fd, ringCount: 2, ringSize: 64, features, pump: () => this.pump() });
  }

  pump(): void {
    const count = epoll.wait(0);
    for (let i = 0; i < count; i++) this.server.onReady(epoll.fds[i] as number);
    while (this.server.breath());
    for (const [waiter, tag] of this.waiting.splice(0)) waiter.flushed(tag, this.device.flush());
    this.server.beginSleep();
  }

  /** One request: what is to be read, then what is to be written, in buffers of the given sizes. Answers what came. */
  request(readable: Uint8Array, writable: number, cuts: readonly number[], indirect = false): Uint8Array {
    const { guest } = this;
    guest.bytes.set(readable, ARENA);
    guest.bytes.fill(0xee, ARENA + readable.byteLength, ARENA + readable.byteLength + writable);
    const pieces = [
      ...cut(0, readable.byteLength, cuts, READ),
      ...cut(readable.byteLength, writable, cuts, WRITE),
    ];
    if (guest.has(wire.VIRTIO_F_RING_PACKED)) this.#offerPacked(pieces, indirect);
    else this.#offerSplit(pieces, indirect);
    this.pump();
    const used = guest.takeUsed(0);
    expect(used?.head).toBe(0);
    const from = ARENA + readable.byteLength;
    return guest.bytes.slice(from, from + writable);
  }

  /** Source: VIRTIO 1.2, 2.8.7: an indirect table has no NEXT. */
  #offerPacked(pieces: readonly Piece[], indirect: boolean): void {
    const { guest } = this;
    const buffers = pieces.map(({ at, length, flags }) => ({
      address: FRONT_END_GUEST_BASE + ARENA + at,
      length,
      flags,
    }));
    if (!indirect) {
      guest.offerChain(0, [0], buffers);
      return;
    }
    const table = 3 << 20;
    buffers.forEach(({ address, length, flags }, i) => {
      guest.view.setBigUint64(table + i * 16, BigInt(address), true);
      guest.view.setUint32(table + i * 16 + 8, length, true);
      guest.view.setUint16(table + i * 16 + 12, 0, true);
      guest.view.setUint16(table + i * 16 + 14, flags, true);
    });
    const address = FRONT_END_GUEST_BASE + table;
    guest.offerChain(0, [0], [{ address, length: pieces.length * 16, flags: 4 }]);
  }

  #offerSplit(pieces: readonly Piece[], indirect: boolean): void {
    const { guest } = this;
    const table = indirect ? 3 << 20 : guest.descriptorsAt(0);
    pieces.forEach(({ at, length, flags }, i) => {
      const slot = table + i * 16;
      guest.view.setBigUint64(slot, BigInt(FRONT_END_GUEST_BASE + ARENA + at), true);
      guest.view.setUint32(slot + 8, length, true);
      guest.view.setUint16(slot + 12, flags | (i < pieces.length - 1 ? 1 : 0), true);
      guest.view.setUint16(slot + 14, i + 1, true);
    });
    if (indirect) guest.setDescriptor(0, 0, FRONT_END_GUEST_BASE + table, pieces.length * 16, 4);
    guest.offer(0, 0);
  }

  close(): void {
    this.guest.close();
    this.pump();
    this.server.close();
    expect(existsSync(this.#path)).toBe(false);
  }
}

/** Buffers over `length` bytes at `at`, at most 20 of them. */
function cut(at: number, length: number, sizes: readonly number[], flags: number): Piece[] {
  const pieces: Piece[] = [];
  for (let i = 0, done = 0; done < length; i++) {
    const size = Math.min(i < 19 ? (sizes[i % sizes.length] ?? length) : length, length - done);
    pieces.push({ at: at + done, length: size, flags });
    done += size;
  }
  return pieces;
}

function head(type: number, sector: number | bigint, data: Uint8Array = new Uint8Array()): Uint8Array {
  const bytes = new Uint8Array(16 + data.byteLength);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  bytes.set(data, 16);
  return bytes;
}

function ranges(...list: [sector: number, sectors: number, flags: number][]): Uint8Array {
  const bytes = new Uint8Array(list.length * 16);
  const view = new DataView(bytes.buffer);
  for (const [i, [sector, sectors, flags]] of list.entries()) {
    view.setBigUint64(i * 16, BigInt(sector), true);
    view.setUint32(i * 16 + 8, sectors, true);
    view.setUint32(i * 16 + 12, flags, true);
  }
  return bytes;
}

test("of two guests that may write to a volume the second waits until no ring of the first runs; one that only reads does not", async () => {
  const rig = new Rig();
  await rig.guest.start();
  const write = head(blk.VIRTIO_BLK_T_OUT, 0, new Uint8Array(512).fill(1));
  expect(statusOf(rig.request(write, 1, [512]))).toBe(blk.VIRTIO_BLK_S_OK);
  const join = async (readOnly: boolean): Promise<FakeFrontEnd> => {
    const path = `${dir}/${readOnly}`;
    rig.server.listen(path, () => new NbdExport("shop/db", "", rig.device, readOnly), undefined);
    const fd = sysConnectUnix(path);
    const guest = new FakeFrontEnd({
      fd,
      ringCount: 2,
      ringSize: 64,
      features: FEATURES,
      pump: () => rig.pump(),
    });
    await guest.start();
    return guest;
  };
  const offer = (guest: FakeFrontEnd, type: number, fill: number): void => {
    guest.bytes.set(head(type, 0, new Uint8Array(512).fill(fill)), ARENA);
    const data = type === blk.VIRTIO_BLK_T_OUT ? READ : WRITE;
    guest.setDescriptor(0, 0, FRONT_END_GUEST_BASE + ARENA, 16, 1, 1);
    guest.setDescriptor(0, 1, FRONT_END_GUEST_BASE + ARENA + 16, 512, data | 1, 2);
    guest.setDescriptor(0, 2, FRONT_END_GUEST_BASE + ARENA + 528, 1, WRITE);
    guest.offer(0, 0);
    rig.pump();
  };
  const reader = await join(true);
  offer(reader, blk.VIRTIO_BLK_T_IN, 0);
  expect(reader.takeUsed(0)).toMatchObject({ head: 0 });
  expect(reader.bytes[ARENA + 16]).toBe(1);
  const next = await join(false);
  offer(next, blk.VIRTIO_BLK_T_OUT, 2);
  expect(next.takeUsed(0)).toBeUndefined();
  expect(statusOf(rig.request(write, 1, [512]))).toBe(blk.VIRTIO_BLK_S_OK);
  rig.guest.close();
  rig.pump();
  expect(next.takeUsed(0)).toMatchObject({ head: 0 });
  offer(reader, blk.VIRTIO_BLK_T_IN, 0);
  expect(reader.bytes[ARENA + 16]).toBe(2);
  for (const guest of [reader, next]) guest.close();
  rig.pump();
  rig.server.close();
});

const statusOf = (answer: Uint8Array): number => answer[answer.byteLength - 1] as number;
const cuts = fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 5 });
const place = fc.tuple(fc.nat(SIZE / 512 - 1), fc.integer({ min: 1, max: 64 }));
const step = fc.record({
  kind: fc.constantFrom("in", "out", "out", "discard", "zeroes", "zeroes unmap", "flush", "id"),
  place,
  fill: fc.integer({ min: 1, max: 255 }),
  cuts,
  indirect: fc.boolean(),
});

test("reads give what writes left, however requests are cut into buffers", async () => {
  for (const features of [FEATURES, FEATURES & ~(1n << 9n) & ~(1n << 11n), FEATURES | PACKED]) {
    const rig = new Rig(false, features);
    await rig.guest.start();
    const model = new Uint8Array(SIZE);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 10 }), (steps) => {
        for (const {
          kind,
          place: [sector, wanted],
          fill,
          cuts: sizes,
          indirect,
        } of steps) {
          const sectors = Math.min(wanted, SIZE / 512 - sector);
          const [from, to] = [sector * 512, (sector + sectors) * 512];
          const ask = (readable: Uint8Array, writable: number): Uint8Array => {
            const answer = rig.request(readable, writable, sizes, indirect);
            expect(statusOf(answer)).toBe(blk.VIRTIO_BLK_S_OK);
            return answer;
          };
          if (kind === "in") {
            const answer = ask(head(0, sector), to - from + 1);
            expect(Buffer.compare(answer.subarray(0, -1), model.subarray(from, to))).toBe(0);
          } else if (kind === "out") {
            ask(head(1, sector, new Uint8Array(to - from).fill(fill)), 1);
            model.fill(fill, from, to);
          } else if (kind === "flush") ask(head(4, 0), 1);
          else if (kind === "id") {
            expect(
              Buffer.from(ask(head(8, 0), 21))
                .subarray(0, 8)
                .toString(),
            ).toBe("shop/db\0");
          } else if (kind === "discard") {
            ask(head(11, 0, ranges([sector, sectors, 0])), 1);
            model.fill(0, Math.ceil(from / 4096) * 4096, Math.max(from, Math.floor(to / 4096) * 4096));
          } else {
            ask(head(13, 0, ranges([sector, sectors, kind === "zeroes" ? 0 : 1])), 1);
            model.fill(0, from, to);
          }
        }
      }),
      { numRuns: 60 },
    );
    rig.close();
  }
});

test("what makes no sense ends in a status, and changes nothing", async () => {
  const rig = new Rig();
  await rig.guest.start();
  const status = (readable: Uint8Array, writable = 1): number =>
    statusOf(rig.request(readable, writable, [9000]));
  const { VIRTIO_BLK_S_IOERR: IOERR, VIRTIO_BLK_S_UNSUPP: UNSUPP } = blk;
  const data = new Uint8Array(512).fill(7);
  expect(status(head(1, SIZE / 512, data))).toBe(IOERR);
  expect(status(head(1, 2n ** 63n, data))).toBe(IOERR);
  expect(status(head(1, 0, data.subarray(0, 100)))).toBe(IOERR);
  expect(status(head(0, SIZE / 512 - 1), 1025)).toBe(IOERR);
  expect(status(head(0, 0), 100)).toBe(IOERR);
  expect(status(head(99, 0))).toBe(UNSUPP);
  expect(status(head(11, 0, ranges([0, 8, 1])))).toBe(UNSUPP);
  expect(status(head(13, 0, ranges([0, 8, 2])))).toBe(UNSUPP);
  expect(status(head(13, 0, ranges([0, blk.BLK_ZEROES_SECTORS_MAX + 1, 0])))).toBe(IOERR);
  expect(status(head(11, 0, ranges([0, 8, 0], [SIZE / 512, 8, 0])))).toBe(IOERR);
  expect(status(head(11, 0, new Uint8Array(15)))).toBe(IOERR);
  expect(status(head(11, 0))).toBe(IOERR);
  // No room for a status, or no whole head: the chain comes back as it is.
  rig.guest.offerChain(0, [0], [{ address: FRONT_END_GUEST_BASE + ARENA, length: 16, flags: READ }]);
  rig.pump();
  expect(rig.guest.takeUsed(0)).toEqual({ head: 0, length: 0 });
  expect(statusOf(rig.request(new Uint8Array(8), 4, [4]))).toBe(0xee);
  rig.close();
  const fixed = new Rig(true);
  await fixed.guest.start();
  expect(statusOf(fixed.request(head(1, 0, data), 1, [9000]))).toBe(IOERR);
  expect(statusOf(fixed.request(head(11, 0, ranges([0, 8, 0])), 1, [9000]))).toBe(IOERR);
  fixed.close();
});

test("any rings and any memory leave the server alive and the next guest served", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(15), fc.nat(9 << 20), fc.nat(70_000), fc.nat(7), fc.nat(20)), {
        maxLength: 20,
      }),
      fc.array(fc.nat(18), { maxLength: 12 }),
      fc.uint8Array({ maxLength: 64 }),
      fc.option(fc.nat(0xffff)),
      fc.boolean(),
      async (descriptors, heads, bytes, index, packed) => {
        const rig = new Rig(false, packed ? FEATURES | PACKED : FEATURES);
        await rig.guest.start();
        const { guest } = rig;
        guest.bytes.set(bytes, ARENA);
        for (const [slot, at, length, flags, next] of descriptors) {
          const where = at % 3 === 0 ? ARENA + (at % 64) : at;
          // A packed ring has its flags where a split one says what is next.
          const last = packed ? flags | 0x80 : next;
          guest.setDescriptor(0, slot, FRONT_END_GUEST_BASE + where, length, flags, last);
        }
        for (const each of heads) guest.offer(0, each);
        if (index !== null) guest.view.setUint16(guest.availableAt(1) + 2, index, true);
        rig.pump();
        rig.close();
      },
    ),
    { numRuns: 50 },
  );
  const next = new Rig();
  await next.guest.start();
  expect(statusOf(next.request(head(4, 0), 1, [9000]))).toBe(blk.VIRTIO_BLK_S_OK);
  next.close();
});

test("a guest that connects without end is served each time; a second one beside it is not", async () => {
  const rig = new Rig();
  await rig.guest.start();
  expect(statusOf(rig.request(head(4, 0), 1, [9000]))).toBe(blk.VIRTIO_BLK_S_OK);
  const second = sysConnectUnix(`${dir}/s`);
  rig.pump();
  expect([rig.server.refusedCount, rig.server.connectionCount]).toEqual([1, 1]);
  closeFile(second);
  rig.guest.close();
  rig.pump();
  const mapped = (): number => readFileSync("/proc/self/maps", "utf8").split("\n").length;
  const before = mapped();
  for (let i = 0; i < 50; i++) {
    const fd = sysConnectUnix(`${dir}/s`);
    rig.pump();
    expect(rig.server.connectionCount).toBe(1);
    closeFile(fd);
    rig.pump();
  }
  expect(mapped()).toBeLessThan(before + 40);
  expect(rig.server.connectionCount).toBe(0);
  rig.server.close();
});

test("what is written into a guest that is being moved is marked: the data and the status", async () => {
  const rig = new Rig(false, FEATURES | (1n << BigInt(wire.VHOST_F_LOG_ALL)));
  await rig.guest.start();
  const fd = createMemfd("log", 1 << 18);
  await rig.guest.logWrites(fd, 1 << 18, true);
  rig.pump();
  expect(statusOf(rig.request(head(0, 0), 4 * 4096 + 1, [4096]))).toBe(blk.VIRTIO_BLK_S_OK);
  const mapping = new FileMapping(fd, 1 << 18);
  const marks = new Uint8Array(mapping.buffer);
  const marked = (at: number): boolean => {
    const page = (FRONT_END_GUEST_BASE + at) / 4096;
    return ((marks[Math.floor(page / 8)] as number) & (1 << (Math.floor(page) % 8))) !== 0;
  };
  // The head is 16 bytes, so that data reaches into a fifth page.
  expect([0, 1, 2, 3, 4, 5].map((page) => marked(ARENA + page * 4096))).toEqual([
    ...[true, true, true, true, true, false],
  ]);
  mapping.unmap();
  closeFile(fd);
  rig.close();
});

test("a driver without a cache is answered when its writes are durable; the cache can be switched off", async () => {
  const rig = new Rig();
  await rig.guest.start();
  const data = new Uint8Array(512).fill(1);
  const flushesOf = (): number => {
    const before = rig.device.flushCount;
    expect(statusOf(rig.request(head(1, 0, data), 1, [9000]))).toBe(blk.VIRTIO_BLK_S_OK);
    return rig.device.flushCount - before;
  };
  expect(flushesOf()).toBe(0);
  const config = (offset: number, value: number): Promise<bigint> =>
    rig.guest.acknowledged(wire.VHOST_USER_SET_CONFIG, {
      kind: "config",
      offset,
      flags: 0,
      bytes: Uint8Array.of(value),
    });
  expect(await config(blk.BLK_CONFIG_WRITEBACK, 2)).toBe(1n);
  expect(await config(0, 1)).toBe(1n);
  expect(flushesOf()).toBe(0);
  expect(await config(blk.BLK_CONFIG_WRITEBACK, 0)).toBe(0n);
  expect(flushesOf()).toBe(1);
  rig.close();
});

test("requests in a ring that is disabled stay there, and are carried out when it is enabled or started again", async () => {
  for (const features of [FEATURES, FEATURES | PACKED]) {
    const rig = new Rig(false, features);
    await rig.guest.start();
    const { guest } = rig;
    const data = new Uint8Array(512).fill(7);
    const offer = (fill: number): void => {
      guest.bytes.set(head(1, fill, data), ARENA);
      guest.bytes[ARENA + 528] = 0xee;
      const [readable, status] = [FRONT_END_GUEST_BASE + ARENA, FRONT_END_GUEST_BASE + ARENA + 528];
      guest.offerChain(
        0,
        [0, 1],
        [
          { address: readable, length: 528, flags: READ },
          { address: status, length: 1, flags: WRITE },
        ],
      );
    };
    guest.enableRing(0, false);
    rig.pump();
    offer(0);
    rig.pump();
    expect([guest.takeUsed(0), guest.bytes[ARENA + 528]]).toEqual([undefined, 0xee]);
    guest.enableRing(0, true);
    rig.pump();
    expect([guest.takeUsed(0), guest.bytes[ARENA + 528]]).toEqual([{ head: 0, length: 1 }, 0]);
    guest.enableRing(0, false);
    rig.pump();
    offer(1);
    rig.pump();
    const base = await guest.stopRing(0);
    expect([guest.takeUsed(0), guest.bytes[ARENA + 528]]).toEqual([undefined, 0xee]);
    guest.restartRing(0, base);
    guest.enableRing(0, true);
    rig.pump();
    expect([guest.takeUsed(0), guest.bytes[ARENA + 528]]).toEqual([{ head: 0, length: 1 }, 0]);
    rig.close();
  }
});

test("a flush fails when what was answered before cannot be made durable any more, though the sync itself was right", async () => {
  const rig = new Rig();
  await rig.guest.start();
  Object.defineProperty(rig.device, "syncError", { value: 5 });
  expect(statusOf(rig.request(head(4, 0), 1, [9000]))).toBe(blk.VIRTIO_BLK_S_IOERR);
  rig.close();
});

test("a driver that can switch the cache but not flush it begins without one", async () => {
  const rig = new Rig(false, FEATURES & ~(1n << 9n));
  await rig.guest.start();
  const data = new Uint8Array(512).fill(1);
  expect(statusOf(rig.request(head(1, 0, data), 1, [9000]))).toBe(blk.VIRTIO_BLK_S_OK);
  expect(rig.device.flushCount).toBe(1);
  rig.close();
});

test("in a packed ring nothing overtakes a flush: everything is given back in order when it is durable", async () => {
  const rig = new Rig(false, FEATURES | PACKED);
  await rig.guest.start();
  const { guest } = rig;
  const status = 1 << 16;
  guest.bytes.set(head(4, 0), ARENA);
  guest.bytes.set(head(0, 0), ARENA + 16);
  guest.bytes.fill(0xee, ARENA + status, ARENA + status + 64);
  const at = (offset: number): number => FRONT_END_GUEST_BASE + ARENA + offset;
  const chain = (id: number, from: number, length: number): void =>
    guest.offerChain(
      0,
      [id],
      [
        { address: at(from), length: 16, flags: READ },
        ...(length === 0 ? [] : [{ address: at(4096), length, flags: WRITE }]),
        { address: at(status + id), length: 1, flags: WRITE },
      ],
    );
  const turn = (): void => {
    const count = epoll.wait(0);
    for (let i = 0; i < count; i++) rig.server.onReady(epoll.fds[i] as number);
    while (rig.server.breath());
  };
  chain(0, 0, 0);
  turn();
  // Two places for the flush, three for each read: the ring of 64 is full.
  for (let id = 1; id <= 20; id++) {
    chain(id, 16, 512);
    turn();
  }
  expect(guest.takeUsed(0)).toBeUndefined();
  expect([guest.bytes[ARENA + status], guest.bytes[ARENA + status + 20]]).toEqual([0xee, 0]);
  rig.pump();
  for (let id = 0; id <= 20; id++)
    expect(guest.takeUsed(0)).toEqual({ head: id, length: id === 0 ? 1 : 513 });
  expect(guest.bytes[ARENA + status]).toBe(blk.VIRTIO_BLK_S_OK);
  rig.close();
});

test("a driver without a descriptor to kick is looked at all the time", async () => {
  const rig = new Rig();
  await rig.guest.start();
  expect(rig.server.beginSleep()).toBe(true);
  rig.guest.send(wire.VHOST_USER_SET_VRING_KICK, { kind: "u64", value: 0x100n });
  rig.pump();
  expect(rig.server.beginSleep()).toBe(false);
  expect(rig.server.beginSleep()).toBe(false);
  rig.close();
});

test("a ring is stopped only when what it waits for is durable, and a late sync disturbs nobody", async () => {
  const rig = new Rig();
  await rig.guest.start();
  const { guest } = rig;
  guest.bytes.set(head(4, 0), ARENA);
  const chain = [
    { address: FRONT_END_GUEST_BASE + ARENA, length: 16, flags: READ },
    { address: FRONT_END_GUEST_BASE + ARENA + 16, length: 1, flags: WRITE },
  ];
  guest.bytes[ARENA + 16] = 0xee;
  guest.offerChain(0, [0, 1], chain);
  const count = epoll.wait(0);
  for (let i = 0; i < count; i++) rig.server.onReady(epoll.fds[i] as number);
  while (rig.server.breath());
  expect([rig.waiting.length, guest.bytes[ARENA + 16]]).toEqual([1, 0xee]);
  const late = rig.waiting.splice(0);
  const flushes = rig.device.flushCount;
  expect(await guest.stopRing(0)).toBe(1);
  expect([rig.device.flushCount, guest.bytes[ARENA + 16]]).toEqual([flushes + 1, blk.VIRTIO_BLK_S_OK]);
  guest.bytes[ARENA + 16] = 0xee;
  for (const [waiter, tag] of late) waiter.flushed(tag, 0);
  expect(guest.bytes[ARENA + 16]).toBe(0xee);
  rig.close();
});
