// What the pace of cleaning depends on, gathered from a pool. Thread: the pool's worker. Hot: no (once per breath).
import type { CleanSituation } from "../log/clean-pacer.js";
import type { Cleaner } from "../log/cleaner.js";
import { DATA_BLOCKS } from "../log/format.js";
import type { LogWriter, Staging } from "../log/log-writer.js";
import type { Relocation } from "../log/relocation.js";
import type { SegmentTable } from "../log/segment-table.js";
import type { MapReader } from "../volume/map-reader.js";
import type { Volume } from "../volume/volume.js";

export interface CleanModules {
  readonly table: SegmentTable;
  readonly staging: Staging;
  readonly reader: MapReader;
  readonly volumes: ReadonlyMap<number, Volume>;
  readonly relocation: Relocation;
}

/** Segments that are being filled, and emptied ones, count neither as used nor as dead. */
export function cleanSituation(nowMs: number, cleaner: Cleaner, modules: CleanModules): CleanSituation {
  const { table, staging, reader, volumes, relocation } = modules;
  const { waitingCount, waitingBlocks } = cleaner;
  let used = table.usedCount - waitingCount;
  // What is packed into a slot beyond what fits into another is no room that others lack.
  let live = table.liveBlocksMost - table.packedGain - waitingBlocks;
  let copies = 1;
  const count = ({ segment }: LogWriter) => {
    if (segment === undefined) return;
    used--;
    live -= segment.liveBlocks;
  };
  for (const volume of volumes.values()) {
    count(volume.writer);
    if (volume.copies > copies) copies = volume.copies;
  }
  for (const writer of relocation.writers) count(writer);
  return {
    nowMs,
    slots: table.slotCount / copies,
    freeSegments: table.freeCount(copies),
    waitingSegments: waitingCount,
    deadShare: used <= 0 ? 0 : Math.max(0, 1 - live / (used * DATA_BLOCKS)),
    writtenBlocks: staging.clientBlocks,
    reads: reader.readCount,
  };
}
