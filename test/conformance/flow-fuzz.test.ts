// Random flows as text, right and wrong, in random versions: what ovs-ofctl and `plinth ofctl` make of each, what they
// print, complain of and end with. PLINTH_NIGHTLY=1 tries many more, with a new seed every time.
import fc from "fast-check";
import { beforeAll, expect, it } from "vitest";
import { flowTextArbitrary } from "../support/flow-text-arbitrary.js";
import { byOvs, byPlinth, type Outcome } from "../support/offline-ofctl.js";
import { requirePrograms } from "../support/run.js";

const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
const FLOWS = NIGHTLY ? 20_000 : 250;
const TIMEOUT_MS = NIGHTLY ? 3_600_000 : 120_000;
/** Share of flows with several faults of which another is told, or of what ovs-ofctl itself writes and refuses to read. */
const OTHER_MAX = 0.03;

/** Without the bytes of what could not be read. */
function told({ code, stdout, stderr }: Outcome): string {
  const bytes = /^[0-9a-f]{8} .*\n/gm;
  return `${code} ${stdout.replaceAll(bytes, "")}${stderr.replaceAll(bytes, "")}`;
}

beforeAll(() => requirePrograms("ovs-ofctl"));

it(
  "flows of any kind are understood or refused as ovs-ofctl does",
  async () => {
    const sample = fc.tuple(fc.integer({ min: 0, max: 5 }), flowTextArbitrary);
    const flows = fc.sample(sample, NIGHTLY ? { numRuns: FLOWS } : { numRuns: FLOWS, seed: 1 });
    const others: string[] = [];
    for (const [minor, flow] of flows) {
      const words = ["-O", `OpenFlow1${minor}`, "parse-flow", flow];
      const [theirs, ours] = [told(await byOvs("/tmp", words, "")), told(await byPlinth("/tmp", words, ""))];
      if (theirs !== ours) others.push(`OpenFlow1${minor} ${flow}\n${theirs}---\n${ours}`);
    }
    expect(others.length / flows.length, others.slice(0, 20).join("\n")).toBeLessThan(OTHER_MAX);
  },
  TIMEOUT_MS,
);
