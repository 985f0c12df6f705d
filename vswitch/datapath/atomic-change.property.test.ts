// A bundle on a bridge: what succeeds equals the same changes one by one, what fails leaves no trace.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OFPFF_RESET_COUNTS, OFPFF_SEND_FLOW_REM, OFPG_ANY, OFPP_ANY } from "../../base/openflow/index.js";
import { plainFrame } from "../testing/frames.js";
import { apply, field, flowMod, output, Rig } from "../testing/rig.js";
import { applyAtomically } from "./atomic-change.js";
import type { Bridge, BridgeChange } from "./bridge.js";

const between = (from: number, to: number): Uint8Array =>
  plainFrame(`02:00:00:00:00:0${from}`, `02:00:00:00:00:0${to}`);
const ALL = { tableId: 255, outPort: OFPP_ANY, outGroup: OFPG_ANY, cookie: 0n, cookieMask: 0n, match: [] };

const small = fc.integer({ min: 1, max: 3 });
const flowChange = fc
  .record({
    command: fc.constantFrom(
      "add" as const,
      "add" as const,
      "modify" as const,
      "modify_strict" as const,
      "delete" as const,
      "delete_strict" as const,
    ),
    inPort: small,
    priority: small,
    to: small,
    group: fc.boolean(),
    flags: fc.constantFrom(0, OFPFF_RESET_COUNTS, OFPFF_SEND_FLOW_REM),
    hardTimeoutSeconds: fc.constantFrom(0, 9),
  })
  .map(({ command, inPort, priority, to, group, flags, hardTimeoutSeconds }) =>
    flowMod({
      command,
      priority,
      flags,
      hardTimeoutSeconds,
      match: [field("in_port", inPort)],
      instructions: [apply(group ? { type: "group", groupId: to } : output(to))],
    }),
  );
const groupChange = fc
  .record({
    command: fc.constantFrom("add" as const, "modify" as const, "delete" as const),
    id: small,
    to: small,
  })
  .map(
    ({ command, id, to }): BridgeChange => ({
      type: "group_mod",
      xid: 1,
      command,
      groupType: "indirect",
      groupId: id,
      buckets: [{ weight: 0, watchPort: OFPP_ANY, watchGroup: OFPG_ANY, actions: [output(to)] }],
    }),
  );
const meterChange = fc.record({ command: fc.constantFrom("add" as const, "delete" as const), id: small }).map(
  ({ command, id }): BridgeChange => ({
    type: "meter_mod",
    xid: 1,
    command,
    flags: 1,
    meterId: id,
    bands: [{ type: "drop", rate: 1000, burstSize: 0 }],
  }),
);
const portChange = fc.record({ port: small, config: fc.constantFrom(0, 1 << 5) }).map(
  ({ port, config }): BridgeChange => ({
    type: "port_mod",
    xid: 1,
    port,
    macAddress: Uint8Array.of(2, 0, 0, 0, 0, port),
    config,
    mask: 1 << 5,
    advertise: 0,
  }),
);
const packetOut = small.map(
  (to): BridgeChange => ({
    type: "packet_out",
    xid: 1,
    bufferId: 0xffffffff,
    inPort: 1,
    actions: [output(to)],
    data: between(1, 2),
  }),
);
const changes = fc.array(
  fc.oneof({ weight: 6, arbitrary: flowChange }, groupChange, meterChange, portChange, packetOut),
  { maxLength: 12 },
);

const sorted = (list: readonly unknown[]): string[] =>
  list
    .map((one) => JSON.stringify(one, (_, value) => (typeof value === "bigint" ? `${value}` : value)))
    .sort();

/** Everything that a controller could ask about. */
function stateOf(bridge: Bridge): unknown {
  const { tables } = bridge;
  return {
    flows: sorted(tables.flowStats(ALL, 5000)),
    groups: tables.groupStats(5000),
    meters: tables.meters.configs(),
    ports: bridge.slots.map((slot) => [slot.config, slot.forwards]),
    count: tables.flowCount,
  };
}

/** A bridge to which `before` was done, where possible, and through which packets went. */
function prepared(before: readonly BridgeChange[]): Rig {
  const rig = new Rig(3, { slots: 32 });
  for (const change of before) applyAtomically(rig.bridge, [change], rig.nowMs);
  for (let port = 1; port <= 3; port++) rig.send(port, between(port, 9));
  rig.datapath.deliver();
  rig.events = [];
  return rig;
}

describe("applyAtomically()", () => {
  it("leaves tables, counters and ports as they were and tells nothing when a change is refused", () => {
    fc.assert(
      fc.property(changes, changes, (before, bundle) => {
        const rig = prepared(before);
        const was = stateOf(rig.bridge);
        const refused = flowMod({ tableId: 255 });
        const refusal = applyAtomically(rig.bridge, [...bundle, refused], rig.nowMs);
        rig.datapath.deliver();
        expect(refusal?.index).toBeLessThanOrEqual(bundle.length);
        expect(stateOf(rig.bridge)).toEqual(was);
        expect(rig.events).toEqual([]);
        for (const port of rig.ports) expect(port.takeSent()).toEqual([]);
        // Counters of what came back still count.
        const other = prepared(before);
        for (let port = 1; port <= 3; port++) {
          const frame = between(port, 8);
          expect(rig.where(port, frame)).toEqual(other.where(port, frame));
        }
        expect(stateOf(rig.bridge)).toEqual(stateOf(other.bridge));
      }),
      { numRuns: 80 },
    );
  });

  it("does what the changes do one by one when none is refused", () => {
    fc.assert(
      fc.property(changes, changes, (before, bundle) => {
        const whole = prepared(before);
        const singly = prepared(before);
        const refusal = applyAtomically(whole.bridge, bundle, whole.nowMs);
        if (refusal !== undefined) return;
        for (const change of bundle) singly.bridge.change(change, singly.nowMs);
        for (const rig of [whole, singly]) rig.datapath.deliver();
        expect(stateOf(whole.bridge)).toEqual(stateOf(singly.bridge));
        expect(whole.events).toEqual(singly.events);
        whole.ports.forEach((port, i) => {
          expect(port.takeSent()).toEqual(singly.ports[i]?.takeSent());
        });
      }),
      { numRuns: 80 },
    );
  });
});
