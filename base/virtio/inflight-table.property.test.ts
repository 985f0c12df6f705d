// A back-end that dies anywhere: whoever comes after it takes exactly the chains that the driver has not got back, those
// of the earlier life first and in their order, and no chain is given back twice.
import fc from "fast-check";
import { expect, test } from "vitest";
import { closeFile, createMemfd } from "../linux/index.js";
import { GuestMemory } from "./guest-memory.js";
import { GuestWindow } from "./guest-window.js";
import { InflightTable, inflightTableSize } from "./inflight-table.js";
import { SplitVirtqueue } from "./split-virtqueue.js";

const SIZE = 8;
const USER = 0x7000_0000_0000;
const AVAILABLE = 0x100;
const USED = 0x200;
const REGION = 0x1000;
const operation = fc.oneof(
  fc.record({ kind: fc.constant("offer" as const), count: fc.integer({ min: 1, max: SIZE }) }),
  fc.record({
    kind: fc.constant("take" as const),
    count: fc.integer({ min: 1, max: SIZE }),
    burst: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("untake" as const), count: fc.integer({ min: 1, max: SIZE }) }),
  fc.record({
    kind: fc.constant("give" as const),
    picks: fc.array(fc.nat(SIZE), { minLength: 1, maxLength: SIZE }),
  }),
  fc.record({ kind: fc.constant("crash" as const) }),
  fc.record({
    kind: fc.constant("crashAfterPublish" as const),
    picks: fc.array(fc.nat(SIZE), { minLength: 1 }),
  }),
);

test("after a crash anywhere no chain is lost or repeated, and the order is kept", () => {
  const window = new GuestWindow(1 << 20);
  const fd = createMemfd("guest", REGION);
  const memory = new GuestMemory(window);
  memory.map([{ guestAddress: 0, sizeBytes: REGION, userAddress: USER, fileOffset: 0 }], [fd]);
  const base = memory.translate(0, 0, 1);
  const table = window.reserveAnonymous(inflightTableSize(SIZE));
  const view = new DataView(window.bytes.buffer);
  let crashes = 0;
  let resumed = 0;

  fc.assert(
    fc.property(fc.nat(0xffff), fc.array(operation, { maxLength: 40 }), (start, operations) => {
      window.bytes.fill(0, base, base + REGION);
      window.bytes.fill(0, table, table + inflightTableSize(SIZE));
      for (let i = 0; i < SIZE; i++) {
        view.setBigUint64(base + i * 16, 0x800n, true);
        view.setUint32(base + i * 16 + 8, 16, true);
      }
      view.setUint16(base + USED + 2, start, true);
      view.setUint16(base + AVAILABLE + 2, start, true);
      const driver = { available: start, used: start, free: Array.from({ length: SIZE }, (_, i) => i) };
      const offered: number[] = [];
      let taken: number[] = [];
      let queue = attach();

      function attach(): SplitVirtqueue {
        const fresh = new SplitVirtqueue(memory);
        fresh.enabled = true;
        fresh.inflight = new InflightTable(window, table, SIZE);
        expect(fresh.attach(SIZE, USER, USER + AVAILABLE, USER + USED)).toBe(true);
        return fresh;
      }
      function reclaim(): void {
        const index = view.getUint16(base + USED + 2, true);
        for (; driver.used !== index; driver.used = (driver.used + 1) & 0xffff) {
          const head = view.getUint32(base + USED + 4 + (driver.used & (SIZE - 1)) * 8, true);
          // Given back twice, it would be free already.
          expect(driver.free).not.toContain(head);
          driver.free.push(head);
        }
      }
      function give(picks: readonly number[]): void {
        for (const pick of picks) {
          const [head] = taken.splice(pick % Math.max(1, taken.length), 1);
          if (head !== undefined) queue.push(head, 0);
        }
      }
      function crash(): void {
        crashes++;
        resumed += taken.length;
        offered.unshift(...taken);
        taken = [];
        queue = attach();
      }

      for (const step of operations) {
        switch (step.kind) {
          case "offer":
            for (let i = 0; i < step.count; i++) {
              const head = driver.free.shift();
              if (head === undefined) break;
              const slot = driver.available & (SIZE - 1);
              view.setUint16(base + AVAILABLE + 4 + slot * 2, head, true);
              driver.available = (driver.available + 1) & 0xffff;
              offered.push(head);
            }
            view.setUint16(base + AVAILABLE + 2, driver.available, true);
            break;
          case "take": {
            expect(queue.available()).toBe(offered.length);
            const heads: number[] = [];
            if (step.burst) {
              const count = queue.takeBurst(step.count, false);
              for (let i = 0; i < count; i++) heads.push(queue.burstHeads[i]!);
            } else {
              while (heads.length < step.count && queue.pop() > 0) heads.push(queue.head);
            }
            expect(heads).toEqual(offered.splice(0, step.count));
            taken.push(...heads);
            break;
          }
          case "untake": {
            queue.available();
            const count = Math.min(step.count, offered.length);
            expect(queue.takeBurst(count, false)).toBe(count);
            queue.unpop(count);
            break;
          }
          case "give":
            give(step.picks);
            queue.publish();
            reclaim();
            break;
          case "crash":
            crash();
            break;
          case "crashAfterPublish": {
            // It dies as soon as the driver sees the used ring: the table says still that all are with the device.
            give(step.picks);
            const before = window.bytes.slice(table, table + inflightTableSize(SIZE));
            queue.publish();
            window.bytes.set(before, table);
            crash();
            reclaim();
            break;
          }
        }
      }
      crash();
      expect(queue.available()).toBe(offered.length);
      for (const head of offered) {
        expect(queue.pop()).toBe(1);
        expect(queue.head).toBe(head);
        queue.push(head, 0);
      }
      expect(queue.pop()).toBe(0);
      queue.publish();
      reclaim();
      expect([...driver.free].sort()).toEqual(Array.from({ length: SIZE }, (_, i) => i));
    }),
    { numRuns: 2000 },
  );
  expect(crashes).toBeGreaterThan(2000);
  expect(resumed).toBeGreaterThan(1000);
  memory.unmap();
  closeFile(fd);
  window.close();
});

test("whatever the front-end wrote into the table, only chains of the ring come out, and nothing else is written", () => {
  const window = new GuestWindow(1 << 20);
  const before = window.reserveAnonymous(0x1000);
  const table = window.reserveAnonymous(0x1000);
  const after = window.reserveAnonymous(0x1000);
  const bytes = fc.uint8Array({ minLength: inflightTableSize(SIZE), maxLength: inflightTableSize(SIZE) });
  fc.assert(
    fc.property(bytes, fc.boolean(), fc.nat(0xffff), (content, known, used) => {
      window.bytes.set(content, table);
      if (known) window.u16[(table >>> 1) + 4] = 1;
      const inflight = new InflightTable(window, table, SIZE);
      const heads = inflight.recover(used);
      expect(new Set(heads).size).toBe(heads.length);
      expect(heads.every((head) => head < SIZE)).toBe(true);
      for (const head of heads) inflight.take(head);
      inflight.untake(1);
      for (const head of heads) inflight.give(head);
      inflight.publish((used + heads.length) & 0xffff);
      expect(inflight.recover((used + heads.length) & 0xffff)).toEqual([]);
    }),
    { numRuns: 1000 },
  );
  for (const own of [before, after, table + inflightTableSize(SIZE)]) {
    expect(window.bytes.slice(own, own + 0x800).every((byte) => byte === 0)).toBe(true);
  }
  window.close();
});
