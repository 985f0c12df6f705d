// Recovery: how long a pool takes to open after a crash. What is replayed is bounded by the checkpoint interval (1 GiB of
// log); of what a checkpoint holds the tables are read, and pages that the log changes; the rest is counted afterwards. Real logs are random 4 KiB writes; the synthetic one stands for 100 GiB
// written all over a volume of 1 TiB: its records and maps are real, its payload is never stored.
//   node dist/bench/recovery.js [--sizes 1,5,20] [--synthetic 100] [--quick] [--print]
// --sizes, --synthetic: GiB written ("" or 0: none). --print leaves RESULTS.md alone. --quick:
// small cases, a minute in all, for seeing that it works; prints only.
import { mkdtempSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Outcome, writeResults } from "./support/compare.js";
import { RecoveryWorld } from "./support/recovery-world.js";

const { values } = parseArgs({
  options: {
    sizes: { type: "string" },
    synthetic: { type: "string" },
    quick: { type: "boolean", default: false },
    print: { type: "boolean", default: false },
  },
});
const GIB = 1024 ** 3;
const BLOCK = 4096;
const OPENINGS = 3;

interface Case {
  readonly title: string;
  readonly writtenBytes: number;
  readonly volumeBytes: number;
  readonly writeBytes: number;
  readonly synthetic: boolean;
}

const sizes = values.sizes ?? (values.quick ? "0.25" : "1,5,20");
const synthetic = values.synthetic ?? (values.quick ? "4" : "100");

const cases: Case[] = sizes
  .split(",")
  .filter((size) => size !== "")
  .map((size) => ({
    title: `${size} GiB of random 4 KiB writes to a volume of that size`,
    writtenBytes: Number(size) * GIB,
    volumeBytes: Number(size) * GIB,
    writeBytes: BLOCK,
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
const outcomes: Outcome[] = [];
for (const each of cases) {
  const stored = each.synthetic ? each.writtenBytes / 50 + 8 * GIB : each.writtenBytes * 2;
  const { bavail, bsize } = statfsSync(tmpdir());
  if (bavail * bsize < stored + 4 * GIB) throw new Error(`${each.title}: ${tmpdir()} has no room for it`);
  const times = await measure(each);
  times.sort((a, b) => a - b);
  const [min, median, max] = [times[0], times[times.length >> 1], times.at(-1)] as [number, number, number];
  const ours = { name: "plinth pool", median, min, max };
  outcomes.push({ title: `open after a crash: ${each.title}`, unit: "s", better: "lower", ours, peers: [] });
}
if (!values.print && !values.quick) {
  const command = `node dist/bench/recovery.js --sizes ${sizes} --synthetic ${synthetic}`;
  writeResults("Recovery", command, outcomes, ["The page cache is warm: what was written is still in it."]);
}

/** Seconds of each opening. */
async function measure({ title, writtenBytes, volumeBytes, writeBytes, synthetic }: Case): Promise<number[]> {
  const dir = mkdtempSync(join(tmpdir(), "plinth-bench-"));
  try {
    const world = new RecoveryWorld(dir, writtenBytes * 2 + GIB, volumeBytes, synthetic);
    world.open();
    world.write(writtenBytes, writeBytes, synthetic);
    const times: number[] = [];
    for (let i = 0; i < OPENINGS; i++) {
      world.pool?.close();
      world.pool = undefined;
      globalThis.gc?.();
      const began = performance.now();
      world.open();
      times.push((performance.now() - began) / 1000);
      const rss = Math.round(process.memoryUsage().rss / 1024 ** 2);
      process.stdout.write(
        `${title}: ${times.at(-1)?.toFixed(2)} s, ${world.report()}, ${rss} MiB resident\n`,
      );
    }
    return times;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
