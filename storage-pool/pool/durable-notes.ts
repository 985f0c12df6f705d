// How far logs are on the medium, said where it outlives them: a log's end that went bad, or is gone with all its
// segments, must not pass for an end.
//
//   within the log: each record says what was durable before it; when none follows a mark does, once writes have paused
//   in the catalogue: the same, at most once a second, so that a log is missed of which nothing at all is left
//
// Thread: the pool's worker. Hot: no.
import { OK } from "../errors.js";
import { CHECKPOINT_IDLE_MS, DURABLE_NOTE_MS, RESERVE_SEGMENTS } from "../limits.js";
import type { SegmentTable } from "../log/segment-table.js";
import type { Volume } from "../volume/volume.js";

/** A volume's number, and up to which record everything of it is on the medium. */
export interface DurablePosition {
  readonly volume: number;
  readonly sequence: number;
}

export interface DurableNotesOptions {
  readonly table: SegmentTable;
  readonly volumes: ReadonlyMap<number, Volume>;
  readonly wallClock: () => number;
  readonly syncAside: (onSynced: () => void) => void;
  /** To be recorded when convenient; later ones hold for earlier ones. */
  readonly onDurable: (positions: readonly DurablePosition[]) => void;
}

export class DurableNotes {
  readonly #options: DurableNotesOptions;
  #notedMs = Number.NEGATIVE_INFINITY;

  constructor(options: DurableNotesOptions) {
    this.#options = options;
  }

  /** Tells how far logs are, for the catalogue. */
  tell(nowMs: number): void {
    if (nowMs - this.#notedMs < DURABLE_NOTE_MS) return;
    this.#notedMs = nowMs;
    let positions: DurablePosition[] | undefined;
    for (const volume of this.#options.volumes.values()) {
      const { durable } = volume.writer;
      if (durable <= Math.max(volume.notedSequence, volume.checkpointSequence)) continue;
      volume.notedSequence = durable;
      positions ??= [];
      positions.push({ volume: volume.id, sequence: durable });
    }
    if (positions !== undefined) this.#options.onDurable(positions);
  }

  /** Makes marks in logs to which nothing was written for a while, and which do not say how far they were flushed. */
  mark(nowMs: number, lastChangeMs: number): void {
    if (nowMs - lastChangeMs < CHECKPOINT_IDLE_MS) return;
    const { table } = this.#options;
    let noted = false;
    for (const volume of this.#options.volumes.values()) {
      const { writer, checkpointSequence, copies, diskClass } = volume;
      // Not worth that anything is given up for it.
      if (writer.segment === undefined && table.freeCount(copies, diskClass) <= RESERVE_SEGMENTS) continue;
      if (writer.durable <= Math.max(writer.noted, checkpointSequence) || !writer.idle) continue;
      const staged = volume.mark(this.#options.wallClock());
      // In any case: what went wrong here is not for the next client's commit to report.
      if (writer.commit() !== OK || staged !== OK) continue;
      // The mark itself needs none.
      writer.noted = writer.sequence;
      noted = true;
    }
    if (noted) this.#options.syncAside(() => {});
  }
}
