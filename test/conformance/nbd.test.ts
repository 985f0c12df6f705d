// The NBD server against clients that others wrote: libnbd (nbdinfo, nbdcopy), QEMU (qemu-img, qemu-io) and fio.
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { waitFor } from "../../base/time/index.js";
import type { PoolView, VolumeView } from "../../storage-pool/index.js";
import { requirePrograms, runOk } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

beforeAll(() => requirePrograms("nbdinfo", "nbdcopy", "qemu-img", "qemu-io", "fio"));

let storage: StorageProcess;
/** What the cases share that do not need one of their own. */
let shared: StorageProcess | undefined;

afterEach(async ({ task }) => {
  if (storage === shared && task.result?.state === "pass") {
    const volumes = (await storage.call("volume.list")) as VolumeView[];
    for (const { name } of volumes) await storage.call("volume.delete", { name, undoSeconds: 0 });
  } else {
    await storage.destroy();
    if (storage === shared) shared = undefined;
  }
});
afterAll(() => shared?.destroy());

/** A daemon without volumes that other cases have used, or one of its own. */
async function start(own?: NodeJS.ProcessEnv): Promise<void> {
  if (own === undefined && shared !== undefined) {
    storage = shared;
    return;
  }
  storage = new StorageProcess(undefined, own);
  if (own === undefined) shared = storage;
  await storage.start();
}

function volume(name: string): Promise<VolumeView> {
  return storage.call("volume.get", { name }) as Promise<VolumeView>;
}

/** In the directory of the daemon: fio leaves files where it runs. */
function program(name: string, ...args: string[]): Promise<string> {
  return runOk(name, args, { cwd: storage.dir, deadlineMs: 110_000 });
}

function fio(name: string, ...options: string[]): Promise<string> {
  return program(
    "fio",
    "--name=t",
    "--verify_state_save=0",
    "--ioengine=nbd",
    `--uri=${storage.uri(name)}`,
    ...options,
  );
}

test("nbdinfo reads size, flags, lists and the map", async () => {
  await start();
  await storage.call("volume.create", { name: "default/v", sizeBytes: GIB });
  await storage.call("volume.create", { name: "shop/db", sizeBytes: 8 * MIB });
  const info = JSON.parse(await program("nbdinfo", "--json", storage.uri("v")));
  expect(info.protocol).toBe("newstyle-fixed");
  expect(info.exports[0]).toMatchObject({
    "export-size": GIB,
    is_read_only: false,
    can_flush: true,
    can_fua: true,
    can_trim: true,
    can_zero: true,
    can_multi_conn: true,
    can_df: true,
    block_size_minimum: 1,
    block_size_preferred: 4096,
    block_size_maximum: 32 * MIB,
  });
  const list = JSON.parse(
    await program("nbdinfo", "--json", "--list", `nbd+unix:///?socket=${join(storage.dir, "s/nbd.sock")}`),
  );
  expect(list.exports).toHaveLength(2);
  expect(await program("nbdinfo", "--size", storage.uri("shop/db"))).toBe(`${8 * MIB}\n`);
  await expect(program("nbdinfo", storage.uri("nobody"))).rejects.toThrow();
  await program("qemu-io", "-f", "raw", "-c", "write -P 7 1M 64k", "-c", "flush", storage.uri("v"));
  const map = JSON.parse(await program("nbdinfo", "--json", "--map", storage.uri("v")));
  expect(
    map.map((each: { offset: number; length: number; type: number }) => [
      each.offset,
      each.length,
      each.type,
    ]),
  ).toEqual([
    [0, MIB, 3],
    [MIB, 64 * 1024, 0],
    [MIB + 64 * 1024, GIB - MIB - 64 * 1024, 3],
  ]);
});

test("nbdcopy brings an image in and out unchanged, over several connections", async () => {
  await start();
  await storage.call("volume.create", { name: "v", sizeBytes: 96 * MIB });
  const image = join(storage.dir, "image");
  const back = join(storage.dir, "back");
  writeFileSync(image, randomBytes(64 * MIB));
  truncateSync(image, 96 * MIB);
  await program("nbdcopy", "--flush", image, storage.uri("v"));
  await program("nbdcopy", storage.uri("v"), back);
  expect(readFileSync(back).equals(readFileSync(image))).toBe(true);
  expect((await volume("v")).allocatedBytes).toBe(64 * MIB);
});

test("qemu-img converts, compares and maps", async () => {
  await start();
  await storage.call("volume.create", { name: "v", sizeBytes: 64 * MIB });
  const image = join(storage.dir, "image");
  writeFileSync(image, Buffer.concat([randomBytes(5 * MIB), Buffer.alloc(3 * MIB), randomBytes(MIB)]));
  truncateSync(image, 64 * MIB);
  await program("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, storage.uri("v"));
  await program("qemu-img", "compare", "-f", "raw", "-F", "raw", image, storage.uri("v"));
  const map = JSON.parse(await program("qemu-img", "map", "-f", "raw", "--output=json", storage.uri("v")));
  const stored = map.filter((each: { data: boolean }) => each.data);
  expect(stored.reduce((sum: number, each: { length: number }) => sum + each.length, 0)).toBe(6 * MIB);
});

test("qemu-io: unaligned writes, zeroes, discard, FUA, reads past the end", async () => {
  await start();
  await storage.call("volume.create", { name: "v", sizeBytes: 16 * MIB });
  const output = await program(
    "qemu-io",
    "-f",
    "raw",
    storage.uri("v"),
    "-c",
    "write -P 1 0 1M",
    "-c",
    "write -P 2 1000 3000",
    "-c",
    "read -P 1 0 1000",
    "-c",
    "read -P 2 1000 3000",
    "-c",
    "read -P 1 4000 96",
    "-c",
    "write -z 8192 8192",
    "-c",
    "read -P 0 8192 8192",
    "-c",
    "write -z -u 65536 65536",
    "-c",
    "read -P 0 65536 65536",
    "-c",
    "discard 131072 131072",
    "-c",
    "read -P 0 131072 131072",
    "-c",
    "write -f -P 5 15M 1M",
    "-c",
    "read -P 5 15M 1M",
    "-c",
    "aio_write -P 6 4M 8M",
    "-c",
    "aio_flush",
    "-c",
    "read -P 6 4M 8M",
    "-c",
    "flush",
  );
  expect(output).not.toMatch(/failed|Pattern verification/);
  expect((await volume("v")).allocatedBytes).toBe(MIB - 65536 - 131072 + 9 * MIB);
});

for (const [how, env] of [
  ["io_uring", undefined],
  ["plain system calls", { PLINTH_IO_URING: "0" }],
] as const) {
  test(`fio verifies what it wrote, with flushes, through ${how}`, async () => {
    await start(env);
    await storage.call("volume.create", { name: "v", sizeBytes: 64 * MIB });
    await fio(
      "v",
      "--rw=randwrite",
      "--bs=4k",
      "--size=32m",
      "--iodepth=16",
      "--fsync=64",
      "--verify=crc32c",
    );
    await fio(
      "v",
      "--rw=randwrite",
      "--bs=512-128k",
      "--bs_unaligned=1",
      "--size=48m",
      "--iodepth=8",
      "--verify=crc32c",
    );
    await fio("v", "--rw=write", "--bs=1m", "--size=64m", "--iodepth=4", "--verify=crc32c", "--end_fsync=1");
    await storage.forgetting(() =>
      fio("v", "--rw=randrw", "--bs=4k-32k", "--size=48m", "--iodepth=32", "--verify=crc32c", "--fsync=64"),
    );
    expect((await volume("v")).allocatedBytes).toBe(64 * MIB);
    expect(storage.said).toContain(how === "io_uring" ? '"io":"io_uring"' : '"io":"plain"');
  });
}

test("kill -9 during writes: every answered write is there afterwards", async () => {
  await start();
  await storage.call("volume.create", { name: "v", sizeBytes: 64 * MIB });
  for (let round = 1; round <= 3; round++) {
    const answered = await writeUntilKilled(round);
    expect(answered.length).toBeGreaterThan(0);
    await storage.start();
    const last = new Map<number, number>();
    for (const { block, pattern } of answered) last.set(block, pattern);
    const reads = [...last].flatMap(([block, pattern]) => ["-c", `read -P ${pattern} ${block * 4096} 4096`]);
    const output = await program("qemu-io", "-f", "raw", storage.uri("v"), ...reads);
    expect(output).not.toMatch(/failed|Pattern verification/);
    expect((await volume("v")).damage).toBeUndefined();
  }
});

/** Writes blocks one after the other with qemu-io and kills storaged in the middle; resolves with what was answered. */
async function writeUntilKilled(round: number): Promise<{ block: number; pattern: number }[]> {
  const child = spawn("qemu-io", ["-f", "raw", storage.uri("v")], { stdio: ["pipe", "pipe", "ignore"] });
  const answered: { block: number; pattern: number }[] = [];
  let output = "";
  let next = 0;
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const place = (n: number) => ({ block: (n * 37 + round) % 2000, pattern: ((n + round) % 250) + 1 });
  child.stdin.on("error", () => {}); // The program ends when its connection does.
  const ask = () => {
    const { block, pattern } = place(next);
    child.stdin.write(`write -P ${pattern} ${block * 4096} 4096\n`);
  };
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
    for (let at = output.indexOf("wrote 4096/4096"); at >= 0; at = output.indexOf("wrote 4096/4096")) {
      output = output.slice(at + 15);
      answered.push(place(next++));
      ask();
    }
  });
  ask();
  await waitFor(() => answered.length >= 150 * round, "qemu-io does not write", 30_000, 1);
  await storage.end("SIGKILL");
  child.stdin.end();
  child.kill("SIGKILL");
  await exited;
  return answered;
}

test("a client that reconnects goes on after kill -9 (QEMU's own NBD client)", async () => {
  await start();
  await storage.call("volume.create", { name: "v", sizeBytes: 32 * MIB });
  const blockdev = {
    driver: "nbd",
    "reconnect-delay": 60,
    server: { type: "unix", path: join(storage.dir, "s/nbd.sock") },
    export: "v",
  };
  const image = `json:${JSON.stringify({ driver: "raw", file: blockdev })}`;
  const child = spawn("qemu-io", [image], { stdio: ["pipe", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  // One command at a time: qemu-io does not look again at lines that it has already buffered.
  const ask = async (command: string, answer: string, meanwhile: () => Promise<void> = async () => {}) => {
    const from = output.length;
    child.stdin.write(`${command}\n`);
    await meanwhile();
    await waitFor(
      () => output.indexOf(answer, from) >= 0,
      () => output,
      60_000,
    );
  };
  await ask("write -P 9 0 1M", "wrote 1048576/1048576");
  await storage.end("SIGKILL");
  await ask("write -P 8 1M 1M", "wrote 1048576/1048576", () => storage.start());
  await ask("read -P 9 0 1M", "read 1048576/1048576");
  await ask("read -P 8 1M 1M", "read 1048576/1048576");
  child.stdin.end("quit\n");
  await exited;
  expect(output).not.toMatch(/error|failed|Pattern verification/i);
  expect(output.match(/read 1048576\/1048576/g)).toHaveLength(2);
});

test("fio survives nothing, but what it had flushed is there after kill -9", async () => {
  await start();
  await storage.call("volume.create", { name: "v", sizeBytes: 64 * MIB });
  await fio("v", "--rw=write", "--bs=64k", "--size=16m", "--verify=crc32c", "--do_verify=0", "--end_fsync=1");
  const busy = execFile("fio", [
    "--name=b",
    "--ioengine=nbd",
    `--uri=${storage.uri("v")}`,
    "--rw=randwrite",
    "--bs=4k",
    "--offset=16m",
    "--size=48m",
    "--iodepth=16",
    "--time_based",
    "--runtime=60",
  ]);
  const ended = new Promise<void>((resolve) => busy.once("exit", () => resolve()));
  await waitFor(async () => (await volume("v")).allocatedBytes > 20 * MIB, "fio does not write", 30_000);
  await storage.end("SIGKILL");
  busy.kill("SIGKILL");
  await ended;
  await storage.start();
  await fio("v", "--rw=write", "--bs=64k", "--size=16m", "--verify=crc32c", "--verify_only");
});

test("space comes back after TRIM: of the volume at once, of the disk soon", async () => {
  await start({});
  await storage.call("volume.create", { name: "v", sizeBytes: GIB });
  const file = join(storage.disks[0] as string, "segments");
  await fio("v", "--rw=write", "--bs=256k", "--size=128m", "--end_fsync=1");
  expect((await volume("v")).allocatedBytes).toBe(128 * MIB);
  const full = statSync(file).blocks * 512;
  expect(full).toBeGreaterThan(128 * MIB);
  await program("qemu-io", "-f", "raw", "-d", "unmap", "-c", "discard 0 120M", storage.uri("v"));
  expect((await volume("v")).allocatedBytes).toBe(8 * MIB);
  await waitFor(
    () => statSync(file).blocks * 512 < 24 * MIB,
    () => `the disk still holds ${statSync(file).blocks * 512} bytes`,
    20_000,
  );
  const [pool] = (await storage.call("pool.list")) as PoolView[];
  expect((pool as PoolView).allocatedBytes).toBeLessThan(24 * MIB);
});

test("a full pool answers ENOSPC, loses nothing, and goes on after TRIM", async () => {
  storage = new StorageProcess();
  writeFileSync(storage.disks[0] as string, "");
  truncateSync(storage.disks[0] as string, 64 * MIB);
  await storage.start();
  await storage.call("volume.create", { name: "v", sizeBytes: GIB });
  await program("qemu-io", "-f", "raw", "-c", "write -P 3 0 4M", "-c", "flush", storage.uri("v"));
  const failed = await program("qemu-io", "-f", "raw", "-c", "write -P 4 4M 80M", storage.uri("v")).catch(
    (thrown: Error) => thrown.message,
  );
  expect(failed).toContain("No space left on device");
  const output = await program(
    "qemu-io",
    "-f",
    "raw",
    "-d",
    "unmap",
    storage.uri("v"),
    "-c",
    "read -P 3 0 4M",
    "-c",
    "discard 4M 80M",
    "-c",
    "write -P 6 4M 8M",
    "-c",
    "read -P 6 4M 8M",
    "-c",
    "read -P 3 0 4M",
  );
  expect(output).not.toMatch(/failed|Pattern verification/);
  // Overwriting for ever needs no more space than the data: the cleaner keeps up.
  for (let i = 1; i <= 8; i++) {
    const again = await program(
      "qemu-io",
      "-f",
      "raw",
      "-c",
      `write -P ${i} 4M 16M`,
      "-c",
      `read -P ${i} 4M 16M`,
      storage.uri("v"),
    );
    expect(again).not.toMatch(/failed|Pattern verification/);
  }
});

test("snapshot, clone, revert and the command line", async () => {
  await start();
  await storage.plinth("volume", "create", "v", "--size", "64MiB");
  await program("qemu-io", "-f", "raw", "-c", "write -P 1 0 8M", storage.uri("v"));
  await storage.plinth("volume", "snapshot", "v", "before");
  await program("qemu-io", "-f", "raw", "-c", "write -P 2 0 2M", storage.uri("v"));
  await storage.plinth("volume", "clone", "copy", "v", "before");
  await program(
    "qemu-io",
    "-f",
    "raw",
    "-c",
    "read -P 1 0 8M",
    "-c",
    "write -P 3 4M 1M",
    storage.uri("copy"),
  );
  await program("qemu-io", "-r", "-f", "raw", "-c", "read -P 1 0 8M", storage.uri("v@before"));
  const shown = JSON.parse(await storage.plinth("volume", "show", "v", "-o", "json")) as VolumeView;
  expect(shown.allocatedBytes).toBe(10 * MIB);
  // The head's own 2 MiB, and the one of the snapshot that the clone overwrote, once its checkpoint says so.
  await waitFor(
    async () => (await volume("v")).exclusiveBytes === 3 * MIB,
    "the clone's old block is not exclusive",
    10_000,
  );
  await storage.plinth("volume", "revert", "v", "before");
  const output = await program("qemu-io", "-f", "raw", "-c", "read -P 1 0 8M", storage.uri("v"));
  expect(output).not.toMatch(/Pattern verification/);
  await storage.end("SIGTERM");
  await storage.start();
  await storage.plinth("volume", "grow", "copy", "--size", "+64MiB");
  expect((await volume("copy")).sizeBytes).toBe(128 * MIB);
  for (const [words, why] of [
    [["volume", "create", "odd", "--size", "+64MiB"], "expected a size such as 1GiB"],
    [["volume", "create", "copy", "--size", "128MiB", "--iops", "9"], "volume default/copy exists already"],
    [["volume", "schedule", "copy", "hurly", "--remove"], "volume copy has no schedule hurly"],
    [["volume", "detach", "/nowhere.sock"], "no volume is attached at /nowhere.sock"],
    [["volume", "detach", "copy"], "no volume is attached at copy"],
    [["volume", "export", "copy", "/nowhere/x"], "there is no directory /nowhere"],
    [["volume", "grow", "copy"], "plinth volume grow --help says what it takes"],
  ] as const) {
    await expect(storage.plinth(...words)).rejects.toThrow(why);
  }
  const attached = join(storage.dir, "one.sock");
  await storage.plinth("volume", "attach", "copy", "--socket", attached);
  expect(await storage.plinth("volume", "detach", "copy")).toContain(`${attached} is closed`);
  await storage.plinth("volume", "snapshot", "v", "both", "--with", "copy");
  await storage.plinth("volume", "snapshot", "v", "both", "--with", "copy", "--delete");
  for (const name of ["v", "copy"])
    expect((await volume(name)).snapshots.map((each) => each.name)).not.toContain("both");
  await storage.plinth("volume", "delete", "v");
  const copy = await program(
    "qemu-io",
    "-f",
    "raw",
    "-c",
    "read -P 1 0 4M",
    "-c",
    "read -P 3 4M 1M",
    "-c",
    "read -P 1 5M 3M",
    storage.uri("copy"),
  );
  expect(copy).not.toMatch(/Pattern verification/);
  expect(await storage.plinth("volume", "list")).toMatch(
    /NAME +POOL +SIZE[^\n]*\ndefault\/copy +default +128MiB +8MiB/,
  );
  expect(await storage.plinth("pool", "show", "default")).toContain("ok");
});

test("one-export sockets are exclusive, survive kill -9, and an orderly end leaves no socket", async () => {
  await start({});
  await storage.call("volume.create", { name: "shop/db", sizeBytes: 16 * MIB });
  const socket = join(storage.dir, "x.sock");
  await storage.call("export.open", { volume: "shop/db", socket });
  await storage.call("export.open", { volume: "shop/db", socket });
  await expect(
    storage.call("export.open", { volume: "shop/db", socket: join(storage.dir, "y.sock") }),
  ).rejects.toMatchObject({ code: "VOLUME_IN_USE", field: "volume" });
  await expect(storage.call("volume.delete", { name: "shop/db" })).rejects.toMatchObject({
    code: "VOLUME_IN_USE",
  });
  for (const [taken, why] of [
    ["s/nbd.sock", "something is there already"],
    ["s/control.sock", "something is there already"],
    ["none/x.sock", "its directory is not there"],
    ["d0/segments/x.sock", "it is below something that is no directory"],
    ["s".repeat(108), "the path is too long for a socket"],
  ] as const) {
    const refused = storage.call("export.open", {
      volume: "shop/db",
      socket: join(storage.dir, taken),
      readOnly: true,
    });
    await expect(refused).rejects.toMatchObject({
      code: "PARAMETER_INVALID",
      field: "socket",
      message: `no socket can be made at ${join(storage.dir, taken)}: ${why}`,
    });
  }
  const uri = `nbd+unix:///?socket=${socket}`;
  await program("qemu-io", "-f", "raw", "-c", "write -P 5 0 1M", uri);
  await expect(program("nbdinfo", `nbd+unix:///other?socket=${socket}`)).rejects.toThrow();
  await storage.end("SIGKILL");
  await storage.start();
  expect(await program("qemu-io", "-f", "raw", "-c", "read -P 5 0 1M", uri)).not.toMatch(/Pattern/);
  expect(statSync(socket).mode & 0o777).toBe(0o600);
  expect(await storage.end("SIGTERM")).toBe(0);
  expect(() => statSync(socket)).toThrow();
  expect(() => statSync(join(storage.dir, "s/nbd.sock"))).toThrow();
  expect(() => statSync(join(storage.dir, "s/control.sock"))).toThrow();
});
