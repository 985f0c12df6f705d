// Snapshots through the command line: of several volumes at one moment, what differs between two, through a SIGKILL;
// and those that schedules make and let go.
import { join } from "node:path";
import { afterEach, beforeAll, expect, test } from "vitest";
import { openLevelStore } from "../../base/store/index.js";
import { waitFor } from "../../base/time/index.js";
import { Catalogue, type VolumeEntry } from "../../storage-pool/catalogue/catalogue.js";
import type { DiffView, VolumeView } from "../../storage-pool/index.js";
import { requirePrograms, runOk } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

const MIB = 1024 * 1024;

beforeAll(() => requirePrograms("qemu-io"));

let storage: StorageProcess;
afterEach(() => storage.destroy());

function io(volume: string, ...commands: string[]): Promise<string> {
  const given = commands.flatMap((command) => ["-c", command]);
  const readOnly = volume.includes("@") ? ["-r"] : [];
  const args = ["-f", "raw", ...readOnly, ...given, storage.uri(volume)];
  return runOk("qemu-io", args, { cwd: storage.dir, deadlineMs: 60_000 });
}

test("snapshots of a group, their differences and a clone are there after a SIGKILL, exactly", async () => {
  storage = new StorageProcess();
  await storage.start();
  for (const name of ["a", "b"]) {
    await storage.call("volume.create", { name, sizeBytes: 1024 * 1024 * MIB });
    await io(name, "write -P 1 0 4M", "write -P 1 900G 1M");
  }
  expect(await storage.plinth("volume", "snapshot", "a", "one", "--with", "b")).toContain(
    "snapshot one of default/a, default/b made",
  );
  await io("a", "write -P 2 1M 64k", "discard 900G 64k", "write -P 2 500G 4k");
  await storage.plinth("volume", "snapshot", "a", "two");
  const freed = async (name: string) =>
    (await storage.plinth("volume", "show", "a")).match(new RegExp(`^${name} .* (\\S+)$`, "m"))?.[1];
  expect([await freed("one"), await freed("two")]).toEqual(["128KiB", "0B"]);
  await io("a", "write -P 3 0 4k");
  // Shown as it is now, though it was counted a moment ago.
  expect(await freed("two")).toBe("0B");
  await io("a", "write -P 3 1M 4k");
  expect(await freed("two")).toBe("4KiB");
  // What is there already is of another moment.
  for (const words of [
    ["a", "two"],
    ["a", "one", "--with", "b"],
  ]) {
    await expect(storage.plinth("volume", "snapshot", ...words)).rejects.toThrow("SNAPSHOT_EXISTS");
  }
  await storage.plinth("volume", "clone", "c", "b", "one");
  await expect(storage.plinth("volume", "clone", "c", "b", "one")).rejects.toThrow("VOLUME_EXISTS");
  await expect(storage.plinth("volume", "export", "a@three", "x")).rejects.toThrow(
    "volume default/a has no snapshot three",
  );
  await storage.end("SIGKILL");
  await storage.start();
  const diff = (from: string, to?: string) =>
    storage.call("volume.diff", {
      name: "a",
      from,
      ...(to === undefined ? {} : { to }),
    }) as Promise<DiffView>;
  const changed = [
    { offsetBytes: MIB, lengthBytes: 65536 },
    { offsetBytes: 500 * 1024 * MIB, lengthBytes: 4096 },
    { offsetBytes: 900 * 1024 * MIB, lengthBytes: 65536 },
  ];
  expect(await diff("one", "two")).toEqual({ changedBytes: 135_168, ranges: changed, truncated: false });
  expect((await diff("two")).ranges).toEqual([
    { offsetBytes: 0, lengthBytes: 4096 },
    { offsetBytes: MIB, lengthBytes: 4096 },
  ]);
  expect(await storage.plinth("volume", "diff", "a", "one")).toMatch(/^1048576 +64KiB$/m);
  for (const name of ["a@one", "b@one", "c"]) {
    expect(await io(name, "read -P 1 0 4M", "read -P 1 900G 1M")).not.toMatch(/Pattern|error|failed/);
  }
  expect(await io("a@two", "read -P 1 0 1M", "read -P 2 1M 64k", "read -P 0 900G 64k")).not.toMatch(
    /Pattern|failed/,
  );
  await expect(storage.plinth("volume", "snapshot", "c", "one", "--with", "b")).rejects.toThrow(
    "SNAPSHOT_EXISTS",
  );
  await storage.plinth("volume", "revert", "a", "one");
  await storage.end("SIGKILL");
  await storage.start();
  expect(await io("a", "read -P 1 0 4M", "read -P 1 900G 1M", "read -P 0 500G 4k")).not.toMatch(
    /Pattern|failed/,
  );
  const volumes = (await storage.call("volume.list")) as VolumeView[];
  expect(volumes.map(({ name, snapshots }) => [name, snapshots.map((each) => each.name)])).toEqual([
    ["default/a", ["one", "two"]],
    ["default/b", ["one"]],
    ["default/c", []],
  ]);
  expect(await storage.plinth("volume", "prove", "a")).toContain("proven");
});

const volume = async (name: string) => (await storage.call("volume.get", { name })) as VolumeView;
const scheduled = async (name: string) =>
  (await volume(name)).snapshots.filter(({ schedule }) => schedule === "monthly").map((each) => each.name);

/** Kills storaged, lets the time of all schedules come, and starts it. */
async function missAMonth(): Promise<void> {
  await storage.end("SIGKILL");
  const catalogue = await Catalogue.open(await openLevelStore(join(storage.dir, "s", "catalogue")));
  for (const entry of [...catalogue.volumes.values()]) {
    const schedules = entry.schedules.map((each) => ({ ...each, lastMs: each.lastMs - 32 * 86_400_000 }));
    await catalogue.putVolume({ ...entry, schedules } satisfies VolumeEntry);
  }
  await catalogue.close();
  await storage.start();
}

test("schedules make snapshots of volumes at one moment and let the oldest go, whatever the volume is called", async () => {
  storage = new StorageProcess();
  await storage.start();
  for (const name of ["a", "b"]) await storage.call("volume.create", { name, sizeBytes: 64 * MIB });
  expect(await storage.plinth("volume", "schedule", "a", "monthly", "--keep", "1")).toBe(
    'volume default/a: monthly snapshots: "0 0 1 * *", keeps 1\n',
  );
  await storage.call("volume.schedule", { name: "b", schedule: "monthly" });
  // Due on the last of February of leap years only.
  await storage.call("volume.schedule", { name: "b", schedule: "own", cron: "30 2 29 2 *" });
  await storage.call("snapshot.create", { volume: "a", name: "by-hand" });
  await expect(storage.plinth("volume", "schedule", "a", "own", "--cron", "61 * * * *")).rejects.toThrow(
    'cron must be five fields such as "30 2 * * *" (UTC), not "61 * * * *"',
  );
  await io("a", "write -P 1 0 1M", "flush");
  await missAMonth();
  await waitFor(async () => (await scheduled("b")).length === 1, "the first snapshots", 60_000);
  const [first = ""] = await scheduled("a");
  expect(first).toMatch(/^monthly-\d{4}-\d\d-\d\dt\d\d-\d\d-\d\dz$/);
  expect(await scheduled("b")).toEqual([first]);
  expect(await storage.plinth("volume", "rename", "a", "shop/renamed")).toBe(
    "volume a is shop/renamed now\n",
  );
  await expect(storage.plinth("volume", "rename", "b", "shop/renamed")).rejects.toThrow("VOLUME_EXISTS");
  await io("shop/renamed", "write -P 2 0 1M", "flush");
  await missAMonth();
  await waitFor(async () => (await scheduled("b")).length === 2, "the second snapshots", 60_000);
  await waitFor(async () => !(await scheduled("shop/renamed")).includes(first), "the oldest to go", 60_000);
  const [second = "", ...more] = await scheduled("shop/renamed");
  expect(more).toEqual([]);
  expect(await scheduled("b")).toEqual([first, second]);
  expect((await volume("b")).snapshots).toHaveLength(2);
  expect((await volume("shop/renamed")).snapshots.map(({ name }) => name)).toEqual(["by-hand", second]);
  expect(await io(`shop/renamed@${second}`, "read -P 2 0 1M")).not.toMatch(/Pattern|failed/);
  expect(await storage.plinth("volume", "schedule", "shop/renamed", "monthly", "--remove")).toContain(
    "no monthly snapshots any more",
  );
  expect(await scheduled("shop/renamed")).toEqual([second]);
  expect((await volume("shop/renamed")).schedules).toEqual([]);
}, 120_000);
