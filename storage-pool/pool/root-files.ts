// Map files of roots outside checkpoints: written in one go, and let go of. Thread: the pool's worker. Hot: no.
import { storageError } from "../errors.js";
import { MapFileJob, type MapStore } from "../log/map-store.js";
import type { BlockMap } from "../volume/block-map.js";
import { Root } from "../volume/volume.js";

export class RootFiles {
  readonly #store: MapStore;
  readonly #epoch: number;
  #nameCounter = 0;

  constructor(store: MapStore, epoch: number) {
    this.#store = store;
    this.#epoch = epoch;
  }

  /** A root with its file, which is on the medium; `epoch`: of a volume that has a log, when it is its head. Throws POOL_FULL; then the map is let go of. */
  write(volume: number, name: string, map: BlockMap, sizeBytes: number, sequence: number, epoch = 0): Root {
    let job: MapFileJob | undefined;
    try {
      job = new MapFileJob(this.#store, map, {
        name: this.nameOf(volume, name),
        volume,
        sequence,
        sizeBytes,
        epoch,
      });
      while (!job.step());
      job.commit();
      return new Root(name, map, job.files, sizeBytes, sequence);
    } catch (cause) {
      job?.abort();
      map.release();
      throw storageError(
        "POOL_FULL",
        `the map of the volume cannot be written: ${(cause as Error).message}`,
        { cause },
      );
    }
  }

  /** Lets go of a root's maps and files; the catalogue does not name them. */
  forget(root: Root): void {
    root.release();
    this.release(root.files);
    root.files = [];
  }

  release(files: Root["files"]): void {
    this.#store.release(files);
  }

  /** A name that was never used. */
  nameOf(volume: number, root: string): string {
    this.#nameCounter++;
    return `${volume}-${root === "" ? "head" : "snapshot"}-${this.#epoch}-${this.#nameCounter}.map`;
  }
}

/** Name of the root's own file, "" while it has none. */
export function fileOf(root: Root): string {
  return root.files[0]?.name ?? "";
}
