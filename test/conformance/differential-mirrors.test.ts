// Mirrors in Open vSwitch and in Plinth, side by side: SPAN and RSPAN, under NORMAL and under flows that change what
// they forward.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DifferentialCase } from "../support/differential/compare.js";
import { framesMax, fuzz } from "../support/differential/fuzz.js";
import { inBursts } from "../support/differential/generate/bursts.js";
import { frameIn } from "../support/differential/generate/frames.js";
import { mirrors } from "../support/differential/generate/mirrors.js";
import { portNames, vlanSwitch } from "../support/differential/generate/vlan-ports.js";
import { SwitchPair } from "../support/differential/switch-pair.js";
import { BRIDGE } from "../support/differential/wired-switch.js";

const PORTS = 5;
/** Mirrors may send to the last two ports; frames come in by the others. */
const OUTPUTS = 2;
const VLANS = [0, 1, 10, 20];
/**
 * Frames have one tag at most, so that none is left when a port takes it off: Open vSwitch goes on to know the VLAN of
 * such a frame when it mirrors it, we read what leaves.
 */
const MODES = ["access", "trunk", "native-tagged", "native-untagged"] as const;
const NIGHTLY_DEADLINE_MS = 2 * 3_600_000;

let pair: SwitchPair;

beforeAll(async () => {
  pair = await SwitchPair.open({ ports: PORTS });
});

afterAll(async () => {
  await pair?.close();
});

function configuration(destinationsMax?: number): fc.Arbitrary<string[][]> {
  return fc
    .tuple(
      vlanSwitch(BRIDGE, portNames(PORTS), VLANS, { modes: MODES }),
      mirrors({
        bridge: BRIDGE,
        ports: PORTS,
        outputs: OUTPUTS,
        vlans: VLANS,
        ...(destinationsMax === undefined ? {} : { destinationsMax }),
      }),
    )
    .map(([ports, commands]) => [...ports, ...commands]);
}

const frames = inBursts(frameIn({ ports: PORTS - OUTPUTS, vlans: VLANS, tagsMax: 1 }), framesMax(60));

const outputs = ["output:1", "output:2", "output:3", "in_port", "normal"];
/** Of several ports that a mirror selects and one action sends to, Open vSwitch lets chance decide whose copy it gets. */
const toMany = ["flood", "all"];
const changes = ["set_field:02:00:00:00:00:07->eth_dst", "set_field:52:54:00:00:00:03->eth_src"];
const kinds = [
  { match: "vlan_tci=0", actions: [...changes, "push_vlan:0x8100,set_field:4106->vlan_vid"] },
  {
    match: "vlan_tci=0x1000/0x1000",
    actions: [...changes, "set_field:4106->vlan_vid", "set_field:3->vlan_pcp"],
  },
];
/** For each port that frames come in by, what is done to untagged and to tagged ones. */
function flows(sendTo: readonly string[]): fc.Arbitrary<string[][]> {
  return fc
    .tuple(
      ...[1, 2, 3].flatMap((port) =>
        kinds.map(({ match, actions }) =>
          fc
            .array(fc.constantFrom(...sendTo, ...actions), { minLength: 1, maxLength: 5 })
            // A tag is pushed once at most.
            .map((list) => list.filter((one, n) => !one.startsWith("push") || list.indexOf(one) === n))
            .map((list) => ["add-flow", `priority=1,in_port=${port},${match},actions=${list.join(",")}`]),
        ),
      ),
    )
    .map((commands) => [...commands]);
}

describe("mirrors", () => {
  it(
    "copy what Open vSwitch's do under NORMAL",
    async () => {
      const cases: fc.Arbitrary<DifferentialCase> = fc.record({
        configuration: configuration(),
        openflow: fc.constant([]),
        frames,
      });
      const done = await fuzz(pair, cases, {
        name: "mirrors under NORMAL",
        seed: 1,
        frames: 300,
        nightlyFrames: 100000,
      });
      expect(done.frames).toBeGreaterThan(0);
      expect(done.framesOut).toBeGreaterThan(0);
    },
    NIGHTLY_DEADLINE_MS,
  );

  it(
    "copy what Open vSwitch's do under flows",
    async () => {
      const cases: fc.Arbitrary<DifferentialCase> = fc.oneof(
        fc.record({ configuration: configuration(), openflow: flows(outputs), frames }),
        fc.record({ configuration: configuration(1), openflow: flows([...outputs, ...toMany]), frames }),
      );
      const done = await fuzz(pair, cases, {
        name: "mirrors under flows",
        seed: 1,
        frames: 300,
        nightlyFrames: 100000,
      });
      expect(done.frames).toBeGreaterThan(0);
      expect(done.framesOut).toBeGreaterThan(0);
    },
    NIGHTLY_DEADLINE_MS,
  );
});
