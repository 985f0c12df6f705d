// What a volume takes, as the main thread asks for it. Thread: the pool's worker. Hot: no.
import { BLOCK_SIZE } from "../limits.js";
import type { Pool } from "../pool/pool.js";
import { packedUsageOf } from "../volume/compression.js";
import type { Volume } from "../volume/volume.js";
import type { UsageReport } from "./target-types.js";

/** `exact`: counted now. */
export function reportUsage(pool: Pool, volume: Volume, connections: number, exact: boolean): UsageReport {
  const { id, history, promises } = volume;
  const { allocatedBytes, exclusiveBytes, historyBytes, snapshotExclusiveBytes } = pool.usageOf(id, exact);
  return {
    promisedBytes: promises.total * BLOCK_SIZE,
    historyBytes,
    earliestMs: history.earliestMs ?? 0,
    historyShort: history.shortened,
    allocatedBytes,
    exclusiveBytes,
    ...packedUsageOf(pool.table, id),
    snapshots: Object.fromEntries(snapshotExclusiveBytes),
    lostRanges: pool.lostRangesOf(id),
    connections,
  };
}
