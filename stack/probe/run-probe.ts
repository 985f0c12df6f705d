// A row of health checks with a line for each and a summary, as ping prints them. Thread: main.
import { setTimeout as sleep } from "node:timers/promises";
import type { Attempt } from "./attempt.js";

export interface RunOptions {
  /** For people: "127.0.0.1" or "127.0.0.1 port 80". */
  readonly what: string;
  readonly count: number;
  /** From the beginning of one check to that of the next; a check that takes longer delays it. */
  readonly intervalMs: number;
  /** Ends the row early; the summary is printed all the same. */
  readonly signal: AbortSignal;
  readonly print: (line: string) => void;
}

export interface ProbeSummary {
  readonly sent: number;
  readonly answered: number;
}

/** Closes `attempt` in any case. Rejects when this machine cannot ask. */
export async function runProbe(attempt: Attempt, options: RunOptions): Promise<ProbeSummary> {
  const { signal, print } = options;
  const took: number[] = [];
  let sent = 0;
  try {
    while (sent < options.count && !signal.aborted) {
      const startedMs = performance.now();
      const outcome = await attempt.once(++sent, signal);
      if (outcome.answered) took.push(outcome.tookMs);
      print(`${sent}: ${outcome.answered ? `answered in ${formatMs(outcome.tookMs)} ms` : outcome.reason}`);
      if (sent === options.count || signal.aborted) break;
      const leftMs = options.intervalMs - (performance.now() - startedMs);
      // An abort ends the pause; there is nothing else that it could throw.
      if (leftMs > 0) await sleep(leftMs, undefined, { signal }).catch(() => {});
    }
  } finally {
    attempt.close();
  }
  print(summaryLine(options.what, sent, took));
  return { sent, answered: took.length };
}

function summaryLine(what: string, sent: number, took: readonly number[]): string {
  const lost = sent === 0 ? 0 : Math.round(((sent - took.length) / sent) * 100);
  const head = `${what}: ${sent} sent, ${took.length} answered, ${lost} % lost`;
  if (took.length === 0) return head;
  let min = Number.POSITIVE_INFINITY;
  let max = 0;
  let sum = 0;
  for (const each of took) {
    min = Math.min(min, each);
    max = Math.max(max, each);
    sum += each;
  }
  const times = [min, sum / took.length, max].map(formatMs).join("/");
  return `${head}; round trip min/mean/max ${times} ms`;
}

function formatMs(ms: number): string {
  return ms >= 100 ? ms.toFixed(0) : ms.toFixed(ms >= 10 ? 1 : 2);
}
