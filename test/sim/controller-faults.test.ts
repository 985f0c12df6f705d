// Whatever a switch does to the controller, and however fast labels change meanwhile: once it behaves again it has exactly
// the flows that it should have, and is then left in peace.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { messageArbitrary } from "../../base/openflow/message-arbitrary.js";
import { SimulatedClock } from "../../base/time/index.js";
import { SdnController as Controller } from "../../sdn-controller/controller.js";
import type { SdnController } from "../../sdn-controller/index.js";
import type { SdnEvent, StatusCondition } from "../../sdn-controller/inputs.js";
import { flowBody } from "../../sdn-controller/pipeline/flow.js";
import {
  OFPORTS,
  POLICIES,
  policyChange,
  portInput,
  shopChanges,
} from "../../sdn-controller/testing/shop.js";
import { FaultySwitch } from "../support/faulty-switch.js";

const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
const BACK = ["web1-back", "web2-back", "app", "db"];
const TIERS = ["client", "web", "app", "db", "none"];
/** Longer than the controller waits for an answer, and than it waits before it tries again. */
const LONG_MS = 25_000;

interface World {
  readonly clock: SimulatedClock;
  readonly controller: SdnController;
  readonly device: FaultySwitch;
  readonly events: SdnEvent[];
  /** NetworkProgrammed, as it was told. */
  readonly conditions: StatusCondition[];
}

function createWorld(): World {
  const clock = new SimulatedClock();
  const events: SdnEvent[] = [];
  const conditions: StatusCondition[] = [];
  const outputs = {
    onStatus: () => {},
    onEvent: (event: SdnEvent) => events.push(event),
    onCondition: (condition: StatusCondition) => conditions.push(condition),
  };
  const controller = new Controller({ outputs }, { clock, log: silentLog });
  controller.update([...shopChanges(), ...POLICIES.map((policy) => policyChange(policy))]);
  controller.setAttachments(OFPORTS);
  controller.inventoryComplete();
  return { clock, controller, device: new FaultySwitch(controller, clock), events, conditions };
}

/** What waits for promises has its turn. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function pass({ clock }: World, totalMs: number): Promise<void> {
  for (let spentMs = 0; spentMs < totalMs; ) {
    // Answers come within milliseconds, all else in seconds.
    const stepMs = spentMs < 20 ? 1 : Math.min(500, totalMs - spentMs);
    clock.advance(stepMs);
    spentMs += stepMs;
    await turn();
  }
}

function relabel({ controller }: World, port: string, tier: string): void {
  controller.update([{ kind: "Port", key: `shop/${port}`, value: portInput(port, "back", { tier }) }]);
}

async function recovers(world: World): Promise<void> {
  const { controller, device } = world;
  device.refuseNext = 0;
  device.ignoreNext = 0;
  device.hidesEvery = 0;
  device.rebootAfterAdds = Number.POSITIVE_INFINITY;
  device.goOn();
  device.connect();
  await pass(world, 60_000);
  const wanted = [...controller.compiler.flows.keys()]
    .map((key) => `${key} ${controller.compiler.flows.flow(key)?.body}`)
    .sort();
  const present = [...device.flows]
    .map(([key, { cookie, flags, instructions }]) => `${key} ${flowBody(cookie, flags, instructions)}`)
    .sort();
  expect(present).toEqual(wanted);
  expect(world.conditions.at(-1)).toMatchObject({ status: "True", reason: "Programmed" });
  // An audit may be on its way.
  for (let i = 0; i < 10 && !controller.isSettled; i++) await pass(world, 20);
  expect(controller.isSettled).toBe(true);
  const { commits } = device;
  await pass(world, 60_000);
  expect(device.commits).toBe(commits);
}

const step = fc.oneof(
  fc.record({
    do: fc.constant("relabel" as const),
    port: fc.constantFrom(...BACK),
    tier: fc.constantFrom(...TIERS),
  }),
  fc.record({ do: fc.constant("policy" as const), number: fc.nat(POLICIES.length - 1), gone: fc.boolean() }),
  fc.record({ do: fc.constant("wait" as const), ms: fc.constantFrom(0, 1, 2, 3, 50, 2_000, LONG_MS) }),
  fc.record({ do: fc.constantFrom("disconnect" as const, "reboot" as const, "connect" as const) }),
  fc.record({ do: fc.constantFrom("stall" as const, "go on" as const) }),
  fc.record({ do: fc.constant("reboot in a bundle" as const), after: fc.integer({ min: 1, max: 40 }) }),
  fc.record({ do: fc.constant("refuse" as const), count: fc.integer({ min: 1, max: 300 }) }),
  fc.record({ do: fc.constant("lie" as const), count: fc.integer({ min: 1, max: 300 }) }),
  fc.record({ do: fc.constant("hide" as const), every: fc.integer({ min: 0, max: 4 }) }),
  fc.record({ do: fc.constant("talk nonsense" as const), message: messageArbitrary, answers: fc.boolean() }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

async function perform(world: World, one: Step): Promise<void> {
  const { controller, device } = world;
  switch (one.do) {
    case "relabel":
      relabel(world, one.port, one.tier);
      break;
    case "policy": {
      const policy = POLICIES[one.number];
      if (policy !== undefined) controller.update([policyChange(policy, one.gone)]);
      break;
    }
    case "wait":
      await pass(world, one.ms);
      break;
    case "connect":
      device.connect();
      break;
    case "disconnect":
      device.disconnect();
      break;
    case "reboot":
      device.reboot();
      break;
    case "stall":
      device.stall();
      break;
    case "go on":
      device.goOn();
      break;
    case "reboot in a bundle":
      device.rebootAfterAdds = one.after;
      break;
    case "refuse":
      device.refuseNext = one.count;
      break;
    case "lie":
      device.ignoreNext = one.count;
      break;
    case "hide":
      device.hidesEvery = one.every;
      break;
    case "talk nonsense":
      device.say(one.message, one.answers);
      break;
  }
  await turn();
}

describe("the controller and a switch that fails", () => {
  it("come to exactly the desired flows, whatever happened in whichever order", {
    timeout: 900_000,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 25 }), async (steps) => {
        const world = createWorld();
        try {
          world.device.connect();
          for (const one of steps) await perform(world, one);
          await recovers(world);
        } finally {
          world.controller.close();
        }
      }),
      { numRuns: NIGHTLY ? 1_000 : 40 },
    );
  });

  it("survive a reboot at every message of a bundle", async () => {
    const world = createWorld();
    world.device.connect();
    await pass(world, 100);
    expect(world.controller.isSettled).toBe(true);
    for (let after = 1; after <= 12; after++) {
      world.device.rebootAfterAdds = after;
      relabel(world, "app", after % 2 === 0 ? "app" : "db");
      await pass(world, 100);
      expect(world.device.isConnected).toBe(world.device.rebootAfterAdds !== Number.POSITIVE_INFINITY);
      await recovers(world);
    }
    world.controller.close();
  });

  it("say that there is no switch, also after a start without one", async () => {
    const world = createWorld();
    await pass(world, 10_000);
    expect(world.conditions).toMatchObject([{ status: "False", reason: "SwitchNotConnected" }]);
    await recovers(world);
    world.controller.close();
  });

  it("name the flow that is refused, and bring it in once the switch takes it", async () => {
    const world = createWorld();
    world.device.refuseNext = 3;
    world.device.connect();
    await pass(world, 1_000);
    expect(world.events.map(({ reason }) => reason)).toContain("SwitchRefusedFlow");
    expect(world.conditions.map(({ reason }) => reason)).toContain("FlowsRefused");
    await recovers(world);
    world.controller.close();
  });

  it("take a thousand label changes in fewer bundles, and end with the last", async () => {
    const world = createWorld();
    world.device.connect();
    await pass(world, 1_000);
    const before = world.device.commits;
    for (let i = 0; i < 1_000; i++) {
      relabel(world, BACK[i % BACK.length] as string, TIERS[(i * 7) % TIERS.length] as string);
      // A millisecond each; an answer takes one, and a bundle needs two of them.
      world.clock.advance(1);
      await turn();
    }
    await pass(world, 1_000);
    expect(world.device.commits - before).toBeLessThan(700);
    await recovers(world);
    world.controller.close();
  });

  it("name a switch that lies, what it installed or what it reports, and leave it some peace", async () => {
    const world = createWorld();
    const { device, events } = world;
    device.connect();
    await pass(world, 1_000);
    const named = () => events.filter(({ reason }) => reason === "SwitchDisagrees").length;
    // It installs nothing of what is changed.
    device.ignoreNext = Number.POSITIVE_INFINITY;
    relabel(world, "app", "db");
    await pass(world, 60_000);
    expect(named()).toBeGreaterThan(0);
    await recovers(world);
    // It has all, and says that it has not.
    const before = named();
    device.hidesEvery = 3;
    const { commits } = device;
    await pass(world, 60_000);
    expect(named()).toBeGreaterThan(before);
    // Every fifteen seconds it is asked, and asked to repair.
    expect(device.commits - commits).toBeLessThanOrEqual(5);
    await recovers(world);
    world.controller.close();
  });

  it("bring in a policy of ten thousand rules whole, although the switch reboots in the middle", {
    timeout: 120_000,
  }, async () => {
    const world = createWorld();
    const { controller, device } = world;
    device.connect();
    await pass(world, 100);
    const small = controller.compiler.flows.size;
    const huge = {
      namespace: "shop",
      name: "huge",
      spec: {
        podSelector: { matchLabels: { tier: "db" } },
        policyTypes: ["Ingress" as const],
        ingress: Array.from({ length: 10_000 }, (_, i) => ({
          from: [{ ipBlock: { cidr: `172.${16 + (i >> 8)}.${i & 255}.0/24` } }],
          ports: [{ port: 1 + i }],
        })),
      },
    };
    for (const after of NIGHTLY ? [1, 5_000, 10_000] : [5_000]) {
      const installed = device.flows.size;
      device.rebootAfterAdds = after;
      controller.update([policyChange(huge)]);
      // Neither a part of the bundle, nor anything after the reboot until it is back.
      for (let i = 0; i < 50 && device.isConnected; i++) {
        expect(device.flows.size).toBe(installed);
        await pass(world, 10);
      }
      expect(device.flows.size).toBe(0);
      await recovers(world);
      expect(device.flows.size).toBe(small + 10_000);
      controller.update([policyChange(huge, true)]);
      await pass(world, 1_000);
      expect(device.flows.size).toBe(small);
    }
    controller.close();
  });
});
