// A packed ring: a hostile driver gets nothing outside its own memory, and an honest one gets each chain back once, in
// order, also when the device dies at any moment and another goes on.
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeFile, createMemfd } from "../linux/index.js";
import { type FakeBuffer, FakePackedDriver } from "./fake-packed-driver.js";
import { GuestMemory } from "./guest-memory.js";
import { GuestWindow } from "./guest-window.js";
import { PackedVirtqueue } from "./packed-virtqueue.js";
import { BURST_MAX, POP_BAD, POP_BROKEN, POP_EMPTY } from "./virtqueue.js";

const USER = 0x7000_0000_0000;
const REGION = 0x2000;
const GUEST = 0x1_0000;
/** Two regions with a gap in guest addresses; the ring is in the first one. */
const regions = [
  { guestAddress: GUEST, sizeBytes: REGION, userAddress: USER, fileOffset: 0 },
  { guestAddress: 0x2_0000, sizeBytes: REGION, userAddress: USER + 0x10_0000, fileOffset: REGION },
];
const RING = 0;
const DRIVER_EVENT = 0x200;
const DEVICE_EVENT = 0x204;
const INDIRECT_TABLE = 0x400;
const BUFFERS = 0x800;
const FRESH = 0x8000_8000;

let window: GuestWindow;
let memory: GuestMemory;
let view: DataView;
let base = 0;
let fd = -1;
let neighbours: number[] = [];
beforeAll(() => {
  window = new GuestWindow(1 << 20);
  neighbours = [window.reserveAnonymous(0x4000)];
  fd = createMemfd("guest", 2 * REGION);
  memory = new GuestMemory(window);
  memory.map(regions, [fd, fd]);
  neighbours.push(window.reserveAnonymous(0x4000));
  base = memory.translate(GUEST, 0, 1);
  view = new DataView(window.bytes.buffer);
});
afterAll(() => {
  closeFile(fd);
  window.close();
});

function attach(size: number, options: { inOrder?: boolean; eventIndex?: boolean; indirect?: boolean } = {}) {
  const queue = new PackedVirtqueue(memory);
  Object.assign(queue, { indirect: true, enabled: true, ...options });
  expect(queue.attach(size, USER + RING, USER + DRIVER_EVENT, USER + DEVICE_EVENT, FRESH)).toBe(true);
  return queue;
}

/** Addresses near every edge, and far away. */
const address = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(GUEST, GUEST + REGION, 0x2_0000, 0x2_2000, 0, 2 ** 32, 2 ** 53, 2 ** 63),
      fc.integer({ min: -20, max: 20 }),
    )
    .map(([near, delta]) => BigInt.asUintN(64, BigInt(near) + BigInt(delta))),
  fc.nat(REGION - 1).map((offset) => BigInt(GUEST + offset)),
  fc.constant(BigInt(GUEST + INDIRECT_TABLE)),
  fc.bigInt(0n, 2n ** 64n - 1n),
);
const descriptor = fc.record({
  address,
  length: fc.oneof(fc.nat(64), fc.constantFrom(0, 16, 32, 0x1000, 0x2000, 0x2001, 0xffff_ffff)),
  id: fc.nat(0xffff),
  flags: fc.oneof(
    fc.tuple(fc.nat(7), fc.constantFrom(0x80, 0x8000, 0x8080, 0)).map(([kind, state]) => kind | state),
    fc.nat(0xffff),
  ),
});
type Descriptor = typeof descriptor extends fc.Arbitrary<infer T> ? T : never;

function writeDescriptor(at: number, { address: to, length, id, flags }: Descriptor): void {
  view.setBigUint64(at, to, true);
  view.setUint32(at + 8, length, true);
  view.setUint16(at + 12, id, true);
  view.setUint16(at + 14, flags, true);
}

const hostileStep = fc.oneof(
  fc.record({ kind: fc.constant("write" as const), slot: fc.nat(12), descriptor }),
  fc.record({ kind: fc.constant("pop" as const) }),
  fc.record({ kind: fc.constant("burst" as const), count: fc.nat(BURST_MAX), writable: fc.boolean() }),
  fc.record({ kind: fc.constant("unpop" as const), count: fc.nat(8) }),
  fc.record({ kind: fc.constant("give" as const), read: fc.boolean(), length: fc.nat(0xffff) }),
  fc.record({ kind: fc.constant("publish" as const), event: fc.nat(0xffff_ffff) }),
  fc.record({ kind: fc.constant("again" as const) }),
);

test("a hostile packed ring gives nothing outside the guest's regions and never hangs", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.array(descriptor, { minLength: 12, maxLength: 12 }),
      fc.array(descriptor, { minLength: 4, maxLength: 4 }),
      fc.array(hostileStep, { maxLength: 30 }),
      fc.record({ inOrder: fc.boolean(), eventIndex: fc.boolean(), indirect: fc.boolean() }),
      (size, ring, table, steps, options) => {
        window.bytes.fill(0, base, base + REGION);
        for (let i = 0; i < size; i++) writeDescriptor(base + RING + i * 16, ring[i]!);
        table.forEach((entry, i) => {
          writeDescriptor(base + INDIRECT_TABLE + i * 16, entry);
        });
        let queue = attach(size, options);
        const held: number[] = [];
        for (const step of steps) {
          const waiting = queue.available();
          expect(waiting).toBeLessThanOrEqual(size);
          if (step.kind === "write") writeDescriptor(base + RING + (step.slot % size) * 16, step.descriptor);
          else if (step.kind === "pop") {
            const count = queue.pop();
            if (count === POP_EMPTY || count === POP_BROKEN) continue;
            held.push(queue.head);
            if (count !== POP_BAD) expectInside(queue, count);
          } else if (step.kind === "burst") {
            const count = queue.takeBurst(step.count, step.writable);
            expect(count).toBeLessThanOrEqual(waiting);
            for (let i = 0; i < count; i++) {
              held.push(queue.burstHeads[i]!);
              if (queue.burstLengths[i]! > 0) inside(queue.burstOffsets[i]!, queue.burstLengths[i]!);
              const segments = queue.follow(queue.burstHeads[i]!);
              if (segments !== POP_BAD) expectInside(queue, segments);
            }
          } else if (step.kind === "unpop") {
            const count = Math.min(step.count, held.length);
            queue.unpop(count);
            held.length -= count;
          } else if (step.kind === "give") {
            const [head] = held.splice(step.length % 3, 1);
            if (head === undefined) continue;
            if (step.read) queue.pushRead(head);
            else queue.push(head, step.length);
          } else if (step.kind === "publish") {
            view.setUint32(base + DRIVER_EVENT, step.event, true);
            queue.publish();
            queue.wantKicks(true);
            queue.wantKicks(false);
          } else {
            queue.detach();
            held.length = 0;
            queue = attach(size, options);
          }
        }
        expect(queue.base & 0x7fff).toBeLessThan(size);
        expect((queue.base >>> 16) & 0x7fff).toBeLessThan(size);
      },
    ),
    { numRuns: 1000 },
  );
  for (const own of neighbours) {
    expect(window.bytes.slice(own, own + 0x4000).every((byte) => byte === 0)).toBe(true);
  }
});

function inside(from: number, length: number): void {
  const bases = [base, memory.translate(0x2_0000, 0, 1)];
  expect(bases.some((start) => from >= start && from + length <= start + REGION)).toBe(true);
}

function expectInside(queue: PackedVirtqueue, count: number): void {
  expect(count).toBe(queue.chain.segments);
  for (let i = 0; i < count; i++) {
    inside(queue.chain.offset[i]!, queue.chain.length[i]!);
    expect(queue.chain.writable[i]).toBe(i < queue.chain.readableCount ? 0 : 1);
  }
}

const operation = fc.oneof(
  fc.record({
    kind: fc.constant("offer" as const),
    chains: fc.array(fc.record({ length: fc.integer({ min: 1, max: 3 }), indirect: fc.boolean() }), {
      minLength: 1,
      maxLength: 6,
    }),
  }),
  fc.record({
    kind: fc.constant("take" as const),
    count: fc.integer({ min: 1, max: 8 }),
    burst: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("untake" as const), count: fc.integer({ min: 1, max: 4 }) }),
  fc.record({
    kind: fc.constant("give" as const),
    count: fc.integer({ min: 1, max: 8 }),
    read: fc.boolean(),
    from: fc.nat(3),
  }),
  fc.record({ kind: fc.constant("publish" as const), isShown: fc.boolean() }),
  fc.record({ kind: fc.constant("reclaim" as const) }),
  fc.record({ kind: fc.constant("handOver" as const) }),
  fc.record({ kind: fc.constant("crash" as const), work: fc.nat(5), read: fc.boolean(), from: fc.nat(2) }),
);

test("an honest driver gets each chain back once and in order, however they end, across hand-overs and crashes", () => {
  let crashes = 0;
  let early = 0;
  let completed = 0;
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 13 }),
      fc.boolean(),
      fc.boolean(),
      fc.array(operation, { maxLength: 60 }),
      (size, inOrder, eventIndex, operations) => {
        window.bytes.fill(0, base, base + REGION);
        const at = {
          descriptors: base + RING,
          driverEvent: base + DRIVER_EVENT,
          deviceEvent: base + DEVICE_EVENT,
        };
        const driver = new FakePackedDriver({ view, ...at, size, inOrder, eventIndex });
        let queue = attach(size, { inOrder, eventIndex });
        /** With the device, oldest first: id and what the chain holds. */
        const offered: { id: number; lengths: number[] }[] = [];
        const taken: { readonly head: number; pushed: boolean }[] = [];
        let given = 0;
        let nextId = 7;
        /** Given back and published, not reclaimed yet. */
        let visible = 0;

        const offer = (length: number, indirect: boolean): void => {
          if ((indirect ? 1 : length) > driver.free || (indirect && offered.length >= 8)) return;
          const id = nextId++ & 0xffff;
          const lengths = Array.from({ length }, (_, i) => 1 + ((id + i) % 50));
          const buffers: FakeBuffer[] = lengths.map((bytes, i) => ({
            address: GUEST + BUFFERS + i * 64,
            length: bytes,
            flags: i === 0 ? 0 : 2,
          }));
          const table = INDIRECT_TABLE + (id % 8) * 64;
          if (indirect) {
            buffers.forEach(({ address: to, length: bytes, flags }, i) => {
              writeDescriptor(base + table + i * 16, { address: BigInt(to), length: bytes, id: 0, flags });
            });
          }
          const chain = indirect ? [{ address: GUEST + table, length: 16 * length, flags: 4 }] : buffers;
          driver.offer(id, chain);
          offered.push({ id, lengths });
        };
        const reclaim = (): number => {
          let count = 0;
          for (let used = driver.takeUsed(); used !== undefined; used = driver.takeUsed()) {
            expect(used.head).toBe(offered.shift()?.id);
            count++;
          }
          return count;
        };
        const expectChain = (position: number): void => {
          const { lengths } = offered[position]!;
          expect(Array.from(queue.chain.length.slice(0, queue.chain.segments))).toEqual(lengths);
          expect(queue.chain.readableCount).toBe(1);
        };
        const take = (count: number, burst: boolean): void => {
          queue.available();
          const first = visible + given + taken.length;
          if (burst) {
            const got = queue.takeBurst(count, false);
            expect(got).toBe(Math.min(count, offered.length - first));
            for (let i = 0; i < got; i++) {
              queue.follow(queue.burstHeads[i]!);
              expectChain(first + i);
              taken.push({ head: queue.burstHeads[i]!, pushed: false });
            }
            return;
          }
          for (let i = 0; i < count; i++) {
            const segments = queue.pop();
            if (first + i >= offered.length) {
              expect(segments).toBe(POP_EMPTY);
              return;
            }
            expect(segments).toBe(offered[first + i]!.lengths.length);
            expectChain(first + i);
            taken.push({ head: queue.head, pushed: false });
          }
        };
        const give = (count: number, read: boolean, from: number): void => {
          for (const each of taken.slice(from, from + count)) {
            if (each.pushed) continue;
            if (read) queue.pushRead(each.head);
            else queue.push(each.head, 5);
            each.pushed = true;
          }
          if (taken[0]?.pushed === false && taken.some(({ pushed }) => pushed)) early++;
          for (; taken[0]?.pushed === true; given++) taken.shift();
        };

        for (const step of operations) {
          if (step.kind === "offer") for (const { length, indirect } of step.chains) offer(length, indirect);
          else if (step.kind === "take") take(step.count, step.burst);
          else if (step.kind === "untake") {
            const untouched = taken.length - 1 - taken.findLastIndex(({ pushed }) => pushed);
            const count = Math.min(step.count, untouched);
            queue.unpop(count);
            taken.length -= count;
          } else if (step.kind === "give") give(step.count, step.read, step.from);
          else if (step.kind === "publish") {
            // Shown before already, it is asked about now.
            if (step.isShown) queue.show();
            const called = queue.publish();
            expect(called).toBe(given > 0 && visible === 0 ? true : called);
            visible += given;
            given = 0;
          } else if (step.kind === "reclaim") {
            expect(reclaim()).toBe(visible);
            visible = 0;
          } else {
            if (step.kind === "handOver") {
              queue.publish();
              visible += given;
              const { base: before } = queue;
              queue.detach();
              // What was taken and not given back comes again.
              if (taken.length === 0) expect(queue.base).toBe(before);
              queue = attach(size, { inOrder, eventIndex });
            } else {
              crashes++;
              for (let i = 0; i < step.work; i++) offer(1 + (i % 2), false);
              take(step.work, true);
              give(step.work, step.read, step.from);
              queue = attach(size, { inOrder, eventIndex });
            }
            const back = reclaim();
            expect(back).toBeGreaterThanOrEqual(visible);
            expect(back).toBeLessThanOrEqual(visible + given);
            if (step.kind === "crash" && back > visible) completed++;
            taken.length = 0;
            visible = 0;
            given = 0;
          }
        }
        // All that is left comes, once.
        give(taken.length, false, 0);
        queue.publish();
        reclaim();
        visible = 0;
        given = 0;
        take(BURST_MAX, true);
        expect(taken).toHaveLength(offered.length);
        for (const { head } of taken) queue.push(head, 1);
        queue.publish();
        reclaim();
        expect(offered).toEqual([]);
      },
    ),
    { numRuns: 1000 },
  );
  expect(crashes).toBeGreaterThan(100);
  expect(completed).toBeGreaterThan(10);
  expect(early).toBeGreaterThan(100);
});
