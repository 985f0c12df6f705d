import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PacketPool, SlotRing, sharedPoolSize } from "./index.js";

describe("SlotRing", () => {
  it("gives what was published, in order and once, and never takes more than it holds", () => {
    const step = fc.record({ put: fc.nat(12), take: fc.nat(12), reattach: fc.boolean() });
    fc.assert(
      fc.property(fc.constantFrom(1, 2, 8), fc.array(step, { maxLength: 60 }), (capacity, steps) => {
        const memory = SlotRing.memory(capacity);
        let [putter, taker] = [new SlotRing(memory), new SlotRing(memory)];
        const model: number[] = [];
        let next = 0;
        for (const { put, take, reattach } of steps) {
          for (let i = 0; i < put; i++) {
            const fits = putter.put(next);
            expect(fits).toBe(model.length < capacity);
            if (fits) model.push(next++);
          }
          // Nothing can be seen before it is published.
          const shown = taker.isEmpty;
          putter.publish();
          expect(taker.isEmpty).toBe(model.length === 0);
          if (model.length === 0) expect(shown).toBe(true);
          for (let i = 0; i < take; i++) expect(taker.take()).toBe(model.shift() ?? -1);
          taker.release();
          expect(putter.room(capacity)).toBe(capacity - model.length);
          if (reattach) [putter, taker] = [new SlotRing(memory), new SlotRing(memory)];
        }
      }),
    );
  });

  it("counts on past what 32 bits hold", () => {
    const memory = SlotRing.memory(4);
    const words = new Int32Array(memory);
    words[0] = words[16] = 0x7fffffff;
    const [putter, taker] = [new SlotRing(memory), new SlotRing(memory)];
    for (let i = 0; i < 10; i++) {
      expect(putter.put(i)).toBe(true);
      putter.publish();
      expect(taker.take()).toBe(i);
      taker.release();
    }
    expect(putter.room(4)).toBe(4);
  });
});

describe("pools over one arena", () => {
  it("hand packets to each other with their frames and all that is known of them", () => {
    const [slots, largeSlots] = [4, 2];
    const shared = new SharedArrayBuffer(sharedPoolSize(slots, largeSlots));
    const full = new PacketPool({ slots, largeSlots, shared, isFull: true });
    const other = new PacketPool({ slots, largeSlots, shared, arena: full.bytes });
    expect([full.available, full.availableLarge, other.available, other.allocate()]).toEqual([4, 2, 0, -1]);
    for (const isLarge of [false, false, true]) other.adopt(full.cede(isLarge));
    expect([full.available, full.availableLarge, other.available, other.availableLarge]).toEqual([
      2, 1, 2, 1,
    ]);
    const packet = other.allocateFrom(Uint8Array.of(1, 2, 3));
    other.checksumStart[packet] = 77;
    other.segmentType[packet] = 3;
    expect(full.frame(packet)).toEqual(Uint8Array.of(1, 2, 3));
    expect([full.checksumStart[packet], full.segmentType[packet], full.isShared(packet)]).toEqual([
      77,
      3,
      false,
    ]);
    full.free(packet);
    expect([full.available, other.available]).toEqual([3, 1]);
    const held = full.allocate();
    expect(() => other.adopt(held)).toThrow(/ceded is free/);
    while (full.cede(false) >= 0);
    expect(full.cede(false)).toBe(-1);
  });
});
