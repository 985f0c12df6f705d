// The rhythm that all probers share: per target a probe begins when it is due, and it is answered or times out.
//
//   idle ──due──► out ──end()──► idle        out ──timeoutMs──► idle, reported as bad
//
// Pure: time is a parameter. Thread: the engine's worker.
import type { ProbeTarget, Report } from "./prober.js";

const SHORTEST_BOUND_MS = 10;

/** One target with the probe that is out, if any; `state` belongs to the prober. */
export interface Round<T, S> {
  readonly target: T;
  readonly state: S;
  nextAtMs: number;
  /** 0: no probe is out. */
  sentAtMs: number;
}

export interface Rhythm {
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

export class Rounds<T extends ProbeTarget, S> {
  readonly #createState: () => S;
  #report: Report<T> = () => {};
  #rounds: Round<T, S>[] = [];

  constructor(createState: () => S) {
    this.#createState = createState;
  }

  configure(targets: readonly T[], report: Report<T>): void {
    this.#report = report;
    this.#rounds = targets.map((target) => {
      const same = this.#rounds.find(
        (round) => round.target.address === target.address && round.target.port === target.port,
      );
      return same === undefined
        ? { target, state: this.#createState(), nextAtMs: 0, sentAtMs: 0 }
        : { ...same, target };
    });
  }

  /** Calls `timedOut` for rounds that took too long (after reporting them), `begin` for those that are due. */
  tick(
    nowMs: number,
    rhythm: Rhythm,
    begin: (round: Round<T, S>) => void,
    timedOut: (round: Round<T, S>) => void = () => {},
  ): void {
    for (const round of this.#rounds) {
      if (round.sentAtMs !== 0 && nowMs - round.sentAtMs >= rhythm.timeoutMs) {
        timedOut(round);
        this.end(round, false, `no answer within ${rhythm.timeoutMs} ms`);
      }
      if (round.sentAtMs !== 0 || nowMs < round.nextAtMs) continue;
      round.nextAtMs = nowMs + rhythm.intervalMs;
      round.sentAtMs = Math.max(1, nowMs);
      begin(round);
    }
  }

  /** Calls `visit` for every round that is out. */
  forEachOut(visit: (round: Round<T, S>) => void): void {
    for (const round of this.#rounds) if (round.sentAtMs !== 0) visit(round);
  }

  /** The round that is out to `address` and whose state `matches`. */
  find(address: number, matches: (round: Round<T, S>) => boolean): Round<T, S> | undefined {
    return this.#rounds.find(
      (round) => round.sentAtMs !== 0 && round.target.address === address && matches(round),
    );
  }

  end(round: Round<T, S>, good: boolean, reason: string): void {
    round.sentAtMs = 0;
    this.#report(round.target, good, reason);
  }
}

/**
 * "in less than 10 ms", for reasons. In powers of ten: they are shown in a resource, and each other word is a change for
 * all who watch it.
 */
export function took(round: { readonly sentAtMs: number }, nowMs: number): string {
  let bound = SHORTEST_BOUND_MS;
  while (nowMs - round.sentAtMs >= bound) bound *= 10;
  return `in less than ${bound} ms`;
}
