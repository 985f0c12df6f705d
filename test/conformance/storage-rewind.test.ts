// A volume's past with real clients: rewound to moments, deleted and brought back, copied out and in again, through
// SIGKILLs; and pools that do not keep each other from their work.
import {
  closeSync,
  openSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { waitFor } from "../../base/time/index.js";
import type { PoolView, VolumeView } from "../../storage-pool/index.js";
import {
  encodeSuperblock,
  FORMAT_VERSION,
  parseSuperblock,
  type Superblock,
} from "../../storage-pool/log/format.js";
import { requirePrograms, runOk } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

const MIB = 1024 * 1024;
let storage: StorageProcess;

beforeAll(async () => {
  requirePrograms("qemu-io", "qemu-img", "nbdcopy", "nbdinfo");
  storage = new StorageProcess();
  await storage.start();
}, 120_000);
afterAll(() => storage.destroy());

function io(volume: string, ...commands: string[]): Promise<string> {
  const given = commands.flatMap((command) => ["-c", command]);
  const args = ["-f", "raw", ...given, storage.uri(volume)];
  return runOk("qemu-io", args, { cwd: storage.dir, deadlineMs: 60_000 });
}

async function again(): Promise<void> {
  await storage.end("SIGKILL");
  await storage.start();
}

function writeHead(path: string, bytes: Uint8Array): void {
  const file = openSync(path, "r+");
  writeSync(file, bytes, 0, bytes.length, 0);
  closeSync(file);
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const show = (name: string) => storage.call("volume.get", { name }) as Promise<VolumeView>;

/** A moment after all that was answered; what comes next is in another second, which is how the log tells time. */
async function moment(): Promise<string> {
  await pause(2);
  const now = Date.now();
  await pause(1005 - (now % 1000));
  return new Date(now).toISOString();
}

test("a volume is rewound to any moment of its window, into a clone or itself, and a rewind can be undone", async () => {
  await storage.call("volume.create", { name: "db", sizeBytes: 64 * MIB, rewindSeconds: 3600 });
  const empty = await moment();
  await io("db", "write -P 1 0 4M", "flush");
  const one = await moment();
  await io("db", "write -P 2 1M 1M", "discard 2M 1M", "write -P 3 60M 64k");
  const two = await moment();
  await again();
  await io("db", "write -P 9 0 8M");
  for (const [name, to] of Object.entries({ empty, one, two })) {
    await storage.call("volume.rewind", { name: "db", to, into: `at-${name}` });
  }
  await again();
  expect(await io("at-empty", "read -P 0 0 64M")).not.toMatch(/Pattern|failed/);
  expect(await io("at-one", "read -P 1 0 4M", "read -P 0 4M 60M")).not.toMatch(/Pattern|failed/);
  const asTwo = [
    "read -P 1 0 1M",
    "read -P 2 1M 1M",
    "read -P 0 2M 1M",
    "read -P 1 3M 1M",
    "read -P 3 60M 64k",
  ];
  expect(await io("at-two", ...asTwo, "read -P 0 4M 56M")).not.toMatch(/Pattern|failed/);
  // nbdcopy sees the same as qemu-io, and its map is that of a thin volume.
  await runOk("nbdcopy", [storage.uri("at-two"), join(storage.dir, "two.raw")]);
  await runOk("qemu-img", [
    "compare",
    "-f",
    "raw",
    "-F",
    "raw",
    join(storage.dir, "two.raw"),
    storage.uri("at-two"),
  ]);
  expect(await runOk("nbdinfo", ["--map", "--totals", storage.uri("at-empty")])).toMatch(
    /67108864 +100\.0% +3/,
  );

  const before = await moment();
  await storage.call("volume.rewind", { name: "db", to: one });
  await again();
  expect(await io("db", "read -P 1 0 4M", "read -P 0 4M 60M", "write -P 5 0 64k")).not.toMatch(
    /Pattern|failed/,
  );
  await storage.call("volume.rewind", { name: "db", to: before });
  expect(await io("db", "read -P 9 0 8M", "read -P 3 60M 64k")).not.toMatch(/Pattern|failed/);

  const early = new Date(Date.parse(empty) - 3_600_000).toISOString();
  await expect(storage.call("volume.rewind", { name: "db", to: early })).rejects.toMatchObject({
    code: "TIME_NOT_KEPT",
  });
  const refused = { code: "PARAMETER_INVALID" };
  await expect(storage.call("volume.rewind", { name: "db", to: "soon" })).rejects.toMatchObject(refused);
  await expect(
    storage.call("volume.rewind", { name: "db", to: "2999-01-01T00:00:00Z" }),
  ).rejects.toMatchObject(refused);
  const job = (await storage.call("volume.prove", { name: "db" })) as { id: number };
  await waitFor(
    async () =>
      ((await storage.call("job.get", { id: job.id, pool: "default" })) as { state: string }).state ===
      "done",
    "the proof",
    60_000,
    50,
  );
  await storage.call("volume.set", { name: "db", rewindSeconds: 0 });
  expect(await show("db")).toMatchObject({ rewindSeconds: 0, historyBytes: 0 });
}, 240_000);

test("a deleted volume is found by nobody, comes back with its snapshots, or goes for good", async () => {
  await storage.call("volume.create", { name: "gone", sizeBytes: 16 * MIB });
  await io("gone", "write -P 7 0 2M");
  await storage.call("snapshot.create", { volume: "gone", name: "s" });
  await io("gone", "write -P 8 0 1M");
  await storage.call("volume.delete", { name: "gone" });
  await again();
  await expect(runOk("nbdinfo", [storage.uri("gone")])).rejects.toThrow();
  await storage.call("volume.create", { name: "gone", sizeBytes: 8 * MIB });
  await expect(storage.call("volume.undelete", { name: "gone" })).rejects.toMatchObject({
    code: "VOLUME_EXISTS",
  });
  await storage.call("volume.undelete", { name: "gone", as: "back" });
  await again();
  expect(await io("back", "read -P 8 0 1M", "read -P 7 1M 1M")).not.toMatch(/Pattern|failed/);
  await storage.call("volume.revert", { name: "back", snapshot: "s" });
  expect(await io("back", "read -P 7 0 2M")).not.toMatch(/Pattern|failed/);
  await storage.call("volume.delete", { name: "back", undoSeconds: 1 });
  await waitFor(
    async () => ((await storage.call("volume.deleted", {})) as unknown[]).length === 0,
    "the volume to go for good",
    60_000,
    100,
  );
}, 120_000);

test("what is exported and imported again is the same, sparse, and a failed import leaves nothing", async () => {
  await storage.call("volume.create", { name: "src", sizeBytes: 32 * MIB });
  await io("src", "write -P 1 0 1M", "write -P 2 20M 64k");
  const image = join(storage.dir, "src.qcow2");
  await storage.plinth("volume", "export", "src", image, "--format", "qcow2");
  await storage.plinth("volume", "import", "copy", image, "--rewind", "1h");
  await runOk("qemu-img", ["compare", "-f", "raw", "-F", "raw", storage.uri("src"), storage.uri("copy")]);
  const copy = await show("copy");
  expect(copy).toMatchObject({ sizeBytes: 32 * MIB, allocatedBytes: MIB + 65_536, rewindSeconds: 3600 });
  writeFileSync(
    join(storage.dir, "broken.qcow2"),
    Buffer.concat([Buffer.from("QFI\xfb", "latin1"), Buffer.alloc(4096, 1)]),
  );
  const broken = storage.plinth(
    "volume",
    "import",
    "bad",
    join(storage.dir, "broken.qcow2"),
    "--format",
    "qcow2",
  );
  await expect(broken).rejects.toThrow("COPY_FAILED");
  const names = ((await storage.call("volume.list")) as VolumeView[]).map((each) => each.name);
  expect(names.filter((name) => /bad|importing/.test(name))).toEqual([]);
}, 120_000);

test("a pool whose disks are missing is named and served again when they are back; the others never stop", async () => {
  const disk = join(storage.dir, "other");
  writeFileSync(disk, "");
  truncateSync(disk, 64 * MIB);
  await storage.call("pool.create", { name: "other", disks: [disk] });
  await storage.call("volume.create", { name: "far", sizeBytes: 8 * MIB, pool: "other" });
  await io("far", "write -P 4 0 1M");
  await storage.end("SIGKILL");
  renameSync(disk, `${disk}.away`);
  await storage.start();
  const other = async () =>
    ((await storage.call("pool.list")) as PoolView[]).find((pool) => pool.name === "other");
  expect(await other()).toMatchObject({
    unavailable: expect.stringContaining(disk) as string,
    disks: [{ state: "missing" }],
  });
  expect(await io("src", "read -P 1 0 1M")).not.toMatch(/Pattern|failed/);
  await expect(storage.call("volume.delete", { name: "far" })).rejects.toMatchObject({
    code: "DISK_MISSING",
  });
  // There, but of a newer program: refused by name, and not written to.
  const head = readFileSync(`${disk}.away`).subarray(0, 2048);
  const superblock = parseSuperblock(head, disk);
  const newer = encodeSuperblock({ ...(superblock as Superblock), formatVersion: FORMAT_VERSION + 1 });
  writeHead(`${disk}.away`, newer.subarray(0, 2048));
  renameSync(`${disk}.away`, disk);
  const refused = async () => (await other())?.unavailable?.includes(`has format ${FORMAT_VERSION + 1}`);
  await waitFor(async () => (await refused()) === true, "the format to be refused", 60_000, 100);
  expect((await other())?.disks).toMatchObject([{ state: "closed" }]);
  await expect(storage.call("pool.scrub", { name: "other" })).rejects.toMatchObject({ code: "DISK_FORMAT" });
  expect(await storage.plinth("volume", "list")).toMatch(/default\/far .* not served/);
  expect(readFileSync(disk).subarray(0, 2048)).toEqual(Buffer.from(newer.subarray(0, 2048)));
  writeHead(disk, head);
  await waitFor(async () => (await other())?.unavailable === undefined, "the pool to be back", 60_000, 100);
  expect(await io("far", "read -P 4 0 1M", "write -P 5 0 4k")).not.toMatch(/Pattern|failed/);
}, 120_000);
