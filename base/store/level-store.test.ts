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
