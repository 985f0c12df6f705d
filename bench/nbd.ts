// NBD: random and sequential reads and writes, flushes and copies against storaged and the servers of others, all on the
// same file system, in turn; with the processor time that each server needs for an operation.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { requirePrograms, runOk } from "../test/support/run.js";
import {
  type Contender,
  compare,
  format,
  type Outcome,
  renderOutcomes,
  writeSection,
} from "./support/compare.js";
import { NBD_SERVERS, type NbdBenchServer } from "./support/nbd-servers.js";
import { benchOptions, numberOption } from "./support/options.js";

const PEERS = [...NBD_SERVERS.keys()].filter((name) => name !== "plinth");
const values = benchOptions(
  `usage: node dist/bench/nbd.js [options]
  --runs N      runs of each server, in turn; the median counts (3)
  --seconds N   how long each is measured (1.5)
  --peers A,B   of ${PEERS.join(", ")} (all)
  --only TEXT   only rows whose title has TEXT in it, printed only
  --quick       one short run each, printed only
  --print       print only: bench/RESULTS.md stays as it is`,
  {
    runs: { type: "string" },
    seconds: { type: "string" },
    quick: { type: "boolean", default: false },
    peers: { type: "string", default: PEERS.join(",") },
    only: { type: "string", default: "" },
    print: { type: "boolean", default: false },
  },
);
const runs = numberOption("--runs", values.runs ?? (values.quick ? "1" : "3"));
const seconds = numberOption("--seconds", values.seconds ?? (values.quick ? "0.5" : "1.5"));
const printOnly = values.print || values.quick || values.only !== "";
const SIZE_MIB = 512;
requirePrograms("fio", "nbdkit", "qemu-nbd", "qemu-storage-daemon", "nbd-server", "nbdcopy");
const dir = mkdtempSync("/tmp/plinth-bench-");

interface Work {
  readonly title: string;
  readonly unit: string;
  /** The page cache is dropped first, and servers that go around it take part. */
  readonly isCold: boolean;
  measure(server: NbdBenchServer): Promise<{ rate: number; operations: number }>;
}

const DEPTHS = [1, 16, 64];
const random = (kind: string, words: readonly string[]): Work[] =>
  DEPTHS.map((depth) => fioWork(`4 KiB ${kind}, QD ${depth}`, ["--bs=4k", `--iodepth=${depth}`, ...words]));
const sequential = (size: string, depth: number): Work[] =>
  ["read", "write"].map((kind) =>
    fioWork(`${size} sequential ${kind}, QD ${depth}`, [
      ...[`--rw=${kind}`, `--bs=${size.replace(" KiB", "k").replace(" MiB", "m")}`, `--iodepth=${depth}`],
    ]),
  );
const FOUR = ["--bs=4k", "--iodepth=16", "--numjobs=4", "--group_reporting"];
const WORKS: readonly Work[] = [
  ...random("random read", ["--rw=randread"]),
  ...random("random write", ["--rw=randwrite"]),
  ...random("random 70:30", ["--rw=randrw", "--rwmixread=70"]),
  ...sequential("64 KiB", 16),
  ...sequential("1 MiB", 4),
  fioWork("4 KiB write and flush, QD 1", ["--rw=randwrite", "--bs=4k", "--iodepth=1", "--fsync=1"]),
  fioWork("4 KiB write and flush, QD 16", ["--rw=randwrite", "--bs=4k", "--iodepth=16", "--fsync=1"]),
  fioWork("4 KiB random read, 4 connections, QD 16 each", ["--rw=randread", ...FOUR]),
  fioWork("4 KiB random write, 4 connections, QD 16 each", ["--rw=randwrite", ...FOUR]),
  copyWork("nbdcopy out", (uri) => [uri, "null:"]),
  copyWork("nbdcopy in", (uri) => [join(dir, "image"), uri]),
  ...random("random read from the disk", ["--rw=randread"]).map(cold),
  cold(fioWork("1 MiB sequential read from the disk, QD 4", ["--rw=read", "--bs=1m", "--iodepth=4"])),
].filter(({ title }) => title.includes(values.only));
if (WORKS.length === 0) throw new Error(`no row has "${values.only}" in its name`);

const servers: NbdBenchServer[] = [];
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void stop().then(() => process.exit(1)));
}
try {
  for (const name of ["plinth", ...values.peers.split(",")]) {
    const start = NBD_SERVERS.get(name);
    if (start === undefined) throw new Error(`no server ${name}; there are ${PEERS.join(", ")}`);
    const home = join(dir, String(servers.length));
    mkdirSync(home);
    servers.push(await start(home, SIZE_MIB));
  }
  for (const { uri } of servers) await fill(uri);
  await runOk("nbdcopy", [(servers[0] as NbdBenchServer).uri, join(dir, "image")]);
  const outcomes: Outcome[] = [];
  for (const work of WORKS) outcomes.push(...(await measureAll(work)));
  for (const outcome of outcomes) print(outcome);
  const command = `node dist/bench/nbd.js --runs ${runs} --seconds ${seconds}`;
  const notes = [
    `Each row has the best of the others; below are all of them.`,
    `One connection over a unix socket (nbdcopy: several), a ${SIZE_MIB} MiB export that was written once; the others serve a plain file, or memory (nbdkit memory), storaged a checksummed log. CPU: of the server alone, for each operation of the same runs (nbdcopy: each MiB).`,
    `"From the disk": the page cache is dropped before each run. storaged and nbdkit read through it all the same; "direct" servers go around it (O_DIRECT).`,
  ];
  const lines = [...renderOutcomes(outcomes.map(bestOnly)), "", ...renderAll(outcomes)];
  if (!printOnly) writeSection("NBD", command, lines, notes);
} finally {
  await stop();
}

async function stop(): Promise<void> {
  for (const server of servers.splice(0)) await server.end();
  rmSync(dir, { recursive: true, force: true });
}

/** The rate, and from the same runs what it costs the server. */
async function measureAll({ title, unit, isCold, measure }: Work): Promise<Outcome[]> {
  const taking = servers.filter(({ part }) => part === "always" || part === (isCold ? "cold" : "warm"));
  const costs = taking.map((): number[] => []);
  const rated = taking.map(
    (server, i): Contender => ({
      name: server.name,
      measure: async () => {
        if (isCold) await dropPageCache();
        const before = server.cpuUs();
        const { rate, operations } = await measure(server);
        costs[i]?.push((server.cpuUs() - before) / operations);
        return rate;
      },
    }),
  );
  const costing = taking.map(
    (server, i): Contender => ({
      name: server.name,
      measure: async () => costs[i]?.shift() ?? Number.NaN,
    }),
  );
  const outcomes: Outcome[] = [];
  for (const [contenders, what, better] of [
    [rated, unit, "higher"],
    [costing, "CPU µs per operation", "lower"],
  ] as const) {
    const [ours, ...peers] = contenders;
    if (ours === undefined) throw new Error("no server");
    outcomes.push(await compare({ title, unit: what, better, ours, peers, runs }));
  }
  return outcomes;
}

function print({ title, unit, ours, peers }: Outcome): void {
  const others = peers.map(({ name, ratio }) => `${ratio.toFixed(2)} ÷ ${name}`).join(", ");
  process.stdout.write(`${title} (${unit}): ${format(ours.median)}; ${others}\n`);
}

/** The one that is hardest to beat is the one that counts. */
function bestOnly(outcome: Outcome): Outcome {
  const [best] = [...outcome.peers].sort((a, b) => a.ratio - b.ratio);
  return { ...outcome, peers: best === undefined ? [] : [best] };
}

/** One line for each work, one column for each server. */
function renderAll(outcomes: readonly Outcome[]): string[] {
  const names = servers.map(({ name }) => name);
  const lines = [`| median of | ${names.join(" | ")} |`, `|---${"|---".repeat(names.length)}|`];
  for (const { title, unit, ours, peers } of outcomes) {
    const medians = new Map([ours, ...peers].map(({ name, median }) => [name, format(median)]));
    lines.push(`| ${title} (${unit}) | ${names.map((name) => medians.get(name) ?? "").join(" | ")} |`);
  }
  return lines;
}

async function dropPageCache(): Promise<void> {
  await runOk("sync", []);
  writeFileSync("/proc/sys/vm/drop_caches", "1");
}

function fioWork(title: string, words: readonly string[]): Work {
  return {
    title,
    unit: "IOPS",
    isCold: false,
    measure: async ({ uri }) => {
      const report = await fio(uri, words, ["--time_based", `--runtime=${seconds}`]);
      const [job] = (JSON.parse(report.slice(report.indexOf("{"))) as FioReport).jobs;
      if (job === undefined) throw new Error("fio reported no job");
      return {
        rate: job.read.iops + job.write.iops,
        operations: job.read.total_ios + job.write.total_ios,
      };
    },
  };
}

function cold(work: Work): Work {
  return { ...work, isCold: true };
}

interface FioReport {
  readonly jobs: readonly {
    readonly read: { readonly iops: number; readonly total_ios: number };
    readonly write: { readonly iops: number; readonly total_ios: number };
  }[];
}

function copyWork(title: string, words: (uri: string) => readonly string[]): Work {
  return {
    title,
    unit: "MiB/s",
    isCold: false,
    measure: async ({ uri }) => {
      const began = performance.now();
      await runOk("nbdcopy", ["--flush", ...words(uri)], { deadlineMs: 120_000 });
      return { rate: SIZE_MIB / ((performance.now() - began) / 1000), operations: SIZE_MIB };
    },
  };
}

/** Every block is written once, so that reads find data and writes find room. */
async function fill(uri: string): Promise<void> {
  await fio(uri, ["--rw=write", "--bs=1m", "--iodepth=4"], ["--end_fsync=1"]);
}

function fio(uri: string, work: readonly string[], rest: readonly string[]): Promise<string> {
  const args = ["--name=bench", "--ioengine=nbd", `--uri=${uri}`, `--size=${SIZE_MIB}m`];
  const fixed = ["--output-format=json", "--randrepeat=1"];
  return runOk("fio", [...args, ...fixed, ...work, ...rest], { deadlineMs: 120_000, cwd: dir });
}
