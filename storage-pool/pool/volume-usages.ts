// Counts of volumes' space that are kept while they hold: counting walks the maps when there are snapshots or clones, so
// that an answer is kept while nothing changed, and for fifty times as long as counting took.
// Thread: the pool's worker. Hot: no.
import type { SegmentTable } from "../log/segment-table.js";
import { usageOf, usageWhileCounting, type VolumeUsage } from "../volume/usage.js";
import type { Volume } from "../volume/volume.js";

/** A count of a volume's space, and when it was made. */
interface Known {
  readonly usage: VolumeUsage;
  readonly generation: number;
  /** Names of the roots that there were. */
  readonly roots: string;
  readonly untilMs: number;
}

export class VolumeUsages {
  readonly #table: SegmentTable;
  readonly #volumes: ReadonlyMap<number, Volume>;
  readonly #known = new WeakMap<Volume, Known>();

  constructor(table: SegmentTable, volumes: ReadonlyMap<number, Volume>) {
    this.#table = table;
    this.#volumes = volumes;
  }

  /** `exact`: as it is now; else a count may be as old as said above. */
  of(volume: Volume, exact = false): VolumeUsage {
    let generation = this.#volumes.size;
    for (const each of this.#volumes.values()) generation += each.generation + each.checkpointSequence;
    const roots = volume
      .roots()
      .map((root) => root.name)
      .join(" ");
    const startMs = performance.now();
    const known = this.#known.get(volume);
    const recent = known !== undefined && known.roots === roots;
    if (recent && (known.generation === generation || (!exact && startMs < known.untilMs)))
      return known.usage;
    if (!this.#table.isCounted) return usageWhileCounting(volume);
    const usage = usageOf(volume, this.#table);
    const endMs = performance.now();
    this.#known.set(volume, { usage, generation, roots, untilMs: endMs + 50 * (endMs - startMs) });
    return usage;
  }
}
