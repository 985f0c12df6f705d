// What a pool holds and what is left of it. Thread: the pool's worker. Hot: no.
import { BLOCK_SIZE } from "../limits.js";
import { DATA_BLOCKS } from "../log/format.js";
import type { SegmentTable } from "../log/segment-table.js";
import { type PackedUsage, packedUsageOfAll } from "../volume/compression.js";
import type { MapReader } from "../volume/map-reader.js";
import type { Volume } from "../volume/volume.js";
import type { JobReport, JobRunner } from "./job.js";
import type { DiskUsage, PoolDisks } from "./pool-disks.js";
import type { Room } from "./room.js";

export interface PoolUsage extends PackedUsage {
  readonly sizeBytes: number;
  /** Whole segments in use, all copies. */
  readonly allocatedBytes: number;
  readonly freeBytes: number;
  /**
   * Space in use for each byte that something names and packing has not won: dead blocks wait for the cleaner. 1 while
   * nothing is stored.
   */
  readonly spaceAmplification: number;
  /** Bytes that clients wrote, and that were moved, since the pool was opened. */
  readonly writtenBytes: number;
  readonly movedBytes: number;
  /** Room that is kept for overwriting what is shared, all copies. */
  readonly promisedBytes: number;
  /** What can be stored and promised at most, all copies. */
  readonly usableBytes: number;
  /** What volumes with one copy can still grow by, beyond all that is promised; never less than 0. */
  readonly growthBytes: number;
  /** Held by deleted volumes and for rewinding: given up when room is short; all copies. */
  readonly spareBytes: number;
  readonly repairedBlocks: number;
  readonly lostBlocks: number;
  readonly disks: readonly DiskUsage[];
  /** Segments with fewer copies than they shall have. */
  readonly degradedSegments: number;
  readonly jobs: readonly JobReport[];
}

export interface Accounted {
  readonly table: SegmentTable;
  readonly reader: MapReader;
  readonly volumes: ReadonlyMap<number, Volume>;
  readonly disks: PoolDisks;
  readonly jobs: JobRunner;
  readonly room: Room;
}

/** What was written and moved since the pool was opened. */
export interface WorkDone {
  readonly writtenBytes: number;
  readonly movedBytes: number;
}

/** `exclusiveOf`: bytes that deleting a volume frees, one copy counted. */
export function poolUsageOf(
  pool: Accounted,
  work: WorkDone,
  exclusiveOf: (volume: Volume) => number,
): PoolUsage {
  const { table, reader, room, jobs } = pool;
  const disks = pool.disks.usage();
  let degradedSegments = 0;
  let pinnedBlocks = 0;
  table.visit((segment) => {
    // What is on a detached disk is gone with the next start.
    const kept = segment.disks.filter((disk) => disk.online && !disk.detached);
    if (kept.length < segment.copies) degradedSegments++;
    if (segment.pinned) pinnedBlocks += (DATA_BLOCKS - segment.liveBlocks) * segment.copies;
  });
  let spareBytes = pinnedBlocks * BLOCK_SIZE;
  for (const volume of pool.volumes.values()) {
    if (volume.deletedAtMs > 0) spareBytes += volume.copies * exclusiveOf(volume);
  }
  const holders = pool.disks.holders();
  const growthBlocks = Math.max(0, room.leftOn(holders, 1, ""));
  const there = disks.filter((disk) => disk.state === "online" || disk.state === "draining");
  return {
    sizeBytes: there.reduce((sum, disk) => sum + disk.sizeBytes, 0),
    allocatedBytes: table.allocatedBytes,
    freeBytes: disks.reduce((sum, disk) => sum + disk.freeBytes, 0),
    spaceAmplification:
      table.liveBlocksMost === 0
        ? 1
        : (table.usedCount * DATA_BLOCKS) / (table.liveBlocksMost - table.packedGain),
    ...work,
    ...packedUsageOfAll(table),
    promisedBytes: room.promised * BLOCK_SIZE,
    // The spare segments of volumes with two copies are not kept before one of them holds something.
    usableBytes: Math.max(growthBlocks, room.usableOn(holders)) * BLOCK_SIZE,
    growthBytes: growthBlocks * BLOCK_SIZE,
    spareBytes,
    repairedBlocks: reader.repairedBlocks,
    lostBlocks: reader.lostBlocks,
    disks,
    degradedSegments,
    jobs: jobs.reports(),
  };
}
