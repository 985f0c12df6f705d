import { beforeEach, describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { type FlowMod, OFP_NO_BUFFER, OFPG_ANY, OFPP_ANY, OFPP_NORMAL } from "../../base/openflow/index.js";
import { SimulatedClock } from "../../base/time/index.js";
import { FailModeKeeper } from "./fail-mode.js";
import { MemorySwitch } from "./memory-switch.js";

const FLOW: FlowMod = {
  type: "flow_mod",
  xid: 0,
  command: "add",
  tableId: 0,
  cookie: 0n,
  cookieMask: 0n,
  idleTimeoutSeconds: 0,
  hardTimeoutSeconds: 0,
  priority: 0,
  bufferId: OFP_NO_BUFFER,
  outPort: OFPP_ANY,
  outGroup: OFPG_ANY,
  flags: 0,
  match: [],
  instructions: [{ type: "apply_actions", actions: [{ type: "output", port: OFPP_NORMAL, maxLength: 0 }] }],
};
const PROBE = { probeIntervalMs: 5000 };
let clock: SimulatedClock;
let model: MemorySwitch;
let keeper: FailModeKeeper;

beforeEach(() => {
  clock = new SimulatedClock();
  model = new MemorySwitch();
  keeper = new FailModeKeeper(model, clock, silentLog);
});

/** Priorities of the flows there are once the switch has taken the changes. */
async function priorities(): Promise<number[]> {
  await new Promise((resolve) => setImmediate(resolve));
  return model.flows.map((flow) => flow.priority);
}

describe("FailModeKeeper", () => {
  it("leaves a secure bridge alone whatever happens to its controllers", async () => {
    keeper.update("secure", { configured: 1, connected: 0, ...PROBE });
    clock.advance(60_000);
    expect(await priorities()).toEqual([]);
  });

  it("makes a standalone bridge without controllers a learning switch", async () => {
    keeper.update("standalone", { configured: 0, connected: 0, ...PROBE });
    expect(await priorities()).toEqual([0]);
    keeper.update("standalone", { configured: 1, connected: 1, ...PROBE });
    expect(await priorities()).toEqual([]);
  });

  it("takes away what an earlier agent of the bridge left", async () => {
    keeper.update("standalone", { configured: 0, connected: 0, ...PROBE });
    expect(await priorities()).toEqual([0]);
    new FailModeKeeper(model, clock, silentLog).update("secure", { configured: 1, connected: 1, ...PROBE });
    expect(await priorities()).toEqual([]);
  });

  it("opens a standalone bridge after three probe intervals without its controllers, until one is back", async () => {
    keeper.update("standalone", { configured: 2, connected: 1, ...PROBE });
    keeper.update("standalone", { configured: 2, connected: 0, ...PROBE });
    clock.advance(14_999);
    keeper.update("standalone", { configured: 2, connected: 0, ...PROBE });
    expect(await priorities()).toEqual([]);
    clock.advance(1);
    expect(await priorities()).toEqual([0xf0f0]);
    keeper.update("standalone", { configured: 2, connected: 1, ...PROBE });
    expect(await priorities()).toEqual([]);
    clock.advance(60_000);
    expect(await priorities()).toEqual([]);
  });

  describe("who takes the bridge over", () => {
    const none = { configured: 0, connected: 0, ...PROBE };
    const one = { configured: 1, connected: 0, ...PROBE };
    const two = { configured: 2, connected: 1, ...PROBE };

    /** A flow and a group; left() tells which flows, by priority, and how many groups there are. */
    async function fill(): Promise<void> {
      const flow = { ...FLOW, priority: 7, tableId: 3 };
      const results = await model.change([
        { type: "group_mod", xid: 0, command: "add", groupType: "all", groupId: 1, buckets: [] },
        flow,
      ]);
      expect(results).toEqual([undefined, undefined]);
    }
    async function left(): Promise<string> {
      const flows = (await priorities()).join(",");
      return `${flows} ${(await model.groupDescriptions()).length}`;
    }

    it.each([
      ["the first controller comes", "secure", none, "secure", one, " 0"],
      ["the last controller goes", "standalone", two, "standalone", none, "0 0"],
      ["the mode changes while there is none", "standalone", none, "secure", none, " 0"],
      ["both come", "secure", none, "standalone", one, " 0"],
      ["another controller comes", "secure", one, "secure", two, "7 1"],
      ["the mode changes while there is one", "secure", one, "standalone", two, "7 1"],
    ] as const)("%s: %s %o, %s %o", async (_name, mode, seen, next, nextSeen, expected) => {
      keeper.update(mode, seen);
      await fill();
      keeper.update(next, nextSeen);
      expect(await left()).toBe(expected);
    });

    it("finds what it had after a restart, unless something has changed meanwhile", async () => {
      let kept = 0;
      const note = () => ({
        last: kept,
        keep: (standing: number) => {
          kept = standing;
        },
      });
      new FailModeKeeper(model, clock, silentLog, note()).update("standalone", none);
      expect(await left()).toBe("0 0");
      await model.change([{ ...FLOW, command: "delete", priority: 0, tableId: 0 }]);
      await fill();
      new FailModeKeeper(model, clock, silentLog, note()).update("standalone", none);
      expect(await left()).toBe("7 1");
      new FailModeKeeper(model, clock, silentLog, note()).update("secure", none);
      expect(await left()).toBe(" 0");
    });

    it("keeps the controller's own flow to NORMAL after a restart", async () => {
      let kept = 0;
      const note = {
        last: 0,
        keep: (standing: number) => {
          kept = standing;
        },
      };
      new FailModeKeeper(model, clock, silentLog, note).update("secure", two);
      await model.change([{ ...FLOW, priority: 0 }]);
      new FailModeKeeper(model, clock, silentLog, { ...note, last: kept }).update("secure", two);
      expect(await priorities()).toEqual([0]);
    });
  });
});
