// What becomes of a pool whose disks are not as it left them: flipped bits, disks that are away, foreign or taken.
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeAll, expect, test } from "vitest";
import type { PoolView, VolumeView } from "../../storage-pool/index.js";
import { requirePrograms, runOk } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

const MIB = 1024 * 1024;

beforeAll(() => requirePrograms("qemu-io"));

let storage: StorageProcess;
afterEach(() => storage.destroy());

async function start(disks?: string[]): Promise<void> {
  storage = new StorageProcess(disks);
  await storage.start();
}

function volume(name: string): Promise<VolumeView> {
  return storage.call("volume.get", { name }) as Promise<VolumeView>;
}

function program(name: string, ...args: string[]): Promise<string> {
  return runOk(name, args, { cwd: storage.dir, deadlineMs: 60_000 });
}

/** Where a map file's pages begin, and the size of each. */
const MAP_PAGES = 4096;
const MAP_PAGE = 4096;

function mapFiles(): string[] {
  const folder = join(storage.dir, "s", "maps");
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".map"))
    .map((name) => join(folder, name));
}

/** Flips a bit in every page of all map files, in place; which these are. */
function spoilMaps(): string[] {
  const maps = mapFiles();
  expect(maps.length).toBeGreaterThan(0);
  for (const path of maps) {
    const map = readFileSync(path);
    for (let at = MAP_PAGES; at + MAP_PAGE <= map.length; at += MAP_PAGE)
      map.writeUInt8(map.readUInt8(at + 100) ^ 1, at + 100);
    writeFileSync(path, map, { flag: "r+" });
  }
  return maps;
}

test("two copies: a disk's flipped bits are repaired from the other", async () => {
  await start(["d0", "d1"]);
  await storage.call("volume.create", { name: "v", sizeBytes: 64 * MIB, copies: 2 });
  await program("qemu-io", "-f", "raw", "-c", "write -P 171 0 3M", "-c", "flush", storage.uri("v"));
  await storage.end("SIGTERM");
  const file = join(storage.disks[0] as string, "segments");
  const content = readFileSync(file);
  let flipped = 0;
  for (let at = 0; at + 4096 <= content.length; at += 4096) {
    if (content[at] !== 171 || content[at + 4095] !== 171 || flipped++ % 3 !== 0) continue;
    content[at + 100] = 0;
  }
  expect(flipped).toBe(768);
  writeFileSync(file, content);
  await storage.start();
  expect(await program("qemu-io", "-f", "raw", "-c", "read -P 171 0 3M", storage.uri("v"))).not.toMatch(
    /Pattern|error/,
  );
  const [pool] = (await storage.call("pool.list")) as PoolView[];
  expect((pool as PoolView).repairedBlocks).toBe(256);
  expect((pool as PoolView).lostBlocks).toBe(0);
  // There is one copy of map files only; a bad page of one is found while nobody reads it, and written anew.
  spoilMaps();
  await expect(storage.plinth("volume", "prove", "v")).rejects.toThrow("is damaged on the medium");
  expect(await storage.plinth("pool", "scrub")).toMatch(/ [1-9]\d* blocks repaired/);
  await storage.end("SIGKILL");
  expect(await storage.plinth("pool", "check")).toMatch(/v +proven/);
});

test("one copy: a flipped bit is an error of its own block, named until that is written again", async () => {
  await start();
  await storage.call("volume.create", { name: "v", sizeBytes: 64 * MIB });
  await program("qemu-io", "-f", "raw", "-c", "write -P 171 0 3M", "-c", "flush", storage.uri("v"));
  await storage.plinth("volume", "snapshot", "v", "kept");
  await storage.end("SIGTERM");
  const file = join(storage.disks[0] as string, "segments");
  const content = readFileSync(file);
  const first = content.indexOf(Buffer.alloc(4096, 171));
  for (const block of [100, 101, 300]) content.writeUInt8(0, first + block * 4096 + 9);
  writeFileSync(file, content);
  await storage.start();
  const uri = storage.uri("v");
  const read = (...ranges: string[]): Promise<string> =>
    program("qemu-io", "-f", "raw", ...ranges.flatMap((range) => ["-c", `read -P 171 ${range}`]), uri).catch(
      (thrown: Error) => thrown.message,
    );
  expect(await read("0 400k", "408k 792k", "1204k 1868k")).not.toMatch(/Pattern|error|failed/);
  for (const range of ["0 3M", "404k 4k", "1M 1M"])
    expect(await read(range)).toContain("read failed: Input/output error");
  expect((await volume("v")).lostRanges).toEqual([
    { offsetBytes: 100 * 4096, lengthBytes: 2 * 4096 },
    { offsetBytes: 300 * 4096, lengthBytes: 4096 },
  ]);
  expect(await storage.plinth("volume", "show", "v")).toMatch(
    /LOST IN SNAPSHOT.*\n- +409600 +8192\n- +1228800 /,
  );
  expect(await storage.plinth("pool", "show", "default")).toContain("reads found no good copy");
  expect(storage.said.match(/"volume":"default\/v","offsetBytes":1228800,"lengthBytes":4096/g)).toHaveLength(
    1,
  );
  await program("qemu-io", "-f", "raw", "-c", "write -P 171 400k 8k", "-c", "write -P 171 1200k 4k", uri);
  expect(await read("0 3M")).not.toMatch(/Pattern|error|failed/);
  expect(await volume("v")).not.toHaveProperty("lostRanges");
  await program("qemu-io", "-r", "-f", "raw", "-c", "read 1200k 4k", storage.uri("v@kept")).catch(() => "");
  expect((await volume("v")).lostRanges).toEqual([
    { snapshot: "kept", offsetBytes: 1_228_800, lengthBytes: 4096 },
  ]);
  // All pages of both maps go bad: that is found without a daemon, by name, and changes nothing.
  await storage.end("SIGTERM");
  const maps = spoilMaps();
  await expect(storage.plinth("pool", "check")).rejects.toThrow(
    /the map of the 2 MiB from block 0 on is damaged[\s\S]*block 0 of snapshot kept/,
  );
  expect(mapFiles()).toEqual(maps);
});

test("bad starts are named: a second instance, other disks, a foreign disk", async () => {
  await start();
  const args = ["storaged", "--disk", join(storage.dir, "d0")];
  await expect(storage.plinth(...args)).rejects.toThrow("ALREADY_RUNNING");
  await storage.end("SIGTERM");
  renameSync(join(storage.dir, "d0"), join(storage.dir, "away"));
  await storage.start();
  expect(((await storage.call("pool.list")) as PoolView[])[0]?.unavailable).toContain("not there");
  await expect(storage.call("volume.create", { name: "v", sizeBytes: MIB })).rejects.toThrow("has no disk");
  await storage.end("SIGTERM");
  // A mount point whose file system is not there: nothing is made in it.
  mkdirSync(join(storage.dir, "d0"));
  await storage.start();
  expect(await storage.plinth("pool", "show", "default")).toMatch(/not served: .* is not mounted/);
  await storage.end("SIGTERM");
  expect(readdirSync(join(storage.dir, "d0"))).toEqual([]);
  expect(storage.said).not.toContain("the last checkpoint was not made");
  rmdirSync(join(storage.dir, "d0"));
  renameSync(join(storage.dir, "away"), join(storage.dir, "d0"));
  await expect(storage.plinth("storaged", "--disk", join(storage.dir, "other"))).rejects.toThrow(
    "POOL_EXISTS",
  );
  const other = new StorageProcess([join("..", storage.dir.slice(5), "d0")]);
  await expect(other.start()).rejects.toThrow("DISK_FOREIGN");
  await other.destroy();
  const taken = createServer().listen(join(storage.dir, "s/nbd.sock"));
  await new Promise((resolve) => taken.once("listening", resolve));
  await expect(storage.start()).rejects.toThrow("EADDRINUSE");
  await new Promise((resolve) => taken.close(resolve));
});

test("a lost disk: volumes with two copies are served on, the others are named; back again, all is well", async () => {
  await start(["d0", "d1"]);
  await storage.call("volume.create", { name: "twice", sizeBytes: 64 * MIB, copies: 2 });
  await storage.call("volume.create", { name: "once", sizeBytes: 64 * MIB });
  for (const name of ["twice", "once"]) {
    await program("qemu-io", "-f", "raw", "-c", "write -P 171 0 9M", "-c", "flush", storage.uri(name));
  }
  await storage.end("SIGKILL");
  renameSync(join(storage.dir, "d0"), join(storage.dir, "away"));
  await storage.start();
  const pattern = (name: string, value: number) =>
    program("qemu-io", "-f", "raw", "-c", `read -P ${value} 0 9M`, storage.uri(name));
  expect(await pattern("twice", 171)).not.toMatch(/Pattern|error/);
  const waits = { damage: expect.stringMatching(/^it waits for .*d0, which is missing/) as string };
  expect(await volume("once")).toMatchObject({ ...waits, damageCode: "DISK_MISSING" });
  await expect(storage.plinth("volume", "snapshot", "once", "now")).rejects.toThrow(
    /once is not served: it waits for .*d0, which is missing.*\[DISK_MISSING\]/,
  );
  const grow = storage.plinth("volume", "grow", "once", "--size", "1GiB");
  await expect(grow).rejects.toThrow(/once is not served: it waits for/);
  expect(await volume("once")).toMatchObject({ sizeBytes: 64 * MIB });
  // It may be whole: deleted it is kept as any other, and not brought back before it can be served.
  await storage.plinth("volume", "delete", "once");
  await expect(storage.plinth("volume", "undelete", "once")).rejects.toThrow(/waits for .*DISK_MISSING/);
  expect(await storage.plinth("pool", "show", "default")).toMatch(/d0 .*missing/);
  await program("qemu-io", "-f", "raw", "-c", "write -P 99 0 9M", "-c", "flush", storage.uri("twice"));
  await storage.end("SIGTERM");
  await expect(storage.plinth("pool", "check")).rejects.toThrow(
    /d0 +.*not there[\s\S]*once\S* +it waits for [\s\S]*twice +proven[\s\S]*not checked for want of disks: default\/once/,
  );
  renameSync(join(storage.dir, "away"), join(storage.dir, "d0"));
  await storage.start();
  expect(await pattern("twice", 99)).not.toMatch(/Pattern|error/);
  await storage.plinth("volume", "undelete", "once");
  expect(await pattern("once", 171)).not.toMatch(/Pattern|error/);
  await storage.plinth("pool", "scrub");
  for (const name of ["twice", "once"]) {
    expect(await storage.plinth("volume", "prove", name)).toContain("proven");
  }
  await storage.plinth("pool", "add", "default", "--disk", join(storage.dir, "d2"));
  await storage.plinth("pool", "drain", "default", storage.disks[0] as string);
  await storage.plinth("pool", "remove", "default", storage.disks[0] as string);
  await storage.end("SIGTERM");
  rmSync(join(storage.dir, "d0"), { recursive: true });
  expect(await storage.plinth("pool", "check")).toMatch(/once +proven[\s\S]*twice +proven/);
});

test("a catalogue from a backup, older than the disks, frees nothing: it is refused by name, and taken only when told", async () => {
  await start();
  await storage.call("volume.create", { name: "old", sizeBytes: 64 * MIB });
  await program("qemu-io", "-f", "raw", "-c", "write -P 171 0 3M", "-c", "flush", storage.uri("old"));
  await storage.end("SIGTERM");
  const put = (from: string, to: string) => {
    rmSync(join(storage.dir, to, "catalogue"), { recursive: true, force: true });
    cpSync(join(storage.dir, from, "catalogue"), join(storage.dir, to, "catalogue"), { recursive: true });
  };
  put("s", "backup");
  await storage.start();
  await storage.call("volume.create", { name: "new", sizeBytes: 64 * MIB });
  await program("qemu-io", "-f", "raw", "-c", "write -P 99 0 9M", "-c", "flush", storage.uri("new"));
  await storage.end("SIGKILL");
  put("s", "newest");
  const segments = readFileSync(join(storage.disks[0] as string, "segments"));
  put("backup", "s");
  const said = /older than the disks: .*d0 was used in opening 3 .* knows of 2; .*d0 holds a log of volume 2/;
  await expect(storage.plinth("pool", "check")).rejects.toThrow(said);
  await storage.start();
  expect(await storage.plinth("pool", "show", "default")).toMatch(said);
  await expect(storage.call("volume.create", { name: "v", sizeBytes: MIB })).rejects.toThrow(said);
  await storage.end("SIGKILL");
  expect(segments.equals(readFileSync(join(storage.disks[0] as string, "segments")))).toBe(true);
  put("newest", "s");
  await storage.start();
  const pattern = (name: string, value: number, length: string) =>
    program("qemu-io", "-f", "raw", "-c", `read -P ${value} 0 ${length}`, storage.uri(name));
  expect(await pattern("new", 99, "9M")).not.toMatch(/Pattern|error/);
  await expect(storage.call("pool.accept", { name: "default" })).rejects.toThrow("is not older");
  await storage.end("SIGTERM");
  put("backup", "s");
  await storage.start();
  expect(await storage.plinth("pool", "accept", "default")).toContain("pool default is served");
  expect(await pattern("old", 171, "3M")).not.toMatch(/Pattern|error/);
  await expect(volume("new")).rejects.toThrow("there is no volume");
  await storage.end("SIGTERM");
  expect(await storage.plinth("pool", "check")).toMatch(/old +proven/);
}, 240_000);

test("a catalogue that was copied before a disk came, or before a volume went back, grew or was cloned, is refused though the pool was not opened since", async () => {
  await start();
  const put = (from: string, to: string) => {
    rmSync(join(storage.dir, to, "catalogue"), { recursive: true, force: true });
    cpSync(join(storage.dir, from, "catalogue"), join(storage.dir, to, "catalogue"), { recursive: true });
  };
  await storage.call("volume.create", { name: "v", sizeBytes: 16 * MIB });
  await program("qemu-io", "-f", "raw", "-c", "write -P 1 0 4M", "-c", "flush", storage.uri("v"));
  await storage.plinth("volume", "snapshot", "v", "one");
  const changes = [
    () => storage.call("disk.add", { pool: "default", disks: [join(storage.dir, "d1")] }),
    () => storage.call("volume.revert", { name: "v", snapshot: "one" }),
    () => storage.call("volume.grow", { name: "v", sizeBytes: 32 * MIB }),
    () => storage.plinth("volume", "clone", "w", "v", "one"),
  ];
  for (const change of changes) {
    put("s", "backup");
    await change();
    await storage.end("SIGKILL");
    put("s", "newest");
    put("backup", "s");
    await expect(storage.plinth("pool", "check")).rejects.toThrow(/older than the disks: .*d0 was used in/);
    put("newest", "s");
    await storage.start();
    const read = await program("qemu-io", "-f", "raw", "-c", "read -P 1 0 4M", storage.uri("v"));
    expect(read).not.toMatch(/Pattern|error/);
  }
}, 240_000);
