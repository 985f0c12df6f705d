import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openLevelStore } from "./level-store.js";
import { describeStore } from "./store-suite.js";

const makeDirectory = (): Promise<string> => mkdtemp(join(tmpdir(), "pl-store-"));
const removeDirectory = (directory: string): Promise<void> => rm(directory, { recursive: true, force: true });

describeStore("level store", async () => {
  const directory = await makeDirectory();
  return {
    open: (limits) => openLevelStore(directory, limits),
    cleanup: () => removeDirectory(directory),
  };
});

describeStore("level store with its history", async () => {
  const directory = await makeDirectory();
  return {
    open: (limits) => openLevelStore(directory, { ...limits, keepHistory: true }),
    cleanup: () => removeDirectory(directory),
  };
});

describe("level store", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await makeDirectory();
  });
  afterEach(() => removeDirectory(directory));

  test("comes back with its entries and its revision", async () => {
    const first = await openLevelStore(directory);
    await first.put("a", Uint8Array.of(0, 255));
    await first.put("b", Uint8Array.of(1));
    await first.delete("b");
    await first.close();
    const second = await openLevelStore(directory);
    expect(second.revision).toBe(3);
    expect(await second.get("a")).toEqual({
      key: "a",
      value: Uint8Array.of(0, 255),
      createRevision: 1,
      revision: 1,
    });
    expect(await second.put("b", Uint8Array.of(2))).toBe(4);
    await expect(second.watch({ prefix: "", fromRevision: 2 }, () => {})).rejects.toMatchObject({
      code: "REVISION_COMPACTED",
    });
    await second.close();
  });

  /** Whatever kind of bytes a value is. */
  const plain = (events: unknown): string =>
    JSON.stringify(events, (name, value) =>
      name === "value" ? Buffer.from(value.data ?? Object.values(value as object)).toString("hex") : value,
    );

  test("that keeps its history goes on from before the restart, as often as it is started", async () => {
    const open = () => openLevelStore(directory, { keepHistory: true });
    const first = await open();
    await first.put("a", Buffer.from("1"));
    await first.put("b", Buffer.from("1"));
    await first.put("a", Buffer.from("2"));
    await first.delete("b");
    const told: unknown[] = [];
    const live = await first.watch({ prefix: "", fromRevision: 1 }, (events) => told.push(...events));
    live.cancel();
    await first.close();
    for (let i = 0; i < 2; i++) {
      const again = await open();
      const seen: unknown[] = [];
      (await again.watch({ prefix: "", fromRevision: 1 }, (events) => seen.push(...events))).cancel();
      expect(plain(seen)).toBe(plain(told));
      const then = await again.list({ prefix: "", revision: 2 });
      expect(then.entries.map(({ key, value }) => [key, Buffer.from(value).toString()])).toEqual([
        ["a", "1"],
        ["b", "1"],
      ]);
      await again.close();
    }
    const last = await open();
    expect(await last.put("c", Buffer.from("1"))).toBe(5);
    await last.close();
  });

  test("drops a history that is not of its state, and works without", async () => {
    const kept = await openLevelStore(directory, { keepHistory: true });
    await kept.put("a", Buffer.from("1"));
    await kept.close();
    // Somebody who keeps none writes in between: there is a gap.
    const plain = await openLevelStore(directory);
    await plain.put("a", Buffer.from("2"));
    await plain.close();
    const again = await openLevelStore(directory, { keepHistory: true });
    await expect(again.watch({ prefix: "", fromRevision: 1 }, () => {})).rejects.toMatchObject({
      code: "REVISION_COMPACTED",
    });
    await again.put("a", Buffer.from("3"));
    await again.close();
    const last = await openLevelStore(directory, { keepHistory: true });
    const seen: number[] = [];
    await last.watch({ prefix: "", fromRevision: 2 }, (events) => {
      seen.push(...events.map(({ revision }) => revision));
    });
    expect(seen).toEqual([3]);
    await last.close();
  });

  test("refuses a directory that is in use", async () => {
    const first = await openLevelStore(directory);
    await expect(openLevelStore(directory)).rejects.toMatchObject({ code: "STORE_LOCKED" });
    await first.close();
  });

  test("names a directory that cannot be read", async () => {
    await (await openLevelStore(directory)).close();
    await writeFile(join(directory, "CURRENT"), "nonsense");
    await expect(openLevelStore(directory)).rejects.toMatchObject({ code: "STORE_CORRUPT" });
  });

  test("keeps every acknowledged write when its process is killed", async () => {
    const entry = resolve("dist/base/store/index.js");
    const script = `import { openLevelStore } from ${JSON.stringify(entry)};
      const store = await openLevelStore(process.argv[1]);
      for (let i = 1; ; i++) { await store.put("k" + i, Buffer.from(String(i))); console.log(i); }`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script, directory], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let acknowledged = 0;
    for await (const line of createInterface({ input: child.stdout })) {
      acknowledged = Number(line);
      if (acknowledged === 50) child.kill("SIGKILL");
    }
    expect(acknowledged).toBeGreaterThanOrEqual(50);
    const store = await openLevelStore(directory);
    expect(store.revision).toBeGreaterThanOrEqual(acknowledged);
    for (let i = 1; i <= acknowledged; i++) {
      expect(Buffer.from((await store.get(`k${i}`))?.value ?? []).toString()).toBe(String(i));
    }
    await store.close();
  });
});
