// What the switch says of packets is true: none vanishes without a name, none is judged by a rule that was gone when the
// change was answered, and asking changes nothing.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toHex } from "../../base/bytes/index.js";
import {
  type Action,
  type FlowMod,
  type Instruction,
  OFPG_ANY,
  OFPP_ANY,
  OFPP_CONTROLLER,
  OFPP_IN_PORT,
  OFPP_NORMAL,
  OFPPC_NO_FWD,
  OFPPC_NO_RECV,
  OFPPC_PORT_DOWN,
} from "../../base/openflow/index.js";
import { cut } from "../testing/fragments.js";
import { udpFrame } from "../testing/frames.js";
import { addGroupsAndMeters, counts, FRAMES, flow, offer } from "../testing/random-tables.js";
import { apply, field, flowMod, goto, output, Rig } from "../testing/rig.js";
import { applyAtomically } from "./atomic-change.js";
import type { BridgeChange } from "./bridge.js";

const RUNS = process.env["PLINTH_NIGHTLY"] === undefined ? 50 : 600;
const NIGHTLY_DEADLINE_MS = 3_600_000;
const SLOTS = 128;
const ends = { source: "10.0.0.1", destination: "10.0.0.2" };
const ALL_FRAMES = [
  ...FRAMES,
  ...cut(udpFrame(ends, new Uint8Array(100)), [48]),
  udpFrame(ends, new Uint8Array(1600)),
];

const sum = (numbers: Iterable<number>): number => {
  let total = 0;
  for (const one of numbers) total += one;
  return total;
};
const drops = (rig: Rig): number => sum(rig.bridge.pipeline.dropCounters.packets);
const configured = fc.constantFrom(0, 0, 0, OFPPC_PORT_DOWN, OFPPC_NO_FWD, OFPPC_NO_RECV);

function setPort(port: number, config: number): BridgeChange {
  const macAddress = Uint8Array.of(2, 0, 0, 0, 0, port);
  return { type: "port_mod", xid: 1, port, macAddress, config, mask: 0x65, advertise: 0 };
}

function setPorts(rig: Rig, configs: readonly number[]): void {
  for (const [i, config] of configs.entries()) rig.bridge.change(setPort(i + 1, config), rig.nowMs);
}

/** Of every frame that was sent from port 1: how often it left, was told of, and was dropped; and who is kept. */
function fates(
  rig: Rig,
  frames: readonly Uint8Array[],
): { left: number; told: number; lost: number; kept: number } {
  const before = { told: rig.bridge.packetIns, lost: drops(rig), kept: SLOTS - rig.pool.available };
  const left = sum([...rig.send(1, ...frames).values()].map((sent) => sent.length));
  return {
    left,
    told: rig.bridge.packetIns - before.told,
    lost: drops(rig) - before.lost,
    kept: SLOTS - rig.pool.available - before.kept,
  };
}

const toController: Action = { type: "output", port: OFPP_CONTROLLER, maxLength: 20 };
const track: Action = { type: "ct", commit: false, force: false, zone: 1, tableId: 2, alg: 0, actions: [] };

describe("every packet that came in", () => {
  it(
    "has left, was told to a controller, waits for the rest of its datagram, or was dropped for a reason",
    () => {
      const seen = { left: 0, told: 0, lost: 0, kept: 0 };
      fc.assert(
        fc.property(
          fc.array(flow, { maxLength: 10 }),
          fc.constantFrom(null, toController, track),
          fc.tuple(configured, configured, configured),
          fc.array(fc.nat(ALL_FRAMES.length - 1), { minLength: 1, maxLength: 12 }),
          (flows, first, configs, indexes) => {
            const rig = new Rig(3, { slots: SLOTS });
            addGroupsAndMeters(rig);
            for (const mod of flows) offer(rig, mod);
            if (first !== null)
              offer(
                rig,
                flowMod({ priority: 3, match: [field("eth_type", 0x0800)], instructions: [apply(first)] }),
              );
            setPorts(rig, configs);
            for (const index of indexes) {
              const one = fates(rig, [ALL_FRAMES[index] as Uint8Array]);
              expect(one.left + one.told + one.lost + one.kept).toBeGreaterThanOrEqual(1);
              for (const key of ["left", "told", "lost", "kept"] as const) seen[key] += one[key];
            }
            expect(SLOTS - rig.pool.available).toBeLessThanOrEqual(indexes.length);
          },
        ),
        { numRuns: RUNS },
      );
      for (const [fate, times] of Object.entries(seen)) expect(times, fate).toBeGreaterThan(0);
    },
    NIGHTLY_DEADLINE_MS,
  );

  it(
    "is counted once where it can have one fate only: received = left + told + dropped",
    () => {
      const end = fc.constantFrom<readonly Action[]>(
        [],
        [output(2)],
        [output(1)],
        [output(77)],
        [output(OFPP_IN_PORT)],
        [toController],
        [{ type: "dec_nw_ttl" }, output(3)],
        [{ type: "push_vlan", etherType: 0x8100 }, output(2)],
        [{ type: "set_nw_ttl", ttl: 1 }, { type: "dec_nw_ttl" }, output(2)],
        [{ type: "group", groupId: 9 }],
      );
      const single = fc
        .record({
          tableId: fc.nat(1),
          priority: fc.integer({ min: 0, max: 3 }),
          inPort: fc.boolean(),
          tcp: fc.boolean(),
          meterId: fc.constantFrom(0, 1),
          end,
          isLast: fc.boolean(),
        })
        .map(({ tableId, priority, inPort, tcp, meterId, end: actions, isLast }) => {
          const instructions: Instruction[] = meterId === 0 ? [] : [{ type: "meter", meterId }];
          // The one that goes on does nothing itself.
          if (tableId === 0 && !isLast) instructions.push(goto(1));
          else instructions.push(apply(...actions));
          const match = [
            ...(inPort ? [field("in_port", 1)] : []),
            ...(tcp ? [field("eth_type", 0x0800), field("ip_proto", 6)] : []),
          ];
          return flowMod({ tableId, priority, match, instructions });
        });
      fc.assert(
        fc.property(
          fc.array(single, { maxLength: 8 }),
          fc.tuple(configured, configured, configured),
          fc.array(fc.array(fc.nat(FRAMES.length - 1), { minLength: 1, maxLength: 20 }), { maxLength: 5 }),
          (flows, configs, bursts) => {
            const rig = new Rig(3, { slots: SLOTS });
            addGroupsAndMeters(rig);
            const members = [output(2), output(3)].map((one) => ({
              ...{ weight: 1, watchPort: OFPP_ANY, watchGroup: OFPG_ANY },
              actions: [one],
            }));
            const group = { type: "group_mod", xid: 1, command: "add", groupType: "select" } as const;
            rig.bridge.change({ ...group, groupId: 9, buckets: members }, rig.nowMs);
            for (const mod of flows) offer(rig, mod);
            setPorts(rig, configs);
            let received = 0;
            let accounted = 0;
            for (const burst of [...bursts, ...bursts]) {
              rig.events = [];
              const { left, told, lost, kept } = fates(
                rig,
                burst.map((index) => FRAMES[index] as Uint8Array),
              );
              received += burst.length;
              // Of a TTL that cannot be lowered the controller is told, too.
              const late = rig.events.filter(
                (one) => one.type === "packet_in" && one.reason === "invalid_ttl",
              );
              accounted += left + told - late.length + lost;
              expect(kept).toBe(0);
            }
            expect(accounted).toBe(received);
            const [first] = rig.bridge.tables.tableStats();
            const refused = (configs[0] & (OFPPC_NO_RECV | OFPPC_PORT_DOWN)) !== 0;
            expect(first?.lookupCount).toBe(BigInt(refused ? 0 : received));
          },
        ),
        { numRuns: RUNS },
      );
    },
    NIGHTLY_DEADLINE_MS,
  );
});

/** Flows and what they use, changed one by one or in a bundle, between bursts of the same frames; and questions. */
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("burst" as const), frames: frameList() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("change" as const), change: change() }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("bundle" as const),
      changes: fc.array(change(), { maxLength: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("question" as const) }) },
);

function frameList(): fc.Arbitrary<number[]> {
  return fc.array(fc.nat(FRAMES.length - 1), { minLength: 1, maxLength: 6 });
}

function change(): fc.Arbitrary<BridgeChange> {
  const command = fc.constantFrom<FlowMod["command"]>("add", "add", "modify", "delete", "delete_strict");
  const ofFlow = fc.tuple(flow, command).map(([mod, how]): BridgeChange => {
    const anywhere = { outPort: OFPP_ANY, outGroup: OFPG_ANY };
    return {
      ...mod,
      command: how,
      ...anywhere,
      instructions: how.startsWith("delete") ? [] : mod.instructions,
    };
  });
  const ofGroup = fc
    .record({ groupId: fc.integer({ min: 1, max: 4 }), to: fc.constantFrom(2, 3, OFPP_NORMAL) })
    .map(({ groupId, to }): BridgeChange => {
      const bucket = { weight: 0, watchPort: OFPP_ANY, watchGroup: OFPG_ANY, actions: [output(to)] };
      const group = { type: "group_mod", xid: 1, command: "modify", groupType: "all" } as const;
      return { ...group, groupId, buckets: [bucket] };
    });
  const ofPort = fc
    .record({ port: fc.integer({ min: 1, max: 3 }), config: configured })
    .map(({ port, config }): BridgeChange => setPort(port, config));
  return fc.oneof(
    { weight: 6, arbitrary: ofFlow },
    { weight: 1, arbitrary: ofGroup },
    { weight: 1, arbitrary: ofPort },
  );
}

describe("a change that has been answered", () => {
  it(
    "decides on every packet from then on, however well the packets are known; bundles wholly or not at all",
    () => {
      let known = 0;
      let refused = 0;
      fc.assert(
        fc.property(
          fc.array(flow, { maxLength: 6 }),
          fc.array(step, { minLength: 4, maxLength: 24 }),
          (flows, steps) => {
            const hot = new Rig(3, { slots: SLOTS });
            const cold = new Rig(3, { slots: SLOTS });
            const rigs = [hot, cold] as const;
            for (const rig of rigs) addGroupsAndMeters(rig);
            for (const mod of flows) for (const rig of rigs) offer(rig, mod);
            const text = (rig: Rig, frames: readonly number[]): string => {
              const sent = rig.send(1, ...frames.map((index) => FRAMES[index] as Uint8Array));
              return JSON.stringify([...sent].map(([port, each]) => [port, each.map(toHex)]));
            };
            for (const one of steps) {
              if (one.kind === "change") {
                for (const rig of rigs) offer(rig, one.change);
              } else if (one.kind === "bundle") {
                const told = rigs.map((rig) => applyAtomically(rig.bridge, one.changes, rig.nowMs, 0)?.index);
                expect(told[0]).toBe(told[1]);
                if (told[0] !== undefined) refused++;
              } else if (one.kind === "question") {
                // Only of one of them: that somebody asks is to change nothing.
                counts(hot);
                hot.bridge.tables.tableStats();
                hot.bridge.tables.groups.stats(0, new Map());
              } else {
                // Twice, so that the second time they are known.
                for (let n = 0; n < 2; n++) {
                  cold.bridge.tables.invalidate();
                  expect(text(hot, one.frames)).toBe(text(cold, one.frames));
                }
              }
            }
            expect(counts(hot)).toEqual(counts(cold));
            expect(drops(hot)).toBe(drops(cold));
            expect(hot.bridge.pipeline.dropCounters.packets).toEqual(
              cold.bridge.pipeline.dropCounters.packets,
            );
            known += hot.bridge.cacheHits;
          },
        ),
        { numRuns: RUNS },
      );
      expect(known).toBeGreaterThan(RUNS);
      expect(refused).toBeGreaterThan(0);
    },
    NIGHTLY_DEADLINE_MS,
  );
});
