// Work on a pool that takes long and can wait: draining a disk, rebuilding copies, scrubbing, proving a volume.
// One job runs at a time, a step of a few milliseconds between requests; while clients are busy it takes a bounded share
// of the thread's time. What a restart interrupts is begun again by whoever asked for it.
// Thread: the pool's worker. Hot: no.

/** What a job has done and found; a plain value that crosses threads. */
export interface JobReport {
  readonly id: number;
  readonly kind: string;
  /** What it works on: a disk's path, a volume's name. */
  readonly subject: string;
  readonly state: "waiting" | "running" | "done" | "failed" | "cancelled";
  /** Of `totalBytes`, looked at or moved so far. */
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly repairedBlocks: number;
  readonly lostBlocks: number;
  /** What was found or what went wrong, for people; bounded. */
  readonly findings: readonly string[];
  /** Of a scrub: segments before this one were looked at. */
  readonly nextSegment?: number;
}

export interface JobProgress {
  doneBytes: number;
  totalBytes: number;
  repairedBlocks: number;
  lostBlocks: number;
  findings: string[];
  nextSegment?: number;
}

/** `step` does a little: "more" has something to do at once, "wait" waits for the disks, "done" ends the job. */
export interface Job {
  readonly kind: string;
  readonly subject: string;
  readonly progress: JobProgress;
  /** It has taken room that comes back when what it is at is done. */
  readonly holding?: boolean;
  /** It can take days: whatever else is to be done goes first. */
  readonly yields?: boolean;
  /** `nowMs`: the same clock for all steps. */
  step(nowMs: number): "more" | "wait" | "done";
  /** The same was asked for again, perhaps with other wishes. */
  join?(other: Job): void;
  /** Gives up what is under way. */
  cancel(): void;
}

export const FINDINGS_MAX = 100;
const REPORTS_MAX = 50;
/** While clients are busy a job runs for one part of the time out of this many. */
const BUSY_SHARE = 5;

export function newProgress(): JobProgress {
  return { doneBytes: 0, totalBytes: 0, repairedBlocks: 0, lostBlocks: 0, findings: [] };
}

/** Notes a finding; beyond FINDINGS_MAX only the first are kept. */
export function find(progress: JobProgress, what: string): void {
  if (progress.findings.length < FINDINGS_MAX) progress.findings.push(what);
}

interface Entry {
  readonly id: number;
  readonly job: Job;
  state: JobReport["state"];
}

export class JobRunner {
  readonly #entries: Entry[] = [];
  readonly #now: () => number;
  #nextId = 1;
  #notBeforeMs = 0;

  /** `now`: a clock in milliseconds, for measuring steps. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Queues a job; the number of one of the same kind and subject that has not ended, if there is one. */
  start(job: Job): number {
    const same = this.#entries.find(
      ({ job: other, state }) =>
        other.kind === job.kind &&
        other.subject === job.subject &&
        (state === "waiting" || state === "running"),
    );
    if (same !== undefined) {
      same.job.join?.(job);
      return same.id;
    }
    const entry: Entry = { id: this.#nextId++, job, state: "waiting" };
    this.#entries.push(entry);
    const ended = this.#entries.filter(({ state }) => state !== "waiting" && state !== "running");
    if (ended.length > REPORTS_MAX) this.#entries.splice(this.#entries.indexOf(ended[0] as Entry), 1);
    return entry.id;
  }

  /** Ends jobs that `matches` says. */
  cancel(matches: (job: Job) => boolean): void {
    for (const entry of this.#entries) {
      if ((entry.state !== "waiting" && entry.state !== "running") || !matches(entry.job)) continue;
      entry.job.cancel();
      entry.state = "cancelled";
    }
  }

  /** A step of the job whose turn it is; "busy" when more is to be done at once. */
  step(nowMs: number, clientsBusy: boolean): "busy" | "idle" {
    const open = this.#entries.filter(({ state }) => state === "running" || state === "waiting");
    const entry = open.find(({ job }) => job.yields !== true) ?? open[0];
    if (entry === undefined || nowMs < this.#notBeforeMs) return "idle";
    for (const other of open) other.state = "waiting";
    entry.state = "running";
    const startMs = this.#now();
    const outcome = entry.job.step(nowMs);
    const tookMs = this.#now() - startMs;
    this.#notBeforeMs = clientsBusy ? nowMs + tookMs * BUSY_SHARE : 0;
    if (outcome === "done") entry.state = entry.job.progress.lostBlocks > 0 ? "failed" : "done";
    return outcome === "wait" || clientsBusy ? "idle" : "busy";
  }

  /** Something is under way or waits. */
  get active(): boolean {
    return this.#entries.some(({ state }) => state === "running" || state === "waiting");
  }

  /** The job whose turn it is has taken room for a while. */
  get holding(): boolean {
    return this.#entries.find(({ state }) => state === "running")?.job.holding === true;
  }

  reports(): JobReport[] {
    return this.#entries.map(({ id, job: { kind, subject, progress }, state }) => ({
      id,
      kind,
      subject,
      state,
      ...progress,
      findings: [...progress.findings],
    }));
  }
}
