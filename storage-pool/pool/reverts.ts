// Putting a volume back to what it was: to a snapshot, or to any moment that its history reaches.
//
//   prepare: maps written to files ─► catalogue names them ─► finish: they are in place
//
// Invariant: a crash before the catalogue names the files changes nothing; one after it finds the volume put back.
// Thread: the pool's worker. Hot: no.
import { assert } from "../../base/assert/index.js";
import { storageError } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import type { SegmentTable } from "../log/segment-table.js";
import type { BlockMap } from "../volume/block-map.js";
import { Keyframe } from "../volume/history.js";
import type { Root, Volume } from "../volume/volume.js";
import type { KeyframeSpec } from "./open-pool.js";
import { Rewind, type RewindProgress } from "./rewind.js";
import type { Room } from "./room.js";
import { fileOf, type RootFiles } from "./root-files.js";

export interface Reverted {
  readonly mapFile: string;
  readonly sequence: number;
  readonly sizeBytes: number;
  /** Map files of snapshots that had none. */
  readonly snapshotFiles: Readonly<Record<string, string>>;
  /** Keyframes that the catalogue does not know with their files yet: they are added, or put in the place of their name. */
  readonly keyframes: readonly KeyframeSpec[];
}

export interface RevertsOptions {
  readonly table: SegmentTable;
  readonly files: RootFiles;
  readonly room: Room;
  readonly wallClock: () => number;
  /** A checkpoint of the volume that is under way is given up. */
  readonly abandonCheckpointOf: (volume: Volume) => void;
  readonly flush: (volume: Volume) => void;
  readonly freeDead: () => void;
}

interface Prepared {
  readonly head: Root;
  /** Snapshots and keyframes that had no file. */
  readonly recent: readonly Root[];
  /** What the content jumps to, for rewinding. */
  readonly keyframe: Keyframe | undefined;
  /** The snapshot that the volume is put back to. */
  readonly origin: Root | undefined;
}

export class Reverts {
  readonly #options: RevertsOptions;
  readonly #prepared = new Map<number, Prepared>();
  readonly #rewinds = new Map<number, Rewind>();

  constructor(options: RevertsOptions) {
    this.#options = options;
  }

  /** Looks up a moment: to be followed by `stepRewind` until it is done, then `rewound`, at last `endRewind`. */
  beginRewind(volume: Volume, timeMs: number): void {
    this.endRewind(volume.id);
    this.#rewinds.set(volume.id, new Rewind(volume, this.#options.table, timeMs));
  }

  stepRewind(id: number): RewindProgress {
    return this.#rewind(id).step();
  }

  /** The volume's map as it was then; the caller's. */
  rewound(id: number): BlockMap {
    return this.#rewind(id).map.freeze();
  }

  endRewind(id: number): void {
    this.#rewinds.get(id)?.release();
    this.#rewinds.delete(id);
  }

  #rewind(id: number): Rewind {
    const rewind = this.#rewinds.get(id);
    assert(rewind !== undefined, "a rewind is begun before it goes on");
    return rewind;
  }

  /**
   * Writes the map that the head will have, those of snapshots and keyframes that were only positions in the log before
   * it, and a keyframe, if the volume has a history. `map` is used up. Throws POOL_FULL.
   */
  prepare(volume: Volume, map: BlockMap, origin: Root | undefined): Reverted {
    const { files, room, wallClock } = this.#options;
    const { id, sizeBytes, copies, diskClass, history } = volume;
    this.#options.abandonCheckpointOf(volume);
    this.#options.flush(volume);
    const more = map.mappedBlocks - volume.head.map.mappedBlocks;
    if (!room.take(more, copies, diskClass)) {
      map.release();
      const code = this.#options.table.isCounted ? "POOL_FULL" : "ROOM_PENDING";
      throw storageError(code, `the pool has no room for ${more} blocks more of ${volume.name}`, {
        remedy: "add a disk, or delete volumes or snapshots",
      });
    }
    const { sequence } = volume.writer;
    map.grow(sizeBytes / BLOCK_SIZE);
    const keptMap = history.windowMs > 0 ? map.freeze() : undefined;
    const recent: Root[] = [];
    let keyframe: Keyframe | undefined;
    try {
      for (const root of volume.roots()) {
        if (root.files.length > 0 || root === volume.head) continue;
        recent.push(files.write(id, root.name, root.map.freeze(), root.sizeBytes, root.sequence));
      }
      if (keptMap !== undefined) {
        const timeMs = Math.max(wallClock(), history.clockMs);
        const root = files.write(id, volume.newKeyframeName(), keptMap, sizeBytes, sequence);
        keyframe = new Keyframe(root, timeMs);
      }
    } catch (thrown) {
      map.release();
      for (const root of recent) files.forget(root);
      throw thrown;
    }
    const head = files.write(id, "", map, sizeBytes, sequence, volume.epoch);
    this.#prepared.set(id, { head, recent, keyframe, origin });
    const fileBy = new Map(recent.map((root) => [root.name, fileOf(root)]));
    const written = history.keyframes.filter(({ root }) => fileBy.has(root.name));
    if (keyframe !== undefined) fileBy.set(keyframe.root.name, fileOf(keyframe.root));
    return {
      mapFile: fileOf(head),
      sequence,
      sizeBytes,
      snapshotFiles: Object.fromEntries(fileBy),
      keyframes: [...written, ...(keyframe === undefined ? [] : [keyframe])].map(({ root, timeMs }) => ({
        name: root.name,
        sequence: root.sequence,
        sizeBytes: root.sizeBytes,
        timeMs,
        mapFile: fileBy.get(root.name) as string,
      })),
    };
  }

  finish(volume: Volume, recorded: boolean): void {
    const prepared = this.#prepared.get(volume.id);
    if (prepared === undefined) return;
    const { files } = this.#options;
    this.#prepared.delete(volume.id);
    const { head, recent, keyframe, origin } = prepared;
    if (!recorded) {
      for (const root of [head, ...recent, ...(keyframe === undefined ? [] : [keyframe.root])])
        files.forget(root);
      return;
    }
    assert(volume.writer.sequence === head.sequence, "a volume is not written while it is reverted");
    const targets = new Map(volume.roots().map((root) => [root.name, root]));
    for (const root of [head, ...recent]) {
      const target = targets.get(root.name) as Root;
      target.release();
      const before = target.files;
      target.map = root.map;
      target.durable = root.durable;
      target.files = root.files;
      target.dirty = false;
      target.sequence = root.sequence;
      files.release(before);
    }
    if (keyframe !== undefined) {
      volume.history.keyframes.push(keyframe);
      volume.history.clockMs = keyframe.timeMs;
    }
    volume.checkpointSequence = volume.head.sequence;
    volume.generation++;
    volume.promises.shareAll(origin, origin !== undefined);
    this.#options.freeDead();
  }
}
