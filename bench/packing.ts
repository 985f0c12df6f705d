// Volumes that are compressed: what is won of text and of noise, what packing costs, and how fast packed blocks are read
// beside plain ones. In this program's own process, from the page cache, without a daemon or clients; by processor time, so
// that others who work on the machine tell little. Printed only.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Random } from "../base/random/index.js";
import { DataBuffer } from "../storage-pool/disk/data-buffer.js";
import type { Pool } from "../storage-pool/pool/pool.js";
import { packedUsageOf } from "../storage-pool/volume/compression.js";
import { ROOT } from "../test/support/run.js";
import { compare, format } from "./support/compare.js";
import { benchOptions, numberOption } from "./support/options.js";
import { PoolWorld } from "./support/pool-world.js";

const values = benchOptions(
  `usage: node dist/bench/packing.js [options]
  --runs N  runs of each, in turn; the median counts (7)
  --mib N   MiB of each volume (256)`,
  { runs: { type: "string", default: "7" }, mib: { type: "string", default: "256" } },
);
const MIB = 1024 ** 2;
const BLOCK = 4096;
const runs = numberOption("--runs", values.runs);
const sizeBytes = numberOption("--mib", values.mib) * MIB;
/** Later than what is packed has to be old. */
const STEP_MS = 700_000;

const dir = mkdtempSync(join(tmpdir(), "plinth-bench-"));
const buffer = new DataBuffer(MIB);
try {
  const text = sources();
  const random = new Random(1);
  const noise = Buffer.alloc(MIB);
  for (let at = 0; at < MIB; at += 4) noise.writeUInt32LE(random.below(2 ** 32), at);
  const plain = make("plain", (at) => text.copy(buffer.bytes, 0, at % (text.byteLength - MIB)));
  const packed = make("packed", (at) => text.copy(buffer.bytes, 0, at % (text.byteLength - MIB)));
  const noisy = make("noise", () => noise.copy(buffer.bytes));
  report("text", packed);
  report("noise", noisy);
  for (const [title, length, isRandom] of [
    ["1 MiB reads in order", MIB, false],
    ["64 KiB reads in order", 64 * 1024, false],
    ["4 KiB reads in order", BLOCK, false],
    ["4 KiB reads at random", BLOCK, true],
  ] as const) {
    const { ours, peers } = await compare({
      title,
      unit: "MiB/s",
      better: "higher",
      ours: { name: "packed", measure: async () => read(packed, length, isRandom) },
      peers: [{ name: "plain", measure: async () => read(plain, length, isRandom) }],
      runs,
    });
    const ratio =
      peers[0] === undefined ? "" : `, ${format(peers[0].ratio)} of plain (${format(peers[0].median)})`;
    process.stdout.write(`${title}: ${format(ours.median)} MiB/s${ratio}\n`);
  }
} finally {
  rmSync(dir, { recursive: true, force: true });
}

/** A volume that is full of something, on a disk of its own. */
function make(name: string, fill: (at: number) => void): PoolWorld {
  const home = mkdtempSync(join(dir, name));
  const world = new PoolWorld(home, { diskBytes: 3 * sizeBytes, volumeBytes: sizeBytes, synthetic: false });
  world.open();
  const volume = (world.pool as Pool).volume(1);
  for (let at = 0; at < sizeBytes; at += MIB) {
    fill(at);
    if (volume.stageWrite(buffer, 0, at, MIB) !== 0 || volume.commit() !== 0)
      throw new Error("a write failed");
  }
  world.flush();
  volume.writer.seal();
  world.checkpoint();
  return world;
}

/** Has the volume packed, and tells what that took and won. */
function report(what: string, world: PoolWorld): void {
  const pool = world.pool as Pool;
  world.rest(STEP_MS);
  const before = pool.table.usedCount;
  pool.volume(1).compression = "deflate";
  const began = process.cpuUsage();
  for (let i = 2; i < 8; i++) world.rest(i * STEP_MS);
  const seconds = secondsSince(began);
  const { packedBytes, savedBytes } = packedUsageOf(pool.table, 1);
  process.stdout.write(
    `${what}: ${before} segments became ${pool.table.usedCount}; ${packedBytes / MIB} MiB packed, ` +
      `${format(savedBytes / MIB)} saved; ${format(sizeBytes / MIB / seconds)} MiB each second of processor time\n`,
  );
}

/** Of processor time. */
function secondsSince(began: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(began);
  return (user + system) / 1e6;
}

/** MiB each second of processor time. */
function read(world: PoolWorld, length: number, isRandom: boolean): number {
  const volume = (world.pool as Pool).volume(1);
  const random = new Random(7);
  const places = Math.floor(sizeBytes / length);
  const count = Math.min(places, isRandom ? 4000 : 40_000);
  const began = process.cpuUsage();
  for (let i = 0; i < count; i++) {
    const at = (isRandom ? random.below(places) : i) * length;
    if (volume.read(buffer, 0, at, length) !== 0) throw new Error("a read failed");
  }
  return (count * length) / MIB / secondsSince(began);
}

/** What this project is written in: some megabytes of text. */
function sources(): Buffer {
  const parts: Buffer[] = [];
  for (const folder of ["docs", "storage-pool", "vswitch", "stack", "sdn-controller", "base"]) {
    for (const name of readdirSync(join(ROOT, folder), { recursive: true }) as string[]) {
      if (/\.(ts|md)$/.test(name)) parts.push(readFileSync(join(ROOT, folder, name)));
    }
  }
  return Buffer.concat(parts);
}
