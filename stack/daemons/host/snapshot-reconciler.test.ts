// VolumeSnapshots against the real registry and a pool that only pretends: those of schedules come and go by themselves,
// nothing is taken for gone that only cannot be listed, and a restart in any gap between two calls changes nothing.
import { beforeEach, describe, expect, it } from "vitest";
import { PlinthError } from "../../../base/errors/index.js";
import { openMemoryStore } from "../../../base/store/index.js";
import { systemClock } from "../../../base/time/index.js";
import { LocalClient, type ResourceClient, ResourceRegistry } from "../../api/index.js";
import type { Volume, VolumeSnapshot } from "../../resources/index.js";
import { HOST_FINALIZER } from "./api-writer.js";
import {
  adoptSnapshots,
  reconcileSnapshot,
  SCHEDULE_LABEL,
  type SnapshotStorage,
  unshown,
} from "./snapshot-reconciler.js";
import type { SnapshotFacts, VolumeFacts } from "./storage-client.js";

const CREATED_AT = "2026-03-01T12:00:05.000Z";

/** One volume, shop/data. */
class FakeStorage implements SnapshotStorage {
  snapshots: SnapshotFacts[] = [];
  damage: string | undefined;
  isGone = false;
  readonly calls: string[] = [];

  async volume(name: string): Promise<VolumeFacts | undefined> {
    if (this.isGone || name !== "shop/data") return undefined;
    const { damage, snapshots } = this;
    const listed = damage === undefined ? snapshots : [];
    return { name, sizeBytes: 4096, allocatedBytes: 0, snapshots: listed, damage };
  }
  async createSnapshot(volume: string, name: string): Promise<void> {
    this.calls.push(`create ${volume}@${name}`);
    this.snapshots.push(snapshotFacts(name, undefined));
  }
  async deleteSnapshot(volume: string, name: string): Promise<void> {
    this.calls.push(`delete ${volume}@${name}`);
    this.snapshots = this.snapshots.filter((each) => each.name !== name);
  }
}

function snapshotFacts(name: string, schedule: string | undefined): SnapshotFacts {
  return { name, createdAt: CREATED_AT, sizeBytes: 4096, exclusiveBytes: 7, schedule };
}

/** Ends its process before, or after, the write number `at`. */
function dyingClient(inner: ResourceClient, at: number, when: "before" | "after"): ResourceClient {
  let writes = 0;
  const isWrite = (property: string) => ["create", "patch", "delete"].includes(property);
  return new Proxy(inner, {
    get(target, property: keyof ResourceClient & string) {
      const method = (target[property] as (...given: unknown[]) => unknown).bind(target);
      if (!isWrite(property)) return method;
      return async (...given: unknown[]) => {
        writes++;
        if (writes === at && when === "before") throw new Error("killed");
        const result = await method(...given);
        if (writes === at) throw new Error("killed");
        return result;
      };
    },
  });
}

let client: LocalClient;
let storage: FakeStorage;
let volume: Volume;
beforeEach(async () => {
  const registry = new ResourceRegistry({ store: openMemoryStore(), clock: systemClock });
  client = new LocalClient({ component: "host" }, { registry, clock: systemClock });
  await client.create("Namespace", { metadata: { name: "shop" } });
  storage = new FakeStorage();
  volume = await createVolume("data");
});

const createVolume = (name: string) =>
  client.create("Volume", { metadata: { namespace: "shop", name }, spec: { size: "16Mi" } });
const objects = async () => (await client.list("VolumeSnapshot")).items;
const names = async () => (await objects()).map(({ metadata }) => metadata.name);
const get = (name: string) => client.get("VolumeSnapshot", { namespace: "shop", name });
const make = (name: string, spec: VolumeSnapshot["spec"]) =>
  client.create("VolumeSnapshot", { metadata: { namespace: "shop", name }, spec });

/** What a host does that has just started: everything is looked at once. */
async function round(by: ResourceClient = client): Promise<void> {
  const modules = { client: by, storage, clock: systemClock };
  const facts = await storage.volume("shop/data");
  if (facts !== undefined) await adoptSnapshots(volume, unshown(volume, facts, await objects()), by);
  for (const object of await objects()) await reconcileSnapshot(object, modules);
}

describe("snapshots of a schedule", () => {
  it("become VolumeSnapshots with what the pool knows of them, and nothing is made in the pool", async () => {
    storage.snapshots = [snapshotFacts("hourly-1", "hourly"), snapshotFacts("byhand", undefined)];
    await round();
    const [object, ...others] = await objects();
    expect(others).toEqual([]);
    expect(object?.metadata).toMatchObject({
      name: "data.hourly-1",
      labels: { [SCHEDULE_LABEL]: "hourly" },
      finalizers: [HOST_FINALIZER],
    });
    expect(object?.spec).toEqual({ volume: "data", snapshotName: "hourly-1" });
    expect(object?.status).toMatchObject({
      readyToUse: true,
      createdAt: CREATED_AT,
      sizeBytes: 4096,
      exclusiveBytes: 7,
      conditions: [{ type: "Ready", status: "True" }],
    });
    expect(storage.calls).toEqual([]);
  });

  it("go when the schedule lets them go, and the pool is not asked to delete anything", async () => {
    storage.snapshots = [snapshotFacts("hourly-1", "hourly"), snapshotFacts("hourly-2", "hourly")];
    await round();
    storage.snapshots = [snapshotFacts("hourly-2", "hourly"), snapshotFacts("hourly-3", "hourly")];
    await round();
    expect(await names()).toEqual(["data.hourly-2", "data.hourly-3"]);
    storage.isGone = true;
    await round();
    expect([await names(), storage.calls]).toEqual([[], []]);
  });

  it("stay while the volume is damaged or its pool is not open, when nothing can be listed", async () => {
    storage.snapshots = [snapshotFacts("hourly-1", "hourly")];
    await round();
    storage.damage = "disk /a is missing";
    await expect(round()).rejects.toThrow("disk /a is missing");
    expect(await names()).toEqual(["data.hourly-1"]);
    storage.damage = undefined;
    await round();
    expect(await names()).toEqual(["data.hourly-1"]);
  });

  it("are deleted in the pool, by their name there, when somebody deletes the object", async () => {
    storage.snapshots = [snapshotFacts("hourly-1", "hourly")];
    await round();
    await client.delete("VolumeSnapshot", { namespace: "shop", name: "data.hourly-1" });
    await round();
    expect(storage.calls).toEqual(["delete shop/data@hourly-1"]);
    expect(await names()).toEqual([]);
    await round();
    expect(await names()).toEqual([]);
  });

  it("get another name when theirs is taken or too long, and always the same", async () => {
    await make("data.hourly-1", { volume: "data" });
    const long = `${"x".repeat(70)}-1`;
    storage.snapshots = [
      snapshotFacts("hourly-1", "hourly"),
      snapshotFacts(long, "x".repeat(70)),
      snapshotFacts("a..b", "a."),
    ];
    await round();
    const hashed = (await objects()).filter(({ spec }) => spec.snapshotName !== undefined);
    expect(new Set(hashed.map(({ spec }) => spec.snapshotName))).toEqual(new Set(["hourly-1", long, "a..b"]));
    for (const { metadata } of hashed) expect(metadata.name).toMatch(/^data\.snapshot-[0-9a-f]{16}$/);
    const before = await names();
    // A copy of the objects that is behind: none is made twice.
    await adoptSnapshots(volume, unshown(volume, (await storage.volume("shop/data"))!, []), client);
    expect(await names()).toEqual(before);
  });

  it("are told from those of a volume whose name ends where another begins", async () => {
    const other = await createVolume("data.hourly-1");
    await adoptSnapshots(volume, [snapshotFacts("hourly-1.x", "hourly-1.x")], client);
    await adoptSnapshots(other, [snapshotFacts("x", "x")], client);
    const places = (await objects()).map(({ spec }) => `${spec.volume}@${spec.snapshotName}`);
    expect(places.sort()).toEqual(["data.hourly-1@x", "data@hourly-1.x"]);
  });

  it("are kept in spite of a quota, which is told", async () => {
    await client.create("ResourceQuota", {
      metadata: { namespace: "shop", name: "few" },
      spec: { hard: { "count/volumesnapshots.plinth.dev": "0" } },
    });
    storage.snapshots = [snapshotFacts("hourly-1", "hourly")];
    await expect(round()).rejects.toThrow("exceeded quota");
    const events = (await client.list("Event")).items;
    expect(events.map(({ reason }) => reason)).toEqual(["SnapshotNotShown"]);
    expect([storage.calls, storage.snapshots.length]).toEqual([[], 1]);
  });
});

describe("a restart in any gap", () => {
  const places = async () => (await objects()).map(({ spec }) => spec.snapshotName ?? "-").sort();
  for (const when of ["before", "after"] as const) {
    it(`${when} a write: each snapshot has one object in the end, and the pool keeps what it has`, async () => {
      let survived = false;
      for (let at = 1; !survived; at++) {
        storage.snapshots = [snapshotFacts(`h-${at}`, "h"), snapshotFacts(`h-${at + 1}`, "h")];
        survived = await round(dyingClient(client, at, when)).then(
          () => true,
          (thrown: Error) => {
            expect(thrown.message).toContain("killed");
            return false;
          },
        );
        await round();
        expect(await places()).toEqual([`h-${at}`, `h-${at + 1}`]);
        expect((await objects()).every(({ status }) => status?.readyToUse === true)).toBe(true);
        expect((await objects()).every(({ metadata }) => metadata.finalizers?.length === 1)).toBe(true);
        expect(at).toBeLessThan(40);
      }
      expect(storage.calls).toEqual([]);
    });
  }

  it("while an object goes: a snapshot that comes back, with its volume undeleted, is kept and shown", async () => {
    storage.snapshots = [snapshotFacts("h-1", "h")];
    await round();
    storage.isGone = true;
    await expect(round(dyingClient(client, 1, "after"))).rejects.toThrow("killed");
    expect((await get("data.h-1"))?.metadata.finalizers ?? []).toEqual([]);
    storage.isGone = false;
    await round();
    expect((await get("data.h-1"))?.metadata.finalizers).toEqual([HOST_FINALIZER]);
    expect([storage.calls, storage.snapshots.length]).toEqual([[], 1]);
  });
});

describe("VolumeSnapshots by hand", () => {
  it("are cut once, under their own name, and say when their snapshot is gone", async () => {
    await make("before", { volume: "data" });
    await round();
    await round();
    expect(storage.calls).toEqual(["create shop/data@before"]);
    expect((await get("before"))?.status?.readyToUse).toBe(true);
    storage.snapshots = [];
    await expect(round()).rejects.toThrow(
      new PlinthError("SNAPSHOT_NOT_FOUND", "the snapshot is gone from the pool"),
    );
    expect(await names()).toEqual(["before"]);
    storage.damage = "its log ends early";
    await expect(round()).rejects.toThrow("its log ends early");
    expect(storage.calls).toHaveLength(1);
  });

  it("stand for a snapshot that is there by its name in the pool, and make none that is not", async () => {
    await make("mine", { volume: "data", snapshotName: "byhand" });
    await expect(round()).rejects.toThrow("shop/data has no snapshot byhand in its pool");
    expect([await names(), storage.calls]).toEqual([["mine"], []]);
    storage.snapshots = [snapshotFacts("byhand", undefined)];
    await round();
    expect((await get("mine"))?.status).toMatchObject({ readyToUse: true, createdAt: CREATED_AT });
    expect(storage.calls).toEqual([]);
  });

  it("cannot be made to stand for another one", async () => {
    await make("mine", { volume: "data", snapshotName: "byhand" });
    const change = (spec: object) =>
      client.patch("VolumeSnapshot", { namespace: "shop", name: "mine" }, { spec });
    for (const snapshotName of ["other", null]) {
      await expect(change({ snapshotName })).rejects.toThrow("spec.snapshotName: Invalid value");
    }
    for (const bad of ["UPPER", "-a", "a/b", "a@b", "a".repeat(254)]) {
      await expect(make("bad", { volume: "data", snapshotName: bad })).rejects.toThrow("spec.snapshotName");
    }
  });
});
