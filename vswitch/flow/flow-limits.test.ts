// Which flow gives way in a table that is full.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ALL_FLOWS, OFPFF_SEND_FLOW_REM } from "../../base/openflow/index.js";
import { codeOf, field, match, Rig } from "../testing/rig.js";
import { compileInstructions } from "./compile-instructions.js";
import { compileMatch } from "./fields.js";
import { Flow, FlowCounters } from "./flow.js";
import { type FlowLimit, FlowLimits } from "./flow-limits.js";
import { TunnelOptions } from "./tunnel-options.js";

const NOTHING = { groupExists: () => false, meterExists: () => false, options: new TunnelOptions() };

const BY_PORT = [{ field: "nxm_in_port", offset: 0, bits: 16 }] as const;

function limited(limit: Partial<FlowLimit>): Rig {
  const rig = new Rig(2);
  rig.bridge.tables.limitFlows([{ tableId: 1, flowsMax: 2, evicts: true, groups: [], ...limit }]);
  return rig;
}

function priorities(rig: Rig): number[] {
  const flows = rig.bridge.tables.flowStats(ALL_FLOWS, rig.nowMs);
  return flows.map(({ priority }) => priority).sort((a, b) => a - b);
}

describe("limitFlows()", () => {
  it("refuses what is too many, and leaves what is there", () => {
    const rig = limited({ evicts: false });
    for (const priority of [1, 2]) rig.flow({ tableId: 1, priority, idleTimeoutSeconds: 9 });
    expect(codeOf(() => rig.flow({ tableId: 1, priority: 3 }))).toBe("OFPFMFC_TABLE_FULL");
    expect(codeOf(() => rig.flow({ tableId: 1, priority: 2 }))).toBe("accepted");
    expect(codeOf(() => rig.flow({ tableId: 2, priority: 3 }))).toBe("accepted");
    rig.bridge.tables.limitFlows([{ tableId: 1, flowsMax: 0, evicts: false, groups: [] }]);
    rig.bridge.tables.expire(rig.nowMs);
    expect(priorities(rig)).toEqual([1, 2, 3]);
    rig.bridge.tables.limitFlows([]);
    expect(codeOf(() => rig.flow({ tableId: 1, priority: 4 }))).toBe("accepted");
  });

  it("lets the flow go that expires soonest, tells of it, and never a permanent one", () => {
    const rig = limited({});
    rig.flow({ tableId: 1, priority: 1 });
    rig.flow({ tableId: 1, priority: 2, hardTimeoutSeconds: 9, flags: OFPFF_SEND_FLOW_REM });
    rig.flow({ tableId: 1, priority: 3, idleTimeoutSeconds: 5 });
    expect(priorities(rig)).toEqual([1, 3]);
    rig.datapath.deliver();
    expect(rig.events.map(({ type }) => type)).toContain("flow_removed");
    rig.flow({ tableId: 1, priority: 4 });
    expect(priorities(rig)).toEqual([1, 4]);
    expect(codeOf(() => rig.flow({ tableId: 1, priority: 5, idleTimeoutSeconds: 5 }))).toBe(
      "OFPFMFC_TABLE_FULL",
    );
    expect(priorities(rig)).toEqual([1, 4]);
  });

  it("gives way to a lower limit when time is looked at", () => {
    const rig = limited({ flowsMax: 9 });
    for (const priority of [1, 2, 3, 4])
      rig.flow({ tableId: 1, priority, hardTimeoutSeconds: 10 - priority });
    rig.flow({ tableId: 1, priority: 5 });
    rig.bridge.tables.limitFlows([{ tableId: 1, flowsMax: 2, evicts: true, groups: [] }]);
    rig.bridge.tables.expire(rig.nowMs);
    expect(priorities(rig)).toEqual([1, 5]);
  });
});

describe("victim()", () => {
  it("is of the largest group that there is, whatever comes and goes", () => {
    const step = fc.record({
      comes: fc.boolean(),
      n: fc.nat(40),
      port: fc.integer({ min: 0, max: 4 }),
      seconds: fc.integer({ min: 0, max: 0xffff }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const limits = new FlowLimits();
        const counters = new FlowCounters();
        const model = new Map<
          number,
          { readonly flow: Flow; readonly port: number; readonly seconds: number }
        >();
        const limit = { tableId: 1, flowsMax: 0, evicts: true, groups: BY_PORT };
        limits.configure([limit], () => []);
        for (const { comes, n, port, seconds } of steps) {
          const old = model.get(n);
          if (old !== undefined) limits.left(old.flow);
          model.delete(n);
          if (comes) {
            const flow = flowOf(port, seconds, counters);
            limits.entered(flow);
            model.set(n, { flow, port, seconds });
          }
          const timed = [...model.values()].filter((one) => one.seconds > 0);
          const sizeOf = (of: number): number => timed.filter((one) => one.port === of).length;
          const largest = Math.max(...timed.map((one) => sizeOf(one.port)));
          const meant = timed.filter((one) => sizeOf(one.port) === largest);
          const soonest = Math.min(...meant.map((one) => one.seconds));
          const victims = meant.filter((one) => one.seconds === soonest).map(({ flow }) => flow);
          expect(limits.mayEvict(1)).toBe(timed.length > 0);
          expect(victims.length === 0 ? [null] : victims).toContain(limits.victim(1, counters));
        }
        const flows = [...model.values()].map(({ flow }) => flow);
        const anew = new FlowLimits();
        anew.configure([limit], () => flows);
        expect(anew.mayEvict(1)).toBe(limits.mayEvict(1));
      }),
    );
  });

  it("passes over many flows that are in use, and comes to others the next time", () => {
    const limits = new FlowLimits();
    const counters = new FlowCounters();
    limits.configure([{ tableId: 1, flowsMax: 0, evicts: true, groups: [] }], () => []);
    for (let n = 0; n < 100; n++) limits.entered(flowOf(1, 60_000, counters));
    const idle = flowOf(1, 1, counters);
    limits.entered(idle);
    const named = [1, 2].map(() => limits.victim(1, counters));
    expect(named[0]).not.toBe(idle);
    expect(named[1]).toBe(idle);
  });
});

/** In table 1; port 0 is none. */
function flowOf(port: number, seconds: number, counters: FlowCounters): Flow {
  const fields = port === 0 ? [] : match(field("in_port", port));
  return new Flow({
    tableId: 1,
    priority: 1,
    cookie: 0n,
    match: fields,
    key: compileMatch(fields),
    flags: 0,
    idleTimeoutSeconds: 0,
    hardTimeoutSeconds: seconds,
    instructions: [],
    program: compileInstructions([], 1, 253, NOTHING, fields),
    slot: counters.allocate(0),
    nowMs: 0,
  });
}
