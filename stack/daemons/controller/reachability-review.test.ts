import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { silentLog } from "../../../base/log/index.js";
import { openMemoryStore, type Store } from "../../../base/store/index.js";
import { systemClock, waitFor } from "../../../base/time/index.js";
import { type ChangeReview, type InventoryChange, SdnController } from "../../../sdn-controller/index.js";
import { type AuditNotes, LocalClient, ResourceRegistry } from "../../api/index.js";
import { type ApiObject, type KindName, kindByName, type ResourceInput } from "../../resources/index.js";
import { openDirectory } from "../directory.js";
import { reconcilePorts } from "./port-controller.js";
import { ReachabilityReviewer } from "./reachability-review.js";
import { SdnPart } from "./sdn.js";

let dir: string;
let store: Store;
let registry: ResourceRegistry;
let client: LocalClient;
let part: SdnPart;

/** The three-tier example, with its machines' ports. */
beforeEach(async () => {
  dir = mkdtempSync("/tmp/prev-");
  store = openMemoryStore();
  registry = new ResourceRegistry({ store, clock: systemClock });
  client = new LocalClient({ component: "controller" }, { registry, clock: systemClock });
  await client.create("Namespace", { metadata: { name: "shop" } });
  part = new SdnPart({
    client,
    layout: openDirectory(dir),
    clock: systemClock,
    log: silentLog,
    reviewWith: (reviewer) => registry.reviewWith(reviewer),
  });
  await part.start();
  const text = readFileSync(new URL("../../../examples/three-tier.yaml", import.meta.url), "utf8");
  for (const document of parseAllDocuments(text)) {
    const { kind, ...object } = document.toJS() as { kind: KindName } & ResourceInput<KindName>;
    if (kind !== "Namespace") await client.create(kind, object);
  }
  await reconcilePorts(client, (await client.list("VirtualMachine")).items, []);
  await waitFor(
    async () => (await client.list("Port")).items.every((port) => port.status?.addresses?.length === 1),
    () => "addresses for all ports",
    5_000,
    5,
  );
});
afterEach(async () => {
  await part.close();
  await store.close();
  rmSync(dir, { recursive: true, force: true });
});

const USER = { byUser: true } as const;
const tier = (name: string) => ({ podSelector: { matchLabels: { tier: name } } });

function create(
  kindName: KindName,
  name: string,
  spec: object,
  dryRun = false,
): Promise<{ warnings: readonly string[]; notes?: AuditNotes | undefined }> {
  const kind = kindByName(kindName);
  const namespace = kind.namespaced ? "shop" : undefined;
  const metadata = { name, ...(namespace === undefined ? {} : { namespace }) };
  return registry.create(kind, namespace, { metadata, spec }, { ...USER, dryRun });
}

const policy = (name: string, spec: object, dryRun = false) => create("NetworkPolicy", name, spec, dryRun);
const never = (from: string, to: string) =>
  create("Invariant", `no-${from}-${to}`, { assert: "Never", from: tier(from), to: tier(to) });
const open = (name: string, from: string, to: string, port: number): [string, object, string, object] => [
  `${name}-out`,
  { ...tier(from), policyTypes: ["Egress"], egress: [{ to: [tier(to)], ports: [{ port }] }] },
  `${name}-in`,
  { ...tier(to), ingress: [{ from: [tier(from)], ports: [{ port }] }] },
];

describe("a dry run", () => {
  it("is answered with the pairs and ports gained and lost, and changes nothing", async () => {
    const [, out, , into] = open("x", "web", "db", 5432);
    expect((await policy("x-out", out, true)).warnings).toEqual(["reachability stays as it is"]);
    await policy("x-out", out);
    expect((await policy("x-in", into, true)).warnings).toEqual([
      "gains shop/web1[VirtualMachine]@back => shop/db[VirtualMachine] : TCP 5432",
      "gains shop/web2[VirtualMachine]@back => shop/db[VirtualMachine] : TCP 5432",
    ]);
    expect((await policy("x-in", into, true)).warnings).toHaveLength(2);
    expect(await client.get("NetworkPolicy", { namespace: "shop", name: "x-in" })).toBeUndefined();
  });

  it("says nothing when the write is real, and of kinds that do not matter", async () => {
    const [, out] = open("x", "web", "db", 5432);
    expect((await policy("x-out", out)).warnings).toEqual([]);
    expect((await create("Volume", "v", { size: "1Gi" }, true)).warnings).toEqual([]);
  });
});

describe("the audit log", () => {
  const note = ({ notes = {} }: { readonly notes?: AuditNotes | undefined }): unknown =>
    JSON.parse(notes["plinth.dev/reachability"] ?? "null");

  it("is told the pairs that a policy gained or lost by being made, changed and deleted", async () => {
    const [, out, , into] = open("x", "web", "db", 5432);
    const pairs = (port: string) =>
      [1, 2].map((i) => `shop/web${i}[VirtualMachine]@back => shop/db[VirtualMachine] : TCP ${port}`);
    expect(note(await policy("x-out", out))).toEqual({ gained: [], lost: [] });
    expect(note(await policy("x-in", into))).toEqual({ gained: pairs("5432"), lost: [] });
    const kind = kindByName("NetworkPolicy");
    const name = { namespace: "shop", name: "x-in" };
    const labelled = (current: ApiObject) => ({
      ...current,
      metadata: { ...current.metadata, annotations: { why: "asked for" } },
    });
    await registry.update(kind, name, labelled, USER);
    const spec = { ...tier("db"), ingress: [{ from: [tier("client")] }] };
    expect(note(await registry.update(kind, name, (now) => ({ ...now, spec }), USER))).toEqual({
      gained: [],
      lost: pairs("5432"),
    });
    await registry.update(kind, name, (now) => ({ ...now, spec: into }), USER);
    expect(note(await registry.delete(kind, name, USER))).toEqual({ gained: [], lost: pairs("5432") });
    expect(note(await create("Volume", "v", { size: "1Gi" }))).toBeNull();
  });
});

describe("the audit log of deletions of a whole collection", () => {
  const kind = kindByName("NetworkPolicy");
  const named = (...names: string[]) => ({
    namespace: "shop",
    matches: ({ metadata }: ApiObject) => names.includes(metadata.name),
  });
  const LOST = [
    "shop/app[VirtualMachine] => shop/db[VirtualMachine] : TCP 5432",
    "shop/web1[VirtualMachine]@back => shop/app[VirtualMachine] : TCP 8080",
    "shop/web2[VirtualMachine]@back => shop/app[VirtualMachine] : TCP 8080",
  ];

  it("is told what all of them together did, and a dry run beforehand", async () => {
    const some = named("app", "db");
    const dry = await registry.deleteCollection(kind, some, { ...USER, dryRun: true });
    expect(dry.warnings).toEqual(LOST.map((line) => `loses ${line}`));
    const done = await registry.deleteCollection(kind, some, USER);
    expect(JSON.parse(done.notes?.["plinth.dev/reachability"] ?? "")).toEqual({ gained: [], lost: LOST });
    expect(done.warnings).toEqual([]);
    const left = (await client.list("NetworkPolicy")).items.map(({ metadata }) => metadata.name);
    expect(left).toEqual(["client", "default-deny", "web"]);
  });

  it("goes as a whole or not at all, when all of it together would break a promise", async () => {
    await never("web", "db");
    // Without "default-deny" alone the others still isolate what they select.
    await expect(registry.deleteCollection(kind, named("default-deny", "db", "web"), USER)).rejects.toThrow(
      /^networkpolicies.networking.k8s.io \(3\) are forbidden: invariant no-web-db would be broken/,
    );
    expect((await client.list("NetworkPolicy")).items).toHaveLength(5);
    await registry.delete(kind, { namespace: "shop", name: "default-deny" }, USER);
  });
});

describe("the audit log of admin policies and namespaces", () => {
  const note = ({ notes = {} }: { readonly notes?: AuditNotes | undefined }): unknown =>
    JSON.parse(notes["plinth.dev/reachability"] ?? "null");
  const pairs = (port: string) =>
    [1, 2].map((i) => `shop/web${i}[VirtualMachine]@back => shop/app[VirtualMachine] : TCP ${port}`);
  const pods = { pods: { namespaceSelector: {}, podSelector: { matchLabels: { tier: "web" } } } };
  const subject = { pods: { namespaceSelector: {}, podSelector: { matchLabels: { tier: "app" } } } };
  const deny = { name: "no-web", action: "Deny", from: [pods] };

  it("is told what an AdminNetworkPolicy and the baseline gained and lost", async () => {
    const admin = { priority: 10, subject, ingress: [deny] };
    expect(note(await create("AdminNetworkPolicy", "no-web", admin))).toEqual({
      gained: [],
      lost: pairs("8080"),
    });
    const kind = kindByName("AdminNetworkPolicy");
    expect(note(await registry.delete(kind, { name: "no-web" }, USER))).toEqual({
      gained: pairs("8080"),
      lost: [],
    });
    // NetworkPolicies isolate the machine, so that the baseline is not asked.
    const baseline = { subject, ingress: [deny] };
    expect(note(await create("BaselineAdminNetworkPolicy", "default", baseline))).toEqual({
      gained: [],
      lost: [],
    });
  });

  it("is told what other labels of a namespace did", async () => {
    const namespaces = { namespaces: { matchLabels: { trust: "low" } } };
    const admin = { priority: 10, subject, ingress: [{ name: "low", action: "Deny", from: [namespaces] }] };
    expect(note(await create("AdminNetworkPolicy", "low", admin))).toEqual({ gained: [], lost: [] });
    const label = (labels: Record<string, string>) =>
      registry.update(
        kindByName("Namespace"),
        { name: "shop" },
        (now) => ({ ...now, metadata: { ...now.metadata, labels: { ...now.metadata.labels, ...labels } } }),
        USER,
      );
    expect(note(await label({ trust: "low" }))).toEqual({ gained: [], lost: pairs("8080") });
    expect(note(await label({ trust: "high" }))).toEqual({ gained: pairs("8080"), lost: [] });
  });
});

describe("the audit log of machines", () => {
  const note = ({ notes = {} }: { readonly notes?: AuditNotes | undefined }): unknown =>
    JSON.parse(notes["plinth.dev/reachability"] ?? "null");
  const vm = kindByName("VirtualMachine");
  const machine = async (name: string): Promise<object> => {
    const { spec, metadata } = (await client.get("VirtualMachine", {
      namespace: "shop",
      name,
    })) as unknown as ApiObject;
    return { metadata: { name: "new", labels: metadata.labels }, spec };
  };
  const TO_APP = "shop/new[VirtualMachine]@back => shop/app[VirtualMachine] : TCP 8080";

  it("is told what one that is made may reach, and what one that is deleted could", async () => {
    const made = await registry.create(vm, "shop", await machine("web1"), USER);
    const { gained, lost } = note(made) as { gained: string[]; lost: string[] };
    expect(gained).toContain(TO_APP);
    expect(gained.every((line) => line.includes("shop/new[VirtualMachine]"))).toBe(true);
    expect(lost).toEqual([]);
    await reconcilePorts(
      client,
      (await client.list("VirtualMachine")).items,
      (await client.list("Port")).items,
    );
    await waitFor(
      async () => (await client.list("Port")).items.every((port) => port.status?.addresses?.length === 1),
      () => "addresses for all ports",
      5_000,
      5,
    );
    expect(note(await registry.delete(vm, { namespace: "shop", name: "new" }, USER))).toEqual({
      gained: [],
      lost: gained,
    });
  });

  it("is told all pairs that a namespace takes with it", async () => {
    const gone = note(await registry.delete(kindByName("Namespace"), { name: "shop" }, USER)) as {
      gained: string[];
      lost: string[];
    };
    expect(gone.gained).toEqual([]);
    expect(gone.lost).toContain("shop/app[VirtualMachine] => shop/db[VirtualMachine] : TCP 5432");
  });
});

describe("the audit log of labels and of many ports", () => {
  const note = ({ notes = {} }: { readonly notes?: AuditNotes | undefined }): unknown =>
    JSON.parse(notes["plinth.dev/reachability"] ?? "null");

  it("is told what a machine gained and lost by other labels, and nothing where these stay", async () => {
    const kind = kindByName("VirtualMachine");
    const change = (name: string, next: (vm: ApiObject) => Partial<ApiObject["metadata"]>) =>
      registry.update(
        kind,
        { namespace: "shop", name },
        (vm) => ({ ...vm, metadata: { ...vm.metadata, ...next(vm) } }),
        USER,
      );
    expect(note(await change("app", () => ({ labels: { tier: "none" } })))).toEqual({
      gained: [],
      lost: [
        "shop/app[VirtualMachine] => shop/db[VirtualMachine] : TCP 5432",
        "shop/web1[VirtualMachine]@back => shop/app[VirtualMachine] : TCP 8080",
        "shop/web2[VirtualMachine]@back => shop/app[VirtualMachine] : TCP 8080",
      ],
    });
    expect(note(await change("db", () => ({ annotations: { why: "asked for" } })))).toBeNull();
  });

  it("counts pairs among more ports than it names", async () => {
    const outputs = { onStatus: () => {}, onEvent: () => {}, onCondition: () => {} };
    const controller = new SdnController({ outputs }, { clock: systemClock, log: silentLog });
    const network = { namespace: "t0", name: "n", vlan: 1, subnets: ["10.0.0.0/16"] };
    const ports = Array.from({ length: 600 }, (_, i): InventoryChange => {
      const name = `v${i}`;
      const labels = { tier: `x${i % 30}` };
      const value = { namespace: "t0", name, network: "n", virtualMachine: name, namedPorts: [], labels };
      return { kind: "Port", key: `t0/${name}`, value };
    });
    controller.update([
      { kind: "Namespace", key: "t0", value: { name: "t0", labels: {} } },
      { kind: "Network", key: "t0/n", value: network },
      ...ports,
    ]);
    controller.inventoryComplete();
    const reviewer = new ReachabilityReviewer({
      controller: async () => controller,
      portsOf: () => [],
      machineOf: () => undefined,
    });
    const spec = (port: number) => ({
      podSelector: { matchLabels: { tier: "x0" } },
      policyTypes: ["Ingress"],
      ingress: [
        { from: [{ podSelector: { matchLabels: { tier: "x1" } } }], ports: [{ port, protocol: "TCP" }] },
      ],
    });
    const review = (port: number) =>
      reviewer.review({
        kind: kindByName("NetworkPolicy"),
        objects: [{ metadata: { namespace: "t0", name: "p0" }, spec: spec(port) } as unknown as ApiObject],
        gone: false,
        dryRun: false,
      });
    // Each of the 600 loses what it could send to the twenty of x0, those of x1 all but one port.
    const told = note(await review(7)) as { gainedPairs: number; lostPairs: number; lost: string[] };
    expect([told.gainedPairs, told.lostPairs]).toEqual([0, 600 * 20 - 20]);
    expect(told.lost).toHaveLength(30);
    expect(told.lost).toContain("t0/{tier=x2}@n (20 ports) => t0/{tier=x0}@n (20 ports) : All Connections");
    controller.close();
  });
});

describe("a change that is too large to be worked out", () => {
  it("says so to whoever tries it, and in the audit log", async () => {
    const plan = {
      tooMany: "policies tell 900 groups of ports apart: more than 32768 pairs of them may change",
    };
    const controller = {
      compiler: { inventory: { portCount: 3 } },
      review: (): ChangeReview => ({ plan, breaches: [] }),
    };
    const reviewer = new ReachabilityReviewer({
      controller: async () => controller as unknown as SdnController,
      portsOf: () => [],
      machineOf: () => undefined,
    });
    const object = { metadata: { namespace: "t0", name: "p0" }, spec: { podSelector: {} } };
    const change = {
      kind: kindByName("NetworkPolicy"),
      objects: [object as unknown as ApiObject] as const,
      gone: false,
    };
    const tried = await reviewer.review({ ...change, dryRun: true });
    expect(tried.warnings).toEqual([`what it would gain or lose is not worked out: ${plan.tooMany}`]);
    expect((await reviewer.review({ ...change, dryRun: false })).notes).toEqual({
      "plinth.dev/reachability": JSON.stringify({ unknown: plan.tooMany }),
    });
  });
});

describe("an invariant", () => {
  it("refuses the policy that would break it, with a packet that shows how", async () => {
    await never("web", "db");
    const [outName, out, inName, into] = open("x", "web", "db", 5432);
    await policy(outName, out);
    await expect(policy(inName, into)).rejects.toMatchObject({
      reason: "Forbidden",
      message: expect.stringMatching(
        /^networkpolicies.networking.k8s.io "x-in" is forbidden: invariant no-web-db would be broken: shop\/web1\[VirtualMachine\] \(10\.20\.0\.\d+\) to shop\/db\[VirtualMachine\] \(10\.20\.0\.\d+\) on TCP 5432: .*egress\[0\] of policy shop\/x-out allows it; .*ingress\[0\] of policy shop\/x-in allows it$/,
      ),
    });
    expect(await client.get("NetworkPolicy", { namespace: "shop", name: "x-in" })).toBeUndefined();
    await policy("x-in", { ...tier("db"), ingress: [{ from: [tier("app")], ports: [{ port: 22 }] }] });
  });

  it("refuses that a policy goes, and that a machine changes its labels", async () => {
    await create("Invariant", "app-db", {
      assert: "Always",
      from: tier("app"),
      to: tier("db"),
      ports: [{ port: 5432 }],
    });
    const kind = kindByName("NetworkPolicy");
    const name = { namespace: "shop", name: "app" };
    await expect(registry.delete(kind, name, USER)).rejects.toThrow(/invariant app-db would be broken/);
    await expect(registry.delete(kind, name, { ...USER, dryRun: true })).rejects.toThrow(/app-db/);
    const relabel = (label: string) =>
      registry.update(
        kindByName("VirtualMachine"),
        { namespace: "shop", name: "client" },
        (vm) => ({ ...vm, metadata: { ...vm.metadata, labels: { tier: label } } }),
        USER,
      );
    await expect(relabel("app")).rejects.toThrow(
      /invariant app-db would be broken: shop\/client.*different networks/,
    );
    await relabel("other");
  });

  it("cannot be made when it does not hold", async () => {
    await expect(never("client", "web")).rejects.toThrow(
      /invariants.plinth.dev "no-client-web" is forbidden: invariant no-client-web would be broken: shop\/client/,
    );
    await never("client", "db");
  });

  it("holds when two changes that are harmless alone come at once", async () => {
    await never("web", "db");
    const [outName, out, inName, into] = open("x", "web", "db", 5432);
    const results = await Promise.allSettled([policy(outName, out), policy(inName, into)]);
    expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  });

  it("does not stand in the way of what is broken already and does not get worse", async () => {
    const [outName, out, inName, into] = open("x", "web", "db", 5432);
    await policy(outName, out);
    await never("web", "db");
    // A controller's write is not reviewed.
    const namespaced = { namespace: "shop" };
    await client.create("NetworkPolicy", {
      metadata: { ...namespaced, name: inName },
      spec: into,
    } as ResourceInput<"NetworkPolicy">);
    await policy("unrelated", { ...tier("client"), policyTypes: ["Ingress"] });
    await expect(policy("worse", { ...tier("db"), ingress: [{}] })).resolves.toBeDefined();
  });
});

describe("sdn.plan", () => {
  it("judges several objects as one change", () => {
    const [outName, out, inName, into] = open("x", "web", "db", 5432);
    const plan = part.methods["sdn.plan"] as (params: object) => ChangeReview;
    const object = (name: string, spec: object) => ({
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name, namespace: "shop" },
      spec,
    });
    const review = plan({ objects: [object(outName, out), object(inName, into)] });
    expect(review).toEqual({
      breaches: [],
      plan: {
        gained: [1, 2].map((i) => ({
          source: `shop/web${i}[VirtualMachine]@back`,
          destination: "shop/db[VirtualMachine]",
          connections: "TCP 5432",
        })),
        lost: [],
      },
    });
    expect(() => plan({ objects: [object("bad", { podSelector: {}, ingress: [{ from: [{}] }] })] })).toThrow(
      /spec.ingress\[0\].from\[0\]/,
    );
    expect(() => plan({ objects: "all" })).toThrow("objects must be a list of objects");
  });
});
