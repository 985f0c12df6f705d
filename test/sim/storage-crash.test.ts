// Crash simulation of the storage pool: see storage-world.ts for what happens and what is checked, storage-simulator.ts
// for the faults. A failure prints how to replay its seed:
//   PLINTH_SIM_SEED=<seed> npx vitest run --project sim test/sim/storage-crash.test.ts
import { expect, test } from "vitest";
import { runSeeds, runSeedsInThreads, type SeedFailure } from "./storage-seeds.js";

const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
/** Crashes of one world. */
const ROUNDS = 5;
const given = process.env["PLINTH_SIM_SEED"];
const [first, last] = given === undefined ? [1, NIGHTLY ? 10_000 : 300] : parseSeeds(given);

/** Of long nights: where the cleaner, which had found no room once, was not asked again when writers waited. */
const FOUND = [30694];

/** So many seeds are run beside other tests, more by all processors. */
const FEW = 300 + FOUND.length;

function describe(failure: SeedFailure | undefined): string | undefined {
  if (failure === undefined) return undefined;
  const { seed, message } = failure;
  return `seed ${seed}: ${message}
replay: PLINTH_SIM_SEED=${seed} npx vitest run --project sim test/sim/storage-crash.test.ts`;
}

/** "7" or "100-200". */
function parseSeeds(text: string): [number, number] {
  const [from, to] = text.split("-").map(Number);
  return [from as number, to ?? (from as number)];
}

test("no crash and no bad disk loses an answered write, and what is left is always a prefix", {
  timeout: NIGHTLY ? 6 * 3_600_000 : 600_000,
}, async () => {
  const seeds = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  if (given === undefined) seeds.push(...FOUND);
  const begun = performance.now();
  const run = seeds.length > FEW ? runSeedsInThreads : runSeeds;
  expect(describe(await run(seeds, ROUNDS))).toBeUndefined();
  if (!NIGHTLY) return;
  const minutes = Math.round((performance.now() - begun) / 60_000);
  const day = new Date().toISOString().slice(0, 10);
  // What docs/storage.md is told of.
  console.log(
    `storage simulation: ${seeds.length} seeds, ${seeds.length * ROUNDS} crashes, all right; ${day}, ${minutes} min`,
  );
});
