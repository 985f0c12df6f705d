// How volumes are compressed, and what that has won. Thread: any. Hot: no.
import { BLOCK_SIZE } from "../limits.js";
import { DATA_BLOCKS } from "../log/format.js";
import type { SegmentTable } from "../log/segment-table.js";

/** How blocks that were not written for a while are packed. */
export const COMPRESSIONS = ["none", "deflate"] as const;
export type Compression = (typeof COMPRESSIONS)[number];

/** Undefined when it is none of these. */
export function knownCompression(given: unknown): Compression | undefined {
  return COMPRESSIONS.find((each) => each === given);
}

export interface PackedUsage {
  /** Bytes that lie in packed segments, one copy counted. */
  readonly packedBytes: number;
  /** What of these their slots would not hold otherwise: won by packing. Nothing else counts less for it. */
  readonly savedBytes: number;
}

/** Of what was packed for a volume, clones of it included; exact, and without a look at its maps. */
export function packedUsageOf(table: SegmentTable, volume: number): PackedUsage {
  let packed = 0;
  let saved = 0;
  table.visitPacked((segment) => {
    if (segment.volume !== volume) return;
    packed += segment.liveBlocks;
    saved += Math.max(0, segment.liveBlocks - DATA_BLOCKS);
  });
  return { packedBytes: packed * BLOCK_SIZE, savedBytes: saved * BLOCK_SIZE };
}

/** Of a whole pool, each copy counted. */
export function packedUsageOfAll(table: SegmentTable): PackedUsage {
  let packed = 0;
  let saved = 0;
  table.visitPacked((segment) => {
    packed += segment.liveBlocks * segment.disks.length;
    saved += Math.max(0, segment.liveBlocks - DATA_BLOCKS) * segment.disks.length;
  });
  return { packedBytes: packed * BLOCK_SIZE, savedBytes: saved * BLOCK_SIZE };
}
