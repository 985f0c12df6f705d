import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ASSIGNMENTS, type AssignablePort, assignPorts } from "./port-assignment.js";

const port = (name: string, usage: number, pinned?: number): AssignablePort => ({ name, usage, pinned });

const ports = (workers: number) =>
  fc
    .array(
      fc.record({
        usage: fc.double({ min: 0, max: 1, noNaN: true }),
        pinned: fc.option(fc.nat(workers - 1), { nil: undefined, freq: 4 }),
      }),
      { maxLength: 20 },
    )
    .map((all) => all.map(({ usage, pinned }, i) => port(`p${i}`, usage, pinned)));

const cases = fc.integer({ min: 1, max: 5 }).chain((workers) =>
  fc.record({
    workers: fc.constant(workers),
    all: ports(workers),
    assignment: fc.constantFrom(...ASSIGNMENTS),
    isolates: fc.boolean(),
  }),
);

/** How many ports of `all` that are pinned to none each worker got. */
function others(
  all: readonly AssignablePort[],
  places: ReadonlyMap<string, number>,
  workers: number,
): number[] {
  return Array.from(
    { length: workers },
    (_, worker) =>
      all.filter(({ name, pinned }) => pinned === undefined && places.get(name) === worker).length,
  );
}

describe("assignPorts()", () => {
  it("gives every port to one worker that is there: the one it is pinned to, and no other port to an isolated one", () => {
    fc.assert(
      fc.property(cases, ({ workers, all, ...rules }) => {
        const places = assignPorts(all, workers, rules);
        expect([...places.keys()].sort()).toEqual(all.map(({ name }) => name).sort());
        for (const one of places.values()) expect(one).toBeLessThan(workers);
        for (const { name, pinned } of all) if (pinned !== undefined) expect(places.get(name)).toBe(pinned);
        const isPinnedTo = (worker: number): boolean => all.some(({ pinned }) => pinned === worker);
        const counts = others(all, places, workers);
        const isolated = counts.filter((_, worker) => rules.isolates && isPinnedTo(worker));
        if (isolated.length < workers) expect(isolated.every((count) => count === 0)).toBe(true);
        // By turns, nobody has two more than another.
        const open = counts.filter((_, worker) => !(rules.isolates && isPinnedTo(worker)));
        if (rules.assignment !== "group" && open.length > 0)
          expect(Math.max(...open) - Math.min(...open)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it("says the same again when nothing has changed", () => {
    fc.assert(
      fc.property(cases, ({ workers, all, ...rules }) => {
        expect([...assignPorts(all, workers, rules)]).toEqual([...assignPorts(all, workers, rules)]);
      }),
    );
  });

  it("shares the busiest first: in turn and back again, to the least busy, or as they were made", () => {
    const all = [port("a", 0.1), port("b", 0.6), port("c", 0.3), port("d", 0.2), port("e", 0.2)];
    const isolates = true;
    const by = (assignment: (typeof ASSIGNMENTS)[number]) =>
      Object.fromEntries(assignPorts(all, 2, { assignment, isolates }));
    expect(by("cycles")).toEqual({ b: 0, c: 1, d: 1, e: 0, a: 0 });
    expect(by("group")).toEqual({ b: 0, c: 1, d: 1, e: 1, a: 0 });
    expect(by("roundrobin")).toEqual({ a: 0, b: 1, c: 0, d: 1, e: 0 });
  });
});
