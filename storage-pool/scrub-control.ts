// Scrubs by the clock and by hand: when one is due it is begun, what becomes of it is recorded, and one that a restart
// interrupted goes on where it was. Thread: main.
//
//   due or asked for ──► recorded as running ──► job of the worker ──(ended)──► recorded with what was found
//                              └──(restart)──► job from the last recorded segment on
import { describeError } from "../base/errors/index.js";
import type { Logger } from "../base/log/index.js";
import type { Catalogue } from "./catalogue/catalogue.js";
import type { ScrubEntry, ScrubRun } from "./catalogue/scrub-entry.js";
import { storageError } from "./errors.js";
import { BYTES_PER_SECOND_MAX } from "./limits.js";
import { type Params, whole } from "./parameters.js";
import type { JobReport } from "./pool/job.js";
import { nextAfter } from "./schedule-control.js";
import type { TargetHandle } from "./target/target-handle.js";

export interface ScrubRunView {
  readonly startedAt: string;
  readonly endedAt: string;
  /** "failed": something has no good copy. */
  readonly outcome: "done" | "failed" | "cancelled";
  readonly checkedBytes: number;
  readonly repairedBlocks: number;
  readonly lostBlocks: number;
  readonly findings: readonly string[];
}

export interface ScrubView {
  /** Five fields, UTC, or "off". */
  readonly cron: string;
  /** What that is called in short, when it has a name: daily, weekly, monthly, off. */
  readonly schedule?: string;
  /** Of those by schedule; 0: no limit. */
  readonly bytesPerSecond: number;
  readonly nextAt?: string;
  readonly running?: { readonly startedAt: string; readonly doneBytes: number; readonly totalBytes: number };
  /** The last ones that ended, oldest first. */
  readonly runs: readonly ScrubRunView[];
}

/** Of pools of which nobody said anything. */
const DEFAULT_CRON = "0 1 1 * *";
/** Schedules that have a name. */
const KNOWN: Readonly<Record<string, string>> = {
  daily: "0 1 * * *",
  weekly: "0 1 * * 0",
  monthly: DEFAULT_CRON,
  off: "off",
};
/** How often the progress of one is recorded: so much is read again after a restart. */
const SAVE_MS = 10_000;
const RETRY_MS = 60_000;
const RUNS_KEPT = 10;
const FINDINGS_KEPT = 10;

export interface ScrubModules {
  readonly catalogue: Catalogue;
  readonly target: Pick<TargetHandle, "ask">;
  /** Pool name → why it is not open. */
  readonly unavailable: ReadonlyMap<string, string>;
}

/** The job that does the work of the run that is recorded as running, and what was done before it. */
interface Work {
  readonly job: number;
  readonly before: ScrubRun;
  savedMs: number;
}

export class Scrubs {
  readonly #modules: ScrubModules;
  readonly #log: Logger;
  readonly #work = new Map<string, Work>();
  /** Pool → when it is looked at again after something went wrong. */
  readonly #notBeforeMs = new Map<string, number>();

  constructor(modules: ScrubModules, log: Logger) {
    this.#modules = modules;
    this.#log = log;
  }

  /** Begins what is due and follows what goes on, in all pools; what fails is tried again. `nowMs`: since 1970. */
  async round(nowMs: number): Promise<void> {
    const { catalogue, unavailable } = this.#modules;
    for (const pool of [...catalogue.pools.keys()]) {
      const notBeforeMs = this.#notBeforeMs.get(pool) ?? 0;
      if (unavailable.has(pool) || (nowMs < notBeforeMs && notBeforeMs - nowMs <= RETRY_MS)) continue;
      try {
        await this.#follow(pool, nowMs);
        this.#notBeforeMs.delete(pool);
      } catch (thrown) {
        this.#log.error({ pool, why: describeError(thrown) }, "the scrub of the pool could not be seen to");
        this.#notBeforeMs.set(pool, nowMs + RETRY_MS);
      }
    }
  }

  /** The pool is no more. */
  forget(pool: string): void {
    this.#work.delete(pool);
    this.#notBeforeMs.delete(pool);
  }

  /** Begins one for somebody who asks, or goes on at full speed with the one that goes on; the job's number. */
  async begin(pool: string, nowMs: number): Promise<number> {
    const entry = this.#entryOf(pool, nowMs);
    const run = runningOf(entry);
    if (run === undefined) return this.#start(entry, newRun(nowMs, true), nowMs);
    const hurried = { ...run, byHand: true };
    await this.#record(entry, hurried);
    return this.#ask(entry, hurried, nowMs);
  }

  /** Ends the one that goes on; none is no error. */
  async cancel(pool: string, nowMs: number): Promise<void> {
    const entry = this.#entryOf(pool, nowMs);
    const run = runningOf(entry);
    if (run === undefined) return;
    await this.#modules.target.ask("cancelScrub", { pool });
    if (this.#work.has(pool)) await this.#follow(pool, nowMs);
    else await this.#record(entry, { ...run, endedMs: Math.max(nowMs, run.startedMs), outcome: "cancelled" });
  }

  /** Sets when they are due and how fast those by schedule may be. Throws PARAMETER_INVALID. */
  async set(pool: string, params: Params, nowMs: number): Promise<void> {
    const before = this.#entryOf(pool, nowMs);
    const cron = params["scrub"] === undefined ? before.cron : parseSchedule(params["scrub"], nowMs);
    const field = "scrubBytesPerSecond";
    const bytesPerSecond = whole(params, field, 0, BYTES_PER_SECOND_MAX, before.bytesPerSecond);
    if (cron === before.cron && bytesPerSecond === before.bytesPerSecond) return;
    const sinceMs = cron === before.cron ? before.sinceMs : nowMs;
    const entry = { ...before, cron, bytesPerSecond, sinceMs };
    await this.#modules.catalogue.putScrub(entry);
    const run = runningOf(entry);
    if (run !== undefined && this.#work.has(pool)) await this.#ask(entry, run, nowMs);
  }

  /** What there is to say of a pool; `jobs`: what its worker tells, nothing when it is not open. */
  view(pool: string, jobs: readonly JobReport[]): ScrubView {
    const { catalogue } = this.#modules;
    const entry = catalogue.scrubs.get(pool);
    const cron = entry?.cron || DEFAULT_CRON;
    const bytesPerSecond = entry?.bytesPerSecond ?? 0;
    const run = entry === undefined ? undefined : runningOf(entry);
    const nextMs = entry === undefined || run !== undefined ? undefined : nextAfter(cron, entry.sinceMs);
    const runs = (entry?.runs ?? []).filter(({ endedMs }) => endedMs > 0).map(runView);
    const schedule = Object.keys(KNOWN).find((name) => KNOWN[name] === cron);
    return {
      cron,
      ...(schedule === undefined ? {} : { schedule }),
      bytesPerSecond,
      ...(nextMs === undefined ? {} : { nextAt: iso(nextMs) }),
      ...(run === undefined ? {} : { running: this.#progress(pool, run, jobs) }),
      runs,
    };
  }

  #progress(pool: string, run: ScrubRun, jobs: readonly JobReport[]) {
    const work = this.#work.get(pool);
    const job = jobs.find(({ id }) => id === work?.job);
    const doneBefore = work?.before.checkedBytes ?? run.checkedBytes;
    const doneBytes = doneBefore + (job?.doneBytes ?? 0);
    return {
      startedAt: iso(run.startedMs),
      doneBytes,
      totalBytes: Math.max(doneBytes, doneBefore + (job?.totalBytes ?? 0)),
    };
  }

  async #follow(pool: string, nowMs: number): Promise<void> {
    const { catalogue, target } = this.#modules;
    const log = this.#log;
    const known = catalogue.scrubs.get(pool);
    // From now on it counts how long none was made, however often storaged is restarted.
    if (known === undefined) return catalogue.putScrub(this.#entryOf(pool, nowMs));
    const run = runningOf(known);
    if (run === undefined) {
      const dueMs = nextAfter(known.cron || DEFAULT_CRON, known.sinceMs);
      if (dueMs === undefined || dueMs > nowMs) return;
      log.info({ pool, dueAt: iso(dueMs) }, "a scrub of the pool begins");
      await this.#start(known, newRun(nowMs, false), nowMs);
      return;
    }
    const work = this.#work.get(pool);
    const jobs = work === undefined ? [] : await target.ask("jobs", { pool });
    const job = jobs.find(({ id, kind }) => id === work?.job && kind === "scrub");
    if (work === undefined || job === undefined) {
      log.info({ pool, checkedBytes: run.checkedBytes }, "a scrub that was interrupted goes on");
      await this.#ask(known, run, nowMs);
      return;
    }
    const now = sum(work.before, job, run.byHand);
    if (job.state === "waiting" || job.state === "running") {
      if (nowMs >= work.savedMs && nowMs - work.savedMs < SAVE_MS) return;
      work.savedMs = nowMs;
      if (now.nextSegment !== run.nextSegment) await this.#record(known, now);
      return;
    }
    const outcome = now.lostBlocks > 0 ? "failed" : job.state === "cancelled" ? "cancelled" : "done";
    await this.#record(known, { ...now, endedMs: Math.max(nowMs, run.startedMs), outcome });
    this.#work.delete(pool);
    const { checkedBytes, repairedBlocks, lostBlocks, findings } = now;
    const facts = { pool, outcome, checkedBytes, repairedBlocks, lostBlocks };
    if (lostBlocks > 0) log.error({ ...facts, findings }, "the scrub found blocks without a good copy");
    else if (repairedBlocks > 0) log.warn(facts, "the scrub put blocks right from another copy");
    else log.info(facts, "the scrub of the pool has ended");
  }

  /** Recorded before the worker knows of it: whatever ends the daemon in between, the next one goes on. */
  async #start(entry: ScrubEntry, run: ScrubRun, nowMs: number): Promise<number> {
    const runs = [...entry.runs, run].slice(-RUNS_KEPT);
    const begun = { ...entry, sinceMs: nowMs, runs };
    await this.#modules.catalogue.putScrub(begun);
    return this.#ask(begun, run, nowMs);
  }

  async #ask({ pool, bytesPerSecond }: ScrubEntry, run: ScrubRun, nowMs: number): Promise<number> {
    const rate = run.byHand ? 0 : bytesPerSecond;
    const { nextSegment } = run;
    const job = await this.#modules.target.ask("scrub", { pool, bytesPerSecond: rate, nextSegment });
    const known = this.#work.get(pool);
    if (known?.job !== job) this.#work.set(pool, { job, before: run, savedMs: nowMs });
    return job;
  }

  async #record(entry: ScrubEntry, run: ScrubRun): Promise<void> {
    await this.#modules.catalogue.putScrub({ ...entry, runs: [...entry.runs.slice(0, -1), run] });
  }

  #entryOf(pool: string, nowMs: number): ScrubEntry {
    const known = this.#modules.catalogue.scrubs.get(pool);
    return known ?? { pool, cron: "", bytesPerSecond: 0, sinceMs: nowMs, runs: [] };
  }
}

/** "daily", "weekly", "monthly", "off" or five fields, as it is kept. Throws PARAMETER_INVALID. */
function parseSchedule(given: unknown, nowMs: number): string {
  const cron = typeof given === "string" && Object.hasOwn(KNOWN, given) ? KNOWN[given] : given;
  if (cron === "off") return cron;
  if (typeof cron === "string" && cron.length <= 100 && nextAfter(cron, nowMs) !== undefined) return cron;
  const shown = JSON.stringify(given)?.slice(0, 80);
  throw storageError(
    "PARAMETER_INVALID",
    `scrub must be ${Object.keys(KNOWN).join(", ")}, or five fields such as "0 1 * * 0" (UTC), not ${shown}`,
    { field: "scrub" },
  );
}

function newRun(startedMs: number, byHand: boolean): ScrubRun {
  const none = { nextSegment: 0, checkedBytes: 0, repairedBlocks: 0, lostBlocks: 0, findings: [] };
  return { startedMs, endedMs: 0, outcome: "", byHand, ...none };
}

function runningOf({ runs }: ScrubEntry): ScrubRun | undefined {
  const last = runs.at(-1);
  return last?.endedMs === 0 ? last : undefined;
}

/** A run after what its present job did. */
function sum(before: ScrubRun, job: JobReport, byHand: boolean): ScrubRun {
  return {
    ...before,
    byHand,
    nextSegment: Math.max(before.nextSegment, job.nextSegment ?? 0),
    checkedBytes: before.checkedBytes + job.doneBytes,
    repairedBlocks: before.repairedBlocks + job.repairedBlocks,
    lostBlocks: before.lostBlocks + job.lostBlocks,
    findings: [...before.findings, ...job.findings].slice(0, FINDINGS_KEPT),
  };
}

function runView({ startedMs, endedMs, outcome, ...found }: ScrubRun): ScrubRunView {
  const { checkedBytes, repairedBlocks, lostBlocks, findings } = found;
  const ended = outcome === "" ? "cancelled" : outcome;
  const counts = { checkedBytes, repairedBlocks, lostBlocks, findings };
  return { startedAt: iso(startedMs), endedAt: iso(endedMs), outcome: ended, ...counts };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
