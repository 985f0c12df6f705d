// Our controller drives a real Open vSwitch with the pipeline that it gives to our own: the southbound is the standard.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import type { Sdn } from "../../sdn-controller/index.js";
import { drivenSuite, sortedFlows } from "../support/driven-suite.js";
import { type PipelineBench, pipelineSuite } from "../support/pipeline-suite.js";
import { RealOvs } from "../support/real-ovs.js";
import { rolesSuite } from "../support/roles-suite.js";
import {
  addShopBridge,
  BRIDGE,
  dialAgain,
  settled,
  startShopController,
} from "../support/shop-controller.js";
import { whileTalking } from "../support/shop-traffic.js";

const DEADLINE_MS = 20_000;

async function openOvs(): Promise<RealOvs> {
  const ovs = await RealOvs.start();
  // It looks again at what it has cached, and counts what passed, ten times a second, not twice.
  await ovs.vsctl("set", "open_vswitch", ".", "other_config:max-revalidator=100");
  await addShopBridge(ovs);
  return ovs;
}

pipelineSuite("a real ovs-vswitchd", async (): Promise<PipelineBench> => {
  const ovs = await openOvs();
  const sdn = await startShopController(ovs);
  await settled(sdn);
  let judgedBy = "";
  // A barrier does not wait for what the datapath has cached.
  const revalidated = async (): Promise<void> => {
    const { changes } = sdn.controller.metrics();
    const last = `${changes.length} ${changes.at(-1)?.durationMs}`;
    if (last !== judgedBy) await ovs.appctl("revalidator/wait");
    judgedBy = last;
  };
  return {
    controller: sdn.controller,
    async inject(ofport, frame) {
      await revalidated();
      await ovs.inject(`p${ofport}`, frame);
    },
    sentBy: (ofport) => ovs.sentBy(`p${ofport}`),
    // It judges a packet in two runs, before and after ct, and a bundle may come between them: one packet of a stream at
    // most for each of some twenty bundles, in fact one to three in all.
    lostMax: 6,
    async counted() {
      await ovs.appctl("revalidator/wait");
    },
    async close() {
      await sdn.close();
      await ovs.stop();
    },
  };
});

describe("the controller and a real ovs-vswitchd", () => {
  let ovs: RealOvs;
  let sdn: Sdn;
  beforeAll(async () => {
    ovs = await openOvs();
    sdn = await startShopController(ovs);
    await settled(sdn);
  });
  afterAll(async () => {
    await sdn?.close();
    await ovs?.stop();
  });
  const wires = {
    inject: (ofport: number, frame: Uint8Array) => ovs.inject(`p${ofport}`, frame),
    sentBy: (ofport: number) => ovs.sentBy(`p${ofport}`),
  };

  drivenSuite({
    device: () => ovs,
    control: () => ovs.path("vs.ctl"),
    dump: (...args) => ovs.ofctl("dump-flows", BRIDGE, ...args),
    ofctl: (verb, ...args) => ovs.ofctl(verb, BRIDGE, ...args),
    wires,
    sdn: () => sdn,
    restart: async (onEvent) => {
      await sdn.close();
      sdn = await startShopController(ovs, { onEvent });
      await dialAgain(ovs);
      await settled(sdn);
    },
    // It judges a packet in two runs, before and after ct, and a bundle may come between them.
    lostMax: 2,
  });

  it("survive a restart of the controller: no flow is touched, no packet lost", async () => {
    await whileTalking(sdn.controller, wires, restart);
  });

  const dump = async (): Promise<string> => sortedFlows(await ovs.ofctl("dump-flows", BRIDGE, "--no-stats"));

  async function restart(): Promise<void> {
    await sdn.close();
    const before = await dump();
    const durations = async () => (await ovs.ofctl("dump-flows", BRIDGE)).match(/duration=[\d.]+/g)?.length;
    const count = await durations();
    sdn = await startShopController(ovs);
    await dialAgain(ovs);
    await settled(sdn);
    expect(sdn.controller.metrics().changes).toMatchObject([
      { cause: "connect", added: 0, changed: 0, deleted: 0 },
    ]);
    expect(await dump()).toBe(before);
    expect(await durations()).toBe(count);
  }

  it("survive kill -9 of the switch: it gets all its flows again", async () => {
    const before = await dump();
    await ovs.killSwitch();
    await ovs.startSwitch();
    await waitFor(async () => (await dump().catch(() => "")) === before, "the flows to be back", DEADLINE_MS);
    await settled(sdn);
  });

  rolesSuite(() => ovs, wires);
});
