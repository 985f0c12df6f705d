// The command line of a bench that measures several works in alternating runs, and what becomes of its outcomes.
import { type Outcome, renderOutcomes, writeResults } from "./compare.js";
import { benchOptions, numberOption } from "./options.js";

/** How much each work is measured: an option of the bench. */
export interface Amount {
  readonly name: "seconds" | "megabytes";
  readonly text: string;
  readonly usual: number;
}

export interface BenchOptions {
  readonly runs: number;
  readonly amount: number;
  /** Part of the titles of the works that are wanted; empty: all. */
  readonly only: string;
  /** The line that reproduces it. */
  readonly command: string;
}

/**
 * Reads the command line of dist/bench/`program`.js. Ends the process after --help, and with status 2, naming the
 * option, where one makes no sense.
 */
export function readBenchOptions(
  program: string,
  usualRuns: number,
  { name, text, usual }: Amount,
): BenchOptions {
  const start = `node dist/bench/${program}.js`;
  const values: Readonly<Record<string, string | undefined>> = benchOptions(
    `usage: ${start} [options]
  --runs N   runs of each contender, in turn; the median counts (${usualRuns})
  --${name} N   ${text} (${usual})
  --only TEXT   only works whose title has TEXT in it. The results are then printed, and bench/RESULTS.md stays as it is
  --help   this`,
    { runs: { type: "string" }, [name]: { type: "string" }, only: { type: "string" } },
  );
  const runs = numberOption("--runs", values["runs"] ?? String(usualRuns));
  const amount = numberOption(`--${name}`, values[name] ?? String(usual));
  return {
    runs,
    amount,
    only: values["only"] ?? "",
    command: `${start} --runs ${runs} --${name} ${amount}`,
  };
}

/** Works whose title is wanted. Ends the process with status 2 when there are none. */
export function wantedOf<Work extends { readonly title: string }>(
  works: readonly Work[],
  { only }: BenchOptions,
): readonly Work[] {
  const wanted = works.filter(({ title }) => title.includes(only));
  if (wanted.length > 0) return wanted;
  process.stderr.write(
    `no work has ${only} in its title:\n${works.map(({ title }) => `  ${title}\n`).join("")}`,
  );
  process.exit(2);
}

/** Into the section of bench/RESULTS.md where all works were wanted; else they are printed. */
export function publish(
  { only, command }: BenchOptions,
  section: string,
  outcomes: readonly Outcome[],
  notes: readonly string[],
): void {
  if (only === "") writeResults(section, command, outcomes, notes);
  else process.stdout.write(`${renderOutcomes(outcomes).join("\n")}\n`);
}
