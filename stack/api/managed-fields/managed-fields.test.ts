// Server-side apply by example: the rules that its documentation states, on kinds of ours.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openMemoryStore, type Store } from "../../../base/store/index.js";
import { SimulatedClock } from "../../../base/time/index.js";
import { type ApiObject, namespaceKind, secretKind, virtualMachineKind } from "../../resources/index.js";
import type { ApiError } from "../errors.js";
import { ResourceRegistry } from "../registry.js";
import { encodeFields, parseFields } from "./field-set.js";
import { fieldsOf, merge } from "./typed-fields.js";

let store: Store;
let registry: ResourceRegistry;
let clock: SimulatedClock;
beforeEach(async () => {
  store = openMemoryStore();
  clock = new SimulatedClock();
  registry = new ResourceRegistry({ store, clock });
  await registry.create(namespaceKind, undefined, { metadata: { name: "a" } });
});
afterEach(() => store.close());

const NAME = { namespace: "a", name: "web" };
const vm = (spec: object, metadata: object = {}): object => ({
  apiVersion: "plinth.dev/v1alpha1",
  kind: "VirtualMachine",
  metadata,
  spec,
});
const apply = async (manager: string, document: object, force = false): Promise<ApiObject> =>
  (await registry.apply(virtualMachineKind, NAME, document, { manager, force })).object;
const update = async (
  manager: string,
  change: (spec: Record<string, unknown>) => object,
): Promise<ApiObject> =>
  (
    await registry.update(
      virtualMachineKind,
      NAME,
      (live) => ({ ...live, spec: change(live["spec"] as Record<string, unknown>) }),
      { manager },
    )
  ).object;
const refusal = async (promise: Promise<unknown>): Promise<ApiError> => {
  const thrown = await promise.then(
    () => new Error("it was accepted"),
    (reason: unknown) => reason,
  );
  if ((thrown as ApiError).reason === undefined) throw thrown;
  return thrown as ApiError;
};
const owned = (object: ApiObject, manager: string): unknown =>
  object.metadata.managedFields?.find((entry) => entry.manager === manager)?.fieldsV1;
const nic = (name: string, network: string, more: object = {}): object => ({ name, network, ...more });

describe("server-side apply", () => {
  test("makes an object, owns what it states and nothing that the server fills in", async () => {
    const made = await apply(
      "alice",
      vm({ cpus: 2, interfaces: [nic("front", "n")] }, { labels: { x: "y" } }),
    );
    expect(made["spec"]).toMatchObject({ cpus: 2, memory: "128Mi" });
    expect(made.metadata.managedFields).toEqual([
      {
        manager: "alice",
        operation: "Apply",
        apiVersion: "plinth.dev/v1alpha1",
        time: expect.any(String),
        fieldsType: "FieldsV1",
        fieldsV1: {
          "f:metadata": { "f:labels": { "f:x": {} } },
          "f:spec": {
            "f:cpus": {},
            "f:interfaces": { 'k:{"name":"front"}': { ".": {}, "f:name": {}, "f:network": {} } },
          },
        },
      },
    ]);
    const again = await apply(
      "alice",
      vm({ cpus: 2, interfaces: [nic("front", "n")] }, { labels: { x: "y" } }),
    );
    expect(again).toEqual(made);
  });

  test("removes what it states no longer, unless somebody else states it", async () => {
    await apply(
      "alice",
      vm({ interfaces: [nic("front", "n"), nic("back", "n")] }, { labels: { x: "1", y: "2" } }),
    );
    await apply("bob", vm({ interfaces: [nic("back", "n")] }, { labels: { y: "2" } }));
    const left = await apply("alice", vm({ interfaces: [nic("front", "n")] }));
    expect(left.metadata.labels).toEqual({ y: "2" });
    expect((left["spec"] as { interfaces: object[] }).interfaces).toEqual([
      nic("front", "n"),
      nic("back", "n"),
    ]);
    const last = await apply("bob", vm({ interfaces: [nic("back", "n")] }));
    expect(last.metadata.labels).toBeUndefined();
  });

  test("is refused where another owns the field, names each, and takes them when forced", async () => {
    await apply("alice", vm({ cpus: 2, interfaces: [nic("front", "n")] }));
    const { reason, message, details } = await refusal(
      apply("bob", vm({ cpus: 4, interfaces: [nic("front", "m")] })),
    );
    expect(reason).toBe("Conflict");
    expect(message).toBe(
      'Apply failed with 2 conflicts: conflicts with "alice" using plinth.dev/v1alpha1:\n- .spec.cpus\n- .spec.interfaces[name="front"].network',
    );
    expect(details?.causes?.[0]).toEqual({
      reason: "FieldManagerConflict",
      message: 'conflict with "alice" using plinth.dev/v1alpha1',
      field: ".spec.cpus",
    });
    const forced = await apply("bob", vm({ cpus: 4, interfaces: [nic("front", "m")] }), true);
    expect(forced["spec"]).toMatchObject({ cpus: 4, interfaces: [nic("front", "m")] });
    expect(owned(forced, "alice")).toEqual({
      "f:spec": { "f:interfaces": { 'k:{"name":"front"}': { ".": {}, "f:name": {} } } },
    });
    expect((await refusal(apply("alice", vm({ cpus: 2 })))).message).toBe(
      'Apply failed with 1 conflict: conflict with "bob" using plinth.dev/v1alpha1: .spec.cpus',
    );
  });

  test("shares a field whose value is the same", async () => {
    await apply("alice", vm({ cpus: 2 }));
    const shared = await apply("bob", vm({ cpus: 2 }));
    expect(owned(shared, "alice")).toEqual(owned(shared, "bob"));
    const one = await apply("alice", vm({ image: "guest" }));
    expect(one["spec"]).toMatchObject({ cpus: 2 });
    const none = await apply("bob", vm({ image: "guest" }));
    expect(none["spec"]).toMatchObject({ cpus: 1 });
  });

  test("conflicts with updates, which take what they change and say when", async () => {
    await apply("alice", vm({ cpus: 2 }));
    const updated = await update("kubectl-edit", (spec) => ({ ...spec, cpus: 3 }));
    expect(owned(updated, "alice")).toBeUndefined();
    expect(owned(updated, "kubectl-edit")).toEqual({ "f:spec": { "f:cpus": {} } });
    expect((await refusal(apply("alice", vm({ cpus: 2 })))).message).toMatch(
      /conflict with "kubectl-edit" using plinth.dev\/v1alpha1 at \d{4}-.*: \.spec\.cpus$/,
    );
    const removed = await update("kubectl-edit", ({ cpus: _cpus, ...spec }) => ({ ...spec, host: "h" }));
    // Left out, the server fills it in again: that is a change of it all the same.
    expect(owned(removed, "kubectl-edit")).toEqual({ "f:spec": { "f:cpus": {}, "f:host": {} } });
  });

  test("keeps the parts of status and spec apart", async () => {
    await apply("alice", vm({ cpus: 2 }));
    const status = { phase: "Running", conditions: [{ type: "Ready", status: "True" }] };
    const written = (
      await registry.update(virtualMachineKind, NAME, (live) => ({ ...live, status }), {
        manager: "host",
        subresource: "status",
      })
    ).object;
    expect(owned(written, "alice")).toEqual({ "f:spec": { "f:cpus": {} } });
    expect(written.metadata.managedFields?.[1]).toMatchObject({
      manager: "host",
      operation: "Update",
      subresource: "status",
    });
    const document = { ...vm({ cpus: 9 }), status: { conditions: [{ type: "Mine", status: "False" }] } };
    const request = { manager: "alice", force: false, subresource: "status" } as const;
    const applied = (await registry.apply(virtualMachineKind, NAME, document, request)).object;
    expect(applied["spec"]).toMatchObject({ cpus: 2 });
    expect(
      (applied["status"] as { conditions: { type: string }[] }).conditions.map(({ type }) => type),
    ).toEqual(["Ready", "Mine"]);
    const spec = await apply("alice", { ...vm({ cpus: 2 }), status: { phase: "Failed" } });
    expect(spec["status"]).toMatchObject({ phase: "Running" });
  });

  test("kubectl may change what its client-side apply set and nobody changed since", async () => {
    const note = JSON.stringify(vm({ cpus: 2, image: "guest" }, { name: "web", namespace: "a" }));
    const annotations = { "kubectl.kubernetes.io/last-applied-configuration": note };
    const made = vm({ cpus: 2, image: "other" }, { name: "web", annotations });
    const client = { manager: "kubectl-client-side-apply" };
    await registry.create(virtualMachineKind, "a", made, client);
    expect((await refusal(apply("bob", vm({ cpus: 3 })))).reason).toBe("Conflict");
    expect((await refusal(apply("kubectl", vm({ cpus: 3, image: "third" })))).message).toMatch(
      /^Apply failed with 1 conflict: .*: \.spec\.image$/,
    );
    expect((await apply("kubectl", vm({ cpus: 3 })))["spec"]).toMatchObject({ cpus: 3, image: "other" });
  });

  test("a dry run tells the same and changes nothing", async () => {
    const request = { manager: "alice", force: false, dryRun: true };
    const dry = await registry.apply(virtualMachineKind, NAME, vm({ cpus: 2 }), request);
    expect([dry.made, dry.object["spec"]]).toMatchObject([true, { cpus: 2 }]);
    expect(await registry.find(virtualMachineKind, NAME)).toBeUndefined();
    const made = await apply("alice", vm({ cpus: 2 }));
    expect(
      (
        await refusal(
          registry.apply(virtualMachineKind, NAME, vm({ cpus: 3 }), { ...request, manager: "bob" }),
        )
      ).reason,
    ).toBe("Conflict");
    expect(await registry.get(virtualMachineKind, NAME)).toEqual(made);
  });

  test("what was made before owners were kept belongs to whoever made it", async () => {
    await apply("alice", vm({ cpus: 2 }));
    const key = "/plinth.dev/virtualmachines/a/web";
    const entry = await store.get(key);
    const object = JSON.parse(Buffer.from(entry?.value ?? []).toString()) as ApiObject;
    delete object.metadata.managedFields;
    await store.put(key, Buffer.from(JSON.stringify(object)));
    expect((await update("edit", (spec) => ({ ...spec, cpus: 3 }))).metadata.managedFields).toBeUndefined();
    expect((await refusal(apply("alice", vm({ cpus: 2 })))).message).toContain('"before-first-apply"');
    const forced = await apply("alice", vm({ cpus: 2 }), true);
    expect(forced.metadata.managedFields?.map(({ manager }) => manager)).toEqual([
      "alice",
      "before-first-apply",
    ]);
  });

  test("refuses what is no configuration of the object", async () => {
    const why = async (document: unknown): Promise<string> =>
      (await refusal(registry.apply(virtualMachineKind, NAME, document, { manager: "m", force: false })))
        .message;
    expect(await why([])).toContain("must be an object");
    expect(await why({ ...vm({}), kind: "Volume" })).toContain(
      "must say apiVersion plinth.dev/v1alpha1 and kind",
    );
    expect(await why(vm({}, { name: "other" }))).toContain("does not match the name on the URL (web)");
    expect(await why(vm({}, { managedFields: [] }))).toBe("metadata.managedFields must be nil");
    expect(await why(vm({ interfaces: [nic("x", "n"), nic("x", "m")] }))).toContain(
      'duplicate entries for {"name":"x"}',
    );
    expect(await why(vm({ cpus: "many" }))).toContain("spec.cpus");
    expect(await registry.find(virtualMachineKind, NAME)).toBeUndefined();
  });
});

describe("managedFields of other writes", () => {
  test("a creation owns everything that it makes, as it was filled in", async () => {
    const made = (
      await registry.create(
        secretKind,
        "a",
        { metadata: { name: "s" }, data: { k: "eA==" } },
        { manager: "kubectl-create" },
      )
    ).object;
    expect(owned(made, "kubectl-create")).toEqual({ "f:data": { ".": {}, "f:k": {} }, "f:type": {} });
  });

  test("ten updating managers are kept apart, older ones together", async () => {
    await apply("alice", vm({ cpus: 2 }));
    for (let i = 0; i < 14; i++) {
      clock.advance(1000);
      await registry.update(
        virtualMachineKind,
        NAME,
        (live) => ({
          ...live,
          metadata: { ...live.metadata, labels: { ...live.metadata.labels, [`l${i}`]: "x" } },
        }),
        { manager: `m${i}` },
      );
    }
    const { managedFields = [] } = (await registry.get(virtualMachineKind, NAME)).metadata;
    expect(managedFields).toHaveLength(11);
    expect(managedFields.map(({ manager }) => manager)).toEqual([
      "alice",
      "ancient-changes",
      ...[5, 6, 7, 8, 9, 10, 11, 12, 13].map((i) => `m${i}`),
    ]);
    expect(owned({ metadata: { managedFields } } as unknown as ApiObject, "ancient-changes")).toMatchObject({
      "f:metadata": { "f:labels": { "f:l0": {}, "f:l4": {} } },
    });
  });

  test("a client may move fields to another manager, or start afresh", async () => {
    const made = (await registry.create(virtualMachineKind, "a", vm({}, { name: "web" }), { manager: "old" }))
      .object;
    const write = (managedFields: unknown): Promise<ApiObject> =>
      registry
        .update(virtualMachineKind, NAME, (live) => ({
          ...live,
          metadata: { ...live.metadata, managedFields },
        }))
        .then(({ object }) => object);
    const [entry] = made.metadata.managedFields ?? [];
    const moved = await write([{ ...entry, manager: "kubectl", operation: "Apply" }]);
    expect(moved.metadata.managedFields?.map(({ manager, operation }) => [manager, operation])).toEqual([
      ["kubectl", "Apply"],
    ]);
    expect((await write([])).metadata.managedFields).toEqual(moved.metadata.managedFields);
    expect((await write([{}])).metadata.managedFields).toBeUndefined();
  });

  test.each<[string, object]>([
    ["operation", { manager: "m", apiVersion: "plinth.dev/v1alpha1" }],
    ["operation", { manager: "m", apiVersion: "plinth.dev/v1alpha1", operation: "Guess" }],
    ["manager", { manager: "m".repeat(129), apiVersion: "plinth.dev/v1alpha1", operation: "Update" }],
    ["apiVersion", { manager: "m", apiVersion: "v1", operation: "Update" }],
    [
      "fieldsType",
      { manager: "m", apiVersion: "plinth.dev/v1alpha1", operation: "Update", fieldsType: "V2" },
    ],
    [
      "fieldsV1",
      { manager: "m", apiVersion: "plinth.dev/v1alpha1", operation: "Update", fieldsV1: { x: {} } },
    ],
    [
      "fieldsV1",
      { manager: "m", apiVersion: "plinth.dev/v1alpha1", operation: "Update", fieldsV1: { "k:{}": {} } },
    ],
    [
      "subresource",
      { manager: "m", apiVersion: "plinth.dev/v1alpha1", operation: "Update", subresource: "x" },
    ],
  ])("refuses a bad %s", async (field, entry) => {
    const { reason, details } = await refusal(
      registry.create(virtualMachineKind, "a", vm({}, { name: "web", managedFields: [entry] })),
    );
    expect(reason).toBe("Invalid");
    expect(details?.causes?.map((cause) => cause.field)).toContain(`metadata.managedFields[0].${field}`);
  });
});

test("keys are defaulted, and items keep the order of the configuration among those of others", () => {
  const item = {
    type: "object",
    properties: { port: { type: "integer" }, protocol: { type: "string", default: "TCP" } },
  } as const;
  const schema = {
    type: "array",
    items: item,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["port", "protocol"],
  } as const;
  const fields = encodeFields(fieldsOf(schema, [{ port: 1 }, { port: 1, protocol: "UDP" }]));
  expect(Object.keys(fields)).toEqual(['k:{"port":1,"protocol":"TCP"}', 'k:{"port":1,"protocol":"UDP"}']);
  expect(encodeFields(parseFields(fields))).toEqual(fields);
  const ports = (...list: number[]): object[] => list.map((port) => ({ port }));
  expect(merge(schema, ports(1, 2, 3, 4), ports(3, 9, 1))).toEqual(ports(3, 9, 1, 2, 4));
  expect(merge(schema, ports(1, 2, 3), ports(1, 5, 3))).toEqual(ports(1, 2, 5, 3));
});
