// Two bridges with patch ports between them, in Open vSwitch and in Plinth, side by side: random flow tables on both, and
// random VLAN configurations of ports and patches under NORMAL.
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import type { DifferentialCase } from "../support/differential/compare.js";
import { framesMax, fuzz } from "../support/differential/fuzz.js";
import { inBursts } from "../support/differential/generate/bursts.js";
import { frameIn } from "../support/differential/generate/frames.js";
import { packetIn } from "../support/differential/generate/packets.js";
import { PROTOCOL_TABLE_BASE, protocolTables } from "../support/differential/generate/protocol-tables.js";
import { portNames, vlanSwitch, withoutNativePriority } from "../support/differential/generate/vlan-ports.js";
import { learnedStations, traceIsChance, traceOf } from "../support/differential/questions.js";
import { SwitchPair } from "../support/differential/switch-pair.js";
import { BEHIND, BRIDGE, PATCHES, patchNames } from "../support/differential/wired-switch.js";

const HERE = [1, 2, 3];
const THERE = [4, 5];
const PORTS = HERE.length + THERE.length;
const LAYOUT = { ports: PORTS, behind: THERE.length };
const VLANS = [0, 1, 10, 20];
const NIGHTLY_DEADLINE_MS = 2 * 3_600_000;

let pair: SwitchPair | undefined;

afterEach(async () => {
  await pair?.close();
  pair = undefined;
});

type Commands = readonly (readonly string[])[];

/** The commands are for the second bridge. */
function behind(commands: Commands): Commands {
  return commands.map((command) => [...command, BEHIND]);
}

/** What comes back from the second bridge does not go there again, or packets would circle until they are cut off. */
const comesBack: fc.Arbitrary<Commands> = fc
  .tuple(
    ...PATCHES.map((patch) =>
      fc
        .array(
          fc.constantFrom("output:1", "output:2", "mod_dl_dst:52:54:00:00:00:02", "load:5->NXM_NX_REG9[]"),
          {
            minLength: 1,
            maxLength: 4,
          },
        )
        .map((actions) => ["add-flow", `priority=60000,in_port=${patch},actions=${actions.join(",")}`]),
    ),
  )
  .map((flows) => [...flows]);

/** An `exit` behind the patch also ends what Open vSwitch does after a select group (docs/differences-from-ovs.md). */
function mayExit(here: Commands): boolean {
  return !here.flat().some((word) => word.includes("type=select"));
}

function withoutExit(command: readonly string[]): readonly string[] {
  return command.map((word) => word.replace(/\bexit\b/g, "note:00.00"));
}

const tables: fc.Arbitrary<DifferentialCase> = fc
  .record({
    here: protocolTables({ ports: [...HERE, ...PATCHES], mayRemember: false, tagsMax: 2 }),
    there: protocolTables({ ports: [...THERE, ...PATCHES], mayRemember: false, tagsMax: 2 }),
    back: comesBack,
    frames: inBursts(packetIn({ ports: PORTS, tagsMax: 2 }), framesMax(200)),
  })
  .map(({ here, there, back, frames }) => {
    const openflow = [...here, ...back, ...behind(mayExit(here) ? there : there.map(withoutExit))];
    const traced = traceIsChance(openflow) ? [] : frames.slice(0, 2);
    return {
      configuration: [],
      always: [...PROTOCOL_TABLE_BASE, ...behind(PROTOCOL_TABLE_BASE)],
      openflow,
      frames,
      questions: traced.map((one) => traceOf(one, HERE.includes(one.port) ? BRIDGE : BEHIND)),
    };
  });

const [HERE_PATCH, THERE_PATCH] = patchNames(PATCHES[0]);
const names = portNames(PORTS);

/**
 * With a tunnel anywhere nothing is learned on either bridge, and native VLANs have no priority tags on either: what
 * vlanSwitch() keeps apart on one bridge must not meet over the patch.
 */
function tunnelsApart(commands: readonly string[][]): Commands {
  if (!commands.flat().includes("vlan_mode=dot1q-tunnel")) return commands;
  const flood = (bridge: string): string[] => ["set", "Bridge", bridge, `flood_vlans=${VLANS.join(",")}`];
  return [...commands.map(withoutNativePriority), flood(BRIDGE), flood(BEHIND)];
}

const normal: fc.Arbitrary<DifferentialCase> = fc.record({
  configuration: fc
    .tuple(
      vlanSwitch(BRIDGE, names.slice(0, HERE.length), VLANS, { patches: [HERE_PATCH] }),
      vlanSwitch(BEHIND, names.slice(HERE.length), VLANS, { patches: [THERE_PATCH] }),
    )
    .map((both) => tunnelsApart(both.flat())),
  openflow: fc.constant([]),
  questions: fc.constant([learnedStations(BRIDGE), learnedStations(BEHIND)]),
  // Without priority tags, which Open vSwitch takes for its own when a tunnel carried them (docs/differences-from-ovs.md).
  frames: inBursts(frameIn({ ports: PORTS, vlans: VLANS.slice(1), tagsMax: 1 }), framesMax(100)),
});

async function compare(layout: { patches: number }, cases: fc.Arbitrary<DifferentialCase>, name: string) {
  pair = await SwitchPair.open({ ...LAYOUT, ...layout });
  // Then both see the customer's tag behind that of a tunnel, also on the bridge that did not put it there.
  await pair.both((each) => each.control.vsctl("set", "Open_vSwitch", ".", "other_config:vlan-limit=0"));
  const { frames, framesOut } = await fuzz(pair, cases, {
    name,
    seed: 1,
    frames: 300,
    nightlyFrames: 100_000,
  });
  expect(frames).toBeGreaterThan(0);
  expect(framesOut).toBeGreaterThan(0);
}

describe("bridges joined by patch ports", () => {
  it(
    "judge packets by both bridges' flow tables as Open vSwitch does",
    () => compare({ patches: 2 }, tables, "flow tables over patches"),
    NIGHTLY_DEADLINE_MS,
  );

  it(
    "forward under NORMAL as Open vSwitch does, whatever the VLANs of ports and patches",
    () => compare({ patches: 1 }, normal, "NORMAL over a patch"),
    NIGHTLY_DEADLINE_MS,
  );
});
