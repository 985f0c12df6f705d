// A guest's block device against a model, with requests cut into buffers anyhow; and against guests that mean harm.
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { closeFile, createMemfd, FileMapping, sysConnectUnix } from "../../base/linux/index.js";
import { FRONT_END_GUEST_BASE } from "../../base/virtio/fake-front-end.js";
import * as wire from "../../base/virtio/index.js";
import { ARENA, BlkRigs, FEATURES, head, PACKED, READ, ranges, SIZE, statusOf } from "./blk-rig.js";
import * as blk from "./virtio-blk-wire.js";

const rigs = new BlkRigs();

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
    const rig = rigs.make(false, features);
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
  const rig = rigs.make();
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
  const fixed = rigs.make(true);
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
        const rig = rigs.make(false, packed ? FEATURES | PACKED : FEATURES);
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
  const next = rigs.make();
  await next.guest.start();
  expect(statusOf(next.request(head(4, 0), 1, [9000]))).toBe(blk.VIRTIO_BLK_S_OK);
  next.close();
});

test("a guest that connects without end is served each time; a second one beside it is not", async () => {
  const rig = rigs.make();
  await rig.guest.start();
  expect(statusOf(rig.request(head(4, 0), 1, [9000]))).toBe(blk.VIRTIO_BLK_S_OK);
  const second = sysConnectUnix(`${rigs.dir}/s`);
  rig.pump();
  expect([rig.server.refusedCount, rig.server.connectionCount]).toEqual([1, 1]);
  closeFile(second);
  rig.guest.close();
  rig.pump();
  const mapped = (): number => readFileSync("/proc/self/maps", "utf8").split("\n").length;
  const before = mapped();
  for (let i = 0; i < 50; i++) {
    const fd = sysConnectUnix(`${rigs.dir}/s`);
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
  const rig = rigs.make(false, FEATURES | (1n << BigInt(wire.VHOST_F_LOG_ALL)));
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
