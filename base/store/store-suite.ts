// What every Store must do, whichever way it keeps its state. Called by the tests of each implementation.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { isStoreError, type StoreErrorCode } from "./errors.js";
import type { HistoryLimits } from "./history.js";
import type { Store, StoreEvent } from "./store.js";

export interface StoreFixture {
  open(limits?: HistoryLimits): Promise<Store>;
  cleanup(): Promise<void>;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : new TextDecoder().decode(value);

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "resolved",
    (thrown: { code?: string }) => thrown.code ?? String(thrown),
  );
}

export function describeStore(name: string, create: () => Promise<StoreFixture>): void {
  describe(name, () => {
    let fixture: StoreFixture;
    let store: Store;
    beforeEach(async () => {
      fixture = await create();
      store = await fixture.open();
    });
    afterEach(async () => {
      await store.close();
      await fixture.cleanup();
    });

    test("an empty store has revision 0 and no keys", async () => {
      expect(store.revision).toBe(0);
      expect(await store.get("a")).toBeUndefined();
      expect(await store.list({ prefix: "" })).toEqual({ entries: [], revision: 0, remaining: 0 });
    });

    test("put() keeps any bytes and counts revisions", async () => {
      const value = Uint8Array.from({ length: 256 }, (_, i) => i);
      expect(await store.put("a", value)).toBe(1);
      expect(await store.put("b", bytes("x"))).toBe(2);
      expect(await store.put("a", bytes(""))).toBe(3);
      const entry = await store.get("a");
      expect(entry).toMatchObject({ key: "a", createRevision: 1, revision: 3 });
      expect(entry?.value.byteLength).toBe(0);
      expect(store.revision).toBe(3);
    });

    test("put() and delete() refuse an unexpected revision and change nothing", async () => {
      await store.put("a", bytes("1"), { expectedRevision: 0 });
      expect(await codeOf(store.put("a", bytes("2"), { expectedRevision: 0 }))).toBe("REVISION_CONFLICT");
      expect(await codeOf(store.delete("a", { expectedRevision: 7 }))).toBe("REVISION_CONFLICT");
      expect(text((await store.get("a"))?.value)).toBe("1");
      expect(store.revision).toBe(1);
      expect(await store.put("a", bytes("2"), { expectedRevision: 1 })).toBe(2);
      expect(await store.delete("a", { expectedRevision: 2 })).toBe(true);
      expect(await store.delete("a")).toBe(false);
      expect(store.revision).toBe(3);
    });

    test("only one of many concurrent conditional writes wins", async () => {
      await store.put("a", bytes("0"));
      const codes = await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          codeOf(store.put("a", bytes(String(i + 1)), { expectedRevision: 1 })),
        ),
      );
      expect(codes.filter((code) => code === "resolved")).toHaveLength(1);
      expect(text((await store.get("a"))?.value)).toBe("1");
    });

    test("a conflict is told when the write that it lost to can be read", async () => {
      await store.put("a", bytes("0"));
      const winner = store.put("a", bytes("1"), { expectedRevision: 1 });
      expect(await codeOf(store.put("a", bytes("2"), { expectedRevision: 1 }))).toBe("REVISION_CONFLICT");
      expect(text((await store.get("a"))?.value)).toBe("1");
      await winner;
    });

    test("transact() is all or nothing", async () => {
      await store.put("a", bytes("1"));
      const refused = store.transact({
        conditions: [{ key: "b", revision: 9 }],
        operations: [
          { type: "put", key: "c", value: bytes("x") },
          { type: "delete", key: "a" },
        ],
      });
      expect(await codeOf(refused)).toBe("REVISION_CONFLICT");
      expect(store.revision).toBe(1);
      const revision = await store.transact({
        conditions: [
          { key: "a", revision: 1 },
          { key: "b", revision: 0 },
        ],
        operations: [
          { type: "put", key: "c", value: bytes("x") },
          { type: "delete", key: "a" },
          { type: "delete", key: "never" },
        ],
      });
      expect(revision).toBe(3);
      expect((await store.list({ prefix: "" })).entries.map((entry) => entry.key)).toEqual(["c"]);
    });

    test("transact() refuses what is too large or ambiguous", async () => {
      const put = (key: string, size: number) => store.put(key, new Uint8Array(size));
      expect(await codeOf(put("", 1))).toBe("STORE_LIMIT");
      expect(await codeOf(put("k".repeat(2000), 1))).toBe("STORE_LIMIT");
      expect(await codeOf(put("\ud800", 1))).toBe("STORE_LIMIT");
      expect(await codeOf(put("a", 5 * 1024 * 1024))).toBe("STORE_LIMIT");
      const twice = [
        { type: "delete", key: "a" },
        { type: "put", key: "a", value: bytes("") },
      ] as const;
      expect(await codeOf(store.transact({ operations: twice }))).toBe("STORE_LIMIT");
      expect(store.revision).toBe(0);
    });

    test("a key deleted and made again in quick succession ends as last written", async () => {
      await store.put("a", bytes("1"));
      await Promise.all([
        store.delete("a"),
        store.put("a", bytes("2")),
        store.delete("a"),
        store.put("b", bytes("3")),
      ]);
      expect(await store.get("a")).toBeUndefined();
      expect(await codeOf(store.put("a", bytes("4"), { expectedRevision: 0 }))).toBe("resolved");
      expect((await store.get("a"))?.createRevision).toBe(6);
    });

    describe("list()", () => {
      beforeEach(async () => {
        for (const key of ["b/2", "a/1", "b/1", "c/1", "b/3", "b"]) await store.put(key, bytes(key));
      });
      const keys = async (options: Parameters<Store["list"]>[0]): Promise<string[]> =>
        (await store.list(options)).entries.map((entry) => entry.key);

      test("gives a prefix in order, page by page", async () => {
        expect(await keys({ prefix: "b/" })).toEqual(["b/1", "b/2", "b/3"]);
        const page = await store.list({ prefix: "b/", limit: 2 });
        expect(page.remaining).toBe(1);
        expect(await keys({ prefix: "b/", limit: 2, after: "b/2" })).toEqual(["b/3"]);
      });

      test("shows the past as it was", async () => {
        const { revision } = await store.list({ prefix: "b/" });
        await store.delete("b/1");
        await store.put("b/2", bytes("new"));
        await store.put("b/4", bytes("new"));
        await store.put("b/1", bytes("again"));
        const past = await store.list({ prefix: "b/", revision });
        expect(past.entries.map((entry) => text(entry.value))).toEqual(["b/1", "b/2", "b/3"]);
        expect(past.revision).toBe(revision);
        expect(await codeOf(store.list({ prefix: "", revision: 99 }))).toBe("REVISION_FUTURE");
      });
    });

    describe("watch()", () => {
      test("delivers history, then changes, each once and in order", async () => {
        await store.put("a/1", bytes("1"));
        await store.put("b/1", bytes("1"));
        await store.put("a/1", bytes("2"));
        const events: StoreEvent[] = [];
        const watch = await store.watch({ prefix: "a/", fromRevision: 1 }, (batch) => events.push(...batch));
        await store.delete("a/1");
        await store.put("b/1", bytes("2"));
        await store.put("a/2", bytes("3"));
        watch.cancel();
        watch.cancel();
        await store.put("a/2", bytes("4"));
        expect(events.map((event) => [event.type, event.revision, text(event.previous?.value)])).toEqual([
          ["put", 3, "1"],
          ["delete", 4, "2"],
          ["put", 6, undefined],
        ]);
      });

      test("never shows a change before it can be read", async () => {
        const seen: Promise<string | undefined>[] = [];
        await store.watch({ prefix: "" }, (events) => {
          for (const event of events) {
            if (event.type === "put")
              seen.push(store.get(event.entry.key).then((entry) => text(entry?.value)));
          }
        });
        await Promise.all(["x", "y", "z"].map((key) => store.put(key, bytes(key))));
        expect(await Promise.all(seen)).toEqual(["x", "y", "z"]);
      });

      test("refuses what history no longer holds", async () => {
        await store.close();
        await fixture.cleanup();
        fixture = await create();
        store = await fixture.open({ eventsMax: 8 });
        for (let i = 0; i < 20; i++) await store.put("k", bytes(String(i)));
        expect(await codeOf(store.watch({ prefix: "", fromRevision: 1 }, () => {}))).toBe(
          "REVISION_COMPACTED",
        );
        expect(await codeOf(store.list({ prefix: "", revision: 1 }))).toBe("REVISION_COMPACTED");
        const events: StoreEvent[] = [];
        await store.watch({ prefix: "", fromRevision: 17 }, (batch) => events.push(...batch));
        expect(events.map((event) => event.revision)).toEqual([18, 19, 20]);
      });
    });

    test("close() finishes the writes under way and refuses later ones", async () => {
      const writes = Array.from({ length: 50 }, (_, i) => store.put(`k${i}`, bytes("v")));
      await store.close();
      await store.close();
      await Promise.all(writes);
      const refused = await store.get("k0").catch((thrown: unknown) => thrown);
      const closed: StoreErrorCode = "STORE_CLOSED";
      expect(isStoreError(refused, closed)).toBe(true);
    });
  });
}
