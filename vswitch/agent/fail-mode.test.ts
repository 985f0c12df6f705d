import { beforeEach, describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { SimulatedClock } from "../../base/time/index.js";
import { FailModeKeeper } from "./fail-mode.js";
import { MemorySwitch } from "./memory-switch.js";

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
});
