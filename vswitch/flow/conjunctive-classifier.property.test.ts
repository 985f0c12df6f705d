import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConjunctiveClassifier } from "./conjunctive-classifier.js";
import type { MaskedKey } from "./fields.js";
import { Flow } from "./flow.js";
import { K_CONJ_ID, KEY_WORDS } from "./key.js";
import type { Clause } from "./program.js";

/** Few words with few bits, so that flows overlap and packets hit. */
const WORDS = [4, 7, 49];
const small = fc.integer({ min: 0, max: 1 });
const keyWords = fc.tuple(small, small, small);
/** Mostly wildcards, so that conjunctions complete. */
const maskBit = fc.constantFrom(0, 0, 1);
const maskWords = fc.tuple(maskBit, maskBit, maskBit);

function keyOf(values: readonly number[]): Int32Array {
  const key = new Int32Array(KEY_WORDS);
  WORDS.forEach((word, i) => {
    key[word] = values[i] as number;
  });
  return key;
}

function flowOf(priority: number, key: MaskedKey, clauses: readonly Clause[] | null): Flow {
  const program = {
    meterId: 0,
    apply: null,
    clear: false,
    write: [],
    metadata: null,
    gotoTable: -1,
    clauses,
  };
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
    program,
    slot: 0,
    nowMs: 0,
  });
}

const clause = fc
  .tuple(fc.integer({ min: 1, max: 3 }), fc.constantFrom(2, 2, 3), fc.nat(2))
  .map(([id, clauseCount, n]) => ({ id, clauseCount, clause: n % clauseCount }));
/** Many clauses, ids of high priority, and few ordinary flows, mostly below: so that conjunctions complete and count. */
const kind = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      clauses: fc.array(clause, { minLength: 1, maxLength: 4 }),
      conjId: fc.constant(0),
    }),
  },
  { weight: 3, arbitrary: fc.record({ clauses: fc.constant(null), conjId: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 1, arbitrary: fc.record({ clauses: fc.constant(null), conjId: fc.constant(0) }) },
);
const operation = fc.record({
  remove: fc.constantFrom(false, false, false, true),
  mask: maskWords,
  value: keyWords,
  priority: fc.integer({ min: 0, max: 3 }),
  kind,
});

const meets = ({ mask, value }: MaskedKey, key: Int32Array): boolean =>
  mask.every((bits, i) => ((key[i] as number) & bits) === value[i]);

const best = (flows: readonly Flow[], key: Int32Array): number =>
  Math.max(-1, ...flows.filter((flow) => meets(flow.key, key)).map(({ priority }) => priority));

/** The priority of the answer, by the words of ovs-fields(7) and lists only. */
function model(flows: readonly Flow[], key: Int32Array): number {
  const ordinary = flows.filter((flow) => flow.program.clauses === null);
  const hard = best(ordinary, key);
  for (let priority = 3; priority > hard; priority--) {
    const clauses = flows
      .filter((flow) => flow.priority === priority && meets(flow.key, key))
      .flatMap((flow) => flow.program.clauses ?? []);
    const complete = clauses
      .filter(({ id, clauseCount }) =>
        Array.from({ length: clauseCount }, (_, n) => n).every((n) =>
          clauses.some((one) => one.id === id && one.clauseCount === clauseCount && one.clause === n),
        ),
      )
      .map(({ id }) => id);
    if (complete.length === 0) continue;
    const again = key.slice();
    again[K_CONJ_ID] = Math.min(...complete);
    const found = best(ordinary, again);
    if (found >= 0) return found;
  }
  return hard;
}

describe("ConjunctiveClassifier", () => {
  it("agrees with a naive model after any additions and removals, and says what it looked at", () => {
    let conjunctive = 0;
    fc.assert(
      fc.property(
        fc.array(operation, { minLength: 5, maxLength: 40 }),
        fc.array(keyWords, { minLength: 4, maxLength: 8 }),
        (operations, packets) => {
          const classifier = new ConjunctiveClassifier();
          const flows: Flow[] = [];
          for (const { remove, mask, value, priority, kind } of operations) {
            const { clauses, conjId } = kind;
            const masks = keyOf(mask);
            const values = keyOf(value).map((word, i) => word & (masks[i] as number));
            if (conjId !== 0) {
              masks[K_CONJ_ID] = -1;
              values[K_CONJ_ID] = conjId;
            }
            const key = { mask: masks, value: values };
            const there = classifier.findStrict(key, priority);
            if (there !== null) {
              if (!remove) continue;
              classifier.remove(there);
              flows.splice(flows.indexOf(there), 1);
            } else if (!remove) {
              const flow = flowOf(priority, key, clauses);
              classifier.add(flow);
              flows.push(flow);
            }
          }
          expect(classifier.size).toBe(flows.length);
          expect(
            new Set(
              classifier.covered({ mask: new Int32Array(KEY_WORDS), value: new Int32Array(KEY_WORDS) }),
            ),
          ).toEqual(new Set(flows));
          const found = packets.map((packet) => {
            const key = keyOf(packet);
            const consulted = new Int32Array(KEY_WORDS);
            const flow = classifier.lookup(key, consulted);
            expect(flow?.priority ?? -1).toBe(model(flows, key));
            expect(key).toEqual(keyOf(packet));
            expect(classifier.lookup(key, null)).toBe(flow);
            if (flow !== null && flow.key.mask[K_CONJ_ID] !== 0) conjunctive++;
            return { key, consulted, flow };
          });
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
      { numRuns: 400 },
    );
    // A model that agrees because nothing ever completes would prove nothing.
    expect(conjunctive).toBeGreaterThan(20);
  });
});
