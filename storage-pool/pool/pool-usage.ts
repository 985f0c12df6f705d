// What a pool tells about its space and its work; a plain value that crosses threads.
import type { JobReport } from "./job.js";
import type { DiskUsage } from "./pool-disks.js";

export interface PoolUsage {
  readonly sizeBytes: number;
  /** Whole segments in use, all copies. */
  readonly allocatedBytes: number;
  readonly freeBytes: number;
  /** Space in use for each byte that something names: dead blocks wait for the cleaner. 1 while nothing is stored. */
  readonly spaceAmplification: number;
  /** Bytes that clients wrote, and that the cleaner moved, since the pool was opened. */
  readonly writtenBytes: number;
  readonly movedBytes: number;
  readonly repairedBlocks: number;
  readonly lostBlocks: number;
  readonly disks: readonly DiskUsage[];
  /** Segments with fewer copies than they shall have. */
  readonly degradedSegments: number;
  readonly jobs: readonly JobReport[];
}
