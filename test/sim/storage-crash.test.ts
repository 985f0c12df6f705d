// Crash simulation of the storage pool: see storage-world.ts for what happens and what is checked, storage-simulator.ts
// for the faults. A failure prints how to replay its seed:
//   PLINTH_SIM_SEED=<seed> npx vitest run --project sim test/sim/storage-crash.test.ts
import { test } from "vitest";
import { World } from "./storage-world.js";

const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
/** Crashes of one world. */
const ROUNDS = 5;
const given = process.env["PLINTH_SIM_SEED"];
const [first, last] = given === undefined ? [1, NIGHTLY ? 10_000 : 300] : parseSeeds(given);

/** "7" or "100-200". */
function parseSeeds(text: string): [number, number] {
  const [from, to] = text.split("-").map(Number);
  return [from as number, to ?? (from as number)];
}

test("no crash and no bad disk loses an answered write, and what is left is always a prefix", {
  timeout: NIGHTLY ? 6 * 3_600_000 : 600_000,
}, () => {
  for (let seed = first; seed <= last; seed++) {
    try {
      new World(seed).run(ROUNDS);
    } catch (thrown) {
      const replay = `PLINTH_SIM_SEED=${seed} npx vitest run --project sim test/sim/storage-crash.test.ts`;
      throw new Error(`seed ${seed}: ${(thrown as Error).message}\nreplay: ${replay}`, { cause: thrown });
    }
  }
});
