// A pool on block devices: two loop devices of different size and class. Copies on both, a volume of one class on one
// only, space back to the device, a SIGKILL, a drain while clients use the volumes, and a proof at the end.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../../base/time/index.js";
import type { DiskView, PoolView } from "../../storage-pool/index.js";
import { LoopDevice } from "../support/loop-device.js";
import { needsRoot } from "../support/needs.js";
import { requirePrograms, runOk } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

const MIB = 1024 * 1024;
let dir = "";
let small: LoopDevice;
let large: LoopDevice;
let storage: StorageProcess;

function io(name: string, ...commands: string[]): Promise<string> {
  const args = ["-f", "raw", ...commands.flatMap((command) => ["-c", command]), storage.uri(name)];
  return runOk("qemu-io", args, { cwd: storage.dir, deadlineMs: 60_000 });
}

async function expectAll(): Promise<void> {
  const twice = await io("twice", "read -P 0 0 16M", "read -P 2 16M 8M");
  const fast = await io("fast", "read -P 3 0 20M");
  expect(`${twice}${fast}`).not.toMatch(/Pattern|error|failed/);
}

async function disks(): Promise<Record<string, DiskView>> {
  const [pool] = (await storage.call("pool.list")) as PoolView[];
  return Object.fromEntries((pool as PoolView).disks.map((disk) => [disk.path, disk]));
}
const segments = async (path: string) => (await disks())[path]?.segments ?? -1;

describe("a pool on block devices", needsRoot, () => {
  beforeAll(async () => {
    requirePrograms("qemu-io", "losetup");
    dir = mkdtempSync("/tmp/st-loop-");
    small = await LoopDevice.create(join(dir, "small"), 96 * MIB);
    large = await LoopDevice.create(join(dir, "large"), 160 * MIB);
    storage = new StorageProcess([small.path, large.path]);
    await storage.start();
  }, 120_000);
  afterAll(async () => {
    await storage?.destroy();
    await small?.destroy();
    await large?.destroy();
    if (dir !== "") rmSync(dir, { recursive: true, force: true });
  });

  test("copies go to both, a volume of a class to its device only, and discarded space back to the devices", async () => {
    expect(await storage.plinth("pool", "class", "default", small.path, "hdd")).toContain("is of class hdd");
    await storage.call("disk.class", { name: "default", disk: large.path, class: "ssd" });
    const shown = await disks();
    expect(Object.keys(shown)).toEqual([small.path, large.path]);
    for (const [device, mib] of [
      [small, 96],
      [large, 160],
    ] as const) {
      const { sizeBytes = 0 } = shown[device.path] ?? {};
      expect(sizeBytes).toBeLessThan(mib * MIB);
      expect(sizeBytes).toBeGreaterThan((mib - 12) * MIB);
    }
    await storage.call("volume.create", { name: "twice", sizeBytes: 64 * MIB, copies: 2 });
    await io("twice", "write -P 1 0 16M", "write -P 2 16M 8M", "flush");
    expect(await segments(small.path)).toBe(await segments(large.path));
    const before = await segments(small.path);
    expect(before).toBeGreaterThanOrEqual(6);
    await storage.call("volume.create", { name: "fast", sizeBytes: 32 * MIB, class: "ssd" });
    await io("fast", "write -P 3 0 20M", "flush");
    expect(await segments(small.path)).toBe(before);
    expect(await segments(large.path)).toBeGreaterThanOrEqual(before + 5);
    const refusal = storage.call("volume.create", { name: "none", sizeBytes: MIB, class: "nvme" });
    await expect(refusal).rejects.toThrow("1 copy needs a disk of class nvme; default has 0");
    const used = small.usedBytes;
    await io("twice", "discard 0 16M", "flush");
    await waitFor(() => small.usedBytes <= used - 12 * MIB, "space back on the device's file", 60_000);
    await expectAll();
  }, 120_000);

  test("after a SIGKILL everything is there and proven", async () => {
    await io("twice", "write -P 9 48M 4M", "write -P 2 48M 4M");
    await storage.end("SIGKILL");
    await storage.start();
    await expectAll();
    expect(await io("twice", "read -P 2 48M 4M")).not.toMatch(/Pattern|failed/);
    expect((await disks())[large.path]).toMatchObject({ state: "online", class: "ssd" });
    expect(await storage.plinth("volume", "prove", "twice")).toContain("proven");
  }, 120_000);

  test("one is drained to a directory of its class and goes, while the last of another class may not", async () => {
    const drained = (disk: string) => storage.plinth("pool", "drain", "default", disk);
    await expect(drained(large.path)).rejects.toThrow("volume default/fast is kept on disks of class ssd");
    const fresh = join(dir, "fresh");
    await storage.call("disk.add", { name: "default", disks: [fresh], class: "hdd" });
    await expect(
      storage.call("disk.add", { name: "default", disks: [fresh], class: "ssd" }),
    ).rejects.toMatchObject({ field: "class", message: `${fresh} is in the pool already, and of class hdd` });
    await expect(storage.call("pool.set", { name: "default" })).rejects.toThrow("nothing to change");
    const fast = await segments(large.path);
    expect(await drained(small.path)).toContain(`${small.path} is empty`);
    expect(await storage.plinth("pool", "show", "default")).toMatch(new RegExp(`${small.path} .* drained`));
    await storage.call("disk.remove", { name: "default", disk: small.path });
    expect(Object.keys(await disks())).toEqual([large.path, fresh]);
    expect(await segments(fresh)).toBeGreaterThanOrEqual(3);
    // What the cleaner moved on the way leaves segments that go once nothing reads them.
    await waitFor(
      async () => (await segments(large.path)) <= fast,
      "no more segments than before on the large disk",
      60_000,
    );
    await expectAll();
    // The device is nobody's now, and another pool may have it.
    await storage.call("pool.create", { name: "other", disks: [small.path] });
    for (const name of ["twice", "fast"]) {
      expect(await storage.plinth("volume", "prove", name)).toContain("proven");
    }
    const [, other] = (await storage.call("pool.list")) as PoolView[];
    expect(other).toMatchObject({ name: "other", lostBlocks: 0 });
  }, 120_000);
});
