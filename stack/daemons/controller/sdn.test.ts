import { mkdtempSync, rmSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLog } from "../../../base/log/index.js";
import { openMemoryStore, type Store } from "../../../base/store/index.js";
import { systemClock, waitFor } from "../../../base/time/index.js";
import { LocalClient, ResourceRegistry } from "../../api/index.js";
import type { KindName, ResourceTypes } from "../../resources/index.js";
import { openDirectory } from "../directory.js";
import { SdnPart } from "./sdn.js";

const DEADLINE_MS = 5_000;
let dir: string;
let store: Store;
let client: LocalClient;
let part: SdnPart;

async function startPart(): Promise<SdnPart> {
  const next = new SdnPart({ client, layout: openDirectory(dir), clock: systemClock, log: silentLog });
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
    const port = await eventually("Port", "web1-eth0", (it) => it.status?.addresses?.length === 1);
    expect(port.status?.addresses).toEqual(["10.10.0.2"]);
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
});
