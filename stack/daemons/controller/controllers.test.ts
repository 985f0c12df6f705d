// The controllers over a registry in memory and a clock of our own: what they do, and that they come to rest.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { silentLog } from "../../../base/log/index.js";
import { openMemoryStore, type Store } from "../../../base/store/index.js";
import { SimulatedClock, waitFor } from "../../../base/time/index.js";
import { GarbageCollector, LocalClient, ResourceRegistry } from "../../api/index.js";
import type { VirtualMachine } from "../../resources/index.js";
import { Controllers } from "./controllers.js";
import { HEARTBEAT_CHECK_MS, HEARTBEAT_TIMEOUT_MS } from "./heartbeat.js";

const clock = new SimulatedClock();
let store: Store;
let client: LocalClient;
let controllers: Controllers;
let garbage: GarbageCollector;
beforeEach(async () => {
  store = openMemoryStore();
  const registry = new ResourceRegistry({ store, clock });
  client = new LocalClient({ component: "test" }, { registry, clock });
  controllers = new Controllers({ client, clock, log: silentLog });
  garbage = new GarbageCollector({ registry, clock, log: silentLog });
  await client.create("Namespace", { metadata: { name: "a" } });
  await client.create("Image", { metadata: { name: "guest" }, spec: { type: "Builtin" } });
  await controllers.start();
  await garbage.start();
});
afterEach(async () => {
  await controllers.close();
  await garbage.close();
  await store.close();
});

const until = (condition: () => Promise<boolean>, what: string): Promise<void> =>
  waitFor(condition, what, 5000, 2);
const machine = (): Promise<VirtualMachine | undefined> =>
  client.get("VirtualMachine", { namespace: "a", name: "m" });
const conditionOf = (vm: { status?: VirtualMachine["status"] } | undefined, type: string) =>
  vm?.status?.conditions?.find((condition) => condition.type === type);

/** Nothing is written any more: passes that answer each other would never end. */
async function comesToRest(): Promise<void> {
  let revision = -1;
  await until(async () => {
    const before = revision;
    revision = store.revision;
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    return before === revision && revision === store.revision;
  }, "the controllers never come to rest");
}

async function addHost(name: string, memoryBytes = 2 ** 30): Promise<void> {
  await client.create("Host", { metadata: { name } });
  await client.patchStatus(
    "Host",
    { name },
    {
      capacity: { cpus: 2, memoryBytes },
      lastHeartbeatTime: "2030-01-01T00:00:00Z",
      conditions: [{ type: "Ready", status: "True", reason: "Reporting" }],
    },
  );
}

test("a machine gets Ports that follow its interfaces and labels and go with it", async () => {
  await client.create("VirtualMachine", {
    metadata: { name: "m", namespace: "a", labels: { tier: "web", x: "1" } },
    spec: {
      interfaces: [
        { name: "front", network: "f", address: "10.0.0.5" },
        { name: "back", network: "b" },
      ],
    },
  });
  const ports = async () => (await client.list("Port", { namespace: "a" })).items;
  const names = async () => (await ports()).map(({ metadata }) => metadata.name).join();
  await until(async () => (await names()) === "m-back,m-front", "two ports");
  const front = await client.get("Port", { namespace: "a", name: "m-front" });
  expect(front?.spec).toEqual({ network: "f", virtualMachine: "m", addresses: ["10.0.0.5"] });
  expect(front?.metadata.labels).toEqual({ tier: "web", x: "1" });
  await client.patchStatus(
    "Port",
    { namespace: "a", name: "m-front" },
    { macAddress: "02:00:00:00:00:01", addresses: ["10.0.0.5"] },
  );
  await until(
    async () => (await machine())?.status?.interfaces?.[0]?.macAddress !== undefined,
    "the address shows",
  );
  await client.patch(
    "VirtualMachine",
    { namespace: "a", name: "m" },
    {
      metadata: { labels: { x: null } },
      spec: { interfaces: [{ name: "front", network: "g" }] },
    },
  );
  await until(
    async () => (await names()) === "m-front" && (await ports())[0]?.spec.network === "g",
    "ports follow",
  );
  expect((await ports())[0]?.metadata.labels).toEqual({ tier: "web" });
  await comesToRest();
  await client.delete("VirtualMachine", { namespace: "a", name: "m" });
  await until(async () => (await names()) === "", "ports go");
});

test("a Port that somebody else has is left alone and named", async () => {
  await client.create("Port", { metadata: { name: "m-front", namespace: "a" }, spec: { network: "f" } });
  await client.create("VirtualMachine", {
    metadata: { name: "m", namespace: "a" },
    spec: { interfaces: [{ name: "front", network: "f" }] },
  });
  await until(async () => conditionOf(await machine(), "PortsCreated")?.status === "False", "a condition");
  expect(conditionOf(await machine(), "PortsCreated")?.message).toContain("m-front belongs to somebody else");
  await client.delete("Port", { namespace: "a", name: "m-front" });
  await until(async () => conditionOf(await machine(), "PortsCreated")?.status === "True", "it is made then");
  await comesToRest();
});

test("a Port that a quota leaves no room for is named, and made when there is room", async () => {
  const quota = (ports: string) => ({ hard: { "count/ports.plinth.dev": ports } });
  await client.create("ResourceQuota", { metadata: { name: "few", namespace: "a" }, spec: quota("1") });
  await client.create("VirtualMachine", {
    metadata: { name: "m", namespace: "a" },
    spec: {
      interfaces: [
        { name: "front", network: "f" },
        { name: "back", network: "b" },
      ],
    },
  });
  await until(async () => conditionOf(await machine(), "PortsCreated")?.status === "False", "a condition");
  expect(conditionOf(await machine(), "PortsCreated")).toMatchObject({
    reason: "Refused",
    message: expect.stringContaining(
      'ports.plinth.dev "m-back" is forbidden: exceeded quota: few, requested: count/ports.plinth.dev=1',
    ),
  });
  await comesToRest();
  await client.patch("ResourceQuota", { namespace: "a", name: "few" }, { spec: quota("2") });
  await until(async () => conditionOf(await machine(), "PortsCreated")?.status === "True", "it is made then");
  expect((await client.list("Port")).items).toHaveLength(2);
  await comesToRest();
});

test("machines are placed while there is room, wait with a reason, and are placed when there is room again", async () => {
  await client.create("VirtualMachine", {
    metadata: { name: "m", namespace: "a" },
    spec: { memory: "768Mi" },
  });
  await until(async () => conditionOf(await machine(), "Scheduled")?.reason === "NoHost", "no host yet");
  expect((await machine())?.status?.phase).toBe("Scheduling");
  await addHost("h1");
  await until(async () => (await machine())?.spec.host === "h1", "bound");
  await until(async () => conditionOf(await machine(), "Scheduled")?.status === "True", "told");
  await until(
    async () => (await client.get("Host", { name: "h1" }))?.status?.allocated?.cpus === 1,
    "counted",
  );
  await client.create("VirtualMachine", {
    metadata: { name: "n", namespace: "a" },
    spec: { memory: "768Mi" },
  });
  const second = () => client.get("VirtualMachine", { namespace: "a", name: "n" });
  await until(async () => conditionOf(await second(), "Scheduled")?.reason === "NoRoom", "no room");
  await comesToRest();
  await client.delete("VirtualMachine", { namespace: "a", name: "m" });
  await until(async () => (await second())?.spec.host === "h1", "the room is used again");
  await comesToRest();
});

test("what is named and not there is a condition, until it comes", async () => {
  await client.create("VirtualMachine", {
    metadata: { name: "m", namespace: "a" },
    spec: {
      image: "none",
      disks: [{ name: "d", volume: "v" }],
      interfaces: [{ name: "f", network: "f", address: "10.9.0.1" }],
    },
  });
  const message = async () => conditionOf(await machine(), "ReferencesResolved")?.message;
  await until(async () => (await message())?.includes('Network "f" does not exist') === true, "a condition");
  expect(await message()).toContain('spec.disks[0].volume: Volume "v" does not exist');
  await client.create("Image", { metadata: { name: "none" }, spec: { type: "Builtin" } });
  await client.create("Volume", { metadata: { name: "v", namespace: "a" }, spec: { size: "1Gi" } });
  await client.create("Network", {
    metadata: { name: "f", namespace: "a" },
    spec: { vlan: 1, subnets: ["10.0.0.0/24"] },
  });
  await until(
    async () => (await message())?.includes("10.9.0.1 is no host address") === true,
    "the address is wrong",
  );
  await client.patch("Network", { namespace: "a", name: "f" }, { spec: { subnets: ["10.9.0.0/24"] } });
  await until(async () => conditionOf(await machine(), "ReferencesResolved")?.status === "True", "resolved");
  await comesToRest();
});

describe("heartbeats", () => {
  const ready = async () =>
    (await client.get("Host", { name: "h1" }))?.status?.conditions?.find(({ type }) => type === "Ready")
      ?.status;
  const pass = async (ms: number): Promise<void> => {
    for (let t = 0; t < ms; t += HEARTBEAT_CHECK_MS) {
      clock.advance(HEARTBEAT_CHECK_MS);
      for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
    }
  };

  test("a silent host is Unknown after ten seconds, one that reports is not", async () => {
    await addHost("h1");
    await pass(HEARTBEAT_TIMEOUT_MS - HEARTBEAT_CHECK_MS);
    await client.patchStatus("Host", { name: "h1" }, { lastHeartbeatTime: "2030-01-01T00:00:09Z" });
    await pass(HEARTBEAT_TIMEOUT_MS - HEARTBEAT_CHECK_MS);
    expect(await ready()).toBe("True");
    await pass(4 * HEARTBEAT_CHECK_MS);
    expect(await ready()).toBe("Unknown");
    await comesToRest();
  });
});
