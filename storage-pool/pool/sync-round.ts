// One sync of a pool: what was written before it began is durable afterwards, or its writer is broken for good.
//
//   begin: positions, segments written, disks to sync ─► (caller syncs each disk) ─► finish: durable positions rise
//
// A disk whose sync fails is not used any more: what the kernel dropped cannot be written again. With another copy on a
// disk that synced nothing is lost, and nobody notices. Thread: the pool's worker. Hot: no (once per sync).
import type { Disk } from "../disk/disk.js";
import type { LogWriter } from "../log/log-writer.js";
import type { PackedWrites } from "../log/relocation.js";

export interface SyncRound {
  /** To be synced by the caller. */
  readonly disks: readonly Disk[];
  /** `results`: 0 or an errno for each disk. */
  finish(results: ArrayLike<number>): void;
}

/** Begins one. A second may begin and end meanwhile: it syncs again what the first has not yet. */
export function beginSync(disks: readonly Disk[], writers: readonly (LogWriter | PackedWrites)[]): SyncRound {
  // What a sync that is under way covers is not durable yet.
  const dirty = disks.filter((disk) => (disk.dirty || disk.syncing) && disk.online);
  for (const disk of dirty) {
    disk.dirty = false;
    disk.syncing = true;
  }
  const positions = writers.map((writer) => {
    const { sequence, unsynced } = writer;
    return { writer, sequence, segments: [...unsynced] };
  });
  return {
    disks: dirty,
    finish(results) {
      for (const [i, disk] of dirty.entries()) {
        disk.syncing = false;
        if (results[i] !== 0) disk.failed = true;
      }
      for (const { writer, sequence, segments } of positions) {
        if (!segments.every((segment) => segment.readable)) writer.broken = true;
        if (writer.broken) continue;
        writer.durable = Math.max(writer.durable, sequence);
        writer.unsynced = writer.unsynced.filter(
          (segment) => segment === writer.segment || !segments.includes(segment),
        );
      }
    },
  };
}
