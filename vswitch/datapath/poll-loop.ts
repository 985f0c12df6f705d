// The loop of the datapath's thread: breathes while there is work, sleeps when there is none. A busy datapath spins for a
// while before it sleeps, a calm one hardly: it shares the cores with the guests. One that is asked one thing after the
// other spins too, as to wake it takes longer than to answer.
// However fast it is asked for something, frames that wait have most of the thread: one request, then all ports have turns
// for several times as long as that took, and until enough frames have come in, or none do.
// Invariant: a turn leaves nothing for the garbage collector, which would stop all ports while it runs. So time is passed
// along as a small integer, and fractions of a millisecond stand in arrays: run() is called once and compiled while it
// runs, and then a local variable that lives from turn to turn is an object each time that a fraction is put into it.
// Thread: datapath worker (or a test). Hot: yes.
import { type PolledClock, yieldProcessor } from "../../base/linux/index.js";
import type { Mailbox } from "../../base/worker/index.js";
import type { Datapath } from "./datapath.js";
import type { DatapathTime } from "./datapath-time.js";
import {
  CALM_SLEEPS,
  FRAMES_PER_REQUEST,
  FRAMES_SHARE,
  FRAMES_SHARE_MAX_MS,
  REQUESTS_PER_TURN,
  SLEEP_CALM_MS,
  SLEEP_MAX_MS,
  SPIN_ASKED_MS,
  SPIN_BUSY_MS,
  SPIN_CALM_MS,
  SPIN_PACKETS,
  SPIN_REQUESTS,
} from "./limits.js";

/** Places in the loop's times. */
const WORK = 0;
const FRAMES_UNTIL = 1;
const ASKED = 2;

export interface PollLoopModules {
  readonly datapath: Datapath;
  /** What it is asked; the loop ends when that is closing. */
  readonly mailbox: Pick<Mailbox, "closing" | "poll" | "silence" | "beginSleep" | "endSleep">;
  readonly clock: PolledClock;
  readonly time: DatapathTime;
  /** Sleeps until a port or the mailbox rings, at most so many milliseconds. */
  readonly wait: (timeoutMs: number) => void;
  /** Asked in every turn: whether the ports are another process's now. */
  readonly hasLeft: () => boolean;
}

export class PollLoop {
  /** Whether it may sleep at all. */
  sleeps = true;
  readonly #modules: PollLoopModules;
  #calmSleeps = 0;
  /** Requests in a row that came soon after the one before. */
  #requests = 0;
  /** When there was something to do last, until when only frames have turns, and when something was asked for last. */
  readonly #times = new Float64Array(3);

  constructor(modules: PollLoopModules) {
    this.#modules = modules;
  }

  run(): void {
    const { datapath, mailbox, clock, time, wait, hasLeft } = this.#modules;
    const { meter } = datapath;
    const times = this.#times;
    let packets = 0;
    /** Frames that go before the next request; the mailbox is asked in turns that begin with 0, when it is time. */
    let framesFirst = 0;
    let isBusy = false;
    mailbox.endSleep();
    while (!mailbox.closing) {
      clock.read();
      meter?.breath(isBusy);
      const isAsked = framesFirst === 0 && clock.ms[0]! >= times[FRAMES_UNTIL]!;
      isBusy = isAsked && mailbox.poll(REQUESTS_PER_TURN) > 0;
      if (hasLeft()) {
        if (!isBusy && isAsked) {
          if (mailbox.beginSleep()) wait(SLEEP_MAX_MS);
          mailbox.endSleep();
        }
        framesFirst = 0;
        times[FRAMES_UNTIL] = 0;
        mailbox.silence();
        continue;
      }
      if (isBusy) {
        this.#giveFramesTime();
        framesFirst = FRAMES_PER_REQUEST;
      }
      const received = datapath.breathe(time.lastMs);
      if (received > 0) {
        isBusy = true;
        this.#calmSleeps = 0;
        times[WORK] = clock.ms[0]!;
        if (packets < SPIN_PACKETS) packets += received;
        framesFirst = received < framesFirst ? framesFirst - received : 0;
        continue;
      }
      framesFirst = 0;
      times[FRAMES_UNTIL] = 0;
      if (!isAsked) continue;
      if (!this.sleeps) continue;
      if (clock.ms[0]! - times[WORK]! < this.#spinMs(packets)) {
        // Whoever asks may wait for this very processor.
        if (this.#requests === SPIN_REQUESTS) yieldProcessor();
        continue;
      }
      packets = 0;
      // Where that was in vain, a row begins anew.
      if (this.#requests === SPIN_REQUESTS) this.#requests = 0;
      this.#sleep(isBusy);
      isBusy = false;
    }
  }

  /** How long to poll without work, after so many packets. */
  #spinMs(packets: number): number {
    if (packets >= SPIN_PACKETS) return SPIN_BUSY_MS;
    return this.#requests >= SPIN_REQUESTS ? SPIN_ASKED_MS : SPIN_CALM_MS;
  }

  /** Something that was asked for has been done since the clock was read. */
  #giveFramesTime(): void {
    const { clock } = this.#modules;
    const times = this.#times;
    if (clock.ms[0]! - times[ASKED]! > SPIN_ASKED_MS) this.#requests = 0;
    else if (this.#requests < SPIN_REQUESTS) this.#requests++;
    times[ASKED] = clock.ms[0]!;
    times[WORK] = clock.ms[0]!;
    clock.read();
    const shareMs = FRAMES_SHARE * (clock.ms[0]! - times[WORK]);
    times[WORK] = clock.ms[0]!;
    times[FRAMES_UNTIL] = clock.ms[0]! + Math.min(shareMs, FRAMES_SHARE_MAX_MS);
  }

  #sleep(wasBusy: boolean): void {
    const { datapath, mailbox, clock, time, wait } = this.#modules;
    const { meter } = datapath;
    clock.read();
    meter?.breath(wasBusy);
    const sleepMaxMs = this.#calmSleeps++ < CALM_SLEEPS ? SLEEP_MAX_MS : SLEEP_CALM_MS;
    if (datapath.beginSleep() && mailbox.beginSleep()) wait(Math.min(sleepMaxMs, datapath.sleepMs));
    datapath.endSleep();
    mailbox.endSleep();
    clock.read();
    meter?.slept();
    mailbox.silence();
    datapath.tick(time.lastMs);
  }
}
