// What one volume may take of the worker: its turn in a round (turns.ts), and its limits, as token buckets.
//
//   ops:   a request needs one token
//   bytes: a request needs the bucket not to be empty, and may overdraw it: one that is larger than the bucket is
//          carried out, and those after it wait until it is paid
//   burst: how many seconds' worth a bucket holds; saved while the volume is idle
//
// All connections and snapshots of a volume share it. Invariant: nothing waits longer than its bucket takes to fill.
// Thread: the pool's worker. Hot: yes.
import { VolumeCounters } from "../metrics/volume-counters.js";
import type { Turns } from "./turns.js";

/** Limits of a volume; 0: none. */
export interface VolumeLimits {
  readonly iops: number;
  readonly bytesPerSecond: number;
  /** How long it may go beyond the rates after a pause: as much as they give in that time is saved up. */
  readonly burstMs: number;
}

export const NO_LIMITS: VolumeLimits = { iops: 0, bytesPerSecond: 0, burstMs: 1000 };

/** take(): go on. */
export const TAKE_OK = 0;
/** take(): not in this round. */
export const TAKE_LATER = 1;
/** take(): not before `readyMs`. */
export const TAKE_WAIT = 2;

/** What a request costs beside its bytes, and how much more than in the simplest case a byte costs: of processor time. */
const REQUEST_COST = 16 * 1024;
const READ_WEIGHT = 2;
const WRITE_WEIGHT = 4;

export class VolumeShare {
  /** After TAKE_WAIT: when there will be enough, by the monotonic clock. */
  readyMs = 0;
  /** Times that a request had to wait for the limits. */
  throttledCount = 0;
  limits: VolumeLimits = NO_LIMITS;
  readonly counters = new VolumeCounters();
  readonly #turns: Turns;
  #limited = false;
  #round = -1;
  #left = Number.POSITIVE_INFINITY;
  /** Of the turn of this round, and whether it was not enough. */
  #spent = 0;
  #refused = false;
  #ops = 0;
  #opsMax = 0;
  #bytes = 0;
  #bytesMax = 0;
  #filledMs = 0;

  constructor(turns: Turns) {
    this.#turns = turns;
  }

  /** From now on; a bucket is full when its limit begins, and keeps what it has when that changes. */
  setLimits(limits: VolumeLimits): void {
    const before = this.limits;
    this.#fill();
    this.limits = limits;
    this.#limited = limits.iops > 0 || limits.bytesPerSecond > 0;
    // At least one request fits.
    this.#opsMax = Math.max(1, (limits.iops * limits.burstMs) / 1000);
    this.#bytesMax = Math.max(1, (limits.bytesPerSecond * limits.burstMs) / 1000);
    this.#ops = before.iops > 0 ? Math.min(this.#ops, this.#opsMax) : this.#opsMax;
    this.#bytes = before.bytesPerSecond > 0 ? Math.min(this.#bytes, this.#bytesMax) : this.#bytesMax;
    this.readyMs = 0;
  }

  /** Asks for one request that reads or writes `bytes`; unless it is TAKE_OK nothing was taken. */
  take(bytes: number, isWrite: boolean): number {
    if (this.#round !== this.#turns.round) this.#beginRound();
    if (this.#left <= 0) {
      this.#refused = true;
      return TAKE_LATER;
    }
    if (this.#limited && !this.#spend(bytes)) return TAKE_WAIT;
    const cost = costOf(bytes, isWrite);
    this.#left -= cost;
    this.#spent += cost;
    return TAKE_OK;
  }

  /** What was taken for a request that was not carried out. */
  giveBack(bytes: number, isWrite: boolean): void {
    const cost = costOf(bytes, isWrite);
    this.#left += cost;
    this.#spent -= cost;
    this.#ops++;
    this.#bytes += bytes;
  }

  #beginRound(): void {
    const turns = this.#turns;
    this.#round = turns.round;
    turns.note(this, this.#refused || this.#spent === 0 ? Number.POSITIVE_INFINITY : this.#spent);
    this.#spent = 0;
    this.#refused = false;
    const owed = Number.isFinite(this.#left) ? Math.min(0, this.#left) : 0;
    this.#left = turns.contended ? owed + turns.turn : Number.POSITIVE_INFINITY;
  }

  #spend(bytes: number): boolean {
    this.#fill();
    const { iops, bytesPerSecond } = this.limits;
    let waitMs = 0;
    if (iops > 0 && this.#ops < 1) waitMs = ((1 - this.#ops) * 1000) / iops;
    if (bytesPerSecond > 0 && this.#bytes <= 0) {
      waitMs = Math.max(waitMs, ((1 - this.#bytes) * 1000) / bytesPerSecond);
    }
    if (waitMs > 0) {
      this.readyMs = this.#turns.nowMs + waitMs;
      this.throttledCount++;
      return false;
    }
    if (iops > 0) this.#ops--;
    if (bytesPerSecond > 0) this.#bytes -= bytes;
    return true;
  }

  #fill(): void {
    const { nowMs } = this.#turns;
    const elapsedMs = nowMs - this.#filledMs;
    this.#filledMs = nowMs;
    this.#ops = Math.min(this.#opsMax, this.#ops + (elapsedMs * this.limits.iops) / 1000);
    this.#bytes = Math.min(this.#bytesMax, this.#bytes + (elapsedMs * this.limits.bytesPerSecond) / 1000);
  }
}

function costOf(bytes: number, isWrite: boolean): number {
  return REQUEST_COST + bytes * (isWrite ? WRITE_WEIGHT : READ_WEIGHT);
}
