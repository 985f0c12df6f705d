// Random cases until a number of frames has passed: how many does not depend on how busy the machine is. A failure
// prints the seed that leads to it again and the smallest case that still differs.
//
//   PLINTH_FUZZ_SEED=N     only the batch of this seed
//   PLINTH_FUZZ_FRAMES=N   so many frames instead of the usual
//   PLINTH_NIGHTLY=1       as many as at night, in longer cases, from a seed of the clock
//   PLINTH_FUZZ_TOTALS=F   appends the totals of each run to this file, one JSON object per line
import { appendFileSync } from "node:fs";
import fc from "fast-check";
import { compareCase, type DifferentialCase, describeCase } from "./compare.js";
import { minimise } from "./minimise.js";
import type { SwitchPair } from "./switch-pair.js";

const CASES_PER_BATCH = 16;
export const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
const NIGHTLY_FRAMES_PER_CASE = 1000;
const PROGRESS_MS = 30_000;

export interface FuzzOptions {
  /** What is compared, for the lines of progress and totals. */
  readonly name: string;
  /** Of the run in CI; the seeds of the batches count up from it. */
  readonly seed: number;
  /** At least so many in CI. */
  readonly frames: number;
  /** At least so many at night. */
  readonly nightlyFrames: number;
}

export interface FuzzResult {
  readonly frames: number;
  readonly cases: number;
  /** Frames that left the switches, each, because of them. */
  readonly framesOut: number;
}

/** Frames of one case at most: at night there is time for long ones, in which configuring costs little. */
export function framesMax(usual: number): number {
  return NIGHTLY ? NIGHTLY_FRAMES_PER_CASE : usual;
}

/** Throws an Error that tells the whole story of the first case in which the switches differ. */
export async function fuzz(
  pair: SwitchPair,
  cases: fc.Arbitrary<DifferentialCase>,
  options: FuzzOptions,
): Promise<FuzzResult> {
  const { name, seed: firstSeed, frames: wanted } = fromEnvironment(options);
  const done = { frames: 0, cases: 0 };
  const before = pair.ours.framesOut;
  let told = performance.now();
  for (let seed = firstSeed; done.frames < wanted; seed++) {
    for (const one of fc.sample(cases, { seed, numRuns: CASES_PER_BATCH })) {
      await expectNoDifference(pair, one, seed);
      done.frames += one.frames.length;
      done.cases++;
      if (done.frames >= wanted) break;
    }
    if (performance.now() - told > PROGRESS_MS) {
      told = performance.now();
      process.stdout.write(`${name}: ${done.frames} of ${wanted} frames, up to seed ${seed}\n`);
    }
    if (process.env["PLINTH_FUZZ_SEED"] !== undefined) break;
  }
  const framesOut = pair.ours.framesOut - before;
  tellTotals({ name, seed: firstSeed, ...done, framesOut });
  return { ...done, framesOut };
}

export interface FuzzTotals extends FuzzResult {
  readonly name: string;
  /** Where it began. */
  readonly seed: number;
}

/** Says, and notes where it is asked to, how much has passed without a difference. */
export function tellTotals(totals: FuzzTotals): void {
  const { name, seed, frames, cases, framesOut } = totals;
  process.stdout.write(
    `${name}: ${frames} frames in ${cases} cases from seed ${seed}, ${framesOut} frames left, no difference\n`,
  );
  const file = process.env["PLINTH_FUZZ_TOTALS"];
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(totals)}\n`);
}

async function expectNoDifference(pair: SwitchPair, one: DifferentialCase, seed: number): Promise<void> {
  const found = await compareCase(pair, one);
  if (found === undefined) return;
  const smallest = await minimise(pair, one, found);
  throw new Error(
    `the switches differ; again with ${NIGHTLY ? "PLINTH_NIGHTLY=1 " : ""}PLINTH_FUZZ_SEED=${seed}. The smallest case that shows it:\n` +
      `${describeCase(smallest.one)}\n${smallest.difference.text}`,
  );
}

function fromEnvironment({
  name,
  seed,
  frames,
  nightlyFrames,
}: FuzzOptions): Omit<FuzzOptions, "nightlyFrames"> {
  const { PLINTH_FUZZ_SEED: chosenSeed, PLINTH_FUZZ_FRAMES: chosenFrames } = process.env;
  const usual = NIGHTLY ? { seed: Date.now() % 0x3fffffff, frames: nightlyFrames } : { seed, frames };
  return {
    name,
    seed: chosenSeed === undefined ? usual.seed : Number(chosenSeed),
    frames: chosenFrames === undefined ? usual.frames : Number(chosenFrames),
  };
}
