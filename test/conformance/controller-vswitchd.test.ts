// Controller and switch as they run in a data centre: `plinth vswitchd` as its own process, OVSDB and OpenFlow between
// them, frames over stream ports. The same suite as on a real Open vSwitch, and what happens when either is killed.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import type { Sdn } from "../../sdn-controller/index.js";
import { drivenSuite, sortedFlows } from "../support/driven-suite.js";
import { type PipelineBench, pipelineSuite } from "../support/pipeline-suite.js";
import { PlinthSwitch } from "../support/plinth-switch.js";
import { rolesSuite } from "../support/roles-suite.js";
import { addShopBridge, BRIDGE, settled, startShopController } from "../support/shop-controller.js";
import { whileTalking } from "../support/shop-traffic.js";

const DEADLINE_MS = 20_000;

async function openSwitch(): Promise<PlinthSwitch> {
  const device = await PlinthSwitch.open();
  await addShopBridge(device);
  return device;
}

pipelineSuite("plinth vswitchd", async (): Promise<PipelineBench> => {
  const device = await openSwitch();
  const sdn = await startShopController(device);
  await settled(sdn);
  return {
    controller: sdn.controller,
    inject: async (ofport, frame) => device.inject(ofport, frame),
    sentBy: (ofport) => device.sentBy(ofport),
    async close() {
      await sdn.close();
      await device.destroy();
    },
  };
});

describe("the controller and plinth vswitchd", () => {
  let device: PlinthSwitch;
  let sdn: Sdn;
  const dump = async (): Promise<string> =>
    sortedFlows(await device.ofctl("dump-flows", BRIDGE, "--no-stats"));
  beforeAll(async () => {
    device = await openSwitch();
    sdn = await startShopController(device);
    await settled(sdn);
  });
  afterAll(async () => {
    await sdn?.close();
    await device?.destroy();
  });
  const wires = {
    inject: async (ofport: number, frame: Uint8Array) => device.inject(ofport, frame),
    sentBy: (ofport: number) => device.sentBy(ofport),
  };

  drivenSuite({
    device: () => device,
    control: () => device.path("vswitchd.ctl"),
    dump: (...args) => device.ofctl("dump-flows", BRIDGE, ...args),
    ofctl: (verb, ...args) => device.ofctl(verb, BRIDGE, ...args),
    wires,
    sdn: () => sdn,
    restart: async (onEvent) => {
      await sdn.close();
      sdn = await startShopController(device, { onEvent });
      await settled(sdn);
    },
    lostMax: 0,
  });

  it("touch no flow and lose no packet when the controller restarts", async () => {
    const before = await dump();
    await whileTalking(sdn.controller, wires, async () => {
      await sdn.close();
      sdn = await startShopController(device);
      await settled(sdn);
    });
    expect(sdn.controller.metrics().changes).toMatchObject([
      { cause: "connect", added: 0, changed: 0, deleted: 0 },
    ]);
    expect(await dump()).toBe(before);
  });

  it("bring every flow back after kill -9 of the switch", async () => {
    const before = await dump();
    await device.end("SIGKILL");
    await device.start();
    await waitFor(async () => (await dump().catch(() => "")) === before, "the flows to be back", DEADLINE_MS);
    await device.plugged();
    await settled(sdn);
  });

  rolesSuite(() => device, wires);
});
