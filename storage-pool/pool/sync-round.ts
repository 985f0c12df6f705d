// One sync of a pool: what was written before it began is durable afterwards, or its writer is broken for good.
//
//   begin: positions, segments written, disks to sync ─► (caller syncs each disk) ─► finish: durable positions rise
//
// A disk whose sync fails is not used any more: what the kernel dropped cannot be written again. With another copy on a
// disk that synced nothing is lost, and nobody notices. Thread: the pool's worker. Hot: no (once per sync).
import type { Disk } from "../disk/disk.js";
import type { LogWriter } from "../log/log-writer.js";

export interface SyncRound {
  /** To be synced by the caller. */
  readonly disks: readonly Disk[];
  /** `results`: 0 or an errno for each disk. */
  finish(results: ArrayLike<number>): void;
}

/** Begins one; only one at a time. */
export function beginSync(disks: readonly Disk[], writers: readonly LogWriter[]): SyncRound {
  const dirty = disks.filter((disk) => disk.dirty && disk.online);
  for (const disk of dirty) {
    disk.dirty = false;
    disk.syncing = true;
  }
  const positions = writers.map((writer) => {
    const { sequence, unsynced: segments, segment } = writer;
    writer.unsynced = segment === undefined ? [] : [segment];
    return { writer, sequence, segments };
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
        else if (!writer.broken) writer.durable = Math.max(writer.durable, sequence);
      }
    },
  };
}
