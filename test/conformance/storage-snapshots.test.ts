// Snapshots through the command line: of several volumes at one moment, what differs between two, through a SIGKILL.
import { afterEach, beforeAll, expect, test } from "vitest";
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
  await io("a", "write -P 3 0 4k");
  await storage.plinth("volume", "clone", "c", "b", "one");
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
  expect((await diff("two")).ranges).toEqual([{ offsetBytes: 0, lengthBytes: 4096 }]);
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
