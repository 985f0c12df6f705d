// What the datapath's thread spends its time on: on packets and requests, on looking whether there are any, and asleep;
// of some breaths, by stage. Times are milliseconds of a monotonic clock. Thread: datapath worker. Hot: yes (breath).
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
  windowMs: number;
  windowBusyMs = 0;
  #lastMs: number;

  constructor(nowMs: number) {
    this.windowMs = nowMs;
    this.#lastMs = nowMs;
  }

  /** A breath or what else was done ends. */
  breath(nowMs: number, isBusy: boolean): void {
    const spentMs = nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    if (!isBusy) {
      this.idleMs += spentMs;
      return;
    }
    this.busyMs += spentMs;
    this.busyBreaths++;
  }

  /** The thread has slept. */
  slept(nowMs: number): void {
    this.sleepMs += nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    this.sleeps++;
  }

  /** Starts the window anew when it is over; true then. */
  turnWindow(nowMs: number): boolean {
    if (nowMs - this.windowMs < USAGE_WINDOW_MS) return false;
    this.windowMs = nowMs;
    this.windowBusyMs = this.busyMs;
    return true;
  }
}
