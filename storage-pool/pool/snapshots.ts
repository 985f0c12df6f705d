// Making and deleting snapshots: maps that are frozen under a name. Thread: the pool's worker. Hot: no.
import { storageError } from "../errors.js";
import { ROOTS_MAX, SNAPSHOTS_PER_VOLUME_MAX } from "../limits.js";
import { Root, type Volume } from "../volume/volume.js";
import type { NewMap } from "./pool.js";
import type { Room } from "./room.js";
import type { RootFiles } from "./root-files.js";

export interface SnapshotsOptions {
  readonly volumes: ReadonlyMap<number, Volume>;
  readonly room: Room;
  readonly files: RootFiles;
  /** Throws VOLUME_IN_USE while it is being recorded. */
  readonly abandonCheckpointOf: (volume: Volume) => void;
  /** Throws VOLUME_DAMAGED. */
  readonly flush: (volume: Volume) => void;
  readonly freeDead: () => void;
}

export class Snapshots {
  readonly #options: SnapshotsOptions;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
  }

  /**
   * Everything committed so far, of several volumes at one moment, frozen under a name, on the medium: a position in each
   * log, whatever the volumes' sizes. The catalogue records them or calls `delete` for each; the next checkpoints
   * write the maps. All or none. Throws LIMIT_REACHED, POOL_FULL, ROOM_PENDING and VOLUME_DAMAGED.
   */
  create(volumes: readonly Volume[], name: string): NewMap[] {
    const { room, flush } = this.#options;
    checkRootCount(this.#options.volumes.values(), volumes.length);
    for (const volume of volumes) {
      if (volume.snapshots.size < SNAPSHOTS_PER_VOLUME_MAX) continue;
      throw storageError("LIMIT_REACHED", `a volume has at most ${SNAPSHOTS_PER_VOLUME_MAX} snapshots`);
    }
    for (const volume of volumes) volume.settle();
    for (const volume of volumes) {
      const more = volume.head.map.mappedBlocks - volume.promises.blocks;
      room.promise(more, volume, `to overwrite what ${volume.name} shares with a snapshot`);
    }
    for (const volume of volumes) flush(volume);
    return volumes.map((volume) => {
      const { sizeBytes, head, writer } = volume;
      const root = new Root(name, head.map.freeze(), [], sizeBytes, writer.sequence);
      volume.snapshots.set(name, root);
      volume.promises.shareAll(root, true);
      volume.generation++;
      return { mapFile: "", sequence: writer.sequence, sizeBytes };
    });
  }

  /** The catalogue has forgotten the snapshot already; none of that name is no error. */
  delete(volume: Volume, name: string): void {
    const root = volume.snapshots.get(name);
    if (root === undefined) return;
    const { volumes, files, abandonCheckpointOf, freeDead } = this.#options;
    abandonCheckpointOf(volume);
    volume.snapshots.delete(name);
    noteGone(volumes.values(), root);
    files.forget(root);
    volume.generation++;
    freeDead();
  }
}

/** Nothing is shared with a root any more: whoever may have been is counted anew. */
export function noteGone(volumes: Iterable<Volume>, root: Root): void {
  for (const volume of volumes) {
    if (volume.related || volume.snapshots.size > 0 || volume.promises.blocks > 0)
      volume.promises.forget(root);
  }
}

/** Throws LIMIT_REACHED unless a pool with these volumes may have so many more, or as many more snapshots. */
export function checkRootCount(volumes: Iterable<Volume>, more = 1): void {
  let roots = more - 1;
  for (const volume of volumes) roots += 1 + volume.snapshots.size;
  if (roots < ROOTS_MAX) return;
  throw storageError("LIMIT_REACHED", `a pool has at most ${ROOTS_MAX} volumes and snapshots`);
}
