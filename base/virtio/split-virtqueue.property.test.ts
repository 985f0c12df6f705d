// A hostile driver: whatever it writes into rings and descriptor tables, the queue hands out only ranges inside the
// guest's own regions, and writes only inside them.
import fc from "fast-check";
import { expect, test } from "vitest";
import { closeFile, createMemfd } from "../linux/index.js";
import { GuestMemory } from "./guest-memory.js";
import { GuestWindow } from "./guest-window.js";
import { SplitVirtqueue } from "./split-virtqueue.js";
import { POP_BAD, POP_BROKEN, POP_EMPTY, type Virtqueue } from "./virtqueue.js";

const SIZE = 8;
const USER = 0x7000_0000_0000;
const REGION = 0x2000;
/** Two regions with a gap in guest addresses; rings are in the first one. */
const regions = [
  { guestAddress: 0x1_0000, sizeBytes: REGION, userAddress: USER, fileOffset: 0 },
  { guestAddress: 0x2_0000, sizeBytes: REGION, userAddress: USER + 0x10_0000, fileOffset: REGION },
];
const DESCRIPTORS = 0;
const AVAILABLE = 0x100;
const USED = 0x200;
const INDIRECT_TABLE = 0x400;

/** Addresses near every edge, and far away. */
const address = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(0x1_0000, 0x1_2000, 0x2_0000, 0x2_2000, 0, 2 ** 32, 2 ** 53, 2 ** 63),
      fc.integer({ min: -20, max: 20 }),
    )
    .map(([base, delta]) => BigInt.asUintN(64, BigInt(base) + BigInt(delta))),
  fc.nat(REGION - 1).map((offset) => BigInt(0x1_0000 + offset)),
  fc.nat(0x3ff).map((word) => BigInt(0x1_1000 + 4 * word)),
  fc.constant(BigInt(0x1_0000 + INDIRECT_TABLE)),
  fc.bigInt(0n, 2n ** 64n - 1n),
);
const length = fc.oneof(
  fc.nat(64),
  fc.integer({ min: 64, max: 256 }),
  fc.constantFrom(0, 16, 32, 0x1000, 0x2000, 0x2001, 0xffff_ffff),
);
const descriptor = fc.record({
  address,
  length,
  flags: fc.oneof(fc.constant(2), fc.nat(7), fc.nat(0xffff)),
  next: fc.oneof(fc.nat(SIZE), fc.nat(0xffff)),
});
const script = fc.record({
  table: fc.array(descriptor, { minLength: SIZE, maxLength: SIZE }),
  indirectTable: fc.array(descriptor, { minLength: 4, maxLength: 4 }),
  ring: fc.array(fc.oneof({ weight: 3, arbitrary: fc.nat(SIZE - 1) }, fc.nat(0xffff)), {
    minLength: SIZE,
    maxLength: SIZE,
  }),
  index: fc.oneof({ weight: 3, arbitrary: fc.nat(SIZE) }, fc.nat(0xffff)),
  indirect: fc.boolean(),
  eventIndex: fc.boolean(),
  /** Sizes of the frames that fill() is to write, before the rest of the chains is taken one by one. */
  frames: fc.array(fc.oneof(fc.integer({ min: 14, max: 200 }), fc.constant(0x1ff4)), {
    minLength: SIZE / 2,
    maxLength: SIZE,
  }),
});

test("a hostile ring gives nothing outside the guest's regions and never hangs", () => {
  const window = new GuestWindow(1 << 20);
  const neighbour = window.reserveAnonymous(0x4000);
  const fd = createMemfd("guest", 2 * REGION);
  const memory = new GuestMemory(window);
  memory.map(regions, [fd, fd]);
  const after = window.reserveAnonymous(0x4000);
  const frameAt = window.reserveAnonymous(0x4000);
  window.bytes.fill(0xee, frameAt, frameAt + 0x4000);
  const bases = [memory.translate(0x1_0000, 0, 1), memory.translate(0x2_0000, 0, 1)];
  const view = new DataView(window.bytes.buffer);
  const ringBase = bases[0]!;

  let filled = 0;
  fc.assert(
    fc.property(script, ({ table, indirectTable, ring, index, indirect, eventIndex, frames }) => {
      window.bytes.fill(0, ringBase, ringBase + REGION);
      writeTable(view, ringBase + DESCRIPTORS, table);
      writeTable(view, ringBase + INDIRECT_TABLE, indirectTable);
      for (let i = 0; i < SIZE; i++) view.setUint16(ringBase + AVAILABLE + 4 + i * 2, ring[i]!, true);
      view.setUint16(ringBase + AVAILABLE + 2, index, true);
      const queue = new SplitVirtqueue(memory);
      queue.indirect = indirect;
      queue.eventIndex = eventIndex;
      queue.enabled = true;
      expect(queue.attach(SIZE, USER + DESCRIPTORS, USER + AVAILABLE, USER + USED)).toBe(true);
      // The region that fill() knows is the one in which the last address was.
      memory.translate(0x1_0000, 0, 1);
      const waiting = queue.available();
      expect(waiting).toBeLessThanOrEqual(SIZE);
      let taken = fillSome(queue, frameAt, frames);
      filled += taken;
      for (;;) {
        const count = queue.pop();
        if (count === POP_EMPTY || count === POP_BROKEN) break;
        taken++;
        expect(taken).toBeLessThanOrEqual(waiting);
        expect(count).toBeLessThanOrEqual(SIZE + 256);
        if (count !== POP_BAD) expectInside(queue, count, bases);
        queue.push(queue.head, 0);
      }
      queue.publish();
      queue.wantKicks(true);
      queue.wantKicks(false);
    }),
    { numRuns: 3000 },
  );
  expect(filled).toBeGreaterThan(10);
  for (const own of [neighbour, after]) {
    expect(window.bytes.slice(own, own + 0x4000).every((byte) => byte === 0)).toBe(true);
  }
  closeFile(fd);
  window.close();
});

function fillSome(queue: Virtqueue, at: number, sizes: readonly number[]): number {
  const places = new Int32Array(SIZE).fill(at);
  const filled = queue.fill(
    { starts: places, sources: places, lengths: Int32Array.from(sizes) },
    0,
    sizes.length,
    0x2000,
  );
  expect(filled).toBeLessThanOrEqual(sizes.length);
  return filled;
}

function expectInside(queue: Virtqueue, count: number, bases: readonly number[]): void {
  for (let i = 0; i < count; i++) {
    const from = queue.chain.offset[i]!;
    const to = from + queue.chain.length[i]!;
    expect(bases.some((base) => from >= base && to <= base + REGION)).toBe(true);
    if (i < queue.chain.readableCount) expect(queue.chain.writable[i]).toBe(0);
    else expect(queue.chain.writable[i]).toBe(1);
  }
}

function writeTable(
  view: DataView,
  at: number,
  table: readonly { address: bigint; length: number; flags: number; next: number }[],
): void {
  table.forEach((entry, i) => {
    view.setBigUint64(at + i * 16, entry.address, true);
    view.setUint32(at + i * 16 + 8, entry.length, true);
    view.setUint16(at + i * 16 + 12, entry.flags, true);
    view.setUint16(at + i * 16 + 14, entry.next, true);
  });
}

test("with EVENT_IDX the driver is called exactly when the used index passes what it waits for", () => {
  const window = new GuestWindow(1 << 20);
  const fd = createMemfd("guest", 2 * REGION);
  const memory = new GuestMemory(window);
  memory.map(regions, [fd, fd]);
  const base = memory.translate(0x1_0000, 0, 1);
  const view = new DataView(window.bytes.buffer);
  const u16 = fc.nat(0xffff);
  fc.assert(
    fc.property(u16, fc.array(fc.tuple(fc.nat(SIZE), u16, fc.boolean())), (start, batches) => {
      view.setUint16(base + USED + 2, start, true);
      const queue = new SplitVirtqueue(memory);
      queue.eventIndex = true;
      queue.attach(SIZE, USER + DESCRIPTORS, USER + AVAILABLE, USER + USED);
      let used = start;
      let called = false;
      for (const [count, far, near] of batches) {
        // Most drivers wait for something close to where they are.
        const usedEvent = near ? (used + (far % 16) - 4) & 0xffff : far;
        view.setUint16(base + AVAILABLE + 4 + SIZE * 2, usedEvent, true);
        let passes = false;
        for (let i = 0; i < count; i++) {
          if (used === usedEvent) passes = true;
          used = (used + 1) & 0xffff;
          queue.push(0, 0);
          // What was shown before is asked about together with the rest.
          if ((far >> i) % 3 === 0) queue.show();
        }
        const call = queue.publish();
        expect(view.getUint16(base + USED + 2, true)).toBe(used);
        // The first one is always told: what the driver waited for before is not known.
        expect(call).toBe(count > 0 && (passes || !called));
        called ||= call;
      }
    }),
    { numRuns: 1000 },
  );
  memory.unmap();
  closeFile(fd);
  window.close();
});
