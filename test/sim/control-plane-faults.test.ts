// From the API to the switch with a store that is full, slow, or says that it failed when it did not, and a switch that
// fails, too: nothing acknowledged is lost, nothing is half there, and in the end objects, status and flows agree.
import fc from "fast-check";
import { expect, it } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import { silentLog } from "../../base/log/index.js";
import { FlakyStore } from "../../base/store/flaky-store.js";
import { openMemoryStore, type Store } from "../../base/store/index.js";
import { SimulatedClock } from "../../base/time/index.js";
import { SdnController } from "../../sdn-controller/controller.js";
import { flowBody } from "../../sdn-controller/pipeline/flow.js";
import { LocalClient, ResourceRegistry } from "../../stack/api/index.js";
import { SdnPart } from "../../stack/daemons/controller/index.js";
import type { DirectoryLayout } from "../../stack/daemons/directory.js";
import type { ResourceInput } from "../../stack/resources/index.js";
import { FaultySwitch } from "../support/faulty-switch.js";

const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
const MACHINES = ["a", "b", "c", "late"];
const POLICIES = ["p", "q"];
const TIERS = ["web", "app", "db"];
const LONG_MS = 25_000;

/** What waits for promises has its turn. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

type Spec = ResourceInput<"NetworkPolicy">["spec"];

class ControlPlane {
  readonly clock = new SimulatedClock();
  readonly way: FlakyStore;
  readonly client: LocalClient;
  device!: FaultySwitch;
  controller!: SdnController;
  #part!: SdnPart;

  private constructor(store: Store) {
    this.way = new FlakyStore(store);
    const registry = new ResourceRegistry({ store: this.way, clock: this.clock });
    this.client = new LocalClient({ component: "user" }, { registry, clock: this.clock });
  }

  static async start(store: Store): Promise<ControlPlane> {
    const plane = new ControlPlane(store);
    await plane.restart();
    return plane;
  }

  /** Another process: all that it knows is in the store. The switch keeps what it has. */
  async restart(): Promise<void> {
    const flows = this.device?.flows;
    await this.#end();
    const layout = { openflowSocket: "", switchDatabaseSocket: "" } as unknown as DirectoryLayout;
    const { client, clock } = this;
    this.#part = new SdnPart({ client, clock, layout, log: silentLog }, async (options, modules) => {
      const controller = new SdnController(options, modules);
      controller.setAttachments(new Map(MACHINES.map((name, i) => [`shop/${name}`, i + 1])));
      this.controller = controller;
      this.device = new FaultySwitch(controller, clock, { flows: flows ?? new Map() });
      return { controller, close: async () => controller.close() };
    });
    const started = this.#part.start();
    // Its lists are read again and again until the store answers.
    for (let waited = 0; waited < 200; waited++) await this.pass(1);
    await started;
    this.device.connect();
  }

  async pass(totalMs: number): Promise<void> {
    for (let spentMs = 0; spentMs < totalMs; ) {
      const stepMs = spentMs < 20 ? 1 : Math.min(250, totalMs - spentMs);
      this.clock.advance(stepMs);
      spentMs += stepMs;
      await turn();
    }
  }

  async heal(): Promise<void> {
    Object.assign(this.way, { isFull: false, isUnsure: false, isGone: false });
    this.way.goOn();
    const { device } = this;
    Object.assign(device, { refuseNext: 0, ignoreNext: 0, hidesEvery: 0 });
    device.rebootAfterAdds = Number.POSITIVE_INFINITY;
    device.goOn();
    device.connect();
    await this.pass(90_000);
  }

  desired(): string[] {
    const { flows } = this.controller.compiler;
    return [...flows.keys()].map((key) => `${key} ${flows.flow(key)?.body}`).sort();
  }

  installed(): string[] {
    return [...this.device.flows]
      .map(([key, { cookie, flags, instructions }]) => `${key} ${flowBody(cookie, flags, instructions)}`)
      .sort();
  }

  async #end(): Promise<void> {
    if (this.device === undefined) return;
    this.device.disconnect();
    this.way.goOn();
    const closing = this.#part.close();
    await this.pass(1);
    await closing;
  }

  close(): Promise<void> {
    return this.#end();
  }
}

/** One user's writes to one policy, one after the other: which of them it may have in the end. */
class Writes {
  readonly #plane: ControlPlane;
  readonly #name: { readonly namespace: string; readonly name: string };
  #last: Promise<void> = Promise.resolve();
  #possible: (Spec | undefined)[] = [undefined];
  refused = 0;

  constructor(plane: ControlPlane, name: string) {
    this.#plane = plane;
    this.#name = { namespace: "shop", name };
  }

  set(spec: Spec | undefined): void {
    this.#last = this.#last.then(async () => {
      const { client } = this.#plane;
      try {
        const exists = (await client.get("NetworkPolicy", this.#name)) !== undefined;
        if (spec === undefined) {
          if (exists) await client.delete("NetworkPolicy", this.#name);
        } else if (exists) await client.replace("NetworkPolicy", { metadata: this.#name, spec });
        else await client.create("NetworkPolicy", { metadata: this.#name, spec });
        this.#possible = [spec];
      } catch (thrown) {
        // It says what is wrong, and the write may have been done all the same.
        expect(thrown).toBeInstanceOf(PlinthError);
        expect((thrown as Error).message).toContain("no space left on device");
        this.#possible.push(spec);
        this.refused++;
      }
    });
  }

  async check(): Promise<void> {
    await this.#last;
    const stored = (await this.#plane.client.get("NetworkPolicy", this.#name))?.spec;
    const texts = this.#possible.map((spec) => textOf(spec));
    expect(texts).toContain(textOf(stored));
  }
}

/** With what the API fills in. */
function textOf(spec: Spec | undefined): string {
  if (spec === undefined) return "none";
  const ports = (spec.ingress ?? []).map((rule) => (rule.ports ?? []).map(({ port }) => port));
  return JSON.stringify([spec.podSelector, ports, (spec.policyTypes ?? []).length]);
}

const specs: fc.Arbitrary<Spec> = fc
  .record({
    tier: fc.constantFrom(...TIERS),
    from: fc.constantFrom(...TIERS),
    ports: fc.uniqueArray(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 3 }),
  })
  .map(({ tier, from, ports }) => ({
    podSelector: { matchLabels: { tier } },
    policyTypes: ["Ingress"],
    ingress: [
      {
        from: [{ podSelector: { matchLabels: { tier: from } } }],
        ports: ports.map((port) => ({ protocol: "TCP" as const, port })),
      },
    ],
  }));

const step = fc.oneof(
  fc.record({
    do: fc.constant("policy" as const),
    name: fc.constantFrom(...POLICIES),
    spec: fc.option(specs, { nil: undefined }),
  }),
  fc.record({
    do: fc.constant("relabel" as const),
    name: fc.constantFrom(...MACHINES),
    tier: fc.constantFrom(...TIERS),
  }),
  fc.record({ do: fc.constantFrom("full" as const, "unsure" as const, "gone" as const), on: fc.boolean() }),
  fc.record({ do: fc.constantFrom("slow" as const, "go on" as const, "restart" as const) }),
  fc.record({ do: fc.constantFrom("disconnect" as const, "reboot" as const, "connect" as const) }),
  fc.record({ do: fc.constant("refuse" as const), count: fc.integer({ min: 1, max: 100 }) }),
  fc.record({ do: fc.constant("lie" as const), count: fc.integer({ min: 1, max: 100 }) }),
  fc.record({ do: fc.constant("wait" as const), ms: fc.constantFrom(1, 3, 50, 2_000, LONG_MS) }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

async function perform(plane: ControlPlane, writes: ReadonlyMap<string, Writes>, one: Step): Promise<void> {
  const { client, device, way } = plane;
  switch (one.do) {
    case "policy":
      writes.get(one.name)?.set(one.spec);
      break;
    case "relabel":
      // Two at a time may both find that there is none.
      void setLabels(client, one.name, one.tier).catch((thrown: unknown) =>
        expect(String(thrown)).toMatch(/no space left on device|already exists/),
      );
      break;
    case "full":
      way.isFull = one.on;
      break;
    case "unsure":
      way.isUnsure = one.on;
      break;
    case "gone":
      way.isGone = one.on;
      break;
    case "slow":
      way.hang();
      break;
    case "go on":
      way.goOn();
      break;
    case "restart":
      // It would wait for the store at its start.
      if (!way.isGone) {
        way.goOn();
        await plane.restart();
      }
      break;
    case "disconnect":
      device.disconnect();
      break;
    case "reboot":
      device.reboot();
      break;
    case "connect":
      device.connect();
      break;
    case "refuse":
      device.refuseNext = one.count;
      break;
    case "lie":
      device.ignoreNext = one.count;
      break;
    case "wait":
      await plane.pass(one.ms);
      break;
  }
  await turn();
}

async function setLabels(client: LocalClient, name: string, tier: string): Promise<void> {
  const metadata = { namespace: "shop", name, labels: { tier } };
  if ((await client.get("Port", metadata)) === undefined)
    await client.create("Port", { metadata, spec: { network: "lan" } });
  else await client.patch("Port", metadata, { metadata: { labels: { tier } } });
}

/** Everything that is told of the objects is so. */
async function agrees(plane: ControlPlane, store: Store): Promise<void> {
  expect(plane.controller.isSettled).toBe(true);
  expect(plane.installed()).toEqual(plane.desired());
  const { inventory } = plane.controller.compiler;
  for (const port of (await plane.client.list("Port")).items) {
    const view = inventory.port(`shop/${port.metadata.name}`);
    expect(port.status?.addresses).toHaveLength(view?.addresses.length ?? -1);
    const conditions = port.status?.conditions?.map(({ type, status }) => `${type} ${status}`);
    expect(conditions?.sort()).toEqual(["Allocated True", "Ready True"]);
  }
  // It is the store that says it: another process makes the same of it, addresses and all.
  const other = await ControlPlane.start(store);
  await other.pass(1_000);
  expect(other.desired()).toEqual(plane.desired());
  await other.close();
  const { revision } = store;
  await plane.pass(60_000);
  expect(store.revision).toBe(revision);
}

it("come to rest with objects, status and flows that agree, whatever fails on the way", {
  timeout: 900_000,
}, async () => {
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
      const store = openMemoryStore();
      const plane = await ControlPlane.start(store);
      try {
        const { client } = plane;
        await client.create("Namespace", { metadata: { name: "shop" } });
        const network = { vlan: 10, subnets: ["10.10.0.0/24"] };
        await client.create("Network", { metadata: { namespace: "shop", name: "lan" }, spec: network });
        for (const [i, name] of MACHINES.slice(0, 3).entries())
          await setLabels(client, name, TIERS[i] as string);
        await plane.pass(1_000);
        const writes = new Map(POLICIES.map((name) => [name, new Writes(plane, name)]));
        for (const one of steps) await perform(plane, writes, one);
        await plane.heal();
        for (const each of writes.values()) {
          await each.check();
          refused += each.refused;
        }
        await agrees(plane, store);
      } finally {
        await plane.close();
        await store.close();
      }
    }),
    { numRuns: NIGHTLY ? 500 : 20 },
  );
  // Otherwise this has shown nothing.
  expect(refused).toBeGreaterThan(0);
});

it.each(["isFull", "isGone", "hangs"] as const)(
  "tell the status of ports once the store takes it, after a time in which it was not to be had: %s",
  async (trouble) => {
    const store = openMemoryStore();
    const plane = await ControlPlane.start(store);
    const { client, way, device } = plane;
    device.disconnect();
    await client.create("Namespace", { metadata: { name: "shop" } });
    const network = { vlan: 10, subnets: ["10.10.0.0/24"] };
    await client.create("Network", { metadata: { namespace: "shop", name: "lan" }, spec: network });
    await setLabels(client, "a", "web");
    await plane.pass(1_000);
    const ready = async () =>
      (await client.get("Port", { namespace: "shop", name: "a" }))?.status?.conditions?.find(
        ({ type }) => type === "Ready",
      )?.status;
    expect(await ready()).toBeUndefined();
    if (trouble === "hangs") way.hang();
    else way[trouble] = true;
    device.connect();
    await plane.pass(LONG_MS);
    // The switch does not have to wait for it.
    expect(plane.controller.isSettled).toBe(true);
    way.goOn();
    Object.assign(way, { isFull: false, isGone: false });
    await plane.pass(LONG_MS);
    expect(await ready()).toBe("True");
    await agrees(plane, store);
    await plane.close();
    await store.close();
  },
);
