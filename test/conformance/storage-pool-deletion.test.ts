// A pool is deleted: refused while it holds anything, erased with its disks and keys, and gone on with after a crash at
// any point of it, while the other pools never stop.
import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openLevelStore } from "../../base/store/index.js";
import { Catalogue, type PoolEntry } from "../../storage-pool/catalogue/catalogue.js";
import { eraseDisk } from "../../storage-pool/disk/erase-disk.js";
import type { PoolView } from "../../storage-pool/index.js";
import { requirePrograms, runOk } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

const MIB = 1024 * 1024;
/** After how many milliseconds of a deletion storaged is killed, besides at the points that are made by hand. */
const KILLED_AFTER_MS = process.env["PLINTH_NIGHTLY"] === "1" ? [0, 1, 2, 4, 8, 16, 32, 64] : [4];
let storage: StorageProcess;

beforeAll(async () => {
  requirePrograms("qemu-io");
  storage = new StorageProcess();
  await storage.start();
  await storage.call("volume.create", { name: "kept", sizeBytes: 8 * MIB });
  await io("kept", "write -P 1 0 8M", "flush");
}, 120_000);
afterAll(() => storage.destroy());

function io(name: string, ...commands: string[]): Promise<string> {
  const args = ["-f", "raw", ...commands.flatMap((command) => ["-c", command]), storage.uri(name)];
  return runOk("qemu-io", args, { deadlineMs: 60_000 });
}

/** A directory, and a file of 64 MiB. */
function disksOf(pool: string): [string, string] {
  const file = join(storage.dir, `${pool}.img`);
  writeFileSync(file, "");
  truncateSync(file, 64 * MIB);
  return [join(storage.dir, `${pool}.d`), file];
}

/** A pool with a volume of two copies that holds something; its volume has the pool's name. */
async function make(pool: string, encrypted = false): Promise<[string, string]> {
  const disks = disksOf(pool);
  await storage.call("pool.create", { name: pool, disks });
  if (encrypted) await storage.call("pool.rekey", { name: pool, keyFile: join(storage.dir, `${pool}.key`) });
  await storage.call("volume.create", { name: pool, pool, sizeBytes: 16 * MIB, copies: 2, encrypted });
  await io(pool, "write -P 7 0 8M", "flush");
  return disks;
}

const pools = async () => (await storage.call("pool.list")) as PoolView[];
const names = async () => (await pools()).map(({ name }) => name);
const isBlank = (path: string) => readFileSync(path).equals(Buffer.alloc(64 * MIB));
const below = (part: string) => {
  const path = join(storage.dir, "s", part);
  return existsSync(path) ? readdirSync(path) : [];
};

function expectErased([directory, file]: readonly [string, string]): void {
  expect(existsSync(directory) ? readdirSync(directory) : []).toEqual([]);
  expect(isBlank(file)).toBe(true);
}

/** What a crash leaves in the catalogue of a daemon that does not run. */
async function crashed(change: (catalogue: Catalogue) => Promise<void>): Promise<void> {
  const catalogue = await Catalogue.open(await openLevelStore(join(storage.dir, "s", "catalogue")));
  await change(catalogue);
  await catalogue.close();
}

test("a pool that holds volumes, or one that can be brought back, is refused by name; nothing is changed", async () => {
  const disks = await make("full");
  const refused = (field: string, message: RegExp, code = "POOL_IN_USE") =>
    expect(storage.call("pool.delete", { name: "full" })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
      field,
    });
  await refused("name", /^pool full holds volumes: default\/full$/);
  const socket = join(storage.dir, "full.sock");
  await storage.call("export.open", { volume: "full", socket });
  await expect(storage.call("pool.delete", { name: "full", force: true })).rejects.toMatchObject({
    code: "VOLUME_IN_USE",
  });
  await storage.call("export.close", { socket });
  await storage.call("volume.delete", { name: "full" });
  await refused("name", /default\/full \(deleted, can be brought back\)$/);
  await storage.call("volume.undelete", { name: "full" });
  expect(await io("full", "read -P 7 0 8M")).not.toMatch(/Pattern|failed/);
  await expect(storage.call("pool.delete", { name: "none" })).rejects.toMatchObject({ field: "name" });
  await expect(storage.call("pool.delete", { name: "full", force: 1 })).rejects.toMatchObject({
    field: "force",
  });

  // Where no directory can be made Node's own mkdir goes round for ever, and all volumes with it.
  const nowhere = storage.call("pool.create", { name: "none", disks: ["/proc/sys/none/at/all"] });
  await expect(nowhere).rejects.toMatchObject({ code: "PARAMETER_INVALID", field: "disks" });

  // What the API has made it would make anew.
  await storage.call("pool.own", { name: "full", owner: "StoragePool full" });
  await refused("name", /belongs to the StoragePool full, which would make it anew/, "OWNED");
  await expect(storage.plinth("pool", "delete", "full")).rejects.toThrow("plinth delete storagepool full;");
  await storage.call("pool.own", { name: "full", owner: "" });
  await storage.call("volume.own", { name: "full", owner: "Volume default/full" });
  for (const args of [
    ["delete", "full"],
    ["rename", "full", "other"],
  ]) {
    const refusal = storage.plinth("volume", ...args);
    await expect(refusal, args[0]).rejects.toThrow(
      /would make it anew.*plinth delete volume full -n default;/s,
    );
  }
  await storage.plinth("volume", "delete", "full", "--force");
  await storage.call("volume.undelete", { name: "full" });

  renameSync(disks[1], `${disks[1]}.away`);
  await storage.call("volume.delete", { name: "full", undoSeconds: 0 });
  await refused("name", /full\.img: not there/, "DISK_MISSING");
  renameSync(`${disks[1]}.away`, disks[1]);
  expect(await storage.plinth("pool", "delete", "full")).toBe("pool full is deleted\n");
  expect(await names()).toEqual(["default"]);
  expectErased(disks);
}, 120_000);

test("with --force its volumes, maps and keys go too; another pool of its name may take its disks", async () => {
  const disks = await make("secret", true);
  const rings = below("keys");
  const maps = below("maps");
  expect(rings).toHaveLength(1);
  await storage.plinth("pool", "delete", "secret", "--force");
  expectErased(disks);
  expect(below("keys")).toEqual([]);
  expect(below("maps").length).toBeLessThan(maps.length);
  await storage.call("pool.create", { name: "secret", disks });
  const keyFile = join(storage.dir, "secret.key");
  await storage.call("pool.rekey", { name: "secret", keyFile });
  // The ring of the new pool, not at the place of the old one.
  expect(below("keys")).toHaveLength(1);
  expect(below("keys")).not.toEqual(rings);
  await storage.call("volume.create", { name: "new", pool: "secret", sizeBytes: MIB, encrypted: true });
  expect(await io("new", "read -P 0 0 1M", "write -P 5 0 1M")).not.toMatch(/Pattern|failed/);
  await storage.plinth("pool", "delete", "secret", "--force");
  expect(await io("kept", "read -P 1 0 8M")).not.toMatch(/Pattern|failed/);
}, 120_000);

test("wherever a crash ends a deletion the next start goes on with it, and waits for a disk that is away", async () => {
  const marked = await make("marked", true);
  const half = await make("half");
  const nearly = await make("nearly");
  const away = await make("away");
  const ids = new Map<string, string>();
  await storage.end("SIGKILL");
  await crashed(async (catalogue) => {
    for (const name of ["marked", "half", "nearly", "away"]) {
      const pool = catalogue.pools.get(name) as PoolEntry;
      ids.set(name, pool.id);
      await catalogue.putPool({ ...pool, deleting: true });
      if (name !== "marked") await catalogue.deleteVolume(`default/${name}`);
    }
  });
  await eraseDisk(half[0], ids.get("half") as string);
  for (const path of nearly) await eraseDisk(path, ids.get("nearly") as string);
  rmSync(join(storage.dir, "s", "maps", ids.get("nearly") as string), { recursive: true, force: true });
  renameSync(away[0], `${away[0]}.moved`);
  await storage.start();
  expect(await names()).toEqual(["away", "default"]);
  for (const disks of [marked, half, nearly]) expectErased(disks);
  expect(below("keys")).toEqual([]);
  const [left] = await pools();
  expect(left?.unavailable).toMatch(/^it is being deleted: .*away\.d/);
  const deleting = (field: string) => ({
    code: "POOL_DELETING",
    message: expect.stringMatching(
      /^pool away is being deleted \(.*away\.d.*\): nothing can be done/,
    ) as string,
    field,
  });
  for (const [method, params, field] of [
    ["volume.create", { name: "late", pool: "away", sizeBytes: MIB }, "pool"],
    ["pool.create", { name: "away", disks: [away[1]] }, "name"],
    ["pool.scrub", { name: "away" }, "name"],
    ["disk.add", { name: "away", disks: [join(storage.dir, "more")] }, "name"],
  ] as const) {
    await expect(storage.call(method, params), method).rejects.toMatchObject(deleting(field));
  }
  expect(await io("kept", "read -P 1 0 8M")).not.toMatch(/Pattern|failed/);
  renameSync(`${away[0]}.moved`, away[0]);
  // It would be tried again by itself, as pools that cannot be opened are.
  await storage.call("pool.delete", { name: "away" });
  expect(await names()).toEqual(["default"]);
  expectErased(away);
}, 120_000);

test("a disk that is lost is let go as it is, and is nobody's to take", async () => {
  const disks = await make("torn");
  renameSync(disks[1], `${disks[1]}.away`);
  await storage.plinth("pool", "delete", "torn", "--force", "--lost");
  expect(await names()).toEqual(["default"]);
  renameSync(`${disks[1]}.away`, disks[1]);
  await expect(storage.call("pool.create", { name: "again", disks: [disks[1]] })).rejects.toMatchObject({
    code: "DISK_FOREIGN",
  });
}, 120_000);

test("whenever storaged is killed while it deletes a pool, the pool is whole or goes", async () => {
  for (const [turn, afterMs] of KILLED_AFTER_MS.entries()) {
    const name = `turn${turn}`;
    const disks = await make(name);
    const deletion = storage.call("pool.delete", { name, force: true }).catch(() => {});
    await sleep(afterMs);
    await storage.end("SIGKILL");
    await deletion;
    await storage.start();
    if ((await names()).includes(name)) {
      expect(await io(name, "read -P 7 0 8M")).not.toMatch(/Pattern|failed/);
      await storage.call("pool.delete", { name, force: true });
    }
    expect(await names()).toEqual(["default"]);
    expect(isBlank(disks[1])).toBe(true);
  }
  expect(await io("kept", "read -P 1 0 8M")).not.toMatch(/Pattern|failed/);
}, 600_000);
