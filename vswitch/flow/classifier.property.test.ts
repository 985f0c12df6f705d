import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Classifier } from "./classifier.js";
import type { MaskedKey } from "./fields.js";
import { Flow } from "./flow.js";
import { KEY_WORDS } from "./key.js";
import { covers, overlaps } from "./masked-key.js";

const NO_PROGRAM = {
  meterId: 0,
  apply: null,
  clear: false,
  write: [],
  metadata: null,
  gotoTable: -1,
  clauses: null,
};
const ALL_BITS = new Int32Array(KEY_WORDS).fill(-1);
/** Few words with few bits, so that flows overlap and packets hit. */
const WORDS = [0, 4, 27, 78];
const small = fc.integer({ min: 0, max: 3 });
const keyWords = fc.tuple(small, small, small, small);

function keyOf(values: readonly number[]): Int32Array {
  const key = new Int32Array(KEY_WORDS);
  WORDS.forEach((word, i) => {
    key[word] = (values[i] as number) << 30;
  });
  return key;
}

function maskedOf(mask: readonly number[], value: readonly number[]): MaskedKey {
  const maskWords = keyOf(mask);
  return { mask: maskWords, value: keyOf(value).map((word, i) => word & (maskWords[i] as number)) };
}

function flowOf(priority: number, key: MaskedKey): Flow {
  return new Flow({
    tableId: 0,
    priority,
    cookie: 0n,
    match: [],
    key,
    flags: 0,
    idleTimeoutSeconds: 0,
    hardTimeoutSeconds: 0,
    instructions: [],
    program: NO_PROGRAM,
    slot: 0,
    nowMs: 0,
  });
}

const operation = fc.record({
  remove: fc.boolean(),
  mask: keyWords,
  value: keyWords,
  priority: fc.integer({ min: 0, max: 5 }),
});

/** The classifier that cannot be wrong: a list. */
function linear(flows: readonly Flow[], key: Int32Array): number {
  let best = -1;
  for (const flow of flows) {
    const hit = flow.key.mask.every((mask, i) => ((key[i] as number) & mask) === flow.key.value[i]);
    if (hit && flow.priority > best) best = flow.priority;
  }
  return best;
}

describe("Classifier", () => {
  it("keeps flows of one match by priority, in whatever order they come and go", () => {
    const masks: readonly (readonly number[])[] = [
      [0, 0, 0, 0],
      [3, 0, 0, 0],
    ];
    const step = fc.record({
      remove: fc.boolean(),
      mask: fc.nat({ max: 1 }),
      value: small,
      priority: fc.nat(),
    });
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 400, size: "max" }),
        fc.integer({ min: 1, max: 400 }),
        (steps, priorities) => {
          const classifier = new Classifier();
          const flows: Flow[] = [];
          const met: Flow[] = [];
          for (const { remove, mask, value, priority } of steps) {
            const masked = maskedOf(masks[mask] as number[], [value, 0, 0, 0]);
            const wanted = priority % priorities;
            const there = classifier.findStrict(masked, wanted);
            if (there !== null && remove) {
              classifier.remove(there);
              flows.splice(flows.indexOf(there), 1);
            } else if (there === null && !remove) {
              const flow = flowOf(wanted, masked);
              classifier.add(flow);
              flows.push(flow);
            }
            const key = keyOf([value, 0, 0, 0]);
            expect(classifier.lookup(key, null)?.priority ?? -1).toBe(linear(flows, key));
            const above = wanted >> 1;
            const count = classifier.allAbove(key, above, null, met);
            const wantedAbove = flows.filter(
              (flow) => flow.priority > above && covers(flow.key, { mask: ALL_BITS, value: key }),
            );
            expect(new Set(met.slice(0, count))).toEqual(new Set(wantedAbove));
            expect(count).toBe(wantedAbove.length);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it("agrees with a linear scan after any additions and removals, and says what it looked at", () => {
    fc.assert(
      fc.property(
        fc.array(operation, { maxLength: 60 }),
        fc.array(keyWords, { maxLength: 20 }),
        (operations, packets) => {
          const classifier = new Classifier();
          const flows: Flow[] = [];
          for (const { remove, mask, value, priority } of operations) {
            const masked = maskedOf(mask, value);
            const there = classifier.findStrict(masked, priority);
            expect(there === null).toBe(
              !flows.some(
                (flow) =>
                  flow.priority === priority &&
                  flow.key.value.every((word, i) => word === masked.value[i]) &&
                  flow.key.mask.every((word, i) => word === masked.mask[i]),
              ),
            );
            if (there !== null) {
              if (!remove) continue;
              classifier.remove(there);
              flows.splice(flows.indexOf(there), 1);
            } else if (!remove) {
              const flow = flowOf(priority, masked);
              classifier.add(flow);
              flows.push(flow);
            }
          }
          expect(classifier.size).toBe(flows.length);
          const everything = { mask: new Int32Array(KEY_WORDS), value: new Int32Array(KEY_WORDS) };
          expect(new Set(classifier.covered(everything))).toEqual(new Set(flows));
          for (const { mask, value, priority } of operations) {
            const wanted = maskedOf(mask, value);
            expect(new Set(classifier.covered(wanted))).toEqual(
              new Set(flows.filter((flow) => covers(wanted, flow.key))),
            );
            const rival = classifier.findOverlap(wanted, priority);
            const rivals = flows.filter((flow) => flow.priority === priority && overlaps(flow.key, wanted));
            if (rival === null) expect(rivals).toEqual([]);
            else expect(rivals).toContain(rival);
          }
          const found = packets.map((packet) => {
            const key = keyOf(packet);
            const consulted = new Int32Array(KEY_WORDS);
            const flow = classifier.lookup(key, consulted);
            expect(flow?.priority ?? -1).toBe(linear(flows, key));
            expect(classifier.lookup(key, null)).toBe(flow);
            return { key, consulted, flow };
          });
          // Any two keys that agree in what one of them consulted have the same answer.
          for (const one of found) {
            for (const other of found) {
              const same = one.key.every(
                (word, i) => ((word ^ (other.key[i] as number)) & (one.consulted[i] as number)) === 0,
              );
              if (same) expect(other.flow).toBe(one.flow);
            }
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
