// Databases on a volume whose storaged is killed under them: SQLite and PostgreSQL say themselves that they are whole, and
// have every transaction that they said was committed. The volume is a file of nbdfuse, and ext4 on it by a loop device.
// At night only: it needs root, FUSE, and a minute.
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, expect, test } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { needsRoot } from "../support/needs.js";
import { requirePrograms, run, runOk } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

const MIB = 1024 * 1024;
const ROUNDS = 3;
const COMMITS = 40;

let storage: StorageProcess;
let fuse: ChildProcess | undefined;
let loop = "";
let postmaster: ChildProcess | undefined;
const mount = () => join(storage.dir, "mnt");

async function attach(fresh: boolean): Promise<void> {
  const file = join(storage.dir, "volume");
  writeFileSync(file, "");
  fuse = spawn("nbdfuse", [file, storage.uri("db")], { stdio: "ignore" });
  await waitFor(
    async () => Number(await runOk("stat", ["-c", "%s", file])) === 512 * MIB,
    "the volume as a file",
    60_000,
    50,
  );
  loop = (await runOk("losetup", ["-f", "--show", file])).trim();
  if (fresh) await runOk("mkfs.ext4", ["-q", loop]);
  await runOk("mount", [loop, mount()]);
}

/** After the storage went away, or in the end. */
async function detach(): Promise<void> {
  await runOk("umount", ["-l", mount()]).catch(() => "");
  if (loop !== "") await runOk("losetup", ["-d", loop]).catch(() => "");
  loop = "";
  await runOk("umount", ["-l", join(storage.dir, "volume")]).catch(() => "");
  fuse?.kill("SIGKILL");
  fuse = undefined;
}

/** By a signal of its own: SIGQUIT at once, SIGINT in order. */
async function endPostmaster(signal: NodeJS.Signals): Promise<void> {
  const child = postmaster;
  postmaster = undefined;
  if (child === undefined || child.exitCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await ended;
}

afterEach(async () => {
  if (storage === undefined) return;
  await endPostmaster("SIGKILL");
  await detach();
  await storage.destroy();
});

/** Feeds numbered transactions to a client until storaged is killed; the highest number that was said to be committed. */
async function commitUntilKilled(
  child: ChildProcess,
  from: number,
  sql: (n: number) => string,
): Promise<number> {
  let acknowledged = from;
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  lines.on("line", (line) => {
    if (/^\d+$/.test(line)) acknowledged = Math.max(acknowledged, Number(line));
  });
  child.stdin?.on("error", () => undefined);
  for (let n = from + 1; n <= from + 100_000 / ROUNDS; n++) child.stdin?.write(`${sql(n)}\n`);
  await waitFor(async () => acknowledged >= from + COMMITS, "commits", 120_000, 10);
  await storage.end("SIGKILL");
  const atKill = acknowledged;
  child.kill("SIGKILL");
  lines.close();
  return atKill;
}

async function begin(): Promise<void> {
  requirePrograms("nbdfuse", "losetup", "mkfs.ext4");
  storage = new StorageProcess();
  await storage.start();
  mkdirSync(mount());
  await storage.call("volume.create", { name: "db", sizeBytes: 512 * MIB });
}

test("SQLite is whole after each kill, and has what it said it had", {
  timeout: 600_000,
  ...needsRoot,
}, async () => {
  await begin();
  requirePrograms("sqlite3");
  const db = join(mount(), "t.db");
  let committed = 0;
  for (let round = 0; round < ROUNDS; round++) {
    await attach(round === 0);
    if (round === 0)
      await runOk("sqlite3", [db, "pragma journal_mode=wal; create table t(n integer primary key, x text);"]);
    expect((await runOk("sqlite3", [db, "pragma integrity_check;"])).trim()).toBe("ok");
    expect(Number(await runOk("sqlite3", [db, "select count(*) from t;"]))).toBeGreaterThanOrEqual(committed);
    const child = spawn("sqlite3", [db], { stdio: ["pipe", "pipe", "ignore"] });
    child.stdin.write("pragma synchronous=full;\n");
    committed = await commitUntilKilled(
      child,
      Number(await runOk("sqlite3", [db, "select coalesce(max(n), 0) from t;"])),
      (n) => `insert into t values(${n}, hex(randomblob(200))); select ${n};`,
    );
    await detach();
    await storage.start();
  }
  await attach(false);
  expect((await runOk("sqlite3", [db, "pragma integrity_check;"])).trim()).toBe("ok");
  expect(Number(await runOk("sqlite3", [db, "select count(*) from t;"]))).toBeGreaterThanOrEqual(committed);
});

test("PostgreSQL is whole after each kill, and has what it said it had", {
  timeout: 900_000,
  ...needsRoot,
}, async () => {
  await begin();
  const [version = ""] = readdirSync("/usr/lib/postgresql");
  const bin = join("/usr/lib/postgresql", version, "bin");
  requirePrograms("runuser");
  chmodSync(storage.dir, 0o755);
  const data = join(mount(), "pg");
  const sockets = join(storage.dir, "run");
  mkdirSync(sockets);
  await runOk("chown", ["postgres", sockets]);
  const as = (program: string, ...args: string[]) =>
    runOk("runuser", ["-u", "postgres", "--", join(bin, program), ...args], {
      cwd: sockets,
      deadlineMs: 120_000,
    });
  const log = join(sockets, "log");
  const [uid = 0, gid = 0] = (await runOk("sh", ["-c", "id -u postgres; id -g postgres"]))
    .split("\n")
    .map(Number);
  // A child of ours, so that its number is free once it has ended: the next one looks whether it is in use.
  const start = async () => {
    const out = openSync(log, "a");
    const args = ["-D", data, "-h", "", "-k", sockets];
    postmaster = spawn(join(bin, "postgres"), args, { cwd: sockets, uid, gid, stdio: ["ignore", out, out] });
    closeSync(out);
    const ready = async () => {
      if (postmaster?.exitCode !== null) throw new Error(`postgres ended: ${readFileSync(log, "utf8")}`);
      return (await run(join(bin, "pg_isready"), ["-h", sockets])).code === 0;
    };
    await waitFor(ready, "the database", 120_000, 50);
  };
  const query = (sql: string) => as("psql", "-h", sockets, "-d", "postgres", "-Atqc", sql);
  let committed = 0;
  for (let round = 0; round < ROUNDS; round++) {
    await attach(round === 0);
    if (round === 0) {
      await runOk("install", ["-d", "-o", "postgres", "-m", "700", data]);
      await as("initdb", "-D", data, "--data-checksums");
    }
    await start();
    if (round === 0) await query("create table t(n int primary key, x text)");
    expect(Number(await query("select count(*) from t"))).toBeGreaterThanOrEqual(committed);
    await as("pg_amcheck", "-h", sockets, "-d", "postgres", "--install-missing", "--heapallindexed");
    const last = Number(await query("select coalesce(max(n), 0) from t"));
    const words = ["-u", "postgres", "--", join(bin, "psql"), "-h", sockets, "-d", "postgres", "-Atq"];
    const child = spawn("runuser", words, { cwd: sockets, stdio: ["pipe", "pipe", "ignore"] });
    committed = await commitUntilKilled(
      child,
      last,
      (n) => `insert into t values(${n}, repeat(md5('${n}'), 20)); select ${n};`,
    );
    await endPostmaster("SIGQUIT");
    await detach();
    await storage.start();
  }
  await attach(false);
  await start();
  expect(Number(await query("select count(*) from t"))).toBeGreaterThanOrEqual(committed);
  await endPostmaster("SIGINT");
  expect(await as("pg_checksums", "--check", "-D", data)).toMatch(/Bad checksums: +0/);
});
