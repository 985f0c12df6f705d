// The store against a plain model: random interleavings of writes leave the same state, and the events of a watch
// rebuild it.
import fc from "fast-check";
import { expect, test } from "vitest";
import { crc32c } from "../wire/index.js";
import { findDamage, findLooseEnd } from "./level-files.js";
import { parseEvent, sealed } from "./level-history.js";
import { openMemoryStore } from "./memory-store.js";

const step = fc.record({
  key: fc.constantFrom("a", "b", "a/1", "a/2", "c"),
  value: fc.option(fc.uint8Array({ maxLength: 4 }), { nil: undefined }),
  wait: fc.boolean(),
});

test("a store equals a map, now and at every revision in its history", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const store = openMemoryStore();
      const model = new Map<string, string>();
      const rebuilt = new Map<string, string>();
      const past: Map<string, string>[] = [new Map()];
      await store.watch({ prefix: "" }, (events) => {
        for (const event of events) {
          if (event.type === "put") rebuilt.set(event.entry.key, String(event.entry.value));
          else rebuilt.delete(event.previous.key);
        }
      });
      const writes: Promise<unknown>[] = [];
      for (const { key, value, wait } of steps) {
        if (value !== undefined) {
          writes.push(store.put(key, value));
          model.set(key, String(value));
          past.push(new Map(model));
        } else {
          writes.push(store.delete(key));
          if (model.delete(key)) past.push(new Map(model));
        }
        if (wait) await writes.at(-1);
      }
      await Promise.all(writes);
      expect(rebuilt).toEqual(model);
      for (let revision = 0; revision < past.length; revision++) {
        const { entries } = await store.list({ prefix: "", revision });
        expect(new Map(entries.map((entry) => [entry.key, String(entry.value)]))).toEqual(past[revision]);
        expect(entries.map((entry) => entry.key)).toEqual([...past[revision]!.keys()].sort());
      }
      await store.close();
    }),
  );
});

test("any bytes are a change of the history or none", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 80 }),
    fc.uint8Array({ minLength: 35, maxLength: 80 }).map((record) => {
      const copy = Uint8Array.from(record);
      copy.set([2, 1 + ((copy[1] as number) % 2), (copy[2] as number) % 2]);
      copy.fill(0, 27, 30);
      copy.fill(0, 31, 34);
      return sealed(copy);
    }),
  );
  fc.assert(
    fc.property(bytes, fc.nat(), (record, revision) => {
      const event = parseEvent(revision, record, () => undefined);
      if (event === undefined) return;
      expect(event.revision).toBe(revision);
      const { value } = event.type === "put" ? event.entry : event.previous;
      expect(value.byteLength).toBeLessThanOrEqual(record.byteLength);
    }),
  );
});

test("of any bytes of a log only a record behind which another is whole is damage", () => {
  const record = (payload: Uint8Array): Uint8Array => {
    const bytes = Buffer.alloc(7 + payload.byteLength);
    bytes.writeUInt16LE(payload.byteLength, 4);
    bytes[6] = 1;
    bytes.set(payload, 7);
    const crc = crc32c(bytes, 6, payload.byteLength + 1);
    bytes.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0, 0);
    return bytes;
  };
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 2, maxLength: 8 }),
      fc.nat(),
      fc.nat(),
      (payloads, which, where) => {
        const records = payloads.map(record);
        const log = Buffer.concat(records);
        expect(findDamage(log)).toBeUndefined();
        expect(findLooseEnd(log)).toBeUndefined();
        const cut = where % log.byteLength;
        expect(findDamage(log.subarray(0, cut))).toBeUndefined();
        const ends = records.map((_, i) =>
          records.slice(0, i + 1).reduce((sum, { byteLength }) => sum + byteLength, 0),
        );
        const whole = Math.max(0, ...ends.filter((end) => end <= cut));
        expect(findLooseEnd(log.subarray(0, cut))).toBe(whole === cut ? undefined : whole);
        const bad = which % records.length;
        const start = records.slice(0, bad).reduce((sum, { byteLength }) => sum + byteLength, 0);
        // Not in the length: behind that nothing is found before the next block.
        const offset = start + 6 + (where % ((records[bad] as Uint8Array).byteLength - 6));
        log[offset] = (log[offset] as number) ^ 1;
        const hidden = bad === records.length - 1 || offset === start + 6;
        // What is no damage is told as a loose end: nothing is passed over.
        if (hidden) expect(findDamage(log) ?? findLooseEnd(log)).toBe(start);
        else expect(findDamage(log)).toBe(start);
      },
    ),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(findDamage(bytes) ?? 0).toBeLessThanOrEqual(bytes.byteLength);
      expect(findLooseEnd(bytes) ?? 0).toBeLessThanOrEqual(bytes.byteLength);
    }),
  );
});
