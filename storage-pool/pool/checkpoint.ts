// One checkpoint of one volume: freeze the maps that changed, write them down in slices, have the disks synced, hand
// over for the catalogue, and only after the catalogue has it let go of what the checkpoint before needed.
//
//   new ──step…──► files written ──(disks synced, catalogue durable)──► commit
//                                     └─(refused)────────────► abort
//
// Invariant: until `commit` every block that the old map files name stays counted. Thread: the pool's worker. Hot: no.
import { MapFileJob, type MapFileSink, type MapFiles } from "../log/map-files.js";
import type { SegmentTable } from "../log/segment-table.js";
import type { BlockMap } from "../volume/block-map.js";
import type { Root, Volume } from "../volume/volume.js";

/** What the catalogue has to record, in one transaction. */
export interface CheckpointRecord {
  readonly volume: number;
  /** Records up to this one are in the head's file. */
  readonly sequence: number;
  /** Root name ("" for the head) → new map file. */
  readonly files: Readonly<Record<string, string>>;
}

interface Part {
  readonly root: Root;
  readonly frozen: BlockMap;
  readonly name: string;
  job: MapFileJob | undefined;
}

export class Checkpoint {
  readonly volume: Volume;
  readonly record: CheckpointRecord;
  readonly #files: MapFiles;
  readonly #table: SegmentTable;
  readonly #parts: Part[];
  readonly #releasedBefore: number;
  #current = 0;

  /** `nameOf` gives file names that were never used. The caller has committed what was staged. */
  constructor(
    volume: Volume,
    modules: { files: MapFiles; table: SegmentTable },
    nameOf: (root: Root) => string,
  ) {
    this.volume = volume;
    this.#files = modules.files;
    this.#table = modules.table;
    const changed = volume.roots().filter((root) => root.dirty || root.file === "" || root === volume.head);
    this.#parts = changed.map((root) => {
      const frozen = root.map.freeze();
      root.pending = frozen;
      root.dirty = false;
      return { root, frozen, name: nameOf(root), job: undefined };
    });
    this.#releasedBefore = volume.releasedBlocks;
    volume.writer.writtenBytes = 0;
    this.record = {
      volume: volume.id,
      sequence: volume.writer.sequence,
      files: Object.fromEntries(this.#parts.map((part) => [part.root.name, part.name])),
    };
  }

  /** Writes a slice; true once the map files are on the medium. Throws when they cannot be written. */
  step(): boolean {
    const part = this.#parts[this.#current];
    if (part === undefined) return true;
    part.job ??= new MapFileJob(this.#files, this.#table, part.frozen, {
      name: part.name,
      volume: this.volume.id,
      sequence: this.record.sequence,
      sizeBytes: part.root.sizeBytes,
    });
    if (part.job.step()) this.#current++;
    return this.#current === this.#parts.length;
  }

  /** The catalogue names the new files. */
  commit(): void {
    for (const { root, frozen, name } of this.#parts) {
      root.durable?.release();
      root.durable = frozen;
      root.pending = undefined;
      if (root.file !== "") this.#files.remove(root.file);
      root.file = name;
    }
    this.volume.releasedBlocks -= this.#releasedBefore;
    this.volume.checkpointSequence = this.record.sequence;
    this.volume.generation++;
    this.volume.head.sequence = this.record.sequence;
  }

  /** The catalogue still names the old files. */
  abort(): void {
    for (const { root, frozen, name, job } of this.#parts) {
      frozen.release();
      root.pending = undefined;
      root.dirty = true;
      if (job === undefined) continue;
      try {
        job.abort();
      } catch {
        // Already finished: its sink is closed, the file itself goes below.
      }
      this.#files.remove(name);
    }
  }
}

export type { MapFileSink };
