// The disks of a StoragePool against the real registry and a pool that only pretends: taken, emptied, removed, kept after
// all, and what the conditions say meanwhile; restarts in every gap between two calls included.
import { beforeEach, describe, expect, it } from "vitest";
import { PlinthError } from "../../../base/errors/index.js";
import { openMemoryStore } from "../../../base/store/index.js";
import { systemClock } from "../../../base/time/index.js";
import { LocalClient, ResourceRegistry } from "../../api/index.js";
import type { StoragePool } from "../../resources/index.js";
import { type PoolStorage, reconcilePool } from "./pool-reconciler.js";
import type { JobFacts, PoolFacts, ScrubFacts, ThresholdFacts } from "./storage-client.js";

const POOL = { name: "default" };
const SEGMENT = 4 * 2 ** 20;

interface FakeDisk {
  why?: string;
  state: string;
  segments: number;
}

/** A pool whose drains go on when the test says so. */
class FakePool implements PoolStorage {
  readonly disks = new Map<string, FakeDisk>();
  isThere = true;
  readonly calls: string[] = [];
  jobs: JobFacts[] = [];
  scrub: ScrubFacts | undefined;
  thresholds: ThresholdFacts = { warningPercent: 80, criticalPercent: 95 };
  /** Call → the refusal that it meets. */
  readonly refusals = new Map<string, PlinthError>();

  async pools(): Promise<PoolFacts[]> {
    if (!this.isThere) return [];
    const disks = [...this.disks].map(([path, disk]) => ({ path, ...disk, sizeBytes: 100, freeBytes: 50 }));
    return [
      {
        name: "default",
        sizeBytes: 100,
        allocatedBytes: 1,
        freeBytes: 99,
        disks,
        owner: this.owner,
        jobs: this.jobs,
        scrub: this.scrub,
        thresholds: this.thresholds,
      },
    ];
  }
  async createPool(): Promise<unknown> {
    throw new Error("the pool is there");
  }
  owner: string | undefined;
  async ownPool(_name: string, owner: string): Promise<void> {
    this.owner = owner;
  }
  async deletePool(name: string, owner: string): Promise<void> {
    this.#note("delete", name);
    if (owner !== this.owner) throw new Error(`${owner} does not own the pool`);
    this.isThere = false;
  }
  async rekeyPool(): Promise<unknown> {
    throw new Error("no key is wanted");
  }
  async setScrub(_name: string, schedule: string | undefined, rate: number | undefined): Promise<void> {
    this.#note("scrub", `${schedule} ${rate}`);
    this.scrub = {
      ...(this.scrub as ScrubFacts),
      cron: "0 1 * * 0",
      schedule: "weekly",
      bytesPerSecond: rate ?? 0,
    };
  }
  async setThresholds(_name: string, thresholds: ThresholdFacts): Promise<void> {
    this.#note("thresholds", `${thresholds.warningPercent} ${thresholds.criticalPercent}`);
    this.thresholds = thresholds;
  }
  async addDisks(_name: string, disks: readonly string[]): Promise<void> {
    this.#note("add", disks.join());
    for (const path of disks) this.disks.set(path, { state: "Healthy", segments: 0 });
  }
  async drainDisk(_name: string, path: string): Promise<void> {
    this.#note("drain", path);
    const disk = this.disks.get(path) as FakeDisk;
    disk.state = "Draining";
    const totalBytes = disk.segments * SEGMENT;
    this.jobs = [{ kind: "drain", subject: path, state: "running", doneBytes: 0, totalBytes }];
  }
  async undrainDisk(_name: string, path: string): Promise<void> {
    this.#note("undrain", path);
    (this.disks.get(path) as FakeDisk).state = "Healthy";
  }
  async removeDisk(_name: string, path: string): Promise<void> {
    this.#note("remove", path);
    this.disks.delete(path);
  }

  #note(call: string, path: string): void {
    const refusal = this.refusals.get(call);
    if (refusal !== undefined) throw refusal;
    this.calls.push(`${call} ${path}`);
  }
}

let client: LocalClient;
let storage: FakePool;
beforeEach(async () => {
  const registry = new ResourceRegistry({ store: openMemoryStore(), clock: systemClock });
  client = new LocalClient({ component: "host" }, { registry, clock: systemClock });
  // Where events about cluster-wide objects stand.
  await client.create("Namespace", { metadata: { name: "default" } });
  storage = new FakePool();
  storage.disks.set("/a", { state: "Healthy", segments: 8 });
  await client.create("StoragePool", { metadata: POOL, spec: { host: "here", disks: ["/a"] } });
  await turn();
});

const pool = async () => (await client.get("StoragePool", POOL)) as StoragePool;
const turn = async () => reconcilePool(await pool(), { client, storage });
const name = (...disks: string[]) => client.patch("StoragePool", POOL, { spec: { disks } });
const asWanted = async () =>
  (await pool()).status?.conditions?.find(({ type }) => type === "DisksAsWanted") as { message: string };
const shown = async () =>
  Object.fromEntries((await pool()).status?.disks?.map((disk) => [disk.path, disk.wanted]) ?? []);

describe("reconcilePool()", () => {
  it("replaces a disk: the new one is taken, the old one emptied with its progress shown, then removed", async () => {
    await name("/b");
    await turn();
    expect(storage.calls).toEqual(["add /b", "drain /a"]);
    expect(await asWanted()).toMatchObject({ status: "False", reason: "Draining" });
    storage.jobs = [{ ...(storage.jobs[0] as JobFacts), doneBytes: 2 * SEGMENT }];
    await turn();
    expect((await asWanted()).message).toBe("/a is being emptied: 25 % of 32MiB are moved");
    expect(await shown()).toEqual({ "/a": false, "/b": true });
    storage.disks.set("/a", { state: "Draining", segments: 0 });
    await turn();
    expect(storage.calls).toEqual(["add /b", "drain /a", "remove /a"]);
    expect(await asWanted()).toMatchObject({ status: "True", reason: "AsWanted" });
    expect(await shown()).toEqual({ "/b": true });
    const events = (await client.list("Event")).items.map(({ reason }) => reason);
    expect(events).toEqual(expect.arrayContaining(["DisksAdded", "DiskDraining", "DiskRemoved"]));
  });

  it("says which disks are not used and why, and claims the pool, so that nobody else deletes it unawares", async () => {
    expect(storage.owner).toBe("StoragePool default");
    const present = async () =>
      (await pool()).status?.conditions?.find(({ type }) => type === "DisksPresent");
    expect(await present()).toMatchObject({ status: "True", reason: "AllPresent" });
    storage.disks.set("/a", { state: "Detached", segments: 8, why: "not at its path" });
    await turn();
    expect(await present()).toMatchObject({
      status: "False",
      reason: "DiskDetached",
      message: "/a: not at its path",
    });
    expect((await pool()).status?.disks?.[0]).not.toHaveProperty("why");
    const intact = async () => (await pool()).status?.conditions?.find(({ type }) => type === "DisksIntact");
    expect(await intact()).toMatchObject({ status: "True", reason: "NothingFound" });
    storage.disks.set("/a", { state: "Damaged", segments: 8, why: "1 block on it is bad" });
    await turn();
    expect(await present()).toMatchObject({ status: "True" });
    expect(await intact()).toMatchObject({
      status: "False",
      reason: "DiskDamaged",
      message: "/a: 1 block on it is bad",
    });
    await turn();
    storage.disks.set("/a", { state: "Healthy", segments: 8 });
    await turn();
    expect(await intact()).toMatchObject({ status: "True" });
    const told = (await client.list("Event")).items.map(({ reason }) => reason);
    expect(told.filter((reason) => /Damaged|Mended/.test(reason ?? "")).sort()).toEqual([
      "DiskDamaged",
      "DisksMended",
    ]);
  });

  it("uses a disk again that is named again while it is emptied, also when the first try fails", async () => {
    await name("/b");
    await turn();
    await name("/a", "/b");
    storage.refusals.set("undrain", new PlinthError("RPC_CLOSED", "storaged is gone"));
    await expect(turn()).rejects.toThrow("storaged is gone");
    storage.refusals.clear();
    await turn();
    expect(storage.calls.at(-1)).toBe("undrain /a");
    await turn();
    expect(await shown()).toEqual({ "/a": true, "/b": true });
    expect(await asWanted()).toMatchObject({ status: "True" });
  });

  it("says why a disk cannot leave, serves on, and asks again", async () => {
    await name("/b");
    storage.refusals.set("drain", new PlinthError("POOL_FULL", "4096 bytes find no room"));
    await turn();
    expect(await asWanted()).toMatchObject({
      status: "False",
      reason: "PoolFull",
      message: expect.stringContaining("/a: 4096 bytes find no room"),
    });
    const ready = (await pool()).status?.conditions?.find(({ type }) => type === "Ready");
    expect(ready?.status).toBe("True");
    storage.refusals.clear();
    await turn();
    expect(storage.calls.at(-1)).toBe("drain /a");
    // What a restart of storaged or a lack of room ended is begun again.
    storage.jobs = [{ ...(storage.jobs[0] as JobFacts), state: "failed" }];
    await turn();
    expect(storage.calls.slice(-2)).toEqual(["drain /a", "drain /a"]);
  });

  it("lets a failed disk go only when storaged finds every copy elsewhere", async () => {
    await name("/a", "/b");
    await turn();
    (storage.disks.get("/a") as FakeDisk).state = "Failed";
    await name("/b");
    storage.refusals.set("remove", new PlinthError("DISK_IN_USE", "8 segments have no other copy"));
    await turn();
    expect(await asWanted()).toMatchObject({ status: "False", reason: "DiskInUse" });
    expect(storage.disks.has("/a")).toBe(true);
    storage.refusals.clear();
    await turn();
    expect([...storage.disks.keys()]).toEqual(["/b"]);
  });

  it("goes when it is deleted and its pool erased; until its volumes are gone it says what it waits for", async () => {
    storage.refusals.set("delete", new PlinthError("POOL_IN_USE", "pool default holds volumes: shop/db"));
    await client.delete("StoragePool", POOL);
    await expect(turn()).rejects.toThrow("shop/db");
    const ready = async () => (await pool()).status?.conditions?.find(({ type }) => type === "Ready");
    expect(await ready()).toMatchObject({
      status: "False",
      reason: "PoolInUse",
      message: "pool default holds volumes: shop/db",
    });
    storage.refusals.clear();
    await turn();
    expect(storage.calls).toEqual(["delete default"]);
    expect(await client.get("StoragePool", POOL)).toBeUndefined();
  });

  it("neither erases nor makes a pool again whose StoragePool goes when storaged has forgotten it already", async () => {
    await client.patch("StoragePool", POOL, {
      metadata: { finalizers: ["plinth.dev/host", "example.com/mine"] },
    });
    await client.delete("StoragePool", POOL);
    storage.isThere = false;
    await turn();
    await turn();
    expect(storage.calls).toEqual([]);
    expect((await pool()).metadata.finalizers).toEqual(["example.com/mine"]);
  });

  it("leaves alone what the command line added or drains", async () => {
    storage.disks.set("/cli", { state: "Healthy", segments: 1 });
    await turn();
    expect(await shown()).toEqual({ "/a": true, "/cli": undefined });
    (storage.disks.get("/a") as FakeDisk).state = "Draining";
    await turn();
    await turn();
    expect(storage.calls).toEqual([]);
    expect(await asWanted()).toMatchObject({ status: "True" });
  });

  it("knows a disk as its own that it had no time to see in the pool", async () => {
    await name("/a", "/b");
    storage.refusals.set("add", new PlinthError("RPC_CLOSED", "storaged is gone"));
    await expect(turn()).rejects.toThrow("storaged is gone");
    // The call was carried out, its answer lost; then the user changes his mind.
    storage.disks.set("/b", { state: "Healthy", segments: 3 });
    storage.refusals.clear();
    await name("/a");
    await turn();
    expect(storage.calls).toEqual(["drain /b"]);
  });

  it("sets thresholds at run time, leaves those alone that the spec does not name, and says what was refused", async () => {
    const verdict = async () =>
      (await pool()).status?.conditions?.find(({ type }) => type === "ThresholdsAsWanted");
    await turn();
    expect((await pool()).status?.thresholds).toEqual({ warningPercent: 80, criticalPercent: 95 });
    expect(await verdict()).toBeUndefined();
    await client.patch("StoragePool", POOL, { spec: { thresholds: { warningPercent: 60 } } });
    await turn();
    await turn();
    expect(storage.calls).toEqual(["thresholds 60 95"]);
    expect((await pool()).status?.thresholds).toEqual({ warningPercent: 60, criticalPercent: 95 });
    expect(await verdict()).toMatchObject({ status: "True", reason: "AsWanted" });
    storage.refusals.set("thresholds", new PlinthError("PARAMETER_INVALID", "97 is more than 95"));
    await client.patch("StoragePool", POOL, { spec: { thresholds: { warningPercent: 97 } } });
    await turn();
    expect(await verdict()).toMatchObject({
      status: "False",
      reason: "ParameterInvalid",
      message: "97 is more than 95",
    });
    expect((await pool()).status?.conditions?.find(({ type }) => type === "Ready")?.status).toBe("True");
    await client.patch("StoragePool", POOL, { spec: { thresholds: null } });
    await turn();
    expect(await verdict()).toMatchObject({ status: "True" });
    expect(storage.thresholds).toEqual({ warningPercent: 60, criticalPercent: 95 });
  });

  it("sets schedule and rate of scrubs, and shows what the last one found, with an event for each", async () => {
    const nextAt = "2026-04-01T01:00:00.000Z";
    const never = { running: undefined, last: undefined };
    storage.scrub = { cron: "0 1 1 * *", schedule: "monthly", bytesPerSecond: 0, nextAt, ...never };
    const scrubbed = async () =>
      (await pool()).status?.conditions?.find(({ type }) => type === "Scrubbed") as { message: string };
    await client.patch("StoragePool", POOL, { spec: { scrub: { schedule: "weekly", bandwidth: "50Mi" } } });
    await turn();
    await turn();
    expect(storage.calls).toEqual([`scrub weekly ${50 * 2 ** 20}`]);
    expect((await pool()).status?.scrub).toEqual({ nextTime: nextAt });
    expect(await scrubbed()).toBeUndefined();
    const running = { doneBytes: 30 * SEGMENT, totalBytes: 40 * SEGMENT };
    const found = {
      checkedBytes: 40 * SEGMENT,
      repairedBlocks: 0,
      lostBlocks: 2,
      findings: ["block 9 is lost"],
    };
    const last = { endedAt: "2026-03-02T01:00:00.000Z", outcome: "failed", ...found };
    storage.scrub = { ...storage.scrub, running, last };
    await turn();
    await turn();
    expect((await pool()).status?.scrub).toMatchObject({
      progressPercent: 75,
      lastResult: "failed",
      lostBlocks: 2,
    });
    expect(await scrubbed()).toMatchObject({ status: "False", reason: "BlocksLost" });
    expect((await scrubbed()).message).toBe("2 blocks without a good copy: block 9 is lost");
    const events = (await client.list("Event")).items.filter(({ reason }) => reason === "BlocksLost");
    expect(events).toMatchObject([{ type: "Warning", count: 1 }]);
    storage.scrub = {
      ...storage.scrub,
      running: undefined,
      last: { ...last, outcome: "done", lostBlocks: 0 },
    };
    await turn();
    expect(await scrubbed()).toMatchObject({ status: "True", reason: "Clean" });
    storage.refusals.set("scrub", new PlinthError("PARAMETER_INVALID", "no such time"));
    await client.patch("StoragePool", POOL, { spec: { scrub: { schedule: "61 1 * * 0" } } });
    await turn();
    expect(await scrubbed()).toMatchObject({
      status: "False",
      reason: "ParameterInvalid",
      message: "no such time",
    });
    const ready = (await pool()).status?.conditions?.find(({ type }) => type === "Ready");
    expect(ready?.status).toBe("True");
    for (const scrub of [{ schedule: "now and then" }, { bandwidth: "2Ti" }])
      await expect(client.patch("StoragePool", POOL, { spec: { scrub } })).rejects.toThrow("spec.scrub.");
  });
});
