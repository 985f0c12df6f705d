// The store against a plain model: random interleavings of writes leave the same state, and the events of a watch
// rebuild it.
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseEvent } from "./level-history.js";
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
      copy.set([1, 1 + ((copy[1] as number) % 2), (copy[2] as number) % 2]);
      copy.fill(0, 27, 30);
      copy.fill(0, 31, 34);
      return copy;
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
