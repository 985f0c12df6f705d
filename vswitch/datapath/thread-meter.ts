// What the datapath's thread spends its time on: on packets and requests, on looking whether there are any, and asleep;
// of some breaths, by stage. Times are milliseconds of a monotonic clock. Thread: datapath worker. Hot: yes (breath).
import type { PolledClock } from "../../base/linux/index.js";
import { USAGE_WINDOW_MS } from "./limits.js";

/** One breath of so many is timed by stage: reading a clock costs as much as some packets. */
export const STAGE_SAMPLE = 64;
export const STAGE_RECEIVE = 0;
/** Keys, look-ups, actions. */
export const STAGE_FORWARD = 1;
export const STAGE_TRANSMIT = 2;

export class ThreadMeter {
  busyMs = 0;
  idleMs = 0;
  sleepMs = 0;
  busyBreaths = 0;
  sleeps = 0;
  /** By STAGE_, scaled up to all breaths. */
  readonly stageMs = new Float64Array(3);
  /** Since when the window of pmd usage runs, and what was counted before it. */
  windowMs = 0;
  windowBusyMs = 0;
  readonly #clock: PolledClock;
  // A number that a field has from the beginning is changed in place; in one that was undefined each is an object.
  #lastMs = 0;
  readonly #markMs = new Float64Array(1);

  /** Times are as of when the clock was read last. */
  constructor(clock: PolledClock) {
    this.#clock = clock;
    const nowMs = clock.ms[0]!;
    this.windowMs = nowMs;
    this.#lastMs = nowMs;
  }

  /** A breath or what else was done ends. */
  breath(isBusy: boolean): void {
    const nowMs = this.#clock.ms[0]!;
    const spentMs = nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    if (!isBusy) {
      this.idleMs += spentMs;
      return;
    }
    this.busyMs += spentMs;
    this.busyBreaths++;
  }

  /** The next stage begins. */
  mark(): void {
    this.#markMs[0] = this.#clock.ms[0]!;
  }

  /** A stage of a breath that is timed ends, and the next begins. */
  stage(stage: number): void {
    const nowMs = this.#clock.ms[0]!;
    this.stageMs[stage] = this.stageMs[stage]! + (nowMs - this.#markMs[0]!) * STAGE_SAMPLE;
    this.#markMs[0] = nowMs;
  }

  /** The thread has slept. */
  slept(): void {
    const nowMs = this.#clock.ms[0]!;
    this.sleepMs += nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    this.sleeps++;
  }

  /** Starts the window anew when it is over; true then. */
  turnWindow(): boolean {
    const nowMs = this.#clock.ms[0]!;
    if (nowMs - this.windowMs < USAGE_WINDOW_MS) return false;
    this.windowMs = nowMs;
    this.windowBusyMs = this.busyMs;
    return true;
  }
}
