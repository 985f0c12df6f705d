// Elections among several controllers against a model: one master at most, and no election that is older than the newest.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NO_GENERATION, type RoleHolder, Roles } from "./roles.js";

const HOLDERS = 4;
const WRAP = 2n ** 64n;

const step = fc.record({
  who: fc.nat({ max: HOLDERS - 1 }),
  what: fc.constantFrom("master", "slave", "equal", "nochange", "leave", "nicira-master"),
  /** Relative to the newest, so that numbers wrap and elections are close. */
  distance: fc.bigInt({ min: -3n, max: 3n }),
});

describe("Roles", () => {
  it("keep one master and refuse stale elections, also where generation ids wrap around", () => {
    const start = fc.constantFrom(0n, 1n, 5n, WRAP - 2n, WRAP / 2n);
    fc.assert(
      fc.property(start, fc.array(step, { maxLength: 60 }), (first, steps) => {
        const roles = new Roles();
        let demoted: number[] = [];
        const holders = Array.from({ length: HOLDERS }, (_, n): RoleHolder => {
          return { role: "equal", onDemoted: () => demoted.push(n) };
        });
        for (const holder of holders) roles.join(holder);
        const model = holders.map(() => "equal");
        let newest: bigint | undefined;
        expect(roles.generationId).toBe(NO_GENERATION);
        for (const { who, what, distance } of steps) {
          const holder = holders[who] as RoleHolder;
          const generation = BigInt.asUintN(64, (newest ?? first) + distance);
          if (what === "leave") {
            roles.leave(holder);
            holder.role = "equal";
            roles.join(holder);
            model[who] = "equal";
            continue;
          }
          if (what === "nicira-master") roles.assign(holder, "master");
          else {
            const isElection = what === "master" || what === "slave";
            const isStale = isElection && newest !== undefined && distance < 0n;
            expect(roles.request(holder, what, generation)).toBe(!isStale);
            if (isStale) continue;
            if (isElection) newest = generation;
          }
          const role = what === "nicira-master" ? "master" : what;
          if (role === "nochange") continue;
          const master = model.indexOf("master");
          if (role === "master" && master >= 0) model[master] = "slave";
          expect(demoted).toEqual(role === "master" && master >= 0 && master !== who ? [master] : []);
          demoted = [];
          model[who] = role;
          expect(holders.map((one) => one.role)).toEqual(model);
          expect(holders.filter((one) => one.role === "master").length).toBeLessThanOrEqual(1);
          if (newest !== undefined) expect(roles.generationId).toBe(newest);
        }
      }),
      { numRuns: 500 },
    );
  });
});
