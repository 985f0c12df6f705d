// Setup of every suite: properties are tried with the same examples each time, so that a failure means a change and not
// luck. PLINTH_SEED=<n> tries others, the nightly run (PLINTH_NIGHTLY=1) new ones every time; fast-check's failure
// names the seed.
import { readFileSync } from "node:fs";
import { expect } from "vitest";

const DEFAULT_SEED = 20_261;

const { testPath = "" } = expect.getState();
// Loading the library takes longer than most files without properties.
if (/fast-check|suite\.js"/.test(readFileSync(testPath, "utf8"))) {
  const { default: fc } = await import("fast-check");
  const { PLINTH_SEED: chosen, PLINTH_NIGHTLY: nightly } = process.env;
  const seed = chosen === undefined ? (nightly === "1" ? Date.now() | 0 : DEFAULT_SEED) : Number(chosen);
  if (!Number.isSafeInteger(seed)) throw new Error(`PLINTH_SEED=${chosen} is no whole number`);
  fc.configureGlobal({ ...fc.readConfigureGlobal(), seed });
}
