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

// Places of times. A field that held a small integer first and gets a fraction later makes the compiler throw away what
// it knew of the meter, and with it the whole loop; a place of an array of doubles is the same from the beginning.
const BUSY = 0;
const IDLE = 1;
const SLEEP = 2;
const WINDOW = 3;
const WINDOW_BUSY = 4;
const LAST = 5;
const MARK = 6;
const TIMES = 7;

export class ThreadMeter {
  busyBreaths = 0;
  sleeps = 0;
  /** By STAGE_, scaled up to all breaths. */
  readonly stageMs = new Float64Array(3);
  readonly #times = new Float64Array(TIMES);
  readonly #clock: PolledClock;

  /** Times are as of when the clock was read last. */
  constructor(clock: PolledClock) {
    this.#clock = clock;
    const nowMs = clock.ms[0]!;
    this.#times[WINDOW] = nowMs;
    this.#times[LAST] = nowMs;
  }

  get busyMs(): number {
    return this.#times[BUSY]!;
  }

  get idleMs(): number {
    return this.#times[IDLE]!;
  }

  get sleepMs(): number {
    return this.#times[SLEEP]!;
  }

  /** Since when the window of pmd usage runs, and what was counted as busy before it. */
  get windowMs(): number {
    return this.#times[WINDOW]!;
  }

  get windowBusyMs(): number {
    return this.#times[WINDOW_BUSY]!;
  }

  /** A breath or what else was done ends. */
  breath(isBusy: boolean): void {
    this.#spent(isBusy ? BUSY : IDLE);
    if (isBusy) this.busyBreaths++;
  }

  /** The next stage begins. */
  mark(): void {
    this.#times[MARK] = this.#clock.ms[0]!;
  }

  /** A stage of a breath that is timed ends, and the next begins. */
  stage(stage: number): void {
    const nowMs = this.#clock.ms[0]!;
    this.stageMs[stage] = this.stageMs[stage]! + (nowMs - this.#times[MARK]!) * STAGE_SAMPLE;
    this.#times[MARK] = nowMs;
  }

  /** The thread has slept. */
  slept(): void {
    this.#spent(SLEEP);
    this.sleeps++;
  }

  /** Starts the window anew when it is over; true then. */
  turnWindow(): boolean {
    const nowMs = this.#clock.ms[0]!;
    if (nowMs - this.#times[WINDOW]! < USAGE_WINDOW_MS) return false;
    this.#times[WINDOW] = nowMs;
    this.#times[WINDOW_BUSY] = this.#times[BUSY]!;
    return true;
  }

  /** What has passed since the last call went there. */
  #spent(on: number): void {
    const nowMs = this.#clock.ms[0]!;
    this.#times[on] = this.#times[on]! + (nowMs - this.#times[LAST]!);
    this.#times[LAST] = nowMs;
  }
}
