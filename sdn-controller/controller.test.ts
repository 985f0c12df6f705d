import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLog } from "../base/log/index.js";
import { systemClock, waitFor } from "../base/time/index.js";
import {
  BOOTREQUEST,
  encodeDhcp,
  encodeEthernet,
  encodeIpv4,
  encodeUdp,
  MAC_BROADCAST,
  parseDhcp,
  parseEthernet,
  parseIpv4,
  parseUdp,
} from "../base/wire/index.js";
import type { ChangeRecord } from "./channel/flow-driver.js";
import { OpenFlowListener } from "./channel/openflow-listener.js";
import { SdnController } from "./controller.js";
import type { SdnEvent, StatusCondition, StatusPatch } from "./inputs.js";
import { bytesOf, flowKey } from "./pipeline/flow.js";
import { TABLES } from "./pipeline/tables.js";
import { FakeSwitch } from "./testing/fake-switch.js";
import { OFPORTS, POLICIES, policyChange, portInput, shopChanges } from "./testing/shop.js";

const DEADLINE_MS = 30_000;
let dir: string;
let device: FakeSwitch;
let running: Running[];

interface Running {
  readonly controller: SdnController;
  readonly patches: StatusPatch[];
  readonly events: SdnEvent[];
  readonly conditions: StatusCondition[];
  close(): Promise<void>;
}

beforeEach(() => {
  dir = mkdtempSync("/tmp/sdn-");
  device = new FakeSwitch();
  running = [];
});
afterEach(async () => {
  await device.hangUp();
  for (const one of running) await one.close();
  rmSync(dir, { recursive: true, force: true });
});

const path = (): string => join(dir, "of.sock");

async function start(
  audits: { readonly auditIntervalMs?: number; readonly auditFlowsMax?: number } = {},
): Promise<Running> {
  const patches: StatusPatch[] = [];
  const events: SdnEvent[] = [];
  const conditions: StatusCondition[] = [];
  const modules = { clock: systemClock, log: silentLog };
  const outputs = {
    onStatus: (some: readonly StatusPatch[]) => patches.push(...some),
    onEvent: (event: SdnEvent) => events.push(event),
    onCondition: (condition: StatusCondition) => conditions.push(condition),
  };
  const controller = new SdnController({ outputs, ...audits }, modules);
  const listener = await OpenFlowListener.open(
    {
      path: path(),
      eventsFor: () => controller.switchEvents(),
      onSwitch: (link) => controller.connectSwitch(link),
      onGone: (link) => controller.disconnectSwitch(link),
    },
    modules,
  );
  const one = {
    controller,
    patches,
    events,
    conditions,
    async close() {
      await listener.close();
      controller.close();
    },
  };
  running.push(one);
  return one;
}

function giveShop(controller: SdnController): void {
  controller.update([...shopChanges(), ...POLICIES.map((policy) => policyChange(policy))]);
  controller.setAttachments(OFPORTS);
  controller.inventoryComplete();
}

async function settled(controller: SdnController): Promise<void> {
  await waitFor(() => controller.isSettled, "the controller to settle", DEADLINE_MS, 2);
}

describe("SdnController", () => {
  it("installs nothing before the inventory and the attachments are complete, then exactly what is desired", async () => {
    const { controller, patches } = await start();
    controller.update(shopChanges());
    await device.dial(path());
    await waitFor(() => controller.metrics().switchConnected, "connection", DEADLINE_MS, 2);
    expect(device.flowMods).toEqual([]);
    controller.inventoryComplete();
    expect(device.flowMods).toEqual([]);
    controller.setAttachments(OFPORTS);
    await settled(controller);
    expect([...device.flows.keys()].sort()).toEqual([...controller.compiler.flows.keys()].sort());
    const web = patches.filter((patch) => patch.kind === "Port" && patch.key === "shop/web1").at(-1);
    expect(web?.status).toMatchObject({ addresses: ["10.10.0.4"] });
    expect(web?.status.conditions.map((it) => [it.type, it.status])).toEqual([
      ["Allocated", "True"],
      ["Ready", "True"],
    ]);
  });

  it("touches no flow that is already right when it restarts", async () => {
    const first = await start();
    giveShop(first.controller);
    await device.dial(path());
    await settled(first.controller);
    await device.hangUp();
    await first.close();
    running = [];
    device.flowMods.length = 0;
    const second = await start();
    giveShop(second.controller);
    await device.dial(path());
    await settled(second.controller);
    expect(device.flowMods).toEqual([]);
  });

  it("brings back every flow after the switch lost them, and removes what is not ours", async () => {
    const { controller } = await start();
    giveShop(controller);
    await device.dial(path());
    await settled(controller);
    const before = new Set(device.flows.keys());
    await device.hangUp();
    const [stray] = device.flows.values();
    if (stray === undefined) throw new Error("no flows");
    device.flows = new Map([["stray", { ...stray, priority: 7 }]]);
    await device.dial(path());
    await waitFor(() => device.flows.size === before.size + 1, "all flows", DEADLINE_MS, 2);
    await settled(controller);
    expect(device.flowMods.at(-1)).toMatchObject({ command: "delete_strict", priority: 7 });
  });

  it("waits for port numbers before it drives a switch that came back without its database", async () => {
    const { controller } = await start();
    giveShop(controller);
    await device.dial(path());
    await settled(controller);
    await device.hangUp();
    await waitFor(() => !controller.metrics().switchConnected, "the loss", DEADLINE_MS, 2);
    controller.attachmentsLost();
    device.flows.clear();
    device.flowMods.length = 0;
    await device.dial(path());
    await waitFor(() => controller.metrics().switchConnected, "connection", DEADLINE_MS, 2);
    controller.update([{ kind: "Namespace", key: "new", value: { name: "new", labels: {} } }]);
    expect(device.flowMods).toEqual([]);
    controller.setAttachments(new Map([["shop/client", 7]]));
    await settled(controller);
    const classified = device.flowMods.filter((it) => it.tableId === 0).map((it) => it.match[0]?.value[3]);
    expect(classified).toContain(7);
    expect(classified).not.toContain(1);
  });

  it("sends only what a policy change touches, and records it", async () => {
    const { controller } = await start();
    giveShop(controller);
    await device.dial(path());
    await settled(controller);
    device.flowMods.length = 0;
    const db = POLICIES.find((policy) => policy.name === "db");
    if (db === undefined) throw new Error("no policy");
    controller.update([policyChange(db, true)]);
    await settled(controller);
    expect(device.flowMods.map((it) => [it.command, it.tableId])).toEqual([
      ["delete_strict", TABLES.ingress.id],
    ]);
    expect(controller.metrics().changes.at(-1)).toMatchObject({
      cause: "change",
      added: 0,
      changed: 0,
      deleted: 1,
    });
    controller.update([policyChange(db)]);
    await settled(controller);
    expect(device.flowMods).toHaveLength(2);
  });

  it("repairs by audit what somebody else changed", async () => {
    const { controller, events } = await start();
    giveShop(controller);
    await device.dial(path());
    await settled(controller);
    const [key, flow] = [...device.flows].find(([, it]) => it.instructions.length > 0) ?? [];
    if (key === undefined || flow === undefined) throw new Error("no flows");
    device.flows.set(key, { ...flow, instructions: [] });
    controller.audit();
    await settled(controller);
    expect(controller.metrics()).toMatchObject({ flowsRepaired: 1, flowsDisagreed: 0 });
    expect(events).toMatchObject([{ type: "Warning", reason: "FlowsRepaired" }]);
    expect(events[0]?.message).toMatch(/ had 1 flows .*: altered of \w+/);
    expect(device.flows.get(key)?.instructions).not.toEqual([]);
  });

  describe("audits of very many flows", () => {
    const PARTS = { auditIntervalMs: 2, auditFlowsMax: 16 };
    const reasons = ({ events }: Running) => events.map(({ reason }) => reason);
    const begin = async (): Promise<Running> => {
      const one = await start(PARTS);
      giveShop(one.controller);
      await device.dial(path());
      await settled(one.controller);
      return one;
    };
    const anyFlow = () => {
      const found = [...device.flows].find(([, flow]) => flow.tableId === TABLES.ingress.id);
      if (found === undefined) throw new Error("no flows");
      return found;
    };

    it("read a part each time, all parts in turn, and find nothing where nothing is wrong", async () => {
      const one = await begin();
      const read: number[] = [];
      let before = device.flowsReported;
      await waitFor(
        () => {
          if (device.flowsReported > before) read.push(device.flowsReported - before);
          before = device.flowsReported;
          return read.length > 20;
        },
        "twenty audits",
        DEADLINE_MS,
        1,
      );
      expect(Math.min(...read)).toBeLessThan(device.flows.size / 4);
      expect(one.events).toEqual([]);
      expect(one.controller.metrics()).toMatchObject({ flowsRepaired: 0, flowsInstalled: device.flows.size });
    });

    it("find what is altered, also in the cookie, and what is foreign, whichever part it is in", async () => {
      const one = await begin();
      const [key, flow] = anyFlow();
      device.flows.set(key, { ...flow, instructions: [], cookie: 0x12345678n });
      const alien = { ...flow, priority: 7, cookie: 0xffffffffffffffffn };
      const alienKey = flowKey(alien.tableId, alien.priority, alien.match);
      const [victim] = [...device.flows.keys()].filter((other) => other !== key);
      // As many as there should be: the count tells nothing.
      device.flows.delete(victim as string);
      device.flows.set(alienKey, alien);
      await waitFor(
        () =>
          !device.flows.has(alienKey) &&
          device.flows.has(victim as string) &&
          device.flows.get(key)?.cookie === flow.cookie,
        "the repairs",
        DEADLINE_MS,
      );
      expect(device.flows.get(key)?.instructions).toEqual(flow.instructions);
      expect(new Set(reasons(one))).toEqual(new Set(["FlowsRepaired"]));
      await waitFor(() => one.controller.metrics().flowsRepaired === 3, "three repairs", DEADLINE_MS);
    });

    it("name a switch that lies, in whichever part", async () => {
      const one = await begin();
      const [key, flow] = anyFlow();
      device.ignores = (message) => message.tableId === TABLES.ingress.id;
      device.flows.set(key, { ...flow, instructions: [] });
      await waitFor(() => reasons(one).includes("SwitchDisagrees"), "the switch to be named", DEADLINE_MS);
      device.ignores = () => false;
      await waitFor(
        () => device.flows.get(key)?.instructions.length === flow.instructions.length,
        "peace",
        DEADLINE_MS,
      );
    });

    it("read everything at once when flows are missing", async () => {
      const one = await start({ ...PARTS, auditIntervalMs: 300 });
      giveShop(one.controller);
      await device.dial(path());
      await settled(one.controller);
      const [key] = anyFlow();
      device.flows.delete(key);
      const before = device.flowsReported;
      await waitFor(() => device.flows.has(key), "the repair", DEADLINE_MS, 1);
      expect(device.flowsReported - before).toBeGreaterThanOrEqual(device.flows.size - 1);
    });

    it("count drops once, although they are told in parts", async () => {
      const one = await begin();
      const drops = () => one.controller.metrics().drops.reduce((sum, { packets }) => sum + packets, 0);
      for (const [key, flow] of device.flows)
        if (flow.flags !== 0) device.flows.set(key, { ...flow, packetCount: 3n });
      const wanted =
        3 *
        [...device.flows.values()].filter(
          ({ flags, tableId }) => flags !== 0 && tableId !== TABLES.dropped.id,
        ).length;
      await waitFor(
        () => drops() >= wanted,
        () => `${wanted} drops, not ${drops()}`,
        DEADLINE_MS,
      );
      const again = device.flowsReported;
      await waitFor(
        () => device.flowsReported > again + 2 * device.flows.size,
        "two more rounds",
        DEADLINE_MS,
      );
      expect(drops()).toBe(wanted);
    });
  });

  it("sends every change as one bundle", async () => {
    const { controller } = await start();
    giveShop(controller);
    await device.dial(path());
    await settled(controller);
    expect(device.commits).toEqual([controller.compiler.flows.size]);
    const other = portInput("app", "back", { tier: "ops" });
    controller.update([{ kind: "Port", key: "shop/app", value: other }]);
    await settled(controller);
    const { added, changed, deleted, bundles } = controller.metrics().changes.at(-1) as ChangeRecord;
    expect(added + changed + deleted).toBeGreaterThan(5);
    expect(bundles).toBe(1);
    expect(device.commits.slice(1)).toEqual([added + changed + deleted]);
  });

  it("drives a switch that knows no bundles", async () => {
    device.knowsBundles = false;
    const { controller } = await start();
    giveShop(controller);
    await device.dial(path());
    await settled(controller);
    expect([...device.flows.keys()].sort()).toEqual([...controller.compiler.flows.keys()].sort());
    expect(controller.metrics().changes).toMatchObject([{ bundles: 0, refused: 0 }]);
  });

  it("leaves out of a bundle what the switch refuses, and brings the rest in as one", async () => {
    const [bad] = POLICIES.slice(-1);
    if (bad === undefined) throw new Error("no policy");
    const { controller, events } = await start();
    giveShop(controller);
    const wanted = [...controller.compiler.flows.keys()].find((key) =>
      key.startsWith(`${TABLES.ingress.id} 1000 `),
    );
    device.refuses = (message) => flowKey(message.tableId, message.priority, message.match) === wanted;
    await device.dial(path());
    await settled(controller);
    expect(device.commits).toEqual([controller.compiler.flows.size - 1]);
    expect(controller.metrics().changes).toMatchObject([{ bundles: 1, refused: 1 }]);
    expect(events).toMatchObject([{ reason: "SwitchRefusedFlow" }]);
  });

  it("names a switch that acknowledges a repair and does not make it, and does not go round in circles", async () => {
    const { controller, events, conditions } = await start();
    giveShop(controller);
    await device.dial(path());
    await settled(controller);
    expect(events).toEqual([]);
    expect(conditions).toMatchObject([{ type: "NetworkProgrammed", status: "True" }]);
    const [key, flow] = [...device.flows].find(([, it]) => it.tableId === TABLES.ingress.id) ?? [];
    if (key === undefined || flow === undefined) throw new Error("no flows");
    device.flows.delete(key);
    device.ignores = (message) => message.tableId === TABLES.ingress.id;
    controller.audit();
    await settled(controller);
    expect(events.map(({ reason }) => reason)).toEqual(["FlowsRepaired", "SwitchDisagrees"]);
    expect(events[1]?.message).toMatch(/^switch 0000000000000001 acknowledged 1 changes .*: missing of /);
    expect(controller.metrics()).toMatchObject({ flowsDisagreed: 1 });
    expect(conditions[1]).toMatchObject({ status: "False", reason: "SwitchDisagrees" });
    expect(conditions[1]?.message).toMatch(
      /^switch 0000000000000001 acknowledged a flow and does not have it: /,
    );
    device.ignores = () => false;
    controller.audit();
    await settled(controller);
    expect(device.flows.has(key)).toBe(true);
    expect(controller.metrics()).toMatchObject({ flowsDisagreed: 1, flowsRepaired: 2 });
    expect(conditions[2]).toMatchObject({ status: "True", reason: "Programmed" });
    await device.hangUp();
    await waitFor(() => conditions.length > 3, "the switch to be missed", DEADLINE_MS, 2);
    expect(conditions[3]).toMatchObject({ status: "False", reason: "SwitchNotConnected" });
  });

  it("reports a refused flow and goes on", async () => {
    device.refuses = (message) => message.tableId === TABLES.source.id && message.priority > 0;
    const { controller, events, conditions } = await start();
    giveShop(controller);
    await device.dial(path());
    await settled(controller);
    expect(conditions).toMatchObject([{ status: "False", reason: "FlowsRefused" }]);
    expect(conditions[0]?.message).toMatch(/OFPFMFC_TABLE_FULL.*, and 6 more are not as they should be$/);
    expect(controller.metrics().flowsRefused).toBe(7);
    expect(events[0]).toMatchObject({ reason: "SwitchRefusedFlow" });
    expect(events[0]?.message).toContain("OFPFMFC_TABLE_FULL");
  });

  it("answers DHCP out of the port it came from, and stops when a port floods", async () => {
    const { controller } = await start();
    giveShop(controller);
    await device.dial(path());
    await settled(controller);
    const flow = [...device.flows.values()].find((it) => it.tableId === 2 && it.match[0]?.value[3] === 1);
    if (flow === undefined) throw new Error("no DHCP flow");
    const mac = bytesOf(controller.compiler.inventory.port("shop/client")?.mac ?? 0, 6);
    for (let i = 0; i < 60; i++) device.packetIn(flow.cookie, 2, 1, discover(mac));
    await waitFor(
      () => (controller.metrics().packetIns["rate-limited"] ?? 0) > 0,
      "the limit",
      DEADLINE_MS,
      2,
    );
    await waitFor(() => device.packetOuts.length > 0, "an answer", DEADLINE_MS, 2);
    const [answer] = device.packetOuts;
    expect(answer?.actions).toMatchObject([{ type: "output", port: 1 }]);
    const ip = parseIpv4(parseEthernet(answer?.data as Uint8Array).payload);
    expect(parseDhcp(parseUdp(ip.payload).payload).messageType).toBe("offer");
  });

  it("explains a verdict by the rule and the flows that give it", async () => {
    const { controller } = await start();
    giveShop(controller);
    const allowed = controller.explain({
      source: "shop/app",
      destination: "shop/db",
      protocol: "TCP",
      port: 5432,
    });
    expect(allowed.allowed).toBe(true);
    expect(allowed.text[1]).toBe("may reach shop/db: ingress[0] of policy shop/db allows it");
    expect(allowed.path.map((step) => step.table)).toContain("ingress");
    const denied = controller.explain({
      source: "shop/web1-back",
      destination: "shop/db",
      protocol: "TCP",
      port: 5432,
    });
    expect(denied.allowed).toBe(false);
    expect(denied.text[0]).toContain("may not leave shop/web1-back: no rule of");
    expect(denied.path.at(-4)).toMatchObject({ table: "egress", reason: "egress-policy" });
  });
});

function discover(mac: Uint8Array): Uint8Array {
  const payload = encodeDhcp({
    operation: BOOTREQUEST,
    messageType: "discover",
    transactionId: 7,
    seconds: 0,
    broadcast: false,
    clientAddress: 0,
    yourAddress: 0,
    serverAddress: 0,
    relayAddress: 0,
    clientMac: mac,
    options: new Map(),
  });
  const pair = { source: 0, destination: 0xffffffff };
  const udp = encodeUdp({ sourcePort: 68, destinationPort: 67, payload }, pair);
  const ip = encodeIpv4({ ...pair, protocol: 17, payload: udp });
  return encodeEthernet({ destination: MAC_BROADCAST, source: mac, etherType: 0x0800, payload: ip });
}
