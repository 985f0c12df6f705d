// Volumes of 1 TiB: how long a snapshot takes, what a hundred of them cost writers, and the memory that a random-write
// working set of 16 GiB takes. In this program's own process, one each for memory, without a daemon or clients.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runInChild } from "./support/child.js";
import { compare, format, type Outcome, writeResults } from "./support/compare.js";
import { benchOptions, numberOption } from "./support/options.js";
import { PoolWorld } from "./support/pool-world.js";
import { progress } from "./support/progress.js";

const values = benchOptions(
  `usage: node dist/bench/volumes.js [options]
  --runs N  runs of each, in turn; the median counts (9)
  --quick   small cases, a minute in all, printed only
  --print   print only: bench/RESULTS.md stays as it is`,
  {
    runs: { type: "string", default: "9" },
    quick: { type: "boolean", default: false },
    print: { type: "boolean", default: false },
    child: { type: "string" },
  },
);
const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const TIB = 1024 * GIB;
const BLOCK = 4096;
const SNAPSHOTS = 100;
const { quick } = values;
/** Written all over the volume of which snapshots are made, in pieces of 64 KiB. */
const storedBytes = (quick ? 1 : 16) * GIB;
/** Each volume that is written to for its speed, and how much before a look at the clock. */
const writtenBytes = (quick ? 256 : 1024) * MIB;
const slice = quick ? 20_000 : 100_000;
const workingSetBytes = 16 * GIB;
/** How long it is written to, and the most that there is room for. */
const memorySeconds = quick ? 10 : 90;
const memoryBytes = (quick ? 4 : 24) * GIB;

interface MemoryTask {
  readonly dir: string;
}

interface MemoryUse {
  readonly maxRssMib: number;
  readonly writes: number;
  readonly pages: number;
}

if (values.child !== undefined) measureMemory(JSON.parse(values.child) as MemoryTask);
else await main();

async function main(): Promise<void> {
  const outcomes: Outcome[] = [];
  for (const measure of [snapshots, writeCost, memory]) {
    const outcome = await measure();
    const { title, unit, ours, peers } = outcome;
    const ratio = peers[0] === undefined ? "" : `, ratio ${format(peers[0].ratio)}`;
    process.stdout.write(`${title}: ${format(ours.median)} ${unit} (most ${format(ours.max)})${ratio}\n`);
    outcomes.push(outcome);
  }
  if (values.print || quick) return;
  writeResults("Volumes", `node dist/bench/volumes.js --runs ${values.runs}`, outcomes, [
    "The volume of 1 TiB was flushed before each snapshot: a snapshot flushes, and what it would have to wait for then is the flush.",
    "Memory is the most that was resident of a process that holds the pool only, with the program itself.",
  ]);
}

/** Milliseconds of a snapshot of 1 TiB, with writes between two. */
async function snapshots(): Promise<Outcome> {
  return await inDirectory(async (dir) => {
    const title = `snapshot of a volume of 1 TiB, ${storedBytes / GIB} GiB written all over`;
    const world = new PoolWorld(dir, { diskBytes: storedBytes * 3, volumeBytes: TIB, synthetic: true });
    world.open();
    world.write(storedBytes, 64 * 1024, (done) => progress(`${title}: writing`, done, storedBytes));
    const times: number[] = [];
    for (let i = 0; i < SNAPSHOTS; i++) {
      for (let batch = 0; batch < 8; batch++) world.writeBatch(BLOCK);
      world.flush();
      const began = performance.now();
      world.snapshot(`s${i}`);
      times.push(performance.now() - began);
    }
    world.close();
    times.sort((a, b) => a - b);
    const [min, median, max] = [times[0], times[times.length >> 1], times.at(-1)] as [number, number, number];
    const ours = { name: "plinth pool", median, min, max };
    return { title, unit: "ms", better: "lower", ours, peers: [] };
  });
}

/** Random 4 KiB writes to a volume with a hundred snapshots, and to one like it without any. */
async function writeCost(): Promise<Outcome> {
  return await inDirectory(async (dir) => {
    const title = `random 4 KiB writes after ${SNAPSHOTS} snapshots`;
    const make = (name: string, count: number) => {
      const home = mkdtempSync(join(dir, name));
      // Room enough: it is snapshots that are measured, not the cleaner.
      const world = new PoolWorld(home, {
        diskBytes: writtenBytes * 10,
        volumeBytes: writtenBytes,
        synthetic: false,
      });
      world.open();
      world.write(writtenBytes * 1.5, 64 * 1024);
      for (let i = 0; i < count; i++) {
        progress(`${title}: snapshots`, i, count);
        for (let batch = 0; batch < 16; batch++) world.writeBatch(BLOCK);
        world.snapshot(`s${i}`);
      }
      world.checkpoint();
      return world;
    };
    const worlds = [make("many", SNAPSHOTS), make("none", 0)] as const;
    const measure = (world: PoolWorld) => async () => {
      const began = performance.now();
      for (let done = 0; done < slice; done += 32) world.writeBatch(BLOCK);
      return slice / ((performance.now() - began) / 1000);
    };
    // Pages that both share with what was before are copied once.
    for (const world of worlds) await measure(world)();
    const outcome = await compare({
      title,
      unit: "IOPS",
      better: "higher",
      ours: { name: `${SNAPSHOTS} snapshots`, measure: measure(worlds[0]) },
      peers: [{ name: "none", measure: measure(worlds[1]) }],
      runs: numberOption("--runs", values.runs),
    });
    for (const world of worlds) world.close();
    return outcome;
  });
}

/** MiB that a process takes at most in which a working set of 16 GiB, spread over 1 TiB, is written to at random. */
function memory(): Outcome {
  const dir = mkdtempSync(join(tmpdir(), "plinth-bench-"));
  try {
    const { maxRssMib, writes, pages } = runInChild(import.meta.filename, { dir }) as MemoryUse;
    const ours = { name: "plinth pool", median: maxRssMib, min: maxRssMib, max: maxRssMib };
    const done = `${writes.toLocaleString("en-US")} in ${memorySeconds} s, to ${pages.toLocaleString("en-US")} pages of the map`;
    const title = `random 4 KiB writes to a working set of 16 GiB, one block in every 256 KiB of 1 TiB (${done})`;
    return { title, unit: "MiB resident", better: "lower", ours, peers: [] };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** The working set is the first 4 KiB of every 256 KiB: each page of the map is in it, the dearest way to lay it out. */
function measureMemory({ dir }: MemoryTask): void {
  const world = new PoolWorld(dir, { diskBytes: memoryBytes * 3, volumeBytes: TIB, synthetic: true });
  world.open();
  world.strideBytes = TIB / (workingSetBytes / BLOCK);
  const endMs = performance.now() + memorySeconds * 1000;
  let writes = 0;
  for (let left = memorySeconds; left > 0 && writes * BLOCK < memoryBytes; writes += 32) {
    world.writeBatch(BLOCK);
    left = (endMs - performance.now()) / 1000;
    if (writes % 4096 === 0) progress("memory: writing", memorySeconds - Math.max(0, left), memorySeconds);
  }
  const maxRssMib = Math.round(process.resourceUsage().maxRSS / 1024);
  const use: MemoryUse = { maxRssMib, writes, pages: world.pages };
  process.stdout.write(`${JSON.stringify(use)}\n`);
  world.close();
}

async function inDirectory<T>(work: (dir: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), "plinth-bench-"));
  try {
    return await work(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
