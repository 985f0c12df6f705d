// How much the cleaner may do now: what clients' writes need and no more, so that both come to an even pace.
//
//   free segments   0 … reserve … low ────────────── all
//   while busy      │ ratio 12 ─► falls ─► 0 │ a trickle, when dead blocks take more than clients may cost
//   while idle      │ all there is to do until `low` is free and dead blocks take less than a third
//
// A block that a client writes earns the cleaner `ratio` blocks to move. The fewer segments are free the more it earns,
// so that free segments settle where it wins as many as clients fill, whatever share of a victim lives. With no client
// in sight it needs no credit; a step is short, so that whoever comes waits for one step at most.
// Pure. Thread: any. Hot: no (a few operations per breath).
import { CLEAN_IDLE_MS, CLEAN_LIVE_PERCENT, CLEAN_LIVE_PERCENT_URGENT, RESERVE_SEGMENTS } from "../limits.js";

/**
 * Free segments below which writers are made to pay for cleaning: a share of all that is free or dead, within bounds. More
 * means fewer checkpoints, each of which frees what was emptied since the last; less means victims that are emptier. With
 * random writes to a pool that is four fifths full a third costs least of both together.
 */
const LOW_SHARE = 1 / 3;
const LOW_MIN = 12;
const LOW_MAX = 512;
/** Blocks moved for each block written when only the reserve is free: enough for victims of which nine tenths live. */
const RATIO_MAX = 12;
/** The same while room is no concern but dead blocks take more than half of what is used. */
const TRICKLE = 0.5;
/** Share of dead blocks in used segments that is brought down when clients are idle, and when they are busy. */
const DEAD_SHARE_IDLE = 1 / 3;
const DEAD_SHARE_BUSY = 1 / 2;
/** Blocks of one step, at least. */
const STEP_LEAST = 16;
/** A read earns less: it takes no room. */
const READ_CREDIT = 1 / 4;

export interface CleanSituation {
  readonly nowMs: number;
  readonly slots: number;
  readonly freeSegments: number;
  /** Emptied, to be freed by the next checkpoint. */
  readonly waitingSegments: number;
  /** Share of blocks in used segments that nothing names, 0 to 1. */
  readonly deadShare: number;
  /** Counted since the pool was opened. */
  readonly writtenBlocks: number;
  readonly reads: number;
}

export class CleanPacer {
  #credit = 0;
  #writtenBlocks = 0;
  #reads = 0;
  #lastOperationMs = Number.NEGATIVE_INFINITY;
  #low = LOW_MIN;
  #available = 0;
  #deadShare = 0;
  #idle = false;

  /** Looks at what happened since the last call. */
  update(now: CleanSituation): void {
    const written = now.writtenBlocks - this.#writtenBlocks;
    const reads = now.reads - this.#reads;
    this.#writtenBlocks = now.writtenBlocks;
    this.#reads = now.reads;
    if (written > 0 || reads > 0) this.#lastOperationMs = now.nowMs;
    this.#idle = now.nowMs - this.#lastOperationMs >= CLEAN_IDLE_MS;
    this.#available = now.freeSegments + now.waitingSegments;
    this.#deadShare = now.deadShare;
    const spare = this.#available + now.deadShare * Math.max(0, now.slots - this.#available);
    this.#low = Math.min(LOW_MAX, Math.max(LOW_MIN, Math.floor(spare * LOW_SHARE)));
    const ratio = this.#ratio();
    this.#credit = ratio === 0 ? 0 : this.#credit + (written + reads * READ_CREDIT) * ratio;
  }

  /** A segment with a smaller share of live blocks (percent) is worth moving now; 0: none is. */
  get livePercent(): number {
    if (this.isShort) return CLEAN_LIVE_PERCENT_URGENT;
    if (this.#deadShare > (this.#idle ? DEAD_SHARE_IDLE : DEAD_SHARE_BUSY)) return CLEAN_LIVE_PERCENT_URGENT;
    return this.#idle ? CLEAN_LIVE_PERCENT : 0;
  }

  /** Fewer segments are free than there should be. */
  get isShort(): boolean {
    return this.#available < this.#low;
  }

  /** No client is in sight. */
  get isIdle(): boolean {
    return this.#idle;
  }

  /** Free segments that there should be. */
  get lowSegments(): number {
    return this.#low;
  }

  /**
   * Blocks that may be moved now, `most` at most; 0 while it would be so few that what a step costs beside its blocks
   * tells. What was earned is given out soon: moved a little after every batch of requests, blocks move while clients
   * are busy with the replies.
   */
  take(most: number): number {
    if (this.#idle) return most;
    if (this.#credit < STEP_LEAST) return 0;
    const count = Math.min(Math.floor(this.#credit), most);
    // What is not used at once does not make a burst later.
    this.#credit = Math.min(this.#credit - count, 4 * most);
    return count;
  }

  /** Emptied segments from which on a checkpoint is worth its price. */
  get batchSegments(): number {
    return Math.ceil((this.#low * 2) / 3);
  }

  #ratio(): number {
    const least = RESERVE_SEGMENTS + 1;
    const short = Math.min(1, (this.#low - this.#available) / (this.#low - least));
    if (short > 0) return RATIO_MAX * short * short + TRICKLE;
    return this.#deadShare > DEAD_SHARE_BUSY ? TRICKLE : 0;
  }
}
