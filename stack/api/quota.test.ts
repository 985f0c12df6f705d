// ResourceQuotas over a store in memory: what is refused and in which words, two writes at a time, a restart.
import { afterEach, beforeEach, expect, test } from "vitest";
import { openMemoryStore, type Store } from "../../base/store/index.js";
import { SimulatedClock } from "../../base/time/index.js";
import {
  type ApiObject,
  namespaceKind,
  resourceQuotaKind,
  secretKind,
  virtualMachineKind,
  volumeKind,
} from "../resources/index.js";
import { ResourceRegistry } from "./registry.js";

let store: Store;
let registry: ResourceRegistry;
beforeEach(async () => {
  store = openMemoryStore();
  registry = new ResourceRegistry({ store, clock: new SimulatedClock() });
  for (const name of ["a", "b"]) await registry.create(namespaceKind, undefined, { metadata: { name } });
});
afterEach(() => store.close());

const quota = async (hard: object, name = "q"): Promise<ApiObject> =>
  (await registry.create(resourceQuotaKind, "a", { metadata: { name }, spec: { hard } })).object;
const status = async (name = "q"): Promise<unknown> =>
  (await registry.get(resourceQuotaKind, { namespace: "a", name }))["status"];
const used = async (name = "q"): Promise<unknown> => ((await status(name)) as { used: unknown }).used;
const machine = (name: string, cpus: number, memory = "1Gi", namespace = "a") =>
  registry.create(virtualMachineKind, namespace, { metadata: { name }, spec: { cpus, memory } });
const secret = (name: string) => registry.create(secretKind, "a", { metadata: { name } });
const refusal = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => "accepted",
    (thrown: { status?: number; message: string }) => [thrown.status, thrown.message],
  );

test("a creation beyond is refused in Kubernetes' words; other namespaces are not counted", async () => {
  await machine("old", 1);
  await machine("elsewhere", 60, "1Gi", "b");
  const made = await quota({ cpu: 4, "requests.memory": "2560Mi", "count/virtualmachines.plinth.dev": "3" });
  const hard = { cpu: "4", "requests.memory": "2560Mi", "count/virtualmachines.plinth.dev": "3" };
  const before = { cpu: "1", "requests.memory": "1Gi", "count/virtualmachines.plinth.dev": "1" };
  expect(made["status"]).toEqual({ hard, used: before });
  expect(await status()).toEqual({ hard, used: before });
  expect(await refusal(machine("x", 4, "2Gi"))).toEqual([
    403,
    'virtualmachines.plinth.dev "x" is forbidden: exceeded quota: q, requested: cpu=4,requests.memory=2Gi, used: cpu=1,requests.memory=1Gi, limited: cpu=4,requests.memory=2560Mi',
  ]);
  expect(await used()).toEqual(before);
  await machine("y", 3, "1.5Gi");
  expect(await used()).toEqual({
    cpu: "4",
    "requests.memory": "2560Mi",
    "count/virtualmachines.plinth.dev": "2",
  });
});

test("an update is refused when it takes more than is left, and not for anything else", async () => {
  await quota({ "requests.storage": "2Gi", "requests.cpu": "3" });
  const volume = { namespace: "a", name: "v" };
  await registry.create(volumeKind, "a", { metadata: { name: "v" }, spec: { size: "1Gi" } });
  await machine("m", 3);
  const grow = (size: string) =>
    registry.update(volumeKind, volume, (object) => ({
      ...object,
      spec: { ...(object["spec"] as object), size },
    }));
  expect(await refusal(grow("3Gi"))).toEqual([
    403,
    'volumes.plinth.dev "v" is forbidden: exceeded quota: q, requested: requests.storage=2Gi, used: requests.storage=1Gi, limited: requests.storage=2Gi',
  ]);
  await grow("2Gi");
  expect(await used()).toEqual({ "requests.storage": "2Gi", "requests.cpu": "3" });
  // Lowered below what there is: nothing goes away, nothing more comes, less is let through.
  await registry.update(resourceQuotaKind, { namespace: "a", name: "q" }, (object) => ({
    ...object,
    spec: { hard: { "requests.storage": "1Gi", "requests.cpu": "1" } },
  }));
  const cpus = (count: number) =>
    registry.update(virtualMachineKind, { namespace: "a", name: "m" }, (object) => ({
      ...object,
      // Something else that is wanted changes as well: that alone is no reason to refuse.
      spec: { ...(object["spec"] as object), cpus: count, powerState: "Stopped" },
    }));
  expect(await refusal(cpus(4))).toEqual([403, expect.stringContaining("requested: requests.cpu=1, used:")]);
  await cpus(3);
  await cpus(2);
  expect(await status()).toEqual({
    hard: { "requests.storage": "1Gi", "requests.cpu": "1" },
    used: { "requests.storage": "2Gi", "requests.cpu": "2" },
  });
});

test("of parallel creations only as many as there is room for pass, also when the quota comes beside them", async () => {
  await quota({ secrets: 5 });
  const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => refusal(secret(`s${i}`))));
  expect(answers.filter((answer) => answer === "accepted")).toHaveLength(5);
  expect(await used()).toEqual({ secrets: "5" });
  const count = { "count/virtualmachines.plinth.dev": 3 };
  const both = [...Array(4).keys()].map((i) => refusal(machine(`m${i}`, 1)));
  const late = quota(count, "late");
  const after = [...Array(4).keys()].map((i) => refusal(machine(`n${i}`, 1)));
  await Promise.all([...both, late, ...after]);
  // Four were under way before it; none came after it.
  expect(await used("late")).toEqual({ "count/virtualmachines.plinth.dev": "4" });
  const machines = await registry.list(virtualMachineKind, { namespace: "a", matches: () => true });
  expect(machines.objects.map(({ metadata }) => metadata.name)).toEqual(["m0", "m1", "m2", "m3"]);
});

test("room is back when an object is gone, not when it waits for its finalizers; a restart changes nothing", async () => {
  await quota({ secrets: 1, resourcequotas: 1 });
  const finalizers = ["a/b"];
  await registry.create(secretKind, "a", { metadata: { name: "s", finalizers } });
  const name = { namespace: "a", name: "s" };
  expect((await registry.delete(secretKind, name)).gone).toBe(false);
  expect(await refusal(secret("t"))).toEqual([403, expect.stringMatching(/^secrets "t" is forbidden: exc/)]);
  registry = new ResourceRegistry({ store, clock: new SimulatedClock() });
  expect(await used()).toEqual({ secrets: "1", resourcequotas: "1" });
  await registry.update(secretKind, name, (object) => ({
    ...object,
    metadata: { ...object.metadata, finalizers: [] },
  }));
  expect(await used()).toEqual({ secrets: "0", resourcequotas: "1" });
  await secret("t");
  expect(await refusal(quota({}, "second"))).toEqual([
    403,
    'resourcequotas "second" is forbidden: exceeded quota: q, requested: resourcequotas=1, used: resourcequotas=1, limited: resourcequotas=1',
  ]);
  expect((await registry.delete(resourceQuotaKind, { namespace: "a", name: "q" })).gone).toBe(true);
  await secret("u");
});

test("a dry run is refused too and takes nothing; nobody writes the status but the server", async () => {
  await quota({ secrets: 1 });
  const dry = (name: string) =>
    registry.create(secretKind, "a", { metadata: { name } }, { dryRun: true, byUser: true });
  await dry("s");
  expect(await used()).toEqual({ secrets: "0" });
  await secret("s");
  expect(await refusal(dry("t"))).toEqual([403, expect.stringContaining("exceeded quota: q")]);
  const lie = (object: ApiObject) => ({ ...object, status: { hard: {}, used: { secrets: "0" } } });
  await registry.update(resourceQuotaKind, { namespace: "a", name: "q" }, lie, { subresource: "status" });
  expect(await status()).toEqual({ hard: { secrets: "1" }, used: { secrets: "1" } });
});

test.each([
  ["cpu", "two", "must be a quantity"],
  ["cpu", "-1", "must be greater than or equal to 0"],
  ["requests.memory", "1Qi", "must be a quantity"],
  ["count/networks.plinth.dev", "1500m", "must be an integer"],
  ["secrets", "0.5", "must be an integer"],
  ["count/networks", "1", 'supported values: "count/'],
  ["count/hosts.plinth.dev", "1", "Unsupported value"],
  ["pods", "1", "Unsupported value"],
])("hard %s=%s is refused by field", async (resource, amount, expected) => {
  expect(await refusal(quota({ [resource]: amount }))).toEqual([
    422,
    expect.stringMatching(
      new RegExp(`^ResourceQuota "q" is invalid: spec.hard\\[${resource}\\]: .*${expected}`),
    ),
  ]);
  expect((await registry.list(resourceQuotaKind, { matches: () => true })).objects).toEqual([]);
});
