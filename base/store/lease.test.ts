import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { silentLog } from "../log/index.js";
import { SimulatedClock } from "../time/index.js";
import { FlakyStore } from "./flaky-store.js";
import { Lease } from "./lease.js";
import { openMemoryStore } from "./memory-store.js";
import type { Store } from "./store.js";

const KEY = "/lease";
const DURATION_MS = 1_000;
const STEP_MS = 50;

/** What waits for promises has its turn. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Process {
  readonly name: string;
  readonly clock: SimulatedClock;
  readonly way: FlakyStore;
  lease: Lease | undefined;
  paused: boolean;
  missedMs: number;
}

function processOf(name: string, store: Store): Process {
  return {
    name,
    clock: new SimulatedClock(),
    way: new FlakyStore(store),
    lease: undefined,
    paused: false,
    missedMs: 0,
  };
}

async function open(one: Process, exclusive = false): Promise<Lease> {
  const options = { key: KEY, holder: one.name, durationMs: DURATION_MS, exclusive };
  one.lease = await Lease.open(options, { store: one.way, clock: one.clock, log: silentLog });
  return one.lease;
}

async function pass(ms: number, ...processes: Process[]): Promise<void> {
  for (let spentMs = 0; spentMs < ms; spentMs += STEP_MS) {
    for (const one of processes) one.clock.advance(STEP_MS);
    await turn();
  }
}

describe("an exclusive lease", () => {
  it("is held at once, with a higher term each time, and after a disk that is full with the last one", async () => {
    const store = openMemoryStore();
    expect((await open(processOf("a", store), true)).term).toBe(1n);
    expect((await open(processOf("b", store), true)).term).toBe(2n);
    const full = processOf("c", store);
    full.way.isFull = true;
    const lease = await open(full, true);
    expect(lease.term).toBe(2n);
    await expect(lease.raiseAbove(0n)).rejects.toThrow("no space");
    full.way.isFull = false;
    expect(await lease.raiseAbove(0n)).toBe(3n);
    const never = new FlakyStore(openMemoryStore());
    never.isFull = true;
    await expect(open({ ...processOf("d", store), way: never }, true)).rejects.toThrow("no space");
  });

  it("is raised above what is seen, also where the numbers wrap, and stays so", async () => {
    const store = openMemoryStore();
    const lease = await open(processOf("a", store), true);
    let changes = 0;
    lease.onChange(() => changes++);
    expect(await lease.raiseAbove(70n)).toBe(71n);
    expect(await lease.raiseAbove(3n)).toBe(72n);
    expect(await lease.raiseAbove(2n ** 63n)).toBe(2n ** 63n + 1n);
    expect(await lease.raiseAbove(2n ** 64n - 1n)).toBe(0n);
    expect(changes).toBe(4);
    expect((await open(processOf("b", store), true)).term).toBe(1n);
  });

  it("takes the place of a record that nobody can read", async () => {
    const store = openMemoryStore();
    await store.put(KEY, Buffer.from('{"holder":"x","term":"1e9","renewals":0}'));
    expect((await open(processOf("a", store), true)).term).toBe(1n);
  });
});

describe("a lease between processes", () => {
  it("is one's until it is silent, and is given back at its end", async () => {
    const store = openMemoryStore();
    const [a, b] = [processOf("a", store), processOf("b", store)];
    const first = await open(a);
    const second = await open(b);
    await pass(10 * DURATION_MS, a, b);
    expect([first.term, second.term]).toEqual([1n, undefined]);
    expect(await second.raiseAbove(9n)).toBeUndefined();
    // It is stopped: it believes that it leads until it runs again.
    await pass(2 * DURATION_MS, b);
    expect([first.term, second.term]).toEqual([1n, 2n]);
    await pass(2 * DURATION_MS, a, b);
    expect([first.term, second.term]).toEqual([undefined, 2n]);
    await second.close();
    await pass(DURATION_MS / 2, a);
    expect(first.term).toBe(3n);
    await first.close();
  });

  it("is given up by who cannot renew it before another takes it, and kept by who only fails now and then", async () => {
    const store = openMemoryStore();
    const [a, b] = [processOf("a", store), processOf("b", store)];
    const [first, second] = [await open(a), await open(b)];
    a.way.isGone = true;
    await pass(DURATION_MS / 2, a, b);
    a.way.isGone = false;
    await pass(3 * DURATION_MS, a, b);
    expect([first.term, second.term]).toEqual([1n, undefined]);
    a.way.hang();
    await pass(DURATION_MS, a, b);
    expect([first.term, second.term]).toEqual([undefined, undefined]);
    await pass(DURATION_MS, a, b);
    expect([first.term, second.term]).toEqual([undefined, 2n]);
    a.way.goOn();
    await pass(3 * DURATION_MS, a, b);
    expect([first.term, second.term]).toEqual([undefined, 2n]);
  });

  it("has at most one holder that runs, and no term twice, whatever fails, hangs and stops", async () => {
    const step = fc.record({
      who: fc.nat(2),
      what: fc.constantFrom(
        "fail",
        "work",
        "hang",
        "go on",
        "pause",
        "resume",
        "restart",
        "raise",
        "nothing",
      ),
      ms: fc.integer({ min: 1, max: 30 }).map((steps) => steps * STEP_MS),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
        const store = openMemoryStore();
        const processes = ["a", "b", "c"].map((name) => processOf(name, store));
        const owners = new Map<bigint, string>();
        let highest = 0n;
        const follow = (one: Process, lease: Lease): void => {
          const note = (): void => {
            if (lease.term === undefined) return;
            expect(owners.get(lease.term) ?? one.name).toBe(one.name);
            owners.set(lease.term, one.name);
            if (lease.term > highest) highest = lease.term;
          };
          lease.onChange(note);
          note();
        };
        const start = async (one: Process): Promise<void> => follow(one, await open(one));
        for (const one of processes) await start(one);
        const go = async (ms: number): Promise<void> => {
          for (let spentMs = 0; spentMs < ms; spentMs += STEP_MS) {
            for (const one of processes) {
              if (one.paused) one.missedMs += STEP_MS;
              else one.clock.advance(STEP_MS);
            }
            await turn();
            const leading = processes.filter(({ paused, lease }) => !paused && lease?.term !== undefined);
            expect(leading.length).toBeLessThanOrEqual(1);
          }
        };
        const resume = (one: Process): void => {
          one.paused = false;
          one.clock.advance(one.missedMs);
          one.missedMs = 0;
        };
        for (const { who, what, ms } of steps) {
          const one = processes[who] as Process;
          if (what === "fail") one.way.isGone = true;
          else if (what === "work") one.way.isGone = false;
          else if (what === "hang") one.way.hang();
          else if (what === "go on") one.way.goOn();
          else if (what === "pause") one.paused = true;
          else if (what === "resume") resume(one);
          else if (what === "raise") void one.lease?.raiseAbove(highest).catch(() => {});
          else if (what === "restart") {
            one.way.isGone = false;
            one.way.goOn();
            resume(one);
            await one.lease?.close();
            await start(one);
          }
          await go(ms);
        }
        for (const one of processes) {
          one.way.isGone = false;
          one.way.goOn();
          resume(one);
        }
        await go(4 * DURATION_MS);
        const leading = processes.filter(({ lease }) => lease?.term !== undefined);
        expect(leading).toHaveLength(1);
        expect(leading[0]?.lease?.term).toBe(highest);
      }),
      { numRuns: process.env["PLINTH_NIGHTLY"] === "1" ? 2_000 : 60 },
    );
  });
});
