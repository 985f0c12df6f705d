// Our controller drives a real Open vSwitch with the pipeline that it gives to our own: the southbound is the standard.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import type { Sdn } from "../../sdn-controller/index.js";
import { type PipelineBench, pipelineSuite } from "../support/pipeline-suite.js";
import { RealOvs } from "../support/real-ovs.js";
import { rolesSuite } from "../support/roles-suite.js";
import { addShopBridge, BRIDGE, settled, startShopController } from "../support/shop-controller.js";
import { whileTalking } from "../support/shop-traffic.js";

const DEADLINE_MS = 20_000;

async function openOvs(): Promise<RealOvs> {
  const ovs = await RealOvs.start();
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
    // It judges a packet in two runs, before and after ct, and a bundle may come between them.
    lostMax: 2,
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

  it("agree on every flow: an audit finds nothing to do", async () => {
    const installed = (await ovs.ofctl("dump-flows", BRIDGE))
      .split("\n")
      .filter((line) => line.includes("cookie="));
    expect(installed).toHaveLength(sdn.controller.metrics().flowsDesired);
    const changes = sdn.controller.metrics().changes.length;
    sdn.controller.audit();
    await settled(sdn);
    expect(sdn.controller.metrics().changes).toHaveLength(changes);
  });

  it("agree with ofproto/trace on every pair of the example", async () => {
    const names = ["client", "web1", "web2", "app", "db", "web1-back", "web2-back"];
    const checks: Promise<unknown>[] = [];
    for (const from of names) {
      for (const to of names) {
        for (const port of [22, 80, 5432, 8080]) {
          if (from !== to) checks.push(compare(from, to, port));
        }
      }
    }
    expect(checks.length).toBeGreaterThan(100);
    await Promise.all(checks);
  });

  async function compare(from: string, to: string, port: number): Promise<void> {
    const inventory = sdn.controller.compiler.inventory;
    const [source, destination] = [from, to].map((name) => inventory.port(`shop/${name}`));
    if (source === undefined || destination === undefined) throw new Error("no such port");
    const mac = (value: number): string =>
      (value.toString(16).padStart(12, "0").match(/../g) as string[]).join(":");
    const address = (value: number): string =>
      [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join(".");
    const flow = [
      `in_port=${sdn.controller.compiler.ofportOf(source.key)}`,
      "tcp",
      `dl_src=${mac(source.mac)}`,
      `dl_dst=${mac(destination.mac)}`,
      `nw_src=${address(source.addresses[0] as number)}`,
      `nw_dst=${address(destination.addresses[0] as number)}`,
      `tp_dst=${port}`,
    ].join(",");
    const trace = await ovs.appctl("ofproto/trace", BRIDGE, flow, "--ct-next", "trk,new");
    const last = trace
      .split("\n")
      .filter((line) => line.startsWith("Datapath actions:"))
      .at(-1);
    const { allowed } = sdn.controller.explain({
      source: source.key,
      destination: destination.key,
      protocol: "TCP",
      port,
    });
    expect(`${from} to ${to}:${port} ${/[ ,]\d+$/.test(last ?? "")}`).toBe(
      `${from} to ${to}:${port} ${allowed}`,
    );
  }

  it("survive a restart of the controller: no flow is touched, no packet lost", async () => {
    await whileTalking(sdn.controller, wires, restart);
  });

  async function restart(): Promise<void> {
    await sdn.close();
    const before = await ovs.ofctl("dump-flows", BRIDGE, "--no-stats", "--sort");
    const durations = async () => (await ovs.ofctl("dump-flows", BRIDGE)).match(/duration=[\d.]+/g)?.length;
    const count = await durations();
    sdn = await startShopController(ovs);
    await settled(sdn);
    expect(sdn.controller.metrics().changes).toMatchObject([
      { cause: "connect", added: 0, changed: 0, deleted: 0 },
    ]);
    expect(await ovs.ofctl("dump-flows", BRIDGE, "--no-stats", "--sort")).toBe(before);
    expect(await durations()).toBe(count);
  }

  it("survive kill -9 of the switch: it gets all its flows again", async () => {
    const before = await ovs.ofctl("dump-flows", BRIDGE, "--no-stats", "--sort");
    await ovs.killSwitch();
    await ovs.startSwitch();
    await waitFor(
      async () => (await ovs.ofctl("dump-flows", BRIDGE, "--no-stats", "--sort").catch(() => "")) === before,
      "the flows to be back",
      DEADLINE_MS,
    );
    await settled(sdn);
  });

  it("repair what somebody else deletes", async () => {
    await ovs.ofctl("del-flows", BRIDGE, "table=0");
    sdn.controller.audit();
    await sdn.controller.whenSettled();
    expect(sdn.controller.metrics().flowsRepaired).toBeGreaterThan(5);
    expect(await ovs.ofctl("dump-flows", BRIDGE, "table=0")).toContain("in_port=");
  });

  rolesSuite(() => ovs, wires);
});
