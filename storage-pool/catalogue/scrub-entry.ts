// What the catalogue says of a pool's scrubs: when they are due, how fast they may be, what became of the last ones.
// Apart from the pool, for it changes while one goes on. Thread: main. Hot: no.
import { defineRecord } from "../../base/schema/index.js";

/** One scrub, from its beginning to its end, restarts included. */
export interface ScrubRun {
  /** Milliseconds since 1970; `endedMs` 0: it goes on. */
  readonly startedMs: number;
  readonly endedMs: number;
  /** "" while it goes on. "failed": something has no good copy. */
  readonly outcome: "" | "done" | "failed" | "cancelled";
  /** Somebody asked for it: the rate limit does not hold. */
  readonly byHand: boolean;
  /** Where it goes on after a restart: segments before this one were looked at. */
  readonly nextSegment: number;
  readonly checkedBytes: number;
  readonly repairedBlocks: number;
  readonly lostBlocks: number;
  /** What was found, for people; the first few. */
  readonly findings: readonly string[];
}

export interface ScrubEntry {
  readonly pool: string;
  /** Five fields, UTC; "": as all pools of which nothing else was said; "off": never. */
  readonly cron: string;
  /** Those by schedule read no more bytes than this each second; 0: no limit. */
  readonly bytesPerSecond: number;
  /** Due times before this moment are past: the last scrub began then, or the schedule was set, ms since 1970. */
  readonly sinceMs: number;
  /** Oldest first; the last one may go on. */
  readonly runs: readonly ScrubRun[];
}

interface RunRecord extends Omit<ScrubRun, "findings" | "outcome"> {
  findings: string[];
  outcome: string;
}

interface EntryRecord extends Omit<ScrubEntry, "runs"> {
  runs: RunRecord[];
}

const runRecord = defineRecord<RunRecord>("ScrubRun", {
  startedMs: { number: 1, type: "uint64" },
  endedMs: { number: 2, type: "uint64" },
  outcome: { number: 3, type: "string" },
  byHand: { number: 4, type: "bool" },
  nextSegment: { number: 5, type: "uint32" },
  checkedBytes: { number: 6, type: "uint64" },
  repairedBlocks: { number: 7, type: "uint64" },
  lostBlocks: { number: 8, type: "uint64" },
  findings: { number: 9, type: "string", repeated: true },
});

const entryRecord = defineRecord<EntryRecord>("ScrubEntry", {
  pool: { number: 1, type: "string" },
  cron: { number: 2, type: "string" },
  bytesPerSecond: { number: 3, type: "uint64" },
  sinceMs: { number: 4, type: "uint64" },
  runs: { number: 5, type: runRecord, repeated: true },
});

export function encodeScrub(entry: ScrubEntry): Uint8Array {
  return entryRecord.encode({
    ...entry,
    runs: entry.runs.map((run) => ({ ...run, findings: [...run.findings] })),
  });
}

/** Throws SCHEMA_INVALID. */
export function parseScrub(value: Uint8Array): ScrubEntry {
  return entryRecord.parse(value) as ScrubEntry;
}
