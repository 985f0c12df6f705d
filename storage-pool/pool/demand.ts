// Who waits for free segments, and whether waiting may still help: the gate at which logs ask for them.
//
//   free segments   0 … cleaner's own … kept from trims and marks … kept from writers … for everybody
//
// Nobody but the cleaner gets the last ones: it would have nothing to move into, and no room could ever be made.
// Thread: the pool's worker. Hot: no (once per segment).
import { EAGAIN, ENOSPC, OK } from "../errors.js";
import { RESERVE_SEGMENTS } from "../limits.js";
import type { SpaceGate } from "../log/log-writer.js";
import type { SegmentTable } from "../log/segment-table.js";

/** Free segments of a kind that somebody waits for. */
export interface Wanted {
  readonly segments: number;
  readonly copies: number;
  readonly diskClass: string;
}

export class Demand implements SpaceGate {
  /** Somebody waits. */
  urgent = false;
  readonly #table: SegmentTable;
  #wanted: Wanted | undefined;
  /** By kind: dead blocks when nothing more could be won, and whether anybody was told. */
  readonly #exhausted = new Map<string, { readonly deadBlocks: number; told: boolean }>();

  constructor(table: SegmentTable) {
    this.#table = table;
  }

  /** What is waited for, with what has to stay free beside it; undefined: any room. */
  get wanted(): Wanted | undefined {
    return this.#wanted;
  }

  admit(segments: number, copies: number, kept: number, diskClass: string): number {
    const free = this.#table.freeCount(copies, diskClass);
    if (free >= segments + kept) return OK;
    if (kept === 0) return ENOSPC;
    const exhausted = this.#exhausted.get(kindOf(copies, diskClass));
    if (exhausted !== undefined && this.#table.deadBlocks() === exhausted.deadBlocks) {
      exhausted.told = true;
      return ENOSPC;
    }
    this.#exhausted.delete(kindOf(copies, diskClass));
    this.#wanted = { segments: segments + kept, copies, diskClass };
    this.urgent = true;
    return EAGAIN;
  }

  /** Somebody waits for room that can be made, of whatever kind. */
  want(): void {
    if (!this.urgent) this.#wanted = undefined;
    this.urgent = true;
  }

  /** Time has passed: what stood in the way may be gone without our knowing. Whoever waits is still told once. */
  retry(): void {
    for (const [kind, { told }] of this.#exhausted) if (told) this.#exhausted.delete(kind);
  }

  /** What could be won may have changed. */
  renew(): void {
    this.#exhausted.clear();
  }

  /** Segments were freed or moved: nobody has to wait any more if there are enough now. */
  meet(): void {
    this.renew();
    const { segments, copies, diskClass } = this.#wanted ?? NOTHING_SPECIAL;
    if (this.#table.freeCount(copies, diskClass) >= segments) this.urgent = false;
  }

  /** Nothing more can be won now: whoever waits is told that the pool is full until something changes. */
  giveUp(): void {
    this.urgent = false;
    if (this.#wanted === undefined) return;
    const { copies, diskClass } = this.#wanted;
    this.#exhausted.set(kindOf(copies, diskClass), { deadBlocks: this.#table.deadBlocks(), told: false });
  }
}

const NOTHING_SPECIAL: Wanted = { segments: RESERVE_SEGMENTS + 1, copies: 1, diskClass: "" };

function kindOf(copies: number, diskClass: string): string {
  return `${copies} ${diskClass}`;
}
