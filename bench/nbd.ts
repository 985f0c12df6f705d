// NBD: random and sequential reads and writes by fio against storaged, nbdkit and qemu-nbd, all on the same filesystem.
//   node dist/bench/nbd.js [--runs 5] [--seconds 4]
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { waitFor } from "../base/time/index.js";
import { endChild, PLINTH, requirePrograms, runOk } from "../test/support/run.js";
import { type Contender, compare, type Outcome, writeResults } from "./support/compare.js";

const { values } = parseArgs({
  options: { runs: { type: "string", default: "5" }, seconds: { type: "string", default: "4" } },
});
const runs = Number(values.runs);
const seconds = Number(values.seconds);
const SIZE_MIB = 512;

const WORKS = [
  { title: "4 KiB random read, QD 16", fio: ["--rw=randread", "--bs=4k", "--iodepth=16"] },
  { title: "4 KiB random write, QD 16", fio: ["--rw=randwrite", "--bs=4k", "--iodepth=16"] },
  { title: "4 KiB random write, QD 1", fio: ["--rw=randwrite", "--bs=4k", "--iodepth=1"] },
  { title: "64 KiB sequential read, QD 16", fio: ["--rw=read", "--bs=64k", "--iodepth=16"] },
  { title: "64 KiB sequential write, QD 16", fio: ["--rw=write", "--bs=64k", "--iodepth=16"] },
] as const;

interface Server {
  readonly name: string;
  readonly uri: string;
  readonly child: ChildProcess;
}

requirePrograms("fio", "nbdkit", "qemu-nbd", "nbdcopy");
const dir = mkdtempSync("/tmp/plinth-bench-");
const servers: Server[] = [];
try {
  servers.push(await startPlinth(), await startNbdkit(), await startQemu());
  for (const { uri } of servers) await fill(uri);
  const outcomes: Outcome[] = [];
  for (const { title, fio } of WORKS) {
    const [ours, ...peers] = servers.map(
      (server): Contender => ({ name: server.name, measure: () => iops(server.uri, fio) }),
    );
    if (ours === undefined) throw new Error("no server");
    outcomes.push(await compare({ title, unit: "IOPS", better: "higher", ours, peers, runs }));
  }
  writeResults("NBD", `node dist/bench/nbd.js --runs ${runs} --seconds ${seconds}`, outcomes, [
    `One connection over a unix socket, a ${SIZE_MIB} MiB export that was written once; nbdkit and qemu-nbd (cache=writeback) serve a plain file, storaged a checksummed log.`,
  ]);
} finally {
  for (const { child } of servers) await endChild(child);
  rmSync(dir, { recursive: true, force: true });
}

async function startPlinth(): Promise<Server> {
  const home = join(dir, "s");
  const args = [PLINTH, "storaged", "--dir", home, "--disk", join(dir, "disk")];
  const child = spawn(process.execPath, args, { stdio: "ignore" });
  const socket = join(home, "nbd.sock");
  await waitFor(() => existsSync(join(home, "control.sock")), "storaged does not start", 20_000);
  await runOk(process.execPath, [
    PLINTH,
    "volume",
    "create",
    "bench",
    "--size",
    `${SIZE_MIB}MiB`,
    "--dir",
    home,
  ]);
  return { name: "plinth storaged", uri: `nbd+unix:///bench?socket=${socket}`, child };
}

async function startNbdkit(): Promise<Server> {
  const socket = join(dir, "nbdkit.sock");
  const file = emptyFile("nbdkit.raw");
  const child = spawn("nbdkit", ["-f", "-U", socket, "file", file], { stdio: "ignore" });
  await waitFor(() => existsSync(socket), "nbdkit does not start", 10_000);
  return { name: "nbdkit file", uri: `nbd+unix:///?socket=${socket}`, child };
}

async function startQemu(): Promise<Server> {
  const socket = join(dir, "qemu.sock");
  const file = emptyFile("qemu.raw");
  const args = ["-f", "raw", "-k", socket, "-t", "-e", "8", "--cache=writeback", file];
  const child = spawn("qemu-nbd", args, { stdio: "ignore" });
  await waitFor(() => existsSync(socket), "qemu-nbd does not start", 10_000);
  return { name: "qemu-nbd", uri: `nbd+unix:///?socket=${socket}`, child };
}

function emptyFile(name: string): string {
  const path = join(dir, name);
  writeFileSync(path, "");
  truncateSync(path, SIZE_MIB * 1024 * 1024);
  return path;
}

/** Every block is written once, so that reads find data and writes find room. */
async function fill(uri: string): Promise<void> {
  await fio(uri, ["--rw=write", "--bs=1m", "--iodepth=4"], ["--end_fsync=1"]);
}

async function iops(uri: string, work: readonly string[]): Promise<number> {
  const report = await fio(uri, work, ["--time_based", `--runtime=${seconds}`]);
  const job = (
    JSON.parse(report.slice(report.indexOf("{"))) as {
      jobs: { read: { iops: number }; write: { iops: number } }[];
    }
  ).jobs[0];
  if (job === undefined) throw new Error("fio reported no job");
  return job.read.iops + job.write.iops;
}

function fio(uri: string, work: readonly string[], rest: readonly string[]): Promise<string> {
  const args = [
    "--name=bench",
    "--ioengine=nbd",
    `--uri=${uri}`,
    `--size=${SIZE_MIB}m`,
    "--output-format=json",
    "--randrepeat=1",
  ];
  return runOk("fio", [...args, ...work, ...rest], { deadlineMs: 120_000, cwd: dir });
}
