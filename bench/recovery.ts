// Recovery: how long a pool takes to open after its process was killed. What is replayed is bounded by the checkpoint
// interval, of all volumes together; of what a checkpoint holds the tables are read, and pages that the log changes; the
// rest is counted afterwards. Real logs are random 4 KiB writes of which the last were not flushed; the synthetic one
// stands for 100 GiB written all over a volume of 1 TiB: its records and maps are real, its payload is never stored.
// One process writes and kills itself; each opening is a process of its own.
import { mkdtempSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BLOCK_SIZE, CHECKPOINT_COST_BYTES, CHECKPOINT_RECORD_BYTES } from "../storage-pool/limits.js";
import { PAGE_ENTRIES, RECORD_SIZE } from "../storage-pool/log/format.js";
import { runInChild } from "./support/child.js";
import { format, type Outcome, writeResults } from "./support/compare.js";
import { benchOptions } from "./support/options.js";
import { PoolWorld } from "./support/pool-world.js";
import { progress } from "./support/progress.js";

const values = benchOptions(
  `usage: node dist/bench/recovery.js [options]
  --sizes N,N    GiB written to real logs (1,5,20); "" for none
  --synthetic N  GiB that a synthetic log stands for (100); 0 for none
  --quick        small cases, a minute in all, printed only
  --print        print only: bench/RESULTS.md stays as it is`,
  {
    sizes: { type: "string" },
    synthetic: { type: "string" },
    quick: { type: "boolean", default: false },
    print: { type: "boolean", default: false },
    child: { type: "string" },
  },
);
const GIB = 1024 ** 3;
const OPENINGS = 3;
/** What the figures are carried over to: 100 GiB in 64 KiB pieces all over 1 TiB, so that nearly all pages of the map exist. */
const TARGET_PAGES = (1024 * GIB) / (PAGE_ENTRIES * BLOCK_SIZE);
/** The longest tail of writes of a size that a start finds, in records. */
function longestTail(writeBytes: number): number {
  const recordBytes = RECORD_SIZE + Math.ceil((writeBytes / BLOCK_SIZE) * 0.5) * 8;
  return CHECKPOINT_COST_BYTES / (writeBytes + recordBytes + CHECKPOINT_RECORD_BYTES);
}

interface Case {
  readonly title: string;
  readonly writtenBytes: number;
  readonly volumeBytes: number;
  readonly writeBytes: number;
  readonly synthetic: boolean;
}

interface Opening {
  readonly seconds: number;
  /** Of the processor, with what compiling and collecting garbage took beside it. */
  readonly cpuSeconds: number;
  readonly records: number;
  readonly pages: number;
  readonly report: string;
}

interface Openings {
  readonly all: readonly Opening[];
  /** One with nothing to replay. */
  readonly empty: Opening;
}

/** What a child does. */
type Task =
  | { readonly dir: string; readonly write: Case }
  /** `checkpoint`: and write everything down, so that the next one has nothing to replay. */
  | { readonly dir: string; readonly checkpoint: boolean };

const sizes = values.sizes ?? (values.quick ? "0.5" : "1,5,20");
const synthetic = values.synthetic ?? (values.quick ? "4" : "100");

const cases: Case[] = sizes
  .split(",")
  .filter((size) => size !== "")
  .map((size) => ({
    title: `${size} GiB of random 4 KiB writes to a volume of that size`,
    writtenBytes: Number(size) * GIB,
    volumeBytes: Number(size) * GIB,
    writeBytes: BLOCK_SIZE,
    synthetic: false,
  }));
if (Number(synthetic) > 0) {
  cases.push({
    title: `${synthetic} GiB written in 64 KiB pieces all over 1 TiB (synthetic)`,
    writtenBytes: Number(synthetic) * GIB,
    volumeBytes: 1024 * GIB,
    writeBytes: 64 * 1024,
    synthetic: true,
  });
}
for (const { writtenBytes, volumeBytes } of cases) {
  if (!(writtenBytes > 0 && volumeBytes > 0)) throw new Error("--sizes and --synthetic are numbers of GiB");
}
if (values.child !== undefined) work(JSON.parse(values.child) as Task);
else main();

function main(): void {
  const outcomes: Outcome[] = [];
  const notes = ["The page cache is warm: what was written is still in it."];
  for (const each of cases) {
    const stored = each.synthetic ? each.writtenBytes / 10 + GIB : each.writtenBytes * 2;
    const { bavail, bsize } = statfsSync(tmpdir());
    if (bavail * bsize < stored + 2 * GIB) throw new Error(`${each.title}: ${tmpdir()} has no room for it`);
    const openings = measure(each);
    const times = openings.all.map(({ seconds }) => seconds).sort((a, b) => a - b);
    const [min, median, max] = [times[0], times[times.length >> 1], times.at(-1)] as [number, number, number];
    const ours = { name: "plinth pool", median, min, max };
    outcomes.push({
      title: `open after a crash: ${each.title}`,
      unit: "s",
      better: "lower",
      ours,
      peers: [],
    });
    const note = carryOver(each, openings, min);
    notes.push(note);
    process.stdout.write(`${note}\n`);
  }
  if (values.print || values.quick) return;
  const command = `node dist/bench/recovery.js --sizes ${sizes} --synthetic ${synthetic}`;
  writeResults("Recovery", command, outcomes, notes);
}

/** What the figures of a case say of a volume of 1 TiB: tables grow with the pages that its map has, replay with the records. */
function carryOver({ title, writeBytes }: Case, { all, empty }: Openings, seconds: number): string {
  const perRecord = Math.max(0, seconds - empty.seconds) / Math.max(1, all[0]?.records ?? 0);
  const figures = `${title}: ${format(empty.seconds)} s without anything to replay, ${format(perRecord * 1e6)} µs for each record.`;
  // A small map says nothing of a large one.
  if (empty.pages < TARGET_PAGES / 100) return figures;
  const tables = empty.seconds * Math.max(1, TARGET_PAGES / empty.pages);
  const records = longestTail(writeBytes);
  const tail = `the longest tail of ${writeBytes / 1024} KiB writes (${format(records)} records)`;
  const replay = format(perRecord * records);
  return `${figures} Carried over to 1 TiB written to all over and ${tail}: at most ${format(tables)} s + ${replay} s.`;
}

function measure(each: Case): Openings {
  const dir = mkdtempSync(join(tmpdir(), "plinth-bench-"));
  const open = (checkpoint: boolean) => runInChild(import.meta.filename, { dir, checkpoint }) as Opening;
  try {
    runInChild(import.meta.filename, { dir, write: each });
    const all: Opening[] = [];
    for (let i = 0; i < OPENINGS; i++) {
      const opening = open(i === OPENINGS - 1);
      all.push(opening);
      process.stdout.write(
        `${each.title}: ${opening.seconds.toFixed(2)} s (processor ${opening.cpuSeconds.toFixed(2)}), ${opening.report}\n`,
      );
    }
    const empty = [open(false), open(false)].sort((a, b) => a.seconds - b.seconds)[0] as Opening;
    return { all, empty };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function work(task: Task): void {
  if ("write" in task) {
    const { title, writtenBytes, volumeBytes, writeBytes, synthetic } = task.write;
    const world = new PoolWorld(task.dir, { diskBytes: writtenBytes * 2 + GIB, volumeBytes, synthetic });
    world.open();
    world.write(writtenBytes, writeBytes, (done) => progress(`${title}: writing`, done, writtenBytes));
    // Nobody flushed; but what has no payload can only be taken when it was.
    if (synthetic) world.flush();
    process.kill(process.pid, "SIGKILL");
    return;
  }
  const world = new PoolWorld(task.dir);
  const began = performance.now();
  const before = process.cpuUsage();
  world.open();
  const { user, system } = process.cpuUsage(before);
  const seconds = (performance.now() - began) / 1000;
  const rss = `${Math.round(process.memoryUsage().rss / 1024 ** 2)} MiB resident`;
  const { replayed: records, pages } = world;
  const opening: Opening = {
    seconds,
    cpuSeconds: (user + system) / 1e6,
    records,
    pages,
    report: `${world.report()}, ${rss}`,
  };
  if (task.checkpoint) world.checkpoint();
  world.close();
  process.stdout.write(`${JSON.stringify(opening)}\n`);
}
