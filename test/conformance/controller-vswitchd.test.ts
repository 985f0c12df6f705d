// Controller and switch as they run in a data centre: `plinth vswitchd` as its own process, OVSDB and OpenFlow between
// them, frames over stream ports. The same suite as on a real Open vSwitch, and what happens when either is killed.
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { systemClock, waitFor } from "../../base/time/index.js";
import { type Sdn, startSdn } from "../../sdn-controller/index.js";
import { OFPORTS, POLICIES, policyChange, shopChanges } from "../../sdn-controller/testing/shop.js";
import { type PipelineBench, pipelineSuite } from "../support/pipeline-suite.js";
import { PlinthSwitch } from "../support/plinth-switch.js";

const BRIDGE = "br-int";
const DEADLINE_MS = 20_000;

async function openSwitch(): Promise<PlinthSwitch> {
  const device = await PlinthSwitch.start();
  await device.vsctl(
    "add-br",
    BRIDGE,
    "--",
    "set",
    "bridge",
    BRIDGE,
    "datapath_type=netdev",
    "fail_mode=secure",
  );
  await device.vsctl("set-controller", BRIDGE, `unix:${join(device.dir, "of.sock")}`);
  for (const [id, ofport] of OFPORTS) await device.addPort(BRIDGE, `p${ofport}`, ofport, id);
  return device;
}

async function startController(device: PlinthSwitch): Promise<Sdn> {
  const sdn = await startSdn(
    {
      openflowSocket: join(device.dir, "of.sock"),
      ovsdbEndpoint: device.endpoint,
      outputs: { onStatus: () => {}, onEvent: () => {} },
    },
    { clock: systemClock, log: silentLog },
  );
  sdn.controller.update([...shopChanges(), ...POLICIES.map((policy) => policyChange(policy))]);
  sdn.controller.inventoryComplete();
  return sdn;
}

async function settled({ controller }: Sdn): Promise<void> {
  const complete = (): boolean =>
    controller.isSettled && controller.metrics().flowsInstalled === controller.metrics().flowsDesired;
  await waitFor(
    () => complete() && [...OFPORTS.keys()].every((id) => controller.compiler.ofportOf(id) !== undefined),
    () => `the switch to have every flow: ${JSON.stringify(controller.metrics())}`,
    DEADLINE_MS,
  );
}

pipelineSuite("plinth vswitchd", async (): Promise<PipelineBench> => {
  const device = await openSwitch();
  const sdn = await startController(device);
  await settled(sdn);
  return {
    controller: sdn.controller,
    inject: async (ofport, frame) => device.inject(ofport, frame),
    sentBy: (ofport) => device.sentBy(ofport),
    async close() {
      await sdn.close();
      await device.stop();
    },
  };
});

describe("the controller and plinth vswitchd", () => {
  let device: PlinthSwitch;
  let sdn: Sdn;
  const dump = (): Promise<string> => device.ofctl("dump-flows", BRIDGE, "--no-stats", "--sort");
  beforeAll(async () => {
    device = await openSwitch();
    sdn = await startController(device);
    await settled(sdn);
  });
  afterAll(async () => {
    await sdn?.close();
    await device?.stop();
  });

  it("touch no flow when the controller restarts", async () => {
    const before = await dump();
    await sdn.close();
    sdn = await startController(device);
    await settled(sdn);
    expect(sdn.controller.metrics().changes).toMatchObject([
      { cause: "connect", added: 0, changed: 0, deleted: 0 },
    ]);
    expect(await dump()).toBe(before);
  });

  it("bring every flow back after kill -9 of the switch", async () => {
    const before = await dump();
    await device.kill();
    await device.startDaemon();
    await waitFor(async () => (await dump().catch(() => "")) === before, "the flows to be back", DEADLINE_MS);
    await device.plugged();
    await settled(sdn);
  });
});
