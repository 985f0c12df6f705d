// Requests of a guest that come together: short reads are asked of the device together, and each is answered by itself.
import { mkdtempSync, rmSync } from "node:fs";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { closeFile, createMemfd, Epoll, FileMapping, sysConnectUnix } from "../../base/linux/index.js";
import { FakeFrontEnd, FRONT_END_GUEST_BASE } from "../../base/virtio/fake-front-end.js";
import * as wire from "../../base/virtio/index.js";
import type { DataBuffer } from "../disk/data-buffer.js";
import { EIO } from "../errors.js";
import { NbdExport } from "../nbd/nbd-export.js";
import { MemoryDevice } from "../volume/memory-device.js";
import { BlkServer } from "./blk-server.js";
import * as blk from "./virtio-blk-wire.js";

const SIZE = 1 << 20;
const SECTOR = 512;
const BLOCK = 4096;
/** Behind rings and the front-end's own buffers; the place of a request. */
const ARENA = 1 << 20;
const SPAN = 128 * 1024;
const RING = 128;
/** A request has up to four descriptors. */
const REQUESTS_MAX = RING / 4;
const FEATURES = [9, 11, 13, 14, 28, 29, 32].reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);
const PACKED = 1n << BigInt(wire.VIRTIO_F_RING_PACKED);

/** Prepares reads of whole blocks, as a volume does, and carries them out with the first finishRead(). */
class PreparingDevice extends MemoryDevice {
  bad = -1;
  /** How many reads were prepared each time. */
  readonly batches: number[] = [];
  #prepared: (() => number)[] = [];
  #results: number[] | undefined;

  override read(target: DataBuffer, at: number, offset: number, length: number): number {
    if (this.bad >= offset - (offset % BLOCK) && this.bad < offset + length) return EIO;
    return super.read(target, at, offset, length);
  }

  override prepareRead(target?: DataBuffer, at = 0, offset = 0, length = 0): number {
    if (target === undefined || offset % BLOCK !== 0 || length % BLOCK !== 0) return -1;
    if (this.#results !== undefined) this.#prepared = [];
    this.#results = undefined;
    return this.#prepared.push(() => this.read(target, at, offset, length)) - 1;
  }

  override finishRead(ticket = -1): number {
    if (this.#results === undefined) this.batches.push(this.#prepared.length);
    this.#results ??= this.#prepared.map((read) => read());
    return this.#results[ticket] as number;
  }
}

let dir: string;
let epoll: Epoll;
let device: PreparingDevice;
let server: BlkServer;
let guest: FakeFrontEnd;
beforeEach(() => {
  dir = mkdtempSync("/tmp/blk-");
  epoll = new Epoll();
  device = new PreparingDevice(SIZE);
});
afterEach(() => {
  guest.close();
  pump();
  server.close();
  epoll.close();
  rmSync(dir, { recursive: true });
});

async function connect(features: bigint): Promise<void> {
  server = new BlkServer(epoll, { wait: (waiter, tag) => waiter.flushed(tag, device.flush()) });
  server.listen(`${dir}/s`, () => new NbdExport("shop/db", "", device, false));
  const fd = sysConnectUnix(`${dir}/s`);
  guest = new FakeFrontEnd({ fd, ringCount: 2, ringSize: RING, features, pump });
  await guest.start();
}

function pump(): void {
  const count = epoll.wait(0);
  for (let i = 0; i < count; i++) server.onReady(epoll.fds[i] as number);
  while (server.breath());
  server.beginSleep();
}

interface Request {
  readonly write: boolean;
  readonly sector: number;
  readonly sectors: number;
  /** The data is in two buffers. */
  readonly split: boolean;
  readonly fill: number;
}

/** Where the data of request `i` is in the guest's memory, one byte before its status. */
const dataAt = (i: number): number => ARENA + i * SPAN + BLOCK;

/** All at once; how many bytes of each were written and its status. */
function ask(requests: readonly Request[]): { length: number; status: number }[] {
  const { VRING_DESC_F_WRITE: WRITE } = wire;
  requests.forEach(({ write, sector, sectors, split, fill }, i) => {
    const size = sectors * SECTOR;
    const at = dataAt(i);
    guest.view.setUint32(at - 16, write ? blk.VIRTIO_BLK_T_OUT : blk.VIRTIO_BLK_T_IN, true);
    guest.view.setBigUint64(at - 8, BigInt(sector), true);
    guest.bytes.fill(write ? fill : 0xee, at, at + size);
    guest.bytes[at + size] = 0xee;
    const flags = write ? 0 : WRITE;
    const first = split ? SECTOR : size;
    const buffers = [
      { address: FRONT_END_GUEST_BASE + at - 16, length: 16, flags: 0 },
      { address: FRONT_END_GUEST_BASE + at, length: first, flags },
      { address: FRONT_END_GUEST_BASE + at + first, length: size - first, flags },
      { address: FRONT_END_GUEST_BASE + at + size, length: 1, flags: WRITE },
    ].filter(({ length }) => length > 0);
    guest.offerChain(
      0,
      [0, 1, 2, 3].map((slot) => 4 * i + slot),
      buffers,
    );
  });
  pump();
  const lengths = new Map<number, number>();
  for (let used = guest.takeUsed(0); used !== undefined; used = guest.takeUsed(0)) {
    expect(lengths.has(used.head)).toBe(false);
    lengths.set(used.head, used.length);
  }
  expect([...lengths.keys()].sort((a, b) => a - b)).toEqual(requests.map((_, i) => 4 * i));
  return requests.map(({ sectors }, i) => ({
    length: lengths.get(4 * i) as number,
    status: guest.bytes[dataAt(i) + sectors * SECTOR] as number,
  }));
}

/** Whole blocks and other sectors, short and long; what is past the end; writes into the second half, reads of the first. */
const someRequest = fc
  .record({
    write: fc.boolean(),
    place: fc.nat(SIZE / SECTOR / 2 - 1),
    sectors: fc.oneof(fc.integer({ min: 1, max: 48 }), fc.constantFrom(8, 16, 32, 40, 200)),
    aligned: fc.boolean(),
    past: fc.boolean().chain((past) => (past ? fc.boolean() : fc.constant(false))),
    split: fc.boolean(),
    fill: fc.integer({ min: 1, max: 255 }),
  })
  .map(({ write, place, sectors, aligned, past, split, fill }): Request => {
    const half = SIZE / SECTOR / 2;
    const start = Math.min(aligned ? place - (place % 8) : place, half - sectors);
    return {
      write,
      sector: past ? 2 * half - sectors + 1 : start + (write ? half : 0),
      sectors,
      split,
      fill,
    };
  });

test.each([
  ["split", FEATURES],
  ["packed", FEATURES | PACKED],
])(
  "each of many requests is answered once, by itself, whatever came with it (%s rings)",
  async (_, features) => {
    await connect(features);
    const model = new Uint8Array(SIZE);
    fc.assert(
      fc.property(
        fc.array(someRequest, { minLength: 1, maxLength: REQUESTS_MAX }),
        fc.option(fc.nat()),
        fc.nat(),
        (requests, bad, seed) => {
          // Something else to be read each time.
          const first = {
            write: true,
            sector: seed % (SIZE / SECTOR / 2),
            sectors: 8,
            split: false,
            fill: 1 + (seed % 255),
          };
          device.bad = -1;
          expect(ask([first])).toEqual([{ length: 1, status: blk.VIRTIO_BLK_S_OK }]);
          model.fill(first.fill, first.sector * SECTOR, (first.sector + 8) * SECTOR);
          // Where one of them reads.
          if (bad !== null) device.bad = (requests[bad % requests.length] as Request).sector * SECTOR;
          const answers = ask(requests);
          for (const [i, { write, sector, sectors, fill }] of requests.entries()) {
            const [from, to] = [sector * SECTOR, (sector + sectors) * SECTOR];
            const isPast = to > SIZE;
            const isBad = !write && device.bad >= from - (from % BLOCK) && device.bad < to;
            const isGood = !isPast && !isBad;
            expect(answers[i]).toEqual({
              length: isGood && !write ? to - from + 1 : 1,
              status: isGood ? blk.VIRTIO_BLK_S_OK : blk.VIRTIO_BLK_S_IOERR,
            });
            if (isGood && write) model.fill(fill, from, to);
            if (isGood && !write) {
              const found = guest.bytes.subarray(dataAt(i), dataAt(i) + to - from);
              expect(Buffer.compare(found, model.subarray(from, to))).toBe(0);
            }
          }
          device.bad = -1;
          for (let offset = SIZE / 2; offset < SIZE; offset += SIZE / 16) {
            const [answer] = ask([
              { write: false, sector: offset / SECTOR, sectors: SIZE / 16 / SECTOR, split: false, fill: 0 },
            ]);
            expect(answer?.status).toBe(blk.VIRTIO_BLK_S_OK);
            const found = guest.bytes.subarray(dataAt(0), dataAt(0) + SIZE / 16);
            expect(Buffer.compare(found, model.subarray(offset, offset + SIZE / 16))).toBe(0);
          }
        },
      ),
      { numRuns: 60 },
    );
    expect(Math.max(...device.batches)).toBeGreaterThan(1);
  },
);

const reads = (count: number, sectors: number, split = false): Request[] =>
  Array.from({ length: count }, (_, i) => ({ write: false, sector: i * sectors, sectors, split, fill: 0 }));

test("what is short and lies in one buffer is asked of the device together; the rest, and one alone, is not", async () => {
  await connect(FEATURES);
  ask(reads(REQUESTS_MAX, 8));
  expect(device.batches.splice(0)).toEqual([REQUESTS_MAX]);
  // 16 KiB each: as many as fit into a buffer of 256 KiB.
  ask(reads(REQUESTS_MAX, 32));
  expect(device.batches.splice(0)).toEqual([16]);
  ask(reads(1, 8));
  ask(reads(4, 40));
  ask(reads(4, 16, true));
  ask(reads(4, 3));
  expect(device.batches).toEqual([]);
});

test("what was read together is marked in a guest that is being moved", async () => {
  await connect(FEATURES | (1n << BigInt(wire.VHOST_F_LOG_ALL)));
  const fd = createMemfd("log", 1 << 18);
  await guest.logWrites(fd, 1 << 18, true);
  pump();
  const mapping = new FileMapping(fd, 1 << 18);
  const marks = new Uint8Array(mapping.buffer);
  const isMarked = (at: number): boolean => {
    const page = (FRONT_END_GUEST_BASE + at) / BLOCK;
    return ((marks[Math.floor(page / 8)] as number) & (1 << (page % 8))) !== 0;
  };
  ask(reads(3, 16));
  expect(device.batches).toEqual([3]);
  // The data fills two pages, and the status is in a third.
  const pages = [-1, 0, 1, 2, 3];
  for (let i = 0; i < 3; i++) {
    expect(pages.map((page) => isMarked(dataAt(i) + page * BLOCK))).toEqual([false, true, true, true, false]);
  }
  mapping.unmap();
  closeFile(fd);
});
