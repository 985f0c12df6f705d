import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { silentLog } from "../../../base/log/index.js";
import { openMemoryStore, type Store } from "../../../base/store/index.js";
import { systemClock, waitFor } from "../../../base/time/index.js";
import { type SdnOptions, startSdn } from "../../../sdn-controller/index.js";
import { LocalClient, ResourceRegistry } from "../../api/index.js";
import type { KindName, ResourceInput, ResourceTypes } from "../../resources/index.js";
import { openDirectory } from "../directory.js";
import { reconcilePorts } from "./port-controller.js";
import { SdnPart } from "./sdn.js";

const DEADLINE_MS = 30_000;
let dir: string;
let store: Store;
let client: LocalClient;
let part: SdnPart;

let outputs: SdnOptions["outputs"];

async function startPart(): Promise<SdnPart> {
  const context = { client, layout: openDirectory(dir), clock: systemClock, log: silentLog };
  const next = new SdnPart(context, (options, modules) => {
    outputs = options.outputs;
    return startSdn(options, modules);
  });
  await next.start();
  return next;
}

beforeEach(async () => {
  dir = mkdtempSync("/tmp/psdn-");
  store = openMemoryStore();
  const registry = new ResourceRegistry({ store, clock: systemClock });
  client = new LocalClient({ component: "controller" }, { registry, clock: systemClock });
  await client.create("Namespace", { metadata: { name: "shop" } });
  part = await startPart();
});
afterEach(async () => {
  await part.close();
  await store.close();
  rmSync(dir, { recursive: true, force: true });
});

async function eventually<K extends KindName>(
  kind: K,
  name: string,
  holds: (object: ResourceTypes[K]) => unknown,
): Promise<ResourceTypes[K]> {
  let last: ResourceTypes[K] | undefined;
  await waitFor(
    async () => {
      last = await client.get(kind, { namespace: "shop", name });
      return last !== undefined && Boolean(holds(last));
    },
    () => `${kind} ${name}, which is ${JSON.stringify(last)}`,
    DEADLINE_MS,
    5,
  );
  return last as ResourceTypes[K];
}

const metadata = (name: string, labels = {}) => ({ namespace: "shop", name, labels });

describe("SdnPart", () => {
  it("writes segment, addresses, endpoints and the reasons why there are none", async () => {
    await client.create("Port", { metadata: metadata("web1-eth0"), spec: { network: "front" } });
    const waiting = await eventually("Port", "web1-eth0", (port) => port.status?.conditions?.length);
    expect(waiting.status?.conditions?.[0]).toMatchObject({ type: "Allocated", reason: "NetworkNotFound" });
    await client.create("Network", {
      metadata: metadata("front"),
      spec: { vlan: 10, subnets: ["10.10.0.0/24", "fd00:1::/64"] },
    });
    await client.patch("Port", metadata("web1-eth0"), {
      metadata: { labels: { tier: "web" } },
      spec: { virtualMachine: "web1" },
    });
    await eventually("Network", "front", (network) => network.status?.segmentId === 10);
    const port = await eventually("Port", "web1-eth0", (it) => it.status?.addresses?.length === 2);
    expect(port.status?.addresses?.[0]).toBe("10.10.0.2");
    expect(port.status?.addresses?.[1]).toMatch(/^fd00:1::50:.*ff:fe/);
    expect(port.status?.macAddress).toMatch(/^02:50:/);
    await client.create("NetworkFunction", {
      metadata: metadata("web"),
      spec: {
        type: "LoadBalancer",
        network: "front",
        loadBalancer: {
          address: "10.10.0.100",
          ports: [{ port: 80 }],
          selector: { matchLabels: { tier: "web" } },
        },
      },
    });
    const balancer = await eventually("NetworkFunction", "web", (it) => it.status?.endpoints?.length === 1);
    expect(balancer.status).toMatchObject({ address: "10.10.0.100", probeAddress: "10.10.0.3" });
    expect(balancer.status?.endpoints?.[0]).toMatchObject({ name: "web1", address: "10.10.0.2" });
  });

  it("takes back that a port is not ready when the reason is gone, before any switch is there and after a restart", async () => {
    const ready = (port: ResourceTypes["Port"]) =>
      port.status?.conditions?.find(({ type }) => type === "Ready");
    const create = (name: string, network: string) =>
      client.create("Port", { metadata: metadata(name), spec: { network } });
    const addNetwork = (name: string, vlan: number) =>
      client.create("Network", { metadata: metadata(name), spec: { vlan, subnets: [`10.${vlan}.0.0/24`] } });
    await create("one", "late");
    await eventually("Port", "one", (port) => ready(port)?.reason === "NetworkNotFound");
    await addNetwork("late", 7);
    await eventually(
      "Port",
      "one",
      (port) => port.status?.addresses?.[0] !== undefined && ready(port) === undefined,
    );
    await create("two", "later");
    await eventually("Port", "two", (port) => ready(port)?.reason === "NetworkNotFound");
    await part.close();
    await addNetwork("later", 8);
    part = await startPart();
    await eventually(
      "Port",
      "two",
      (port) => port.status?.addresses?.[0] !== undefined && ready(port) === undefined,
    );
  });

  it("tells what happens at the switch as an Event about the host, and counts what happens again", async () => {
    const event = {
      kind: "Host",
      key: "",
      type: "Warning",
      reason: "FlowsRepaired",
      message: "1 flow",
    } as const;
    await client.create("Namespace", { metadata: { name: "default" } });
    await client.create("Host", { metadata: { name: "h1" } });
    for (const count of [1, 2]) {
      outputs.onEvent(event);
      await waitFor(
        async () => (await client.list("Event")).items[0]?.count === count,
        "the Event",
        DEADLINE_MS,
      );
    }
    expect((await client.list("Event")).items).toMatchObject([
      {
        metadata: { namespace: "default" },
        involvedObject: { kind: "Host", name: "h1" },
        type: "Warning",
        reason: "FlowsRepaired",
        message: "1 flow",
        count: 2,
      },
    ]);
  });

  it("shows on the host, once there is one, whether its switch has every flow", async () => {
    const condition = {
      type: "NetworkProgrammed",
      status: "False",
      reason: "FlowsRefused",
      message: "one",
    } as const;
    outputs.onCondition({ ...condition, reason: "Pending" });
    outputs.onCondition(condition);
    await client.create("Host", { metadata: { name: "h1" } });
    const shown = async () => (await client.get("Host", { name: "h1" }))?.status?.conditions;
    await waitFor(async () => (await shown()) !== undefined, "the condition", DEADLINE_MS);
    expect(await shown()).toMatchObject([condition]);
    outputs.onCondition({ ...condition, status: "True" });
    await waitFor(async () => (await shown())?.[0]?.status === "True", "the next one", DEADLINE_MS);
  });

  it("keeps every allocation over a restart, and frees what is deleted", async () => {
    await client.create("Network", {
      metadata: metadata("front"),
      spec: { vlan: 10, subnets: ["10.10.0.0/24"] },
    });
    for (const name of ["a", "b", "c"]) {
      await client.create("Port", { metadata: metadata(name), spec: { network: "front" } });
      await eventually("Port", name, (port) => port.status?.addresses?.length === 1);
    }
    const before = await client.list("Port");
    await part.close();
    await client.delete("Port", { namespace: "shop", name: "a" });
    part = await startPart();
    await client.create("Port", { metadata: metadata("d"), spec: { network: "front" } });
    const fresh = await eventually("Port", "d", (port) => port.status?.addresses?.length === 1);
    expect(fresh.status?.addresses).toEqual(["10.10.0.2"]);
    const after = await client.list("Port");
    for (const name of ["b", "c"]) {
      const of = (list: typeof before) => list.items.find((it) => it.metadata.name === name)?.status;
      expect(of(after)).toEqual(of(before));
    }
  });

  it("settles: its own status writes cause no further writes", async () => {
    await client.create("Network", {
      metadata: metadata("front"),
      spec: { vlan: 10, subnets: ["10.10.0.0/24"] },
    });
    await client.create("Port", { metadata: metadata("a"), spec: { network: "front" } });
    const port = await eventually("Port", "a", (it) => it.status?.addresses?.length === 1);
    await client.create("Port", { metadata: metadata("b"), spec: { network: "front" } });
    await eventually("Port", "b", (it) => it.status?.addresses?.length === 1);
    const again = await client.get("Port", { namespace: "shop", name: "a" });
    expect(again?.metadata.resourceVersion).toBe(port.metadata.resourceVersion);
  });

  it("allows exactly the three flows of the example", async () => {
    const text = readFileSync(new URL("../../../examples/three-tier.yaml", import.meta.url), "utf8");
    for (const document of parseAllDocuments(text)) {
      const { kind, ...object } = document.toJS() as { kind: KindName } & ResourceInput<KindName>;
      if (kind !== "Namespace") await client.create(kind, object);
    }
    await reconcilePorts(client, (await client.list("VirtualMachine")).items, []);
    const names = ["client-eth0", "web1-eth0", "web2-eth0", "web1-eth1", "web2-eth1", "app-eth0", "db-eth0"];
    for (const name of names) await eventually("Port", name, (port) => port.status?.addresses?.length === 1);
    const explain = part.methods["sdn.explain"] as (params: object) => { allowed: boolean };
    const allowed: string[] = [];
    for (const from of names) {
      for (const to of names) {
        for (const port of [80, 81, 5432, 8080]) {
          if (from === to) continue;
          const question = { source: `shop/${from}`, destination: `shop/${to}`, port };
          if (explain(question).allowed) allowed.push(`${from} ${to}:${port}`);
        }
      }
    }
    expect(allowed).toEqual([
      "client-eth0 web1-eth0:80",
      "client-eth0 web2-eth0:80",
      "web1-eth1 app-eth0:8080",
      "web2-eth1 app-eth0:8080",
      "app-eth0 db-eth0:5432",
    ]);
    const balancer = await eventually("NetworkFunction", "web", (it) => it.status?.endpoints?.length === 2);
    expect(balancer.status?.endpoints?.map((endpoint) => endpoint.name)).toEqual(["web1", "web2"]);
    expect(() => explain({ source: "client", destination: "shop/db-eth0", port: 1 })).toThrow(
      "source must be",
    );
    expect(() => explain({ source: "a/b", destination: "a/c", port: 0 })).toThrow("port must be");
  });
});
