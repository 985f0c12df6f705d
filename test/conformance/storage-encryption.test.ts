// Encrypted volumes with real clients: nothing of them is found in the daemon's files, keys that are missing or wrong are
// named, and what is deleted for good cannot be read any more, through SIGKILLs and changes of the pool's key. And metrics.
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { checkPools, type PoolView, type VolumeView } from "../../storage-pool/index.js";
import { requirePrograms, runOk } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

const MIB = 1024 * 1024;
/** What qemu-io writes with -P 0xa7. */
const MARKER = Buffer.alloc(64, 0xa7);
let storage: StorageProcess;
let keyFile: string;

beforeAll(async () => {
  requirePrograms("qemu-io", "qemu-img");
  storage = new StorageProcess();
  keyFile = join(storage.dir, "pool.key");
  await storage.start();
}, 120_000);
afterAll(() => storage.destroy());

function io(volume: string, ...commands: string[]): Promise<string> {
  const given = commands.flatMap((command) => ["-c", command]);
  return runOk("qemu-io", ["-f", "raw", ...given, storage.uri(volume)], {
    cwd: storage.dir,
    deadlineMs: 60_000,
  });
}

const show = (name: string) => storage.call("volume.get", { name }) as Promise<VolumeView>;
const create = (name: string) =>
  storage.call("volume.create", { name, sizeBytes: 64 * MIB, encrypted: true }) as Promise<VolumeView>;

/** Files below the test's directory that hold the marker. */
function filesWith(marker: Buffer, dir = storage.dir): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) return filesWith(marker, path);
    return entry.isFile() && readFileSync(path).includes(marker) ? [path] : [];
  });
}

async function again(): Promise<void> {
  await storage.end("SIGKILL");
  await storage.start();
}

test("a volume is encrypted on the disks, with its snapshots and clones, and exported in the clear", async () => {
  await expect(create("db")).rejects.toMatchObject({ code: "KEY_NOT_SET" });
  await storage.call("pool.rekey", { name: "default", keyFile });
  expect(statSync(keyFile).mode & 0o777).toBe(0o600);
  expect(await create("db")).toMatchObject({ encrypted: true });
  await expect(storage.call("volume.create", { name: "db", sizeBytes: 64 * MIB })).rejects.toMatchObject({
    code: "VOLUME_EXISTS",
  });
  await io("db", "write -P 0xa7 0 3M", "write -P 0xa7 9000k 5000", "flush");
  await storage.call("snapshot.create", { volume: "db", name: "one" });
  await io("db", "write -P 9 1M 64k", "discard 2M 64k", "flush");
  await storage.call("volume.clone", { name: "test", volume: "db", snapshot: "one" });
  await io("test", "write -P 0xa7 20M 1M", "flush");
  const reads = ["read -P 0xa7 0 3M", "read -P 0xa7 9000k 5000", "read -P 0xa7 20M 1M"];
  expect(await io("test", ...reads)).not.toMatch(/Pattern|failed/);
  expect(await io("db", "read -P 9 1M 64k", "read -P 0 2M 64k", "read -P 0 20M 1M")).not.toMatch(
    /Pattern|failed/,
  );
  expect(filesWith(MARKER)).toEqual([]);
  const image = join(storage.dir, "out.raw");
  await storage.plinth("volume", "export", "db@one", image);
  expect(readFileSync(image).subarray(0, 64).equals(MARKER)).toBe(true);
});

test("without the right key volumes are refused by name, and served as soon as it is there", async () => {
  renameSync(keyFile, `${keyFile}.away`);
  await again();
  const { locked } = await show("db");
  expect(locked).toContain(keyFile);
  const socket = join(storage.dir, "db.sock");
  await expect(storage.call("export.open", { volume: "db", socket })).rejects.toMatchObject({
    code: "VOLUME_LOCKED",
  });
  await expect(io("db", "read 0 4k")).rejects.toThrow(
    /the export "db" is not served: it is encrypted, and its key/,
  );
  // Nobody needs the key to make a snapshot.
  await storage.call("snapshot.create", { volume: "db", name: "two" });
  writeFileSync(keyFile, Buffer.alloc(32, 1), { mode: 0o600 });
  await expect(storage.call("pool.unlock", { name: "default" })).rejects.toMatchObject({ code: "KEY_WRONG" });
  chmodSync(keyFile, 0o644);
  await expect(storage.call("pool.unlock", { name: "default" })).rejects.toMatchObject({
    code: "KEY_EXPOSED",
  });
  renameSync(`${keyFile}.away`, keyFile);
  await waitFor(async () => (await show("db")).locked === undefined, "the key is found", 60_000);
  expect(await io("db", "read -P 9 1M 64k")).not.toMatch(/Pattern|failed/);
});

test("another pool key opens what there is", async () => {
  await storage.call("pool.rekey", { name: "default", passphrase: "correct horse" });
  await again();
  expect((await show("test")).locked).toMatch(/passphrase/);
  await expect(
    storage.call("pool.unlock", { name: "default", passphrase: "wrong horse" }),
  ).rejects.toMatchObject({ code: "KEY_WRONG" });
  const view = (await storage.call("pool.unlock", {
    name: "default",
    passphrase: "correct horse",
  })) as PoolView;
  expect(view.key).toEqual({ kind: "passphrase", path: "" });
  expect(await io("test", "read -P 0xa7 20M 1M")).not.toMatch(/Pattern|failed/);
});

test("the key of a volume goes when it cannot be asked back any more, and not while a clone has it", async () => {
  const rings = join(storage.dir, "s", "keys");
  const sizeOf = () => statSync(join(rings, readdirSync(rings)[0] as string)).size;
  const before = sizeOf();
  await create("gone");
  expect(sizeOf() - before).toBeGreaterThan(72);
  await storage.call("volume.delete", { name: "gone", undoSeconds: 3600 });
  expect(sizeOf() - before).toBeGreaterThan(72);
  await storage.call("volume.purge", { name: "gone" });
  expect(sizeOf()).toBe(before);
  // Its clone has the same key.
  await storage.call("volume.delete", { name: "db", undoSeconds: 0 });
  expect(sizeOf()).toBe(before);
});

test("a key that cannot be taken out of the ring is told, and goes as soon as it can", async () => {
  const rings = join(storage.dir, "s", "keys");
  const ring = join(rings, readdirSync(rings)[0] as string);
  const before = statSync(ring).size;
  await create("kept");
  // Nothing can be written there.
  mkdirSync(`${ring}.new`);
  const gone = storage.call("volume.delete", { name: "kept", undoSeconds: 0 });
  await expect(gone).rejects.toMatchObject({ code: "KEY_KEPT" });
  await expect(show("kept")).rejects.toMatchObject({ code: "VOLUME_NOT_FOUND" });
  expect(statSync(ring).size).toBeGreaterThan(before);
  rmdirSync(`${ring}.new`);
  await waitFor(() => statSync(ring).size === before, "the key to go", 60_000);
});

test("metrics tell what clients did, by volume and by hop", async () => {
  await storage.call("volume.create", { name: "seen", sizeBytes: 64 * MIB });
  await io("seen", "write -P 1 0 1M", "flush", "read -P 1 0 64k", "discard 0 64k");
  const { text } = (await storage.call("metrics", {})) as { text: string };
  const value = (name: string, labels: string): number => {
    const line = text.split("\n").find((each) => each.startsWith(`${name}{${labels}`));
    return Number(line?.split(" ").at(-1));
  };
  const labels = 'pool="default",volume="default/seen"';
  expect(value("plinth_volume_bytes_total", `${labels},op="write"`)).toBe(MIB);
  expect(value("plinth_volume_bytes_total", `${labels},op="read"`)).toBeGreaterThanOrEqual(64 * 1024);
  expect(value("plinth_volume_requests_total", `${labels},op="flush"`)).toBeGreaterThanOrEqual(1);
  expect(value("plinth_volume_requests_total", `${labels},op="unmap"`)).toBe(1);
  expect(value("plinth_volume_errors_total", `${labels},op="write"`)).toBe(0);
  expect(value("plinth_volume_request_seconds_count", labels)).toBeGreaterThanOrEqual(4);
  for (const hop of ["queue", "append", "answer", "send", "sync"]) {
    expect(value("plinth_storage_hop_seconds_count", `hop="${hop}"`), hop).toBeGreaterThan(0);
  }
  expect(value("plinth_pool_left_bytes", 'pool="default"')).toBeGreaterThan(0);
  // Every line is a comment or a sample.
  for (const line of text.trimEnd().split("\n")) {
    expect(line).toMatch(/^(# (HELP|TYPE) \w+ .+|\w+(\{(\w+="([^"\\]|\\.)*",?)+\})? [-+\d.eInf]+)$/);
  }
});

test("a check without the daemon needs no key", async () => {
  await storage.end("SIGKILL");
  const [checked] = await checkPools(join(storage.dir, "s"));
  const proven = checked?.volumes.map(({ name, badCount, findings }) => ({ name, badCount, findings }));
  expect(proven).toContainEqual({ name: "default/test", badCount: 0, findings: [] });
});
