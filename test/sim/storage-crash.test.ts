// Crash simulation of the storage pool: see storage-world.ts for what happens and what is checked, storage-simulator.ts
// for the faults. A failure prints how to replay its seed:
//   PLINTH_SIM_SEED=<seed> npx vitest run --project sim test/sim/storage-crash.test.ts
import { setImmediate } from "node:timers/promises";
import { test } from "vitest";
import { World } from "./storage-world.js";

const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
/** Crashes of one world. */
const ROUNDS = 5;
const given = process.env["PLINTH_SIM_SEED"];
const [first, last] = given === undefined ? [1, NIGHTLY ? 10_000 : 300] : parseSeeds(given);

/** Of long nights: where the cleaner, which had found no room once, was not asked again when writers waited. */
const FOUND = [30694];

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
  for (const seed of seeds) {
    try {
      new World(seed).run(ROUNDS);
    } catch (thrown) {
      const replay = `PLINTH_SIM_SEED=${seed} npx vitest run --project sim test/sim/storage-crash.test.ts`;
      throw new Error(`seed ${seed}: ${(thrown as Error).message}\nreplay: ${replay}`, { cause: thrown });
    }
    // The runner asks now and then whether anybody is there.
    await setImmediate();
  }
  if (!NIGHTLY) return;
  const minutes = Math.round((performance.now() - begun) / 60_000);
  const day = new Date().toISOString().slice(0, 10);
  // What docs/storage.md is told of.
  console.log(
    `storage simulation: ${seeds.length} seeds, ${seeds.length * ROUNDS} crashes, all right; ${day}, ${minutes} min`,
  );
});
