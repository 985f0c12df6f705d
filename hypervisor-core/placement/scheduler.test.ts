import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type PlacementHost, place } from "./scheduler.js";

const MIB = 1024 * 1024;
const host = (name: string, more: Partial<PlacementHost> = {}): PlacementHost => ({
  name,
  ready: true,
  unschedulable: false,
  capacity: { cpus: 2, memoryBytes: 1024 * MIB },
  allocated: { cpus: 0, memoryBytes: 0 },
  cpuOvercommit: 4,
  ...more,
});
const small = { cpus: 1, memoryBytes: 128 * MIB };

describe("place()", () => {
  it("prefers the host with most left, and the first by name among equals", () => {
    const busy = host("a", { allocated: { cpus: 4, memoryBytes: 512 * MIB } });
    expect(place(small, [busy, host("b")]).host).toBe("b");
    expect(place(small, [host("z"), host("b")]).host).toBe("b");
  });

  it("says of each host why it cannot", () => {
    const hosts = [
      host("down", { ready: false }),
      host("closed", { unschedulable: true }),
      host("full", { allocated: { cpus: 0, memoryBytes: 1000 * MIB } }),
      host("busy", { allocated: { cpus: 8, memoryBytes: 0 } }),
    ];
    const { host: chosen, message } = place(small, hosts);
    expect(chosen).toBeUndefined();
    expect(message).toBe(
      "no host can take it: down is not ready; closed is closed to new machines (spec.unschedulable); " +
        "full has 24Mi of 128Mi memory free; busy has 0 of 1 virtual processors free",
    );
  });

  it("holds to the host a machine asks for", () => {
    const hosts = [host("a", { unschedulable: true }), host("b")];
    expect(place({ ...small, host: "a" }, hosts).host).toBe("a");
    expect(place({ ...small, host: "c" }, hosts).message).toBe("there is no host c");
    const full = host("a", { allocated: { cpus: 0, memoryBytes: 1024 * MIB } });
    expect(place({ ...small, host: "a" }, [full, host("b")]).message).toBe(
      "no host can take it: a has 0Mi of 128Mi memory free",
    );
  });

  it("says that nobody has registered", () => {
    expect(place(small, []).message).toBe("no host has registered yet");
  });

  it("never gives a host more than it has, whatever comes", () => {
    const request = fc.record({
      cpus: fc.integer({ min: 1, max: 8 }),
      memoryMib: fc.integer({ min: 32, max: 900 }),
    });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 30 }), (requests) => {
        const allocated = new Map(["a", "b"].map((name) => [name, { cpus: 0, memoryBytes: 0 }]));
        for (const { cpus, memoryMib } of requests) {
          const hosts = [...allocated].map(([name, amounts]) => host(name, { allocated: amounts }));
          const chosen = place({ cpus, memoryBytes: memoryMib * MIB }, hosts).host;
          if (chosen === undefined) continue;
          const before = allocated.get(chosen);
          allocated.set(chosen, {
            cpus: (before?.cpus ?? 0) + cpus,
            memoryBytes: (before?.memoryBytes ?? 0) + memoryMib * MIB,
          });
        }
        for (const { cpus, memoryBytes } of allocated.values()) {
          expect(cpus).toBeLessThanOrEqual(8);
          expect(memoryBytes).toBeLessThanOrEqual(1024 * MIB);
        }
      }),
    );
  });
});
