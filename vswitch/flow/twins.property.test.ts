import fc from "fast-check";
import { expect, it } from "vitest";
import type { Flow } from "./flow.js";
import { Twins } from "./twins.js";

const flowOf = (priority: number): Flow => ({ priority }) as Flow;
const step = fc.record({ remove: fc.boolean(), priority: fc.nat({ max: 600 }) });

it("Twins agree with a sorted list through splits and emptied parts", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 600, maxLength: 1500, size: "max" }), (steps) => {
      const first = flowOf(300);
      const twins = new Twins(first);
      const model = new Map<number, Flow>([[300, first]]);
      for (const { remove, priority } of steps) {
        const there = model.get(priority);
        expect(twins.find(priority)).toBe(there ?? null);
        if (there === undefined) {
          const flow = flowOf(priority);
          twins.add(flow);
          model.set(priority, flow);
        } else if (remove && model.size > 1) {
          expect(twins.remove(there)).toBe(true);
          model.delete(priority);
          expect(twins.remove(there)).toBe(false);
        }
        expect(twins.highest.priority).toBe(Math.max(...model.keys()));
      }
      const sorted = [...model.values()].sort((a, b) => b.priority - a.priority);
      const found: Flow[] = [];
      expect(twins.collect(-1, found, 0)).toBe(model.size);
      expect(found).toEqual(sorted);
      expect(twins.collect(300, [], 0)).toBe(sorted.filter(({ priority }) => priority > 300).length);
      expect(twins.size).toBe(model.size);
    }),
    { numRuns: 30 },
  );
});
