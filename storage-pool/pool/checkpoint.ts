// One checkpoint of one volume: freeze the maps that changed, write them down in slices, have the disks synced, hand
// over for the catalogue, and only after the catalogue has it let go of what the checkpoint before needed.
//
//   new ──step…──► files written ──(disks synced, catalogue durable)──► commit
//                                     └─(refused)────────────► abort
//
// Invariant: until `commit` every block that the old map files name stays counted. Thread: the pool's worker. Hot: no.
import { MapFileJob, type MapStore, type WrittenPages } from "../log/map-store.js";
import type { BlockMap } from "../volume/block-map.js";
import type { KeyframeRecord } from "../volume/history.js";
import type { Root, Volume } from "../volume/volume.js";

/** What the catalogue has to record, in one transaction. */
export interface CheckpointRecord {
  readonly volume: number;
  /** Records up to this one are in the head's file. */
  readonly sequence: number;
  /** Root name ("" for the head) → new map file. */
  readonly files: Readonly<Record<string, string>>;
  /** Where rewinding starts from now on, in place of all before; files as above, or as they were. */
  readonly keyframes: readonly KeyframeRecord[];
  /** The latest time that the log says. */
  readonly clockMs: number;
}

interface Part {
  readonly root: Root;
  readonly frozen: BlockMap;
  readonly name: string;
  /** Pages that had changed when it began. */
  readonly changedPages: number;
  job: MapFileJob | undefined;
}

export class Checkpoint {
  readonly volume: Volume;
  readonly record: CheckpointRecord;
  readonly #store: MapStore;
  readonly #parts: Part[];
  readonly #written: WrittenPages = new Map();
  readonly #releasedBefore: number;
  readonly #dropped: readonly Root[];
  #current = 0;
  /** Of the parts that are written. */
  #changedBefore = 0;

  /** `nameOf` gives file names that were never used. The caller has committed what was staged. */
  constructor(volume: Volume, store: MapStore, nameOf: (root: Root) => string) {
    this.volume = volume;
    this.#store = store;
    for (const root of volume.roots()) root.dirty ||= root.files.some((file) => file.isStale);
    const changed = volume.roots().filter((root) => root.dirty || root === volume.head);
    this.#parts = changed.map((root) => {
      const frozen = root.map.freeze();
      const { changedPages } = root.map;
      root.map.changedPages = 0;
      root.pending = frozen;
      root.dirty = false;
      return { root, frozen, name: nameOf(root), changedPages, job: undefined };
    });
    this.#releasedBefore = volume.releasedBlocks;
    this.#dropped = [...volume.history.dropped];
    volume.writer.writtenBytes = 0;
    this.record = {
      volume: volume.id,
      sequence: volume.writer.sequence,
      files: Object.fromEntries(this.#parts.map((part) => [part.root.name, part.name])),
      keyframes: volume.history.records(),
      clockMs: volume.history.clockMs,
    };
  }

  /** Writes a slice; true once the map files are on the medium. Throws when they cannot be written. */
  step(): boolean {
    const part = this.#parts[this.#current];
    if (part === undefined) return true;
    part.job ??= new MapFileJob(
      this.#store,
      part.frozen,
      {
        name: part.name,
        volume: this.volume.id,
        sequence: this.record.sequence,
        sizeBytes: part.root.sizeBytes,
        epoch: this.volume.epoch,
      },
      this.#written,
    );
    if (part.job.step()) {
      this.#changedBefore += part.changedPages;
      this.#current++;
    }
    return this.#current === this.#parts.length;
  }

  /** How much of what had changed when it began is written, from 0 to 1. */
  get share(): number {
    const part = this.#parts[this.#current];
    if (part === undefined) return 1;
    const all = this.#parts.reduce((sum, { changedPages }) => sum + changedPages, 0);
    return (this.#changedBefore + part.changedPages * (part.job?.share ?? 0)) / Math.max(1, all);
  }

  /** The catalogue names the new files. */
  commit(): void {
    for (const { root, frozen, job } of this.#parts) {
      root.durable?.release();
      root.durable = frozen;
      root.pending = undefined;
      job?.commit();
      const before = root.files;
      root.files = job?.files ?? [];
      this.#store.release(before);
    }
    const { history } = this.volume;
    history.recorded(this.record.keyframes);
    history.dropped = history.dropped.filter((root) => !this.#dropped.includes(root));
    for (const root of this.#dropped) {
      root.release();
      this.#store.release(root.files);
    }
    this.volume.releasedBlocks -= this.#releasedBefore;
    this.volume.checkpointSequence = this.record.sequence;
    this.volume.generation++;
    this.volume.head.sequence = this.record.sequence;
  }

  /** The catalogue still names the old files. */
  abort(): void {
    for (const { root, frozen, changedPages, job } of this.#parts) {
      frozen.release();
      root.pending = undefined;
      root.dirty = true;
      root.map.changedPages += changedPages;
      job?.abort();
    }
  }
}
