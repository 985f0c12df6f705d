// NORMAL in Open vSwitch and in Plinth, side by side: random VLAN configurations and frames must leave by the same
// ports with the same bytes.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DifferentialCase } from "../support/differential/compare.js";
import { framesMax, fuzz } from "../support/differential/fuzz.js";
import { inBursts } from "../support/differential/generate/bursts.js";
import { frameIn } from "../support/differential/generate/frames.js";
import { portConfigs } from "../support/differential/generate/port-configs.js";
import { portNames, vlanSwitch } from "../support/differential/generate/vlan-ports.js";
import { learnedStations } from "../support/differential/questions.js";
import { SwitchPair } from "../support/differential/switch-pair.js";
import { BRIDGE } from "../support/differential/wired-switch.js";

const PORTS = 5;
const VLANS = [0, 1, 10, 20, 4094];
const NIGHTLY_DEADLINE_MS = 2 * 3_600_000;

let pair: SwitchPair;

beforeAll(async () => {
  pair = await SwitchPair.open({ ports: PORTS });
});

afterAll(async () => {
  await pair?.close();
});

const cases: fc.Arbitrary<DifferentialCase> = fc.record({
  configuration: vlanSwitch(BRIDGE, portNames(PORTS), VLANS),
  openflow: fc.constant([]),
  portConfigs: portConfigs(PORTS),
  questions: fc.constant([learnedStations(BRIDGE)]),
  frames: inBursts(frameIn({ ports: PORTS, vlans: VLANS }), framesMax(100)),
});

describe("NORMAL", () => {
  it(
    "forwards as Open vSwitch does, whatever the ports' VLANs",
    async () => {
      const { frames, framesOut } = await fuzz(pair, cases, {
        name: "NORMAL",
        seed: 1,
        frames: 1000,
        nightlyFrames: 200000,
      });
      expect(frames).toBeGreaterThan(0);
      expect(framesOut).toBeGreaterThan(0);
    },
    NIGHTLY_DEADLINE_MS,
  );
});
