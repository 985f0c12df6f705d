// The command line of a bench that measures several works in alternating runs, and what becomes of its outcomes.
import { parseArgs } from "node:util";
import { type Outcome, renderOutcomes, writeResults } from "./compare.js";

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
  const { values } = parseArgs({
    options: {
      runs: { type: "string", default: String(usualRuns) },
      [name]: { type: "string", default: String(usual) },
      only: { type: "string", default: "" },
      help: { type: "boolean", default: false },
    },
  }) as { values: Readonly<Record<string, string | boolean>> };
  if (values["help"] === true) {
    process.stdout.write(`usage: ${start} [options]
  --runs N   runs of each contender, in turn; the median counts (${usualRuns})
  --${name} N   ${text} (${usual})
  --only TEXT   only works whose title has TEXT in it. The results are then printed, and bench/RESULTS.md stays as it is
  --help   this
`);
    process.exit(0);
  }
  const count = (option: string): number => {
    const value = Number(values[option]);
    if (Number.isFinite(value) && value > 0) return value;
    process.stderr.write(`--${option} is to be a number above 0, not ${values[option]}\n`);
    process.exit(2);
  };
  const [runs, amount] = [count("runs"), count(name)];
  return {
    runs,
    amount,
    only: String(values["only"]),
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
