import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type ConnectionMemory,
  connectionMemory,
  connectionMemorySize,
  tupleAt,
} from "./connection-memory.js";
import { ConnectionTable, SEEN_REPLY } from "./connection-table.js";
import { UDP_FIRST } from "./timeouts.js";
import { invert, kindOf, T_KIND, TUPLE_WORDS, UDP, zoneOf } from "./tuple.js";

const CAPACITY = 16;

function tupleOf(source: number, destination: number, ports: number, zone: number): Int32Array {
  return Int32Array.of(source, 0, 0, 0, destination, 0, 0, 0, ports, kindOf(false, UDP, zone));
}

const tuple = fc
  .tuple(fc.nat(3), fc.nat(3), fc.nat(3), fc.nat(3))
  .map(([a, b, ports, zone]) => tupleOf(0x0a000000 + a, 0x0b000000 + b, (1000 + ports) * 65536 + 80, zone));
const step = fc.oneof(
  fc.record({ do: fc.constant("add" as const), tuple, answered: fc.boolean() }),
  fc.record({ do: fc.constant("remove" as const), tuple }),
  fc.record({ do: fc.constant("renew" as const), tuple, ms: fc.integer({ min: 1, max: 300 }) }),
  fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 40 }) }),
);
const TIMEOUT_MS = 100;
const text = (words: Int32Array): string => Array.from(words).join(":");

describe("ConnectionTable", () => {
  it("agrees with a map of tuples through additions, removals, expiry and eviction", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const table = new ConnectionTable(CAPACITY);
        /** By either tuple: when it expires and its partner. */
        const model = new Map<string, { expiresMs: number; other: string; direction: number }>();
        const seen: Int32Array[] = [];
        const reply = new Int32Array(TUPLE_WORDS);
        let nowMs = 0;
        for (const one of steps) {
          if (one.do === "pass") {
            nowMs += one.ms;
            if (one.ms > 30) table.sweep(nowMs);
            for (const [key, entry] of model) if (entry.expiresMs <= nowMs) model.delete(key);
          } else if (one.do === "renew") {
            // For longer, or for less.
            const found = table.find(one.tuple, nowMs);
            const expected = model.get(text(one.tuple));
            expect(found >= 0).toBe(expected !== undefined);
            if (expected === undefined) continue;
            table.setExpiry(found >> 1, nowMs + one.ms);
            for (const key of [text(one.tuple), expected.other])
              model.set(key, { ...model.get(key)!, expiresMs: nowMs + one.ms });
          } else if (one.do === "remove") {
            const found = table.find(one.tuple, nowMs);
            const expected = model.get(text(one.tuple));
            expect(found >= 0 ? found & 1 : undefined).toBe(expected?.direction);
            if (found < 0 || expected === undefined) continue;
            table.remove(found >> 1);
            model.delete(text(one.tuple));
            model.delete(expected.other);
          } else {
            invert(one.tuple, reply);
            seen.push(one.tuple);
            if (table.find(one.tuple, nowMs) >= 0 || table.find(reply, nowMs) >= 0) continue;
            const evictions = table.evictions;
            const added = table.add(one.tuple, reply, 1, UDP_FIRST, nowMs, TIMEOUT_MS);
            if (added < 0) {
              expect(table.size).toBe(CAPACITY);
              continue;
            }
            if (one.answered) table.setFlags(added, SEEN_REPLY);
            if (table.evictions > evictions) {
              // Whoever was evicted: the model learns it by asking.
              for (const [key] of model) if (table.find(wordsOf(key), nowMs) < 0) model.delete(key);
            }
            model.set(text(one.tuple), { expiresMs: nowMs + TIMEOUT_MS, other: text(reply), direction: 0 });
            model.set(text(reply), { expiresMs: nowMs + TIMEOUT_MS, other: text(one.tuple), direction: 1 });
          }
          expect(table.size).toBeLessThanOrEqual(CAPACITY);
        }
        for (const key of model.keys())
          expect(table.find(wordsOf(key), nowMs) & 1).toBe(model.get(key)?.direction);
        for (const words of seen) expect(table.find(words, nowMs) >= 0).toBe(model.has(text(words)));
        table.sweep(nowMs);
        expect(table.size).toBe(model.size / 2);
      }),
      { numRuns: 500 },
    );
  });

  it("takes over what it foresaw as it has become since, whatever was torn then, as one that foresaw nothing", () => {
    const word = fc.record({ at: fc.nat(CAPACITY * 32 - 1), bits: fc.integer() });
    const steps = fc.array(step, { maxLength: 60 });
    fc.assert(
      fc.property(steps, steps, fc.array(word, { maxLength: 4 }), steps, (before, since, torn, after) => {
        const memory = connectionMemory(CAPACITY);
        const first = new ConnectionTable(CAPACITY, undefined, memory);
        let nowMs = carryOut(first, before, 0);
        const next = new ConnectionTable(CAPACITY, undefined, memory);
        // In the middle of a change, as it is seen by somebody else.
        for (const { at, bits } of torn) memory.words[at] = memory.words[at]! ^ bits;
        next.foresee();
        for (const { at, bits } of torn.toReversed()) memory.words[at] = memory.words[at]! ^ bits;
        nowMs = carryOut(first, since, nowMs);
        const plain = new ConnectionTable(CAPACITY, undefined, copyOf(memory));
        expect(next.restore(nowMs, 5)).toBe(plain.restore(nowMs, 5));
        // They have the same, and go on alike.
        const isAlike = (): void => {
          for (let zone = 0; zone < 4; zone++) expect(next.zoneCount(zone)).toBe(plain.zoneCount(zone));
          for (const one of [...before, ...since, ...after]) {
            if (one.do === "pass") continue;
            const found = next.find(one.tuple, nowMs);
            expect(found).toBe(plain.find(one.tuple, nowMs));
            if (found >= 0) expect(next.expiryOf(found >> 1)).toBe(plain.expiryOf(found >> 1));
          }
        };
        isAlike();
        expect(carryOut(next, after, nowMs)).toBe(carryOut(plain, after, nowMs));
        isAlike();
        expect(next.size).toBe(plain.size);
      }),
      { numRuns: 500 },
    );
  });

  it("is swept by parts, all of it once the parts add up, wherever the last one ended", () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 8 }), (shares) => {
        const table = new ConnectionTable(CAPACITY);
        const reply = new Int32Array(TUPLE_WORDS);
        for (let n = 0; n < CAPACITY; n++) {
          const original = tupleOf(n, 2, 3, 0);
          invert(original, reply);
          table.add(original, reply, 1, UDP_FIRST, 0, TIMEOUT_MS);
        }
        let left = CAPACITY;
        for (const share of shares) {
          table.sweep(TIMEOUT_MS, share);
          left = Math.max(0, left - Math.ceil(CAPACITY * share));
          expect(table.size).toBe(left);
        }
        table.sweep(TIMEOUT_MS, Number.POSITIVE_INFINITY);
        expect(table.size).toBe(0);
      }),
    );
  });

  it("is swept of each when its time is over, which may have become shorter or longer since it began", () => {
    const times = fc.array(fc.array(fc.integer({ min: 1, max: 400 }), { maxLength: 4 }), {
      minLength: 1,
      maxLength: CAPACITY,
    });
    fc.assert(
      fc.property(times, fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 12 }), (changes, pauses) => {
        const table = new ConnectionTable(CAPACITY);
        const reply = new Int32Array(TUPLE_WORDS);
        const expiries = new Map<number, number>();
        for (const n of changes.keys()) {
          const original = tupleOf(n, 2, 3, 0);
          invert(original, reply);
          expiries.set(table.add(original, reply, 1, UDP_FIRST, 0, TIMEOUT_MS), TIMEOUT_MS);
        }
        let nowMs = 0;
        for (const [step, ms] of pauses.entries()) {
          nowMs += ms;
          table.sweep(nowMs);
          for (const [connection, expiresMs] of expiries) if (expiresMs <= nowMs) expiries.delete(connection);
          expect(table.size).toBe(expiries.size);
          for (const [n, connection] of [...expiries.keys()].entries()) {
            const change = changes[n]?.[step];
            if (change === undefined) continue;
            table.setExpiry(connection, nowMs + change);
            expiries.set(connection, nowMs + change);
          }
        }
      }),
    );
  });

  it("gives up unanswered connections of the fullest zone first, and answered ones only to emptier zones", () => {
    const table = new ConnectionTable(CAPACITY);
    const add = (zone: number, n: number): number => {
      const original = tupleOf(n, 2, 3, zone);
      const reply = new Int32Array(TUPLE_WORDS);
      invert(original, reply);
      return table.add(original, reply, 1, UDP_FIRST, 0, TIMEOUT_MS);
    };
    const old = add(1, 1);
    table.setFlags(old, SEEN_REPLY);
    for (let n = 2; n < 500; n++) add(2, n);
    expect(table.size).toBe(CAPACITY);
    expect(table.stateOf(old)).toBe(UDP_FIRST);
    expect(zoneOf(table.tuples[tupleAt(old * 2) + T_KIND]!)).toBe(1);
    for (let c = 0; c < CAPACITY; c++) table.setFlags(c, SEEN_REPLY);
    expect(add(2, 1000)).toBe(-1);
    expect(add(3, 1000)).toBeGreaterThanOrEqual(0);
    expect(table.find(tupleOf(1, 2, 3, 1), 0)).toBeGreaterThanOrEqual(0);
  });
});

describe("a flood in one zone", () => {
  it("takes no connection of a zone that has fewer, answered or not", () => {
    const capacity = 256;
    const table = new ConnectionTable(capacity);
    const reply = new Int32Array(TUPLE_WORDS);
    const add = (zone: number, n: number): number => {
      const original = tupleOf(n, 2, 3, zone);
      invert(original, reply);
      return table.add(original, reply, 1, UDP_FIRST, 0, TIMEOUT_MS);
    };
    // More than one look for a victim takes in, side by side.
    for (let n = 0; n < 100; n++) add(1, n);
    for (let n = 0; n < 2000; n++) add(2, n);
    expect(table.size).toBe(capacity);
    for (let n = 0; n < 100; n++) {
      expect(table.find(tupleOf(n, 2, 3, 1), 0)).toBeGreaterThanOrEqual(0);
    }
  });
});

describe("a flood from one port", () => {
  it("takes no connection that was opened from another port of the zone, and lets newcomers of others in", () => {
    const capacity = 256;
    const table = new ConnectionTable(capacity);
    const reply = new Int32Array(TUPLE_WORDS);
    const add = (port: number, n: number): number => {
      const original = tupleOf(n, 2, 3, 1);
      invert(original, reply);
      return table.add(original, reply, port, UDP_FIRST, 0, TIMEOUT_MS);
    };
    for (let n = 0; n < 50; n++) {
      const one = add(1, n);
      if (n % 2 === 0) table.setFlags(one, SEEN_REPLY);
    }
    for (let n = 1000; n < 5000; n++) add(2, n);
    for (let n = 0; n < 50; n++) expect(table.find(tupleOf(n, 2, 3, 1), 0)).toBeGreaterThanOrEqual(0);
    for (let n = 50; n < 100; n++) expect(add(1, n)).toBeGreaterThanOrEqual(0);
    for (let n = 0; n < 100; n++) expect(table.find(tupleOf(n, 2, 3, 1), 0)).toBeGreaterThanOrEqual(0);
    // Even against connections that the flood has had answered.
    for (let c = 0; c < capacity; c++) table.setFlags(c, SEEN_REPLY);
    expect(add(2, 6000)).toBe(-1);
    expect(add(3, 6001)).toBeGreaterThanOrEqual(0);
    expect(table.size).toBe(capacity);
  });
});

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** Returns what time it is then. */
function carryOut(table: ConnectionTable, steps: readonly Step[], fromMs: number): number {
  const reply = new Int32Array(TUPLE_WORDS);
  let nowMs = fromMs;
  for (const one of steps) {
    if (one.do === "pass") {
      nowMs += one.ms;
      table.sweep(nowMs);
      continue;
    }
    const found = table.find(one.tuple, nowMs);
    if (one.do === "add") {
      invert(one.tuple, reply);
      if (found < 0 && table.find(reply, nowMs) < 0)
        table.add(one.tuple, reply, 1, UDP_FIRST, nowMs, TIMEOUT_MS);
    } else if (found >= 0 && one.do === "remove") table.remove(found >> 1);
    else if (found >= 0 && one.do === "renew") table.setExpiry(found >> 1, nowMs + one.ms);
  }
  return nowMs;
}

function copyOf({ words, marks, labels }: ConnectionMemory): ConnectionMemory {
  const copy = connectionMemory(CAPACITY, new ArrayBuffer(connectionMemorySize(CAPACITY)));
  copy.words.set(words);
  copy.marks.set(marks);
  copy.labels.set(labels);
  return copy;
}

function wordsOf(text: string): Int32Array {
  return Int32Array.from(text.split(":"), Number);
}
