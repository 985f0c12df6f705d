// Neighbours: what a volume that is used without measure costs another one of the same pool, against a neighbour that asks
// for no more than the volume itself; and what it costs one that needs a certain rate. Part of that is no doing of the
// pool's: the neighbour's own client takes processors from the client that is measured. So the same is measured with the
// neighbour at another daemon, which has nothing in common with ours but the machine.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PLINTH, requirePrograms, runOk } from "../test/support/run.js";
import { type Contender, compare, format, type Outcome, writeResults } from "./support/compare.js";
import { type NbdBenchServer, startPlinth } from "./support/nbd-servers.js";
import { benchOptions, numberOption } from "./support/options.js";

const values = benchOptions(
  `usage: node dist/bench/neighbours.js [options]
  --runs N     runs of each, in turn; the median counts (5)
  --seconds N  how long each is measured (4)
  --print      print only: bench/RESULTS.md stays as it is`,
  {
    runs: { type: "string", default: "5" },
    seconds: { type: "string", default: "4" },
    print: { type: "boolean", default: false },
  },
);
const runs = numberOption("--runs", values.runs);
const seconds = numberOption("--seconds", values.seconds);
const SIZE_MIB = 256;
const STEADY_IOPS = 2000;
requirePrograms("fio");

/** What fio does to the neighbour's volume, if anything, and whether that is a volume of another daemon. */
interface Neighbour {
  readonly name: string;
  readonly words: readonly string[];
  readonly apart?: boolean;
}

const ALONE: Neighbour = { name: "alone", words: [] };
const EQUAL: Neighbour = { name: "beside an equal", words: ["--rw=randread", "--bs=4k", "--iodepth=16"] };
const apart = (neighbour: Neighbour): Neighbour => ({
  ...neighbour,
  name: `${neighbour.name}, these at another daemon`,
  apart: true,
});
const NOISY: readonly Neighbour[] = [
  {
    name: "beside 4 × 64 reads of 4 KiB",
    words: ["--rw=randread", "--bs=4k", "--iodepth=64", "--numjobs=4", "--group_reporting"],
  },
  { name: "beside 16 writes of 1 MiB", words: ["--rw=write", "--bs=1m", "--iodepth=16"] },
];

const dir = mkdtempSync("/tmp/plinth-bench-");
const servers: NbdBenchServer[] = [];
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void stop().then(() => process.exit(1)));
}
try {
  const server = await startPlinth(dir, SIZE_MIB);
  servers.push(server);
  const elsewhere = join(dir, "elsewhere");
  mkdirSync(elsewhere);
  const control = await startPlinth(elsewhere, SIZE_MIB);
  servers.push(control);
  const create = ["volume", "create", "other", "--size", `${SIZE_MIB}MiB`, "--dir", join(dir, "s")];
  await runOk(process.execPath, [PLINTH, ...create]);
  const [uri, other] = [server.uri, server.uri.replace("/bench?", "/other?")];
  for (const each of [uri, other, control.uri]) await fio(each, ["--rw=write", "--bs=1m", "--iodepth=4"]);
  const outcomes: Outcome[] = [];
  const busy = ["--rw=randread", "--bs=4k", "--iodepth=16"];
  const steady = ["--rw=randread", "--bs=4k", "--iodepth=4", `--rate_iops=${STEADY_IOPS}`];
  for (const noisy of NOISY) {
    const measured = (words: readonly string[], neighbour: Neighbour): Contender => ({
      name: neighbour.name,
      measure: () => besides(uri, words, neighbour.apart ? control.uri : other, neighbour),
    });
    for (const [title, words, reference] of [
      ["4 KiB random read, QD 16", busy, EQUAL],
      [`4 KiB random read at ${STEADY_IOPS} IOPS`, steady, ALONE],
    ] as const) {
      const ours = measured(words, noisy);
      const peers = [measured(words, reference), measured(words, apart(noisy))];
      const full = `${title}, ${noisy.name}`;
      outcomes.push(await compare({ title: full, unit: "IOPS", better: "higher", ours, peers, runs }));
    }
  }
  const command = `node dist/bench/neighbours.js --runs ${runs} --seconds ${seconds}`;
  const notes = [
    "Two volumes of one pool, page cache. Above 0.8 the neighbour costs less than a fifth. On two processors the neighbour's own client takes time from the client that is measured: what the same neighbour costs whose volume is at another daemon (and that daemon's own work) is the machine's part, and the ratio to it the pool's.",
  ];
  if (!values.print) writeResults("Neighbours", command, outcomes, notes);
  else
    for (const { title, peers } of outcomes)
      for (const { name, ratio } of peers) process.stdout.write(`${title} ÷ ${name}: ${ratio.toFixed(2)}\n`);
} finally {
  await stop();
}

async function stop(): Promise<void> {
  for (const server of servers.splice(0)) await server.end();
  rmSync(dir, { recursive: true, force: true });
}

/** IOPS of `words` at one volume while the neighbour is at the other. */
async function besides(
  uri: string,
  words: readonly string[],
  other: string,
  neighbour: Neighbour,
): Promise<number> {
  const timed = ["--time_based", `--runtime=${seconds}`];
  const ends = ["--time_based", `--runtime=${seconds + 2}`];
  const beside = neighbour.words.length === 0 ? undefined : fio(other, [...neighbour.words, ...ends]);
  const report = await fio(uri, [...words, ...timed, ...(beside === undefined ? [] : ["--startdelay=1"])]);
  await beside;
  const { jobs } = JSON.parse(report.slice(report.indexOf("{"))) as {
    readonly jobs: readonly { readonly read: { readonly iops: number } }[];
  };
  const rate = jobs[0]?.read.iops;
  if (rate === undefined) throw new Error("fio reported no job");
  process.stdout.write(`  ${neighbour.name}: ${format(rate)}\n`);
  return rate;
}

function fio(uri: string, words: readonly string[]): Promise<string> {
  const args = ["--name=bench", "--ioengine=nbd", `--uri=${uri}`, `--size=${SIZE_MIB}m`, ...words];
  return runOk("fio", [...args, "--output-format=json"], { deadlineMs: 120_000, cwd: dir });
}
