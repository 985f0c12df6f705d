// OpenFlow tables in Open vSwitch and in Plinth, side by side, over every protocol that a flow can match: random flows,
// groups and packets must leave by the same ports with the same bytes, and both must refuse the same commands.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type DifferentialCase, remembers } from "../support/differential/compare.js";
import { framesMax, fuzz } from "../support/differential/fuzz.js";
import { inBursts } from "../support/differential/generate/bursts.js";
import { packetIn, tagsMax } from "../support/differential/generate/packets.js";
import { PROTOCOL_TABLE_BASE, protocolTables } from "../support/differential/generate/protocol-tables.js";
import { traceIsChance, traceOf } from "../support/differential/questions.js";
import { SwitchPair } from "../support/differential/switch-pair.js";

const PORTS = 5;
const NUMBERS = Array.from({ length: PORTS }, (_, index) => index + 1);
const NIGHTLY_DEADLINE_MS = 2 * 3_600_000;

let pair: SwitchPair;

beforeAll(async () => {
  pair = await SwitchPair.open({ ports: PORTS });
  // Tags as deep as Open vSwitch can look; unlimited for us.
  await pair.both((each) => each.control.vsctl("set", "Open_vSwitch", ".", "other_config:vlan-limit=0"));
});

afterAll(async () => {
  await pair?.close();
});

/** How many frames of each case are traced, too: both must tell the same story. */
const TRACES = 2;

const cases: fc.Arbitrary<DifferentialCase> = tagsMax
  .chain((tagsMax) =>
    fc.record({
      configuration: fc.constant([]),
      always: fc.constant(PROTOCOL_TABLE_BASE),
      openflow: protocolTables({ ports: NUMBERS, tagsMax }),
      frames: inBursts(packetIn({ ports: PORTS, tagsMax }), framesMax(200)),
    }),
  )
  .map((one) =>
    remembers(one) || traceIsChance(one.openflow)
      ? one
      : { ...one, questions: one.frames.slice(0, TRACES).map((each) => traceOf(each)) },
  );

describe("flow tables over every protocol", () => {
  it(
    "judge packets as Open vSwitch does",
    async () => {
      const { frames, framesOut } = await fuzz(pair, cases, {
        name: "protocols",
        seed: 1,
        frames: 6000,
        nightlyFrames: 300000,
      });
      expect(frames).toBeGreaterThan(0);
      expect(framesOut).toBeGreaterThan(0);
    },
    NIGHTLY_DEADLINE_MS,
  );
});
