// The rules of writing, deleting and watching, over a store in memory.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FlakyStore } from "../../base/store/flaky-store.js";
import { openMemoryStore, type Store } from "../../base/store/index.js";
import { SimulatedClock } from "../../base/time/index.js";
import {
  type ApiObject,
  namespaceKind,
  networkKind,
  networkPolicyKind,
  portKind,
  resourceQuotaKind,
  secretKind,
  virtualMachineKind,
} from "../resources/index.js";
import { collectGarbage } from "./garbage-collector.js";
import { ResourceRegistry } from "./registry.js";
import type { WatchEvent } from "./registry-requests.js";
import { parseSelectors } from "./selectors.js";

const everything = (): boolean => true;
let store: Store;
let registry: ResourceRegistry;
beforeEach(async () => {
  store = openMemoryStore();
  registry = new ResourceRegistry({ store, clock: new SimulatedClock() });
  await registry.create(namespaceKind, undefined, { metadata: { name: "a" } });
});
afterEach(() => store.close());

const secret = (name: string, more: object = {}): object => ({ metadata: { name, ...more } });
const create = async (name: string, more: object = {}): Promise<ApiObject> =>
  (await registry.create(secretKind, "a", secret(name, more))).object;
const refusal = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "accepted",
    (thrown: { reason?: string; message: string }) => thrown.reason ?? thrown.message,
  );
const names = async (): Promise<string[]> =>
  (await registry.list(secretKind, { matches: everything })).objects.map(({ metadata }) => metadata.name);

describe("writing", () => {
  test("gives identity, version and generation; a name is taken once", async () => {
    const made = await create("s");
    expect(made.metadata).toMatchObject({ name: "s", namespace: "a", generation: 1, resourceVersion: "2" });
    expect(await refusal(create("s"))).toBe("AlreadyExists");
    expect(await refusal(registry.create(secretKind, "nowhere", secret("s")))).toBe("NotFound");
    expect(await refusal(registry.create(secretKind, "a", secret("t", { namespace: "b" })))).toBe(
      "BadRequest",
    );
    expect(await refusal(registry.create(secretKind, "a", { metadata: {} }))).toBe("Invalid");
    const generated = (await registry.create(secretKind, "a", { metadata: { generateName: "s-" } })).object;
    expect(generated.metadata.name).toMatch(/^s-[a-z0-9]{5}$/);
  });

  test("raises the generation with what is wanted only, and writes nothing when nothing changes", async () => {
    const network = {
      metadata: { name: "n" },
      spec: { vlan: 1, subnets: ["10.0.0.0/24"] },
      status: { segmentId: 1 },
    };
    const made = (await registry.create(networkKind, "a", network)).object;
    expect(made["status"]).toBeUndefined();
    const update = (change: (object: ApiObject) => unknown, subresource?: "status") =>
      registry.update(networkKind, made.metadata, change, { subresource });
    const same = (await update((object) => object)).object;
    expect(same.metadata.resourceVersion).toBe(made.metadata.resourceVersion);
    const labelled = (
      await update((object) => ({ ...object, metadata: { ...object.metadata, labels: { x: "y" } } }))
    ).object;
    expect([labelled.metadata.generation, labelled.metadata.resourceVersion]).toEqual([1, "3"]);
    const altered = (
      await update((object) => ({ ...object, spec: { ...(object["spec"] as object), mtu: 1400 } }))
    ).object;
    expect(altered.metadata.generation).toBe(2);
    const both = { ...altered, spec: { vlan: 9, subnets: ["10.9.0.0/24"] }, status: { segmentId: 7 } };
    const status = (await update(() => both, "status")).object;
    expect([status["spec"], status["status"]]).toEqual([altered["spec"], { segmentId: 7 }]);
    const spec = (await update((object) => ({ ...object, status: { segmentId: 8 } }))).object;
    expect(spec["status"]).toEqual({ segmentId: 7 });
  });

  test("a stale resourceVersion is a conflict; without one the last writer wins", async () => {
    const made = await create("s");
    await registry.update(secretKind, made.metadata, (object) => ({ ...object, data: { a: "Yg==" } }));
    const stale = registry.update(secretKind, made.metadata, () => ({ ...made, data: {} }));
    expect(await refusal(stale)).toBe("Conflict");
    const blind = await registry.update(secretKind, made.metadata, () => secret("s"));
    expect(blind.object["data"]).toBeUndefined();
  });

  test("concurrent changes of one object all count", async () => {
    const made = await create("s");
    await Promise.all(
      Array.from({ length: 5 }, (_, i) =>
        registry.update(secretKind, made.metadata, (object) => ({
          ...object,
          data: { ...(object["data"] as object), [`k${i}`]: "" },
        })),
      ),
    );
    const { data } = await registry.get(secretKind, made.metadata);
    expect(Object.keys(data as object)).toHaveLength(5);
  });

  test("two networks made at once cannot take the same subnet", async () => {
    const network = (name: string, vlan: number) =>
      registry.create(networkKind, "a", { metadata: { name }, spec: { vlan, subnets: ["10.0.0.0/24"] } });
    const outcomes = await Promise.all([refusal(network("x", 1)), refusal(network("y", 2))]);
    expect(outcomes.sort()).toEqual(["Invalid", "accepted"]);
  });

  test("a dry run changes nothing", async () => {
    const { object } = await registry.create(secretKind, "a", secret("s"), { dryRun: true });
    expect(object.metadata.name).toBe("s");
    const made = await create("t");
    await registry.update(secretKind, made.metadata, (each) => ({ ...each, data: { a: "" } }), {
      dryRun: true,
    });
    await registry.delete(secretKind, made.metadata, { dryRun: true });
    expect(await registry.get(secretKind, made.metadata)).toEqual(made);
    expect(await names()).toEqual(["t"]);
  });
});

describe("deleting", () => {
  test("waits for finalizers, and takes no new ones", async () => {
    const made = await create("s", { finalizers: ["x.test/y"] });
    expect((await registry.delete(secretKind, made.metadata)).gone).toBe(false);
    const marked = await registry.get(secretKind, made.metadata);
    expect(marked.metadata.deletionTimestamp).toBeDefined();
    const withFinalizers = (finalizers: string[]) =>
      registry.update(secretKind, made.metadata, (object) => ({
        ...object,
        metadata: { ...object.metadata, finalizers },
      }));
    expect(await refusal(withFinalizers(["x.test/y", "z.test/z"]))).toBe("Invalid");
    await withFinalizers([]);
    expect(await names()).toEqual([]);
    expect(await refusal(registry.delete(secretKind, made.metadata))).toBe("NotFound");
  });

  test("keeps to preconditions", async () => {
    const made = await create("s");
    expect(await refusal(registry.delete(secretKind, made.metadata, { uid: "other" }))).toBe("Conflict");
    expect(await refusal(registry.delete(secretKind, made.metadata, { resourceVersion: "1" }))).toBe(
      "Conflict",
    );
    expect((await registry.delete(secretKind, made.metadata, { uid: made.metadata.uid })).gone).toBe(true);
  });

  test("an owner's end is the end of what it owns, also through several levels", async () => {
    const owner = await create("owner");
    const owns = (object: ApiObject): object => ({
      ownerReferences: [
        { apiVersion: "v1", kind: "Secret", name: object.metadata.name, uid: object.metadata.uid },
      ],
    });
    const child = await create("child", owns(owner));
    await create("grandchild", owns(child));
    await create("stranger");
    await collectGarbage(registry);
    expect(await names()).toHaveLength(4);
    await registry.delete(secretKind, owner.metadata);
    await collectGarbage(registry);
    await collectGarbage(registry);
    expect(await names()).toEqual(["stranger"]);
  });

  test("foreground deletion goes from the leaves to the root", async () => {
    const owner = await create("owner");
    const { name, uid } = owner.metadata;
    const reference = { apiVersion: "v1", kind: "Secret", name, uid, blockOwnerDeletion: true };
    const child = await create("child", { ownerReferences: [reference], finalizers: ["x.test/y"] });
    expect((await registry.delete(secretKind, owner.metadata, { propagation: "Foreground" })).gone).toBe(
      false,
    );
    await collectGarbage(registry);
    await collectGarbage(registry);
    expect(await names()).toEqual(["child", "owner"]);
    await registry.update(secretKind, child.metadata, (each) => ({
      ...each,
      metadata: { ...each.metadata, finalizers: [] },
    }));
    await collectGarbage(registry);
    expect(await names()).toEqual([]);
  });

  test("a namespace goes when its content is gone, and takes no new content", async () => {
    await create("s", { finalizers: ["x.test/y"] });
    await registry.delete(namespaceKind, { name: "a" });
    expect(await refusal(create("t"))).toBe("Forbidden");
    await collectGarbage(registry);
    expect(await registry.find(namespaceKind, { name: "a" })).toBeDefined();
    await registry.update(secretKind, { namespace: "a", name: "s" }, (each) => ({
      ...each,
      metadata: { ...each.metadata, finalizers: [] },
    }));
    await collectGarbage(registry);
    expect(await registry.find(namespaceKind, { name: "a" })).toBeUndefined();
  });
});

describe("the end of a namespace", () => {
  test("leaves policies in force until the machines that they shield are gone", async () => {
    const policy = { metadata: { name: "shut" }, spec: { podSelector: {} } };
    await registry.create(networkPolicyKind, "a", policy);
    const running = { metadata: { name: "vm", finalizers: ["x.test/host"] } };
    const vm = (await registry.create(virtualMachineKind, "a", running)).object;
    await registry.create(portKind, "a", {
      metadata: { name: "vm-eth0" },
      spec: { network: "n", virtualMachine: "vm" },
    });
    await registry.delete(namespaceKind, { name: "a" });
    const shut = () => registry.find(networkPolicyKind, { namespace: "a", name: "shut" });
    await collectGarbage(registry);
    await collectGarbage(registry);
    expect(await registry.find(portKind, { namespace: "a", name: "vm-eth0" })).toBeUndefined();
    expect((await registry.get(virtualMachineKind, vm.metadata)).metadata.deletionTimestamp).toBeDefined();
    expect(await shut()).toBeDefined();
    await registry.update(virtualMachineKind, vm.metadata, (each) => ({
      ...each,
      metadata: { ...each.metadata, finalizers: [] },
    }));
    await collectGarbage(registry);
    await collectGarbage(registry);
    expect([await shut(), await registry.find(namespaceKind, { name: "a" })]).toEqual([undefined, undefined]);
  });
});

describe("deleting a collection", () => {
  const all = { namespace: "a", matches: everything };

  test("is one change for the reviewer: all goes, or nothing when it is refused", async () => {
    for (const name of ["p", "q", "r"]) await create(name);
    const seen: string[][] = [];
    let refused: string | undefined = "it must stay";
    registry.reviewWith({
      reviews: (kind) => kind === secretKind,
      review: async ({ objects, gone, dryRun }) => {
        seen.push([...objects.map(({ metadata }) => metadata.name), `${gone} ${dryRun}`]);
        const note = { warnings: [], notes: { n: String(objects.length) } };
        return refused === undefined ? note : { ...note, refusal: refused };
      },
    });
    const remove = (more: object = {}) =>
      registry.deleteCollection(secretKind, all, { byUser: true, ...more });
    await expect(remove()).rejects.toMatchObject({
      reason: "Forbidden",
      message: "secrets (3) are forbidden: it must stay",
    });
    expect(await names()).toEqual(["p", "q", "r"]);
    refused = undefined;
    expect((await remove({ dryRun: true })).objects).toHaveLength(3);
    expect(await names()).toHaveLength(3);
    const { objects, notes } = await remove();
    expect([objects.map(({ metadata }) => metadata.name), notes]).toEqual([["p", "q", "r"], { n: "3" }]);
    expect(await names()).toEqual([]);
    expect((await remove()).objects).toEqual([]);
    expect(seen).toEqual(["true false", "true true", "true false"].map((how) => ["p", "q", "r", how]));
  });
});

describe("what the deletion of a collection writes", () => {
  const all = { namespace: "a", matches: everything };

  test("is one transaction, and counted for quotas in it", async () => {
    const hard = { secrets: "9" };
    await registry.create(resourceQuotaKind, "a", { metadata: { name: "q" }, spec: { hard } });
    for (const name of ["p", "q", "r"]) await create(name);
    await create("held", { finalizers: ["example.com/wait"] });
    const told: (readonly string[])[] = [];
    const watch = await store.watch({ prefix: "/core/" }, (events) => {
      told.push(
        events.map((event) => `${event.type} ${(event.type === "put" ? event.entry : event.previous).key}`),
      );
    });
    const before = store.revision;
    const { objects } = await registry.deleteCollection(secretKind, all, {});
    watch.cancel();
    // Five changes, told together.
    expect(told).toEqual([
      [
        "put /core/secrets/a/held",
        ...["p", "q", "r"].map((name) => `delete /core/secrets/a/${name}`),
        "put /core/resourcequotas/a/q",
      ],
    ]);
    expect(objects.map(({ metadata }) => Number(metadata.resourceVersion) - before)).toEqual([1, 2, 3, 4]);
    expect(objects[0]?.metadata.deletionTimestamp).toBeDefined();
    expect((await registry.get(resourceQuotaKind, { namespace: "a", name: "q" }))["status"]).toEqual({
      hard,
      used: { secrets: "1" },
    });
    // It is marked, and waits.
    expect((await registry.deleteCollection(secretKind, all, {})).objects).toEqual([
      await registry.get(secretKind, { namespace: "a", name: "held" }),
    ]);
  });

  test("leaves everything where the store refuses, and takes what was changed meanwhile", async () => {
    for (const name of ["p", "q"]) await create(name);
    const flaky = new FlakyStore(store);
    const other = new ResourceRegistry({ store: flaky, clock: new SimulatedClock() });
    flaky.isFull = true;
    await expect(other.deleteCollection(secretKind, all, {})).rejects.toThrow();
    expect(await names()).toEqual(["p", "q"]);
    let changes = 2;
    registry.reviewWith({
      reviews: () => true,
      review: async () => {
        if (changes-- > 0)
          await registry.update(secretKind, { namespace: "a", name: "q" }, (each) => ({
            ...each,
            data: { n: Buffer.from(String(changes)).toString("base64") },
          }));
        return { warnings: [] };
      },
    });
    const { objects } = await registry.deleteCollection(secretKind, all, { byUser: true });
    expect([objects.length, await names()]).toEqual([2, []]);
  });

  test("takes only what the preconditions mean", async () => {
    const { uid } = (await create("p")).metadata;
    await create("q");
    expect((await registry.deleteCollection(secretKind, all, { uid })).objects).toHaveLength(1);
    expect(await names()).toEqual(["q"]);
  });
});

describe("watching", () => {
  test("tells what starts and stops to match as added and deleted", async () => {
    const seen: [string, string, string][] = [];
    const record = (events: readonly WatchEvent[]): void => {
      for (const { type, object } of events)
        seen.push([type, object.metadata.name, object.metadata.resourceVersion]);
    };
    const matches = parseSelectors(secretKind, "tier=web", undefined);
    const watch = await registry.watch(
      secretKind,
      { namespace: "a", matches, fromRevision: store.revision },
      record,
    );
    const made = await create("s", { labels: { tier: "db" } });
    const label = (tier: string) =>
      registry.update(secretKind, made.metadata, (each) => ({
        ...each,
        metadata: { ...each.metadata, labels: { tier } },
      }));
    await label("web");
    await registry.update(secretKind, made.metadata, (each) => ({ ...each, data: { a: "" } }));
    await label("db");
    await label("web");
    await registry.delete(secretKind, made.metadata);
    watch.cancel();
    expect(seen).toEqual([
      ["ADDED", "s", "3"],
      ["MODIFIED", "s", "4"],
      ["DELETED", "s", "5"],
      ["ADDED", "s", "6"],
      ["DELETED", "s", "7"],
    ]);
  });
});

test("lists go on where a page ended, as of the first page", async () => {
  for (const name of ["s1", "s2", "s3"]) await create(name);
  const first = await registry.list(secretKind, { matches: everything, limit: 2 });
  await registry.delete(secretKind, { namespace: "a", name: "s3" });
  const second = await registry.list(secretKind, {
    matches: everything,
    limit: 2,
    after: first.next,
    revision: first.revision,
  });
  expect([...first.objects, ...second.objects].map(({ metadata }) => metadata.name)).toEqual([
    "s1",
    "s2",
    "s3",
  ]);
  expect(await refusal(registry.create(portKind, "a", { metadata: { name: "p" } }))).toBe("Invalid");
});
