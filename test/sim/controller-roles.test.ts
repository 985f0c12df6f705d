// Two controllers with one store at one switch, each with a clock of its own: whoever stops, loses the store or the switch,
// and whatever comes between, in the end one leads, is the switch's master, and the switch has what it should have.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { FlakyStore } from "../../base/store/flaky-store.js";
import { Lease, openMemoryStore, type Store } from "../../base/store/index.js";
import { SimulatedClock } from "../../base/time/index.js";
import { SdnController } from "../../sdn-controller/controller.js";
import type { InventoryChange, SdnEvent } from "../../sdn-controller/inputs.js";
import { RIVAL_RETRY_MS } from "../../sdn-controller/limits.js";
import { flowBody } from "../../sdn-controller/pipeline/flow.js";
import {
  OFPORTS,
  POLICIES,
  policyChange,
  portInput,
  shopChanges,
} from "../../sdn-controller/testing/shop.js";
import { type RoleHolder, Roles } from "../../vswitch/agent/roles.js";
import { FaultySwitch, type SwitchState } from "../support/faulty-switch.js";

const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
const LEASE_MS = 4_000;
/** Longer than the lease, than the controller waits for an answer, and than it waits before it tries again. */
const LONG_MS = 25_000;
const BACK = ["web1-back", "web2-back", "app", "db"];
const TIERS = ["client", "web", "app", "db", "none"];

/** What waits for promises has its turn. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** One controller process, its clock, its way to the store, and its channel to the switch. */
interface Instance {
  readonly clock: SimulatedClock;
  readonly way: FlakyStore;
  readonly lease: Lease;
  readonly controller: SdnController;
  readonly device: FaultySwitch;
  readonly events: SdnEvent[];
  missedMs: number;
  paused: boolean;
}

class World {
  readonly state: SwitchState;
  readonly instances: Instance[] = [];
  /** Everything that users said, in order. */
  readonly #said: InventoryChange[] = [...shopChanges(), ...POLICIES.map((policy) => policyChange(policy))];
  #serial = 0;

  constructor(roles: Roles | undefined) {
    this.state = { flows: new Map(), ...(roles === undefined ? {} : { roles }) };
  }

  async start(store: Store): Promise<Instance> {
    const clock = new SimulatedClock();
    const way = new FlakyStore(store);
    const options = {
      key: "/lease",
      holder: `c${this.#serial++}`,
      durationMs: LEASE_MS,
      exclusive: false,
    };
    const lease = await Lease.open(options, { store: way, clock, log: silentLog });
    const events: SdnEvent[] = [];
    const outputs = {
      onStatus: () => {},
      onEvent: (event: SdnEvent) => events.push(event),
      onCondition: () => {},
    };
    const controller = new SdnController({ outputs, leadership: lease }, { clock, log: silentLog });
    controller.update(this.#said);
    controller.setAttachments(OFPORTS);
    controller.inventoryComplete();
    const device = new FaultySwitch(controller, clock, this.state);
    device.connect();
    const one = { clock, way, lease, controller, device, events, missedMs: 0, paused: false };
    this.instances.push(one);
    return one;
  }

  /** It is there no more, and gives nothing back. */
  kill(one: Instance): void {
    one.way.isGone = true;
    one.device.disconnect();
    one.controller.close();
    void one.lease.close();
    this.instances.splice(this.instances.indexOf(one), 1);
  }

  relabel(port: string, tier: string): void {
    const change: InventoryChange = {
      kind: "Port",
      key: `shop/${port}`,
      value: portInput(port, "back", { tier }),
    };
    this.#said.push(change);
    for (const { controller } of this.instances) controller.update([change]);
  }

  /** Nothing is left in it, and it knows no election. */
  reboot(): void {
    for (const { device } of this.instances) device.disconnect();
    this.state.flows.clear();
    if (this.state.roles !== undefined) this.state.roles = new Roles();
    for (const { device } of this.instances) device.connect();
  }

  resume(one: Instance): void {
    one.paused = false;
    one.clock.advance(one.missedMs);
    one.missedMs = 0;
  }

  async pass(totalMs: number): Promise<void> {
    for (let spentMs = 0; spentMs < totalMs; ) {
      // Answers come within milliseconds, all else in seconds.
      const stepMs = spentMs < 20 ? 1 : Math.min(spentMs < LONG_MS ? 250 : 900, totalMs - spentMs);
      for (const one of this.instances) {
        if (one.paused) one.missedMs += stepMs;
        else one.clock.advance(stepMs);
      }
      spentMs += stepMs;
      await turn();
    }
  }

  close(): void {
    for (const one of [...this.instances]) this.kill(one);
  }
}

/** Whoever brings in newer generations is left alone for up to an hour. */
const MINUTES_MAX = 64;

async function recovers(world: World): Promise<void> {
  for (let minute = 0; ; minute++) {
    await world.pass(RIVAL_RETRY_MS);
    try {
      expectOneMaster(world);
      break;
    } catch (thrown) {
      if (minute === MINUTES_MAX) throw thrown;
    }
  }
  await world.pass(RIVAL_RETRY_MS);
  expectOneMaster(world);
}

/** Both channels tell the same of the switch, and it has exactly what is desired. */
function expectOneMaster(world: World): Instance {
  const standings = world.instances.map(({ controller }) => controller.metrics().role);
  expect(standings.filter((role) => role === "slave")).toHaveLength(world.instances.length - 1);
  const leader = world.instances.find(({ controller }) => controller.metrics().role !== "slave") as Instance;
  if (world.state.roles !== undefined)
    expect(world.instances.map(({ device }) => device.role)).toEqual(standings);
  const { flows } = leader.controller.compiler;
  const wanted = [...flows.keys()].map((key) => `${key} ${flows.flow(key)?.body}`).sort();
  const present = [...world.state.flows]
    .map(([key, { cookie, flags, instructions }]) => `${key} ${flowBody(cookie, flags, instructions)}`)
    .sort();
  expect(present).toEqual(wanted);
  expect(leader.controller.isSettled).toBe(true);
  return leader;
}

async function withPair(
  roles: Roles | undefined,
  run: (world: World, pair: { a: Instance; b: Instance; store: Store }) => Promise<void>,
): Promise<void> {
  const world = new World(roles);
  const store = openMemoryStore();
  try {
    const pair = { a: await world.start(store), b: await world.start(store), store };
    await world.pass(1_000);
    expect(expectOneMaster(world)).toBe(pair.a);
    await run(world, pair);
  } finally {
    world.close();
  }
}

describe("two controllers at one switch", () => {
  it("a slave sends no change, and takes over when its master is gone: with the same flows", () =>
    withPair(new Roles(), async (world, { a, b }) => {
      world.relabel("app", "db");
      await world.pass(LONG_MS);
      expect(b.device.commits).toBe(0);
      expect(b.device.refusedToSlave).toBe(0);
      const before = [...world.state.flows];
      world.kill(a);
      await world.pass(LONG_MS);
      expect(expectOneMaster(world)).toBe(b);
      expect(b.device.commits).toBe(0);
      expect([...world.state.flows]).toEqual(before);
      world.relabel("app", "none");
      await world.pass(1_000);
      expect(b.device.commits).toBe(1);
      expectOneMaster(world);
    }));

  it("one that was stopped and wakes up is refused by the switch, and knows it", () =>
    withPair(new Roles(), async (world, { a, b }) => {
      a.paused = true;
      await world.pass(LONG_MS);
      expect(b.controller.metrics().role).toBe("master");
      // It wakes up with a change to make, before its clock tells it anything.
      const changes = a.device.commits;
      world.relabel("app", "db");
      await world.pass(100);
      expect(a.device.commits).toBe(changes);
      world.resume(a);
      await world.pass(LONG_MS);
      expect(a.device.commits).toBe(changes);
      expect(expectOneMaster(world)).toBe(b);
    }));

  it("a switch without roles is driven by the one that has the lease", () =>
    withPair(undefined, async (world, { a, b }) => {
      expect(a.controller.metrics().role).toBe("equal");
      world.relabel("db", "web");
      await world.pass(LONG_MS);
      expect(b.device.commits).toBe(0);
      world.kill(a);
      await world.pass(LONG_MS);
      world.relabel("db", "db");
      await world.pass(1_000);
      expect(expectOneMaster(world)).toBe(b);
      expect(b.device.commits).toBe(1);
    }));

  it("a store that was set back takes a generation above what the switch has seen, and stores it", async () => {
    const roles = new Roles();
    roles.request({ role: "equal" }, "slave", 2n ** 40n);
    await withPair(roles, async (_world, { a, store }) => {
      expect(a.lease.term).toBe(2n ** 40n + 1n);
      const stored = JSON.parse(Buffer.from((await store.get("/lease"))?.value ?? []).toString());
      expect(stored.term).toBe(String(2n ** 40n + 1n));
    });
  });

  it.each([
    ["newer", 5n],
    ["equal", 0n],
  ])(
    "a rival with a %s generation is left the switch for a minute, is told of, and then displaced",
    (_, ahead) =>
      withPair(new Roles(), async (world, { a }) => {
        const rival: RoleHolder = { role: "equal" };
        const roles = world.state.roles as Roles;
        roles.join(rival);
        expect(roles.request(rival, "master", roles.generationId + ahead)).toBe(true);
        world.relabel("app", "db");
        await world.pass(RIVAL_RETRY_MS / 2);
        expect(a.controller.metrics().role).toBe("slave");
        expect(rival.role).toBe("master");
        expect(a.events.map(({ reason }) => reason)).toEqual(["SwitchTakenOver"]);
        await world.pass(RIVAL_RETRY_MS);
        expect(rival.role).toBe("slave");
        expect(expectOneMaster(world)).toBe(a);
      }),
  );

  const step = fc.oneof(
    fc.record({
      do: fc.constant("relabel" as const),
      port: fc.constantFrom(...BACK),
      tier: fc.constantFrom(...TIERS),
    }),
    fc.record({
      do: fc.constantFrom(
        "kill" as const,
        "pause" as const,
        "resume" as const,
        "lose the store" as const,
        "find the store" as const,
        "hang" as const,
        "go on" as const,
        "disconnect" as const,
        "connect" as const,
        "stall" as const,
        "unstall" as const,
      ),
      who: fc.nat(1),
    }),
    fc.record({ do: fc.constant("reboot" as const) }),
    fc.record({ do: fc.constant("rival" as const), ahead: fc.bigInt({ min: -2n, max: 3n }) }),
    fc.record({ do: fc.constant("wait" as const), ms: fc.constantFrom(1, 3, 50, 2_000, LONG_MS) }),
  );
  type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

  async function perform(world: World, store: Store, one: Step): Promise<void> {
    if (one.do === "relabel") world.relabel(one.port, one.tier);
    else if (one.do === "wait") await world.pass(one.ms);
    else if (one.do === "reboot") world.reboot();
    else if (one.do === "rival") {
      const { roles } = world.state;
      const rival: RoleHolder = { role: "equal" };
      roles?.join(rival);
      roles?.request(rival, "master", BigInt.asUintN(64, roles.generationId + one.ahead));
    } else {
      const instance = world.instances[one.who] as Instance;
      if (one.do === "kill") {
        world.kill(instance);
        await world.start(store);
      } else if (one.do === "pause") instance.paused = true;
      else if (one.do === "resume") world.resume(instance);
      else if (one.do === "lose the store") instance.way.isGone = true;
      else if (one.do === "find the store") instance.way.isGone = false;
      else if (one.do === "hang") instance.way.hang();
      else if (one.do === "go on") instance.way.goOn();
      else if (one.do === "disconnect") instance.device.disconnect();
      else if (one.do === "connect") instance.device.connect();
      else if (one.do === "stall") instance.device.stall();
      else instance.device.goOn();
    }
    await turn();
  }

  it("agree in the end, whatever happened in whichever order", { timeout: 900_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 3, maxLength: 25 }),
        fc.integer({ min: 0, max: 4 }),
        async (steps, withoutRoles) => {
          const world = new World(withoutRoles === 0 ? undefined : new Roles());
          const store = openMemoryStore();
          try {
            await world.start(store);
            await world.start(store);
            for (const one of steps) await perform(world, store, one);
            for (const one of [...world.instances]) {
              one.way.isGone = false;
              one.way.goOn();
              world.resume(one);
              one.device.goOn();
              one.device.connect();
            }
            await recovers(world);
          } finally {
            world.close();
          }
        },
      ),
      { numRuns: NIGHTLY ? 500 : 15 },
    );
  });
});
