// Flow tables in Open vSwitch and in Plinth, side by side: random matches, actions, groups and conjunctions must make
// of the same frames the same outputs.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DifferentialCase } from "../support/differential/compare.js";
import { framesMax, fuzz } from "../support/differential/fuzz.js";
import { FLOW_TABLE_BASE, flowTables, hostFrame } from "../support/differential/generate/flow-tables.js";
import { portConfigs } from "../support/differential/generate/port-configs.js";
import { SwitchPair } from "../support/differential/switch-pair.js";

const PORTS = 3;
/** To which the tables send what is cut by max_len. */
const CUT_PORT = 2;
const NIGHTLY_DEADLINE_MS = 2 * 3_600_000;

let pair: SwitchPair;

beforeAll(async () => {
  pair = await SwitchPair.open({ ports: PORTS });
});

afterAll(async () => {
  await pair?.close();
});

/** Open vSwitch then cuts the next output (docs/differences-from-ovs.md). */
function cutsForNobody({ openflow, portConfigs: configs }: DifferentialCase): boolean {
  if (!openflow.flat().some((word) => word.includes("max_len"))) return false;
  return (configs ?? []).some(([port, config]) => port === CUT_PORT && config === "no-forward");
}

const cases: fc.Arbitrary<DifferentialCase> = fc
  .record({
    configuration: fc.constant([]),
    always: fc.constant(FLOW_TABLE_BASE),
    openflow: flowTables,
    portConfigs: portConfigs(PORTS),
    frames: fc.array(hostFrame(PORTS), { minLength: 50, maxLength: framesMax(200), size: "max" }),
  })
  .filter((one) => !cutsForNobody(one));

describe("flow tables", () => {
  it(
    "do to frames what Open vSwitch does",
    async () => {
      const { frames, framesOut } = await fuzz(pair, cases, {
        name: "flow tables",
        seed: 1,
        frames: 4000,
        nightlyFrames: 200000,
      });
      expect(frames).toBeGreaterThan(0);
      expect(framesOut).toBeGreaterThan(0);
    },
    NIGHTLY_DEADLINE_MS,
  );
});
