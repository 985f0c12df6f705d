// The storage and function reconcilers against the real registry and daemons that only pretend: what is asked of them,
// and what the API shows when they are away, refuse, or forget.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PlinthError } from "../../../base/errors/index.js";
import { type ControlMethod, type ControlServer, createControlServer } from "../../../base/jsonrpc/index.js";
import { silentLog } from "../../../base/log/index.js";
import { openMemoryStore } from "../../../base/store/index.js";
import { type Clock, SimulatedClock, systemClock, waitFor } from "../../../base/time/index.js";
import { LocalClient, ResourceRegistry } from "../../api/index.js";
import type { Network, Volume } from "../../resources/index.js";
import { FunctionReconciler } from "./function-reconciler.js";
import { hostControlMethods } from "./host-control.js";
import { shortId } from "./machine-records.js";
import type { Machines } from "./machines.js";
import { StorageClient } from "./storage-client.js";
import { reasonOf } from "./storage-reasons.js";
import { StorageReconciler } from "./storage-reconciler.js";

let dir: string;
let client: LocalClient;
let server: ControlServer | undefined;
let attached: string | undefined;
const closers: (() => Promise<void>)[] = [];
const socket = (): string => join(dir, "control.sock");
const NAME = { namespace: "shop", name: "data" };

beforeEach(async () => {
  dir = mkdtempSync("/tmp/prec-");
  attached = undefined;
  const registry = new ResourceRegistry({ store: openMemoryStore(), clock: systemClock });
  client = new LocalClient({ component: "host" }, { registry, clock: systemClock });
  await client.create("Namespace", { metadata: { name: "shop" } });
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  await server?.close();
  server = undefined;
  rmSync(dir, { recursive: true, force: true });
});

/** What a method answers that has nothing to say. */
const done = (_result: unknown): object => ({});

interface FakeVolume {
  sizeBytes: number;
  owner?: string;
  readonly snapshots: string[];
  readonly from?: string;
  /** Snapshot → the schedule that made it. */
  readonly schedules?: Map<string, string>;
}

class FakeStoraged {
  /** How often pools or a volume were asked for, and whether the answer differs each time. */
  asked = 0;
  drifts = false;
  lostRanges: readonly object[] = [];
  /** Why volumes are not served. */
  unserved: { damage?: string; damageCode?: string } = {};
  readonly pools = new Map<string, string[]>();
  readonly volumes = new Map<string, FakeVolume>();
  readonly methods: Record<string, ControlMethod> = {
    "pool.list": () =>
      [...this.pools].map(([name, disks]) => ({
        name,
        sizeBytes: 100,
        warningPercent: 80,
        criticalPercent: 95,
        allocatedBytes: 1,
        freeBytes: 99 - this.#drift(),
        disks: disks.map((path) => ({ path, sizeBytes: 100, freeBytes: 99, failed: false, segments: 0 })),
        jobs: [],
      })),
    "pool.create": ({ name, disks }) => done(this.pools.set(String(name), disks as string[])),
    "volume.list": () => [...this.volumes.keys()].map((name) => this.#show(name)),
    "volume.get": ({ name }) => this.#show(String(name)),
    "volume.create": ({ name, sizeBytes }) =>
      done(
        this.volumes.set(String(name), {
          sizeBytes: Number(sizeBytes),
          snapshots: [],
          schedules: new Map(),
        }),
      ),
    "volume.clone": ({ name, volume, snapshot }) => {
      const { sizeBytes } = this.#get(String(volume));
      this.volumes.set(String(name), { sizeBytes, snapshots: [], from: `${volume}@${snapshot}` });
      return {};
    },
    "volume.grow": ({ name, sizeBytes }) => {
      this.#get(String(name)).sizeBytes = Number(sizeBytes);
      return {};
    },
    "pool.own": () => ({}),
    "volume.own": ({ name, owner }) => {
      this.#get(String(name)).owner = String(owner);
      return {};
    },
    "volume.delete": ({ name, owner }) => {
      if (this.#get(String(name)).owner !== owner) throw new PlinthError("OWNED", `not of ${owner}`);
      this.volumes.delete(String(name));
      return {};
    },
    "snapshot.create": ({ volume, name }) => done(this.#get(String(volume)).snapshots.push(String(name))),
    "snapshot.delete": ({ volume, name }) => {
      const { snapshots } = this.#get(String(volume));
      snapshots.splice(snapshots.indexOf(String(name)), 1);
      return {};
    },
  };

  #get(name: string): FakeVolume {
    const found = this.volumes.get(name);
    if (found === undefined) throw new PlinthError("VOLUME_NOT_FOUND", `no volume ${name}`);
    return found;
  }

  #drift(): number {
    this.asked++;
    return this.drifts ? this.asked : 0;
  }

  #show(name: string): object {
    const { sizeBytes, snapshots, schedules } = this.#get(name);
    const list = snapshots.map((each) => ({
      name: each,
      sizeBytes,
      exclusiveBytes: 7,
      schedule: schedules?.get(each),
    }));
    const { lostRanges } = this;
    return {
      name,
      pool: "default",
      sizeBytes,
      allocatedBytes: 4096 + this.#drift(),
      snapshots: list,
      lostRanges,
      ...this.unserved,
    };
  }
}

async function serve(methods: Record<string, ControlMethod>): Promise<void> {
  server = await createControlServer(socket(), methods, { name: "fake" });
}

/** Ten times as fast, so that what comes round every few seconds does so soon. */
const FAST_CLOCK: Clock = {
  wallMs: () => systemClock.wallMs(),
  nowMs: () => systemClock.nowMs(),
  after: (delayMs, run) => systemClock.after(delayMs / 10, run),
};

async function startStorage(clock: Clock = systemClock): Promise<StorageReconciler> {
  const reconciler = new StorageReconciler(
    { host: "here", defaultDisks: ["/disk/0"], attachedTo: () => attached, onVolume: () => {} },
    { client, storage: new StorageClient(socket()), clock, log: silentLog },
  );
  closers.push(() => reconciler.close());
  await reconciler.start();
  return reconciler;
}

const until = (what: string, check: () => Promise<boolean>): Promise<void> =>
  waitFor(check, what, 30_000, 20);
const volumeIs = (check: (volume: Volume | undefined) => boolean | undefined) => async () =>
  check(await client.get("Volume", NAME)) === true;
const volumeReady = (volume: Volume | undefined) =>
  volume?.status?.conditions?.find(({ type }) => type === "Ready");
const createVolume = () => client.create("Volume", { metadata: NAME, spec: { size: "16Mi" } });

describe("StorageReconciler", () => {
  it("adopts the default pool that storaged was given, with the disks that it has", async () => {
    const storaged = new FakeStoraged();
    storaged.pools.set("default", ["/small"]);
    await serve(storaged.methods);
    await startStorage();
    const pool = () => client.get("StoragePool", { name: "default" });
    await until("the pool", async () => (await pool())?.status?.sizeBytes === 100);
    expect((await pool())?.spec?.disks).toEqual(["/small"]);
    expect(storaged.pools.get("default")).toEqual(["/small"]);
  });

  it("makes the default pool, volumes, snapshots and clones, grows them, and lets them go", async () => {
    const storaged = new FakeStoraged();
    await serve(storaged.methods);
    await startStorage(FAST_CLOCK);
    await until(
      "the pool",
      async () => (await client.get("StoragePool", { name: "default" }))?.status?.sizeBytes === 100,
    );
    expect(storaged.pools.get("default")).toEqual(["/disk/0"]);

    await createVolume();
    await until(
      "the volume",
      volumeIs((volume) => volume?.status?.phase === "Available"),
    );
    expect(storaged.volumes.get("shop/data")?.sizeBytes).toBe(16 * 2 ** 20);
    await client.patch("Volume", NAME, { spec: { size: "32Mi" } });
    await until(
      "growth",
      volumeIs((volume) => volume?.status?.sizeBytes === 32 * 2 ** 20),
    );
    const intact = (volume: Volume | undefined) =>
      volume?.status?.conditions?.find(({ type }) => type === "Intact");
    storaged.lostRanges = [
      { snapshot: "s", offsetBytes: 8192, lengthBytes: 4096 },
      { offsetBytes: 0, lengthBytes: 4096 },
    ];
    await until(
      "what is lost",
      volumeIs((volume) => intact(volume)?.reason === "BlocksLost"),
    );
    expect(intact(await client.get("Volume", NAME))).toMatchObject({
      status: "False",
      message: expect.stringMatching(/4096 bytes at 8192 of snapshot s and 1 more range /),
    });
    storaged.lostRanges = [];
    await until(
      "that all is well again",
      volumeIs((volume) => intact(volume)?.status === "True"),
    );

    await client.create("VolumeSnapshot", {
      metadata: { name: "before", namespace: "shop" },
      spec: { volume: "data" },
    });
    const snapshot = { namespace: "shop", name: "before" };
    await until(
      "the cut",
      async () => (await client.get("VolumeSnapshot", snapshot))?.status?.readyToUse === true,
    );
    await client.create("Volume", {
      metadata: { name: "copy", namespace: "shop" },
      spec: { size: "32Mi", source: { snapshot: "before" } },
    });
    await until("the clone", async () => storaged.volumes.get("shop/copy")?.from === "shop/data@before");

    await client.delete("VolumeSnapshot", snapshot);
    await until(
      "the snapshot to go",
      async () => (await client.get("VolumeSnapshot", snapshot)) === undefined,
    );
    expect(storaged.volumes.get("shop/data")?.snapshots).toEqual([]);
    await client.delete("Volume", NAME);
    await until(
      "the volume to go",
      volumeIs((volume) => volume === undefined),
    );
    expect([...storaged.volumes.keys()]).toEqual(["shop/copy"]);
  });

  it("shows snapshots of schedules while they are there, clones them, and leaves those of other hosts alone", async () => {
    const storaged = new FakeStoraged();
    await serve(storaged.methods);
    // A pool of another host, with what its agent has shown.
    await client.create("StoragePool", { metadata: { name: "far" }, spec: { host: "there", disks: ["/d"] } });
    const far = { namespace: "shop", name: "far" };
    await client.create("Volume", { metadata: far, spec: { size: "16Mi", pool: "far" } });
    const farSnapshot = { namespace: "shop", name: "far.hourly-1" };
    await client.create("VolumeSnapshot", {
      metadata: { ...farSnapshot, finalizers: ["plinth.dev/host"] },
      spec: { volume: "far", snapshotName: "hourly-1" },
    });
    const reconciler = await startStorage(FAST_CLOCK);
    await createVolume();
    await until(
      "the volume",
      volumeIs((volume) => volume?.status?.phase === "Available"),
    );
    const inPool = storaged.volumes.get("shop/data") as FakeVolume;
    inPool.snapshots.push("hourly-1");
    inPool.schedules?.set("hourly-1", "hourly");
    const name = { namespace: "shop", name: "data.hourly-1" };
    await until(
      "its object",
      async () => (await client.get("VolumeSnapshot", name))?.status?.readyToUse === true,
    );
    expect(await reconciler.snapshotInPool("shop", "data", "data.hourly-1")).toBe("hourly-1");
    expect(await reconciler.snapshotInPool("shop", "data", "hourly-1")).toBe("hourly-1");
    // An object of another volume says nothing about this one.
    expect(await reconciler.snapshotInPool("shop", "other", "data.hourly-1")).toBe("data.hourly-1");
    await client.create("Volume", {
      metadata: { name: "copy", namespace: "shop" },
      spec: { size: "16Mi", source: { snapshot: "data.hourly-1" } },
    });
    await until("the clone", async () => storaged.volumes.get("shop/copy")?.from === "shop/data@hourly-1");
    inPool.snapshots.splice(0);
    await until("the object to go", async () => (await client.get("VolumeSnapshot", name)) === undefined);
    expect((await client.get("VolumeSnapshot", farSnapshot))?.metadata.deletionTimestamp).toBeUndefined();
    expect((await client.get("VolumeSnapshot", farSnapshot))?.status).toBeUndefined();
    expect([...storaged.volumes.keys()]).toEqual(["shop/data", "shop/copy"]);
  });

  it("reverts to what the pool calls the snapshot of a VolumeSnapshot", async () => {
    const reverted: unknown[] = [];
    await serve({ "volume.revert": (params) => done(reverted.push(params)) });
    const methods = hostControlMethods({
      machines: {} as Machines,
      storage: new StorageClient(socket()),
      stopAll: async () => {},
      attachedTo: () => attached,
      snapshotInPool: async (...given) => given.join("+"),
      describe: () => ({}),
    });
    const revert = async () => methods["volume.revert"]?.({ ...NAME, snapshot: "data.hourly-1" });
    await revert();
    expect(reverted).toEqual([{ name: "shop/data", snapshot: "shop+data+data.hourly-1" }]);
    attached = "db";
    await expect(revert()).rejects.toThrow("VirtualMachine db has the volume");
    expect(reverted).toHaveLength(1);
  });

  it("says that storaged is away, and goes on when it is back", async () => {
    await createVolume();
    await startStorage();
    await until(
      "the reason",
      volumeIs((volume) => volumeReady(volume)?.reason === "StorageUnavailable"),
    );
    const storaged = new FakeStoraged();
    await serve(storaged.methods);
    await until(
      "the volume",
      volumeIs((volume) => volume?.status?.phase === "Available"),
    );
  });

  it("rests between two looks at figures that are other ones each time", async () => {
    const storaged = new FakeStoraged();
    storaged.drifts = true;
    await serve(storaged.methods);
    // Time stands still: nothing comes round by itself.
    await startStorage(new SimulatedClock());
    await client.create("Volume", { metadata: NAME, spec: { size: "1Gi" } });
    await waitFor(
      async () => (await client.get("Volume", NAME))?.status?.phase === "Available",
      "the volume is there",
      20_000,
    );
    // As many turns as what happened can bring, each with a few questions.
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(storaged.asked).toBeLessThan(30);
  });

  it("keeps a volume that a machine has, and says who has it", async () => {
    const storaged = new FakeStoraged();
    await serve(storaged.methods);
    attached = "db";
    const reconciler = await startStorage();
    await createVolume();
    await until(
      "the attachment",
      volumeIs((volume) => volume?.status?.attachedTo === "db"),
    );
    await client.delete("Volume", NAME);
    await until(
      "the reason",
      volumeIs((volume) => volumeReady(volume)?.message?.includes("VirtualMachine db")),
    );
    expect(storaged.volumes.has("shop/data")).toBe(true);
    attached = undefined;
    reconciler.attachmentChanged("shop/data");
    await until(
      "the volume to go",
      volumeIs((volume) => volume === undefined),
    );
  });

  it("tells a volume that waits for a disk from a damaged one, also when the one becomes the other", async () => {
    const storaged = new FakeStoraged();
    await serve(storaged.methods);
    await startStorage(FAST_CLOCK);
    await createVolume();
    const ready = (reason: string) => volumeIs((volume) => volumeReady(volume)?.reason === reason);
    await until("the volume", ready("Available"));
    storaged.unserved = { damage: "it waits for /a, which is missing", damageCode: "DISK_MISSING" };
    await until("what it waits for", ready("DiskMissing"));
    storaged.unserved = { damage: "its log may have ended there", damageCode: "VOLUME_DAMAGED" };
    await until("the damage", ready("Damaged"));
    storaged.unserved = {};
    await until("the volume to be served", ready("Available"));
  });

  it("shows a refusal of the pool in its own words", async () => {
    const storaged = new FakeStoraged();
    storaged.methods["volume.create"] = () => {
      throw new PlinthError("POOL_FULL", "no segment is free");
    };
    await serve(storaged.methods);
    await startStorage();
    await createVolume();
    await until(
      "the reason",
      volumeIs((volume) => volumeReady(volume)?.reason === "PoolFull"),
    );
    expect(reasonOf("VOLUME_IN_USE")).toBe("VolumeInUse");
  });
});

describe("FunctionReconciler", () => {
  it("applies functions, again after nfd forgot them, gives them a port, and shows their health", async () => {
    const applied = new Map<string, Record<string, unknown>>();
    let applications = 0;
    let state = "Healthy";
    await serve({
      "function.apply": (params) => {
        applications++;
        applied.set(String(params["name"]), params);
        return {};
      },
      "function.delete": ({ name }) => done(applied.delete(String(name))),
      "function.list": () =>
        [...applied.keys()].map((name) => ({
          name,
          endpoints: [{ name: "web1", address: "10.10.0.5", state }],
        })),
    });
    const functions = new FunctionReconciler(
      {
        host: "here",
        controlSocket: socket(),
        runDir: dir,
        network: () => ({ spec: { vlan: 10 } }) as Network,
        onPortsChanged: () => {},
      },
      { client, clock: systemClock, log: silentLog },
    );
    closers.push(() => functions.close());
    await functions.start();
    const name = { namespace: "shop", name: "web" };
    const created = await client.create("NetworkFunction", {
      metadata: name,
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
    expect(functions.ports()).toEqual([]);
    await client.patchStatus("NetworkFunction", name, {
      address: "10.10.0.100",
      macAddress: "02:00:00:00:00:64",
      probeAddress: "10.10.0.99",
      endpoints: [{ name: "web1", address: "10.10.0.5", macAddress: "02:00:00:00:00:05", draining: false }],
    });
    const health = async () => (await client.get("NetworkFunction", name))?.status?.health?.[0]?.state;
    await until("health", async () => (await health()) === "Healthy");
    expect(applied.get("shop/web")).toMatchObject({
      ports: [{ port: 80, targetPort: 80, protocol: "TCP" }],
      probeAddress: "10.10.0.99",
      endpoints: [{ name: "web1" }],
    });
    const id = shortId(created.metadata.uid);
    expect(functions.ports()).toMatchObject([
      { name: `nf${id}`, type: "stream", vlan: 10, externalIds: { "iface-id": "nf:shop/web" } },
    ]);
    state = "Unhealthy";
    await until("the bad news", async () => (await health()) === "Unhealthy");
    applied.clear();
    await until("another application", async () => applied.has("shop/web"));
    expect(applications).toBe(2);
    await client.delete("NetworkFunction", name);
    await until("the function to go", async () => (await client.get("NetworkFunction", name)) === undefined);
    expect([applied.size, functions.ports()]).toEqual([0, []]);
  });
});
