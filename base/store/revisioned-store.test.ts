// What only shows with a journal that is slow or fails: group commit, and the end of writing.
import { expect, test, vi } from "vitest";
import { RECOVERY_INTERVAL_MS } from "./limits.js";
import { type Journal, RevisionedStore } from "./revisioned-store.js";
import type { StoreEvent } from "./store.js";

const value = new Uint8Array();

class FakeJournal implements Journal {
  readonly writes: number[][] = [];
  fails = false;
  #release: (() => void)[] = [];

  write(events: readonly StoreEvent[]): Promise<void> {
    this.writes.push(events.map((event) => event.revision));
    if (this.fails) return Promise.reject(new Error("ENOSPC: no space left on device"));
    return new Promise((resolve) => this.#release.push(resolve));
  }

  release(): void {
    this.#release.shift()?.();
  }

  async close(): Promise<void> {}
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => "resolved",
    (thrown: { code: string }) => thrown.code,
  );

test("writes that come while the journal is busy share the next journal write, and are seen only when durable", async () => {
  const journal = new FakeJournal();
  const store = new RevisionedStore(journal, { entries: [], revision: 0 });
  const first = store.put("a", value);
  await settle();
  const later = [store.put("b", value), store.put("c", value), store.delete("a")];
  await settle();
  expect([journal.writes, store.revision, await store.get("a")]).toEqual([[[1]], 0, undefined]);
  journal.release();
  expect(await first).toBe(1);
  await settle();
  expect([journal.writes, store.revision]).toEqual([[[1], [2, 3, 4]], 1]);
  journal.release();
  await Promise.all(later);
  expect([store.revision, await store.get("a")]).toEqual([4, undefined]);
  await store.close();
});

test("after a failed journal write nothing more is written and everything stays readable", async () => {
  const journal = new FakeJournal();
  const store = new RevisionedStore(journal, { entries: [], revision: 0 });
  const good = store.put("a", value);
  await settle();
  journal.release();
  await good;
  journal.fails = true;
  const told: number[] = [];
  await store.watch({ prefix: "" }, (events) => told.push(events.length));
  const codes = await Promise.all([codeOf(store.put("b", value)), codeOf(store.put("c", value))]);
  expect(codes).toEqual(["STORE_WRITE_FAILED", "STORE_WRITE_FAILED"]);
  journal.fails = false;
  expect(await codeOf(store.put("d", value))).toBe("STORE_WRITE_FAILED");
  expect(journal.writes).toEqual([[1], [2, 3]]);
  expect([store.revision, told, (await store.list({ prefix: "" })).entries.length]).toEqual([1, [], 1]);
  expect(store.failure?.message).toContain("ENOSPC");
  await store.close();
});

test.each([
  ["nothing of", 1, ["a"]],
  ["all of", 2, ["a", "b"]],
])("with space again it writes on when %s the failed write is on the disk", async (_what, onDisk, keys) => {
  vi.useFakeTimers({ toFake: ["performance"] });
  try {
    let full = false;
    const revisions: number[] = [];
    const journal: Journal = {
      write: async (_events, revision) => {
        if (full) throw new Error("ENOSPC: no space left on device");
        revisions.push(revision);
      },
      reopen: async () => {
        if (full) throw new Error("ENOSPC: no space left on device");
        return onDisk;
      },
      close: async () => {},
    };
    const store = new RevisionedStore(journal, { entries: [], revision: 0 });
    await store.put("a", value);
    const told: string[] = [];
    await store.watch({ prefix: "" }, (events) =>
      told.push(...events.map((event) => (event.type === "put" ? event.entry.key : ""))),
    );
    full = true;
    expect(await codeOf(store.put("b", value))).toBe("STORE_WRITE_FAILED");
    vi.advanceTimersByTime(RECOVERY_INTERVAL_MS);
    expect(await codeOf(store.put("c", value))).toBe("STORE_WRITE_FAILED");
    full = false;
    expect(await codeOf(store.put("c", value))).toBe("STORE_WRITE_FAILED");
    vi.advanceTimersByTime(RECOVERY_INTERVAL_MS);
    expect(await store.put("d", value)).toBe(onDisk + 1);
    expect([store.failure, store.revision, revisions]).toEqual([undefined, onDisk + 1, [1, onDisk + 1]]);
    const { entries } = await store.list({ prefix: "" });
    expect(entries.map(({ key }) => key)).toEqual([...keys, "d"]);
    expect(told).toEqual([...keys.slice(1), "d"]);
    await store.close();
  } finally {
    vi.useRealTimers();
  }
});
