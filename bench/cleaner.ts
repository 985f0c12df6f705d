// The cleaner: what random writes keep of their speed when a pool is four fifths full, against the same volume in a pool
// with room to spare; and how much the cleaner moves for each byte written. Both daemons run all the time, in turn.
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PLINTH, requirePrograms, runOk } from "../test/support/run.js";
import { compare, format, writeResults } from "./support/compare.js";
import { type NbdBenchServer, startPlinth } from "./support/nbd-servers.js";
import { benchOptions, numberOption } from "./support/options.js";

const values = benchOptions(
  `usage: node dist/bench/cleaner.js [options]
  --runs N     runs of each, in turn; the median counts (5)
  --seconds N  how long each is measured (5)
  --pool N     MiB of the full pool (4096)
  --quick      a pool of 512 MiB and three runs of a second, printed only
  --print      print only: bench/RESULTS.md stays as it is`,
  {
    runs: { type: "string" },
    seconds: { type: "string" },
    pool: { type: "string" },
    quick: { type: "boolean", default: false },
    print: { type: "boolean", default: false },
  },
);
const { quick } = values;
const runs = numberOption("--runs", values.runs ?? (quick ? "3" : "5"));
const seconds = numberOption("--seconds", values.seconds ?? (quick ? "1" : "5"));
const poolMib = numberOption("--pool", values.pool ?? (quick ? "512" : "4096"));
const volumeMib = Math.floor((poolMib * 4) / 5);
requirePrograms("fio");
const dir = mkdtempSync("/tmp/plinth-bench-");
const servers: NbdBenchServer[] = [];
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void stop().then(() => process.exit(1)));
}
try {
  for (const [name, diskMib] of [
    ["full", poolMib],
    ["roomy", poolMib * 3],
  ] as const) {
    const home = join(dir, name);
    mkdirSync(home);
    const disk = openSync(join(home, "disk"), "w");
    ftruncateSync(disk, diskMib * 1024 * 1024);
    closeSync(disk);
    servers.push(await startPlinth(home, volumeMib));
  }
  const [full, roomy] = servers as [NbdBenchServer, NbdBenchServer];
  // Until what is dead is spread as it will stay.
  for (const server of servers) {
    await fio(server, ["--rw=write", "--bs=1m", "--iodepth=4"]);
    await fio(server, ["--rw=randwrite", "--bs=4k", "--iodepth=16", "--norandommap"]);
  }
  const before = await poolOf("full");
  const outcome = await compare({
    title: "4 KiB random write, QD 16, pool four fifths full",
    unit: "IOPS",
    better: "higher",
    ours: { name: "four fifths full", measure: () => iops(full) },
    peers: [{ name: "with room to spare", measure: () => iops(roomy) }],
    runs,
  });
  const after = await poolOf("full");
  const moved = (after.movedBytes - before.movedBytes) / (after.writtenBytes - before.writtenBytes);
  const notes = [
    `A volume of ${volumeMib} MiB, overwritten at random all the time. The cleaner moved ${moved.toFixed(2)} bytes for each byte written; the pool used ${after.spaceAmplification.toFixed(2)} bytes for each byte stored.`,
  ];
  if (values.print || quick)
    process.stdout.write(`ratio ${format(outcome.peers[0]?.ratio ?? 0)}; ${notes[0]}\n`);
  else {
    const command = `node dist/bench/cleaner.js --runs ${runs} --seconds ${seconds} --pool ${poolMib}`;
    writeResults("Cleaner", command, [outcome], notes);
  }
} finally {
  await stop();
}

async function stop(): Promise<void> {
  for (const server of servers.splice(0)) await server.end();
  rmSync(dir, { recursive: true, force: true });
}

interface PoolNumbers {
  readonly writtenBytes: number;
  readonly movedBytes: number;
  readonly spaceAmplification: number;
}

async function poolOf(name: string): Promise<PoolNumbers> {
  const words = ["pool", "show", "default", "-o", "json", "--dir", join(dir, name, "s")];
  return JSON.parse(await runOk(process.execPath, [PLINTH, ...words])) as PoolNumbers;
}

async function iops(server: NbdBenchServer): Promise<number> {
  const words = ["--rw=randwrite", "--bs=4k", "--iodepth=16", "--time_based", `--runtime=${seconds}`];
  const report = await fio(server, [...words, "--norandommap", "--randrepeat=0"]);
  const { jobs } = JSON.parse(report.slice(report.indexOf("{"))) as { jobs: { write: { iops: number } }[] };
  return jobs[0]?.write.iops ?? Number.NaN;
}

function fio({ uri }: NbdBenchServer, words: readonly string[]): Promise<string> {
  const args = ["--name=bench", "--ioengine=nbd", `--uri=${uri}`, `--size=${volumeMib}m`];
  return runOk("fio", [...args, "--output-format=json", ...words], { deadlineMs: 600_000, cwd: dir });
}
