import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createPolicer, Policer } from "./policer.js";

const config = fc.record({
  rateKbps: fc.integer({ min: 0, max: 10_000 }),
  burstKb: fc.nat(100),
  rateKpkts: fc.nat(3),
  burstKpkts: fc.nat(2),
});
const arrival = fc.record({ waitMs: fc.nat(20), size: fc.integer({ min: 14, max: 9000 }) });

describe("Policer", () => {
  it("never lets more pass than burst and rate allow, and only drops what had no tokens", () => {
    fc.assert(
      fc.property(config, fc.array(arrival, { maxLength: 300 }), (limits, arrivals) => {
        const policer = new Policer(limits, 0);
        const burstBits = 1000 * (limits.burstKb || 8000);
        const burstPackets = 1000 * (limits.burstKpkts || 16);
        // A plain bucket beside it, as the manual describes one.
        const plain = { bits: burstBits, packets: burstPackets };
        const passed = { bits: 0, packets: 0 };
        let nowMs = 0;
        for (const { waitMs, size } of arrivals) {
          nowMs += waitMs;
          plain.bits = Math.min(burstBits, plain.bits + waitMs * limits.rateKbps);
          plain.packets = Math.min(burstPackets, plain.packets + waitMs * limits.rateKpkts);
          const fits =
            (limits.rateKbps === 0 || plain.bits >= 8 * size) &&
            (limits.rateKpkts === 0 || plain.packets >= 1);
          expect(policer.admits(size, nowMs)).toBe(fits);
          if (!fits) continue;
          plain.bits -= 8 * size;
          plain.packets -= 1;
          passed.bits += 8 * size;
          passed.packets += 1;
        }
        if (limits.rateKbps > 0) expect(passed.bits).toBeLessThanOrEqual(burstBits + limits.rateKbps * nowMs);
        if (limits.rateKpkts > 0)
          expect(passed.packets).toBeLessThanOrEqual(burstPackets + limits.rateKpkts * nowMs);
      }),
    );
  });

  it.each([100, 1_000, 100_000, 1_000_000])(
    "lets %d kbit/s pass of twice as much, to within 2 %%",
    (rateKbps) => {
      const policer = new Policer({ rateKbps, burstKb: rateKbps / 50, rateKpkts: 0, burstKpkts: 0 }, 0);
      const sizeBytes = 125;
      let passed = 0;
      let due = 0;
      for (let nowMs = 0, step = 0; nowMs < 20_000; ) {
        const elapsedMs = 1 + (step++ % 3);
        nowMs += elapsedMs;
        for (due += 2 * rateKbps * elapsedMs; due > 0; due -= 8 * sizeBytes)
          if (policer.admits(sizeBytes, nowMs)) passed += 8 * sizeBytes;
      }
      expect(passed / 20_000 / rateKbps).toBeGreaterThan(0.98);
      expect(passed / 20_000 / rateKbps).toBeLessThan(1.02);
    },
  );

  it("is not there without a limit", () => {
    expect(createPolicer(undefined, 0)).toBeUndefined();
    expect(createPolicer({ rateKbps: 0, burstKb: 5, rateKpkts: 0, burstKpkts: 5 }, 0)).toBeUndefined();
    expect(createPolicer({ rateKbps: 1, burstKb: 0, rateKpkts: 0, burstKpkts: 0 }, 0)).toBeDefined();
  });
});
