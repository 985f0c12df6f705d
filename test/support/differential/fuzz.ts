// Random cases until a number of frames has passed or the time is up. A failure prints the seed that leads to it again
// and the smallest case that still differs.
//
//   PLINTH_FUZZ_SEED=N     only the batch of this seed
//   PLINTH_FUZZ_FRAMES=N   so many frames instead of the usual
//   PLINTH_NIGHTLY=1       10^6 frames in longer cases, within half an hour
import fc from "fast-check";
import { compareCase, type DifferentialCase, describeCase } from "./compare.js";
import { minimise } from "./minimise.js";
import type { SwitchPair } from "./switch-pair.js";

const CASES_PER_BATCH = 16;
const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
const NIGHTLY_FRAMES = 1e6;
const NIGHTLY_MS = 1_800_000;

export interface FuzzOptions {
  /** What is compared, for the line of totals. */
  readonly name: string;
  /** Of the run in CI; the seeds of the batches count up from it. */
  readonly seed: number;
  readonly frames: number;
  readonly timeMs: number;
}

export interface FuzzResult {
  readonly frames: number;
  readonly cases: number;
}

/** Frames of one case at most: at night there is time for long ones, in which configuring costs little. */
export function framesMax(usual: number): number {
  return NIGHTLY ? 2000 : usual;
}

/** Throws an Error that tells the whole story of the first case in which the switches differ. */
export async function fuzz(
  pair: SwitchPair,
  cases: fc.Arbitrary<DifferentialCase>,
  options: FuzzOptions,
): Promise<FuzzResult> {
  const { seed: firstSeed, frames: framesMax, timeMs } = fromEnvironment(options);
  const end = performance.now() + timeMs;
  const done = { frames: 0, cases: 0 };
  for (let seed = firstSeed; done.frames < framesMax && performance.now() < end; seed++) {
    await runBatch(pair, cases, seed, (one) => {
      done.frames += one.frames.length;
      done.cases++;
      return performance.now() < end;
    });
    if (process.env["PLINTH_FUZZ_SEED"] !== undefined) break;
  }
  process.stdout.write(
    `${options.name}: ${done.frames} frames in ${done.cases} cases from seed ${firstSeed}, no difference\n`,
  );
  return done;
}

/** `onCase` hears of each case that showed no difference, and answers whether there is time for another. */
async function runBatch(
  pair: SwitchPair,
  cases: fc.Arbitrary<DifferentialCase>,
  seed: number,
  onCase: (one: DifferentialCase) => boolean,
): Promise<void> {
  for (const one of fc.sample(cases, { seed, numRuns: CASES_PER_BATCH })) {
    const found = await compareCase(pair, one);
    if (found === undefined) {
      if (onCase(one)) continue;
      return;
    }
    const smallest = await minimise(pair, one, found);
    throw new Error(
      `the switches differ; again with ${NIGHTLY ? "PLINTH_NIGHTLY=1 " : ""}PLINTH_FUZZ_SEED=${seed}. The smallest case that shows it:\n` +
        `${describeCase(smallest.one)}\n${smallest.difference.text}`,
    );
  }
}

function fromEnvironment(options: FuzzOptions): FuzzOptions {
  const { PLINTH_FUZZ_SEED: seed, PLINTH_FUZZ_FRAMES: frames } = process.env;
  const base = NIGHTLY
    ? { seed: Date.now() % 0x3fffffff, frames: NIGHTLY_FRAMES, timeMs: NIGHTLY_MS }
    : options;
  return {
    name: options.name,
    seed: seed === undefined ? base.seed : Number(seed),
    frames: frames === undefined ? base.frames : Number(frames),
    timeMs: frames === undefined ? base.timeMs : NIGHTLY_MS,
  };
}
