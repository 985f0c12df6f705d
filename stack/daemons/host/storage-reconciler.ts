// Makes storaged hold the volumes that the API wants, and shows what it holds; pools and snapshots have their own files
// (pool-reconciler.ts, snapshot-reconciler.ts) and their turns here. Thread: main.
// Invariant: a Volume or VolumeSnapshot leaves the API only after storaged has let go of it.
import { describeError, PlinthError } from "../../../base/errors/index.js";
import type { Logger } from "../../../base/log/index.js";
import type { Clock, Timer } from "../../../base/time/index.js";
import { type Change, formatTime, type Informer, type ResourceClient } from "../../api/index.js";
import {
  quantityBytes,
  rewindSecondsOf,
  type StoragePool,
  snapshotNameOf,
  type Volume,
  type VolumeSnapshot,
} from "../../resources/index.js";
import { addFinalizer, HOST_FINALIZER, removeFinalizer, writeStatus } from "./api-writer.js";
import { reconcilePool } from "./pool-reconciler.js";
import { adoptSnapshots, reconcileSnapshot, showSnapshot, unshown } from "./snapshot-reconciler.js";
import { isStorageAway, type SnapshotFacts, type StorageClient, type VolumeFacts } from "./storage-client.js";
import { reasonOf } from "./storage-reasons.js";
import { WorkQueue } from "./work-queue.js";

export interface StorageReconcilerOptions {
  readonly host: string;
  /** Disks of the pool `default`, which is made when it is not there. */
  readonly defaultDisks: readonly string[];
  /** The machine of this host that has "namespace/volume", by name. */
  readonly attachedTo: (volume: string) => string | undefined;
  /** A Volume of this namespace changed: machines may have waited for it. */
  readonly onVolume: (namespace: string) => void;
}

export interface StorageModules {
  readonly client: ResourceClient;
  readonly storage: StorageClient;
  readonly clock: Clock;
  readonly log: Logger;
}

/** How often the figures of the pool are brought up to date. */
const REFRESH_MS = 3_000;
/** The moment from which a volume can be rewound moves with every second. */
const REWIND_SHOWN_MS = 60_000;

export class StorageReconciler {
  readonly #options: StorageReconcilerOptions;
  readonly #modules: StorageModules;
  readonly #queue: WorkQueue;
  readonly #volumes: Informer<Volume>;
  readonly #snapshots: Informer<VolumeSnapshot>;
  readonly #pools: Informer<StoragePool>;
  #timer: Timer | undefined;
  /** Nothing is done before all kinds are known: whose a Volume is, its pool tells, and whose a snapshot is, its Volume. */
  #isStarted = false;
  #closed = false;

  constructor(options: StorageReconcilerOptions, modules: StorageModules) {
    this.#options = options;
    this.#modules = modules;
    const { client } = modules;
    this.#queue = new WorkQueue({ name: "storage", concurrency: 4, run: (key) => this.#run(key) }, modules);
    const watch = <K extends "Volume" | "VolumeSnapshot" | "StoragePool">(kind: K) =>
      client.watchKind(kind, {
        onChange: (change) => {
          const { object } = change;
          if (this.#isStarted && asksForTurn(kind, change))
            this.#queue.add(`${kind} ${keyOf(object.metadata)}`);
          if (kind === "Volume") options.onVolume(object.metadata.namespace as string);
        },
      });
    this.#volumes = watch("Volume");
    this.#snapshots = watch("VolumeSnapshot");
    this.#pools = watch("StoragePool");
  }

  /** Resolves when what the API wants is known; from then on volume() can be asked. */
  async start(): Promise<void> {
    await Promise.all([this.#volumes.synced, this.#snapshots.synced, this.#pools.synced]);
    this.#isStarted = true;
    this.#queue.add("default");
    for (const pool of this.#pools.list()) this.#queue.add(`StoragePool ${pool.metadata.name}`);
    for (const { metadata } of this.#volumes.list()) this.#queue.add(`Volume ${keyOf(metadata)}`);
    for (const { metadata } of this.#snapshots.list()) this.#queue.add(`VolumeSnapshot ${keyOf(metadata)}`);
    this.#scheduleRefresh();
  }

  volume(namespace: string, name: string): Volume | undefined {
    return this.#volumes.get({ namespace, name });
  }

  /** What the pool calls the snapshot of a Volume that a VolumeSnapshot, or else the pool itself, calls `name`. */
  async snapshotInPool(namespace: string, volume: string, name: string): Promise<string> {
    const object = await this.#modules.client.get("VolumeSnapshot", { namespace, name });
    return object?.spec.volume === volume ? snapshotNameOf(object) : name;
  }

  /** A machine took or gave back "namespace/volume". */
  attachmentChanged(volume: string): void {
    this.#queue.add(`Volume ${volume}`);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    for (const informer of [this.#volumes, this.#snapshots, this.#pools]) informer.close();
    await this.#queue.close();
  }

  async #run(key: string): Promise<undefined> {
    const [kind, path = ""] = key.split(" ");
    const slash = path.indexOf("/");
    const name = { namespace: path.slice(0, Math.max(0, slash)), name: path.slice(slash + 1) };
    if (kind === "default") await this.#makeDefaultPool();
    else if (kind === "Volume") await this.#reconcile("Volume", this.#volumes.get(name));
    else if (kind === "VolumeSnapshot") await this.#reconcile("VolumeSnapshot", this.#snapshots.get(name));
    else if (kind === "Snapshots") await this.#adoptSnapshots(this.#volumes.get(name));
    else {
      const pool = this.#pools.get({ name: path });
      if (pool !== undefined && this.#isOurs(path)) await reconcilePool(pool, this.#modules);
    }
    return undefined;
  }

  /** Of the disks that storaged was given where it has made a pool of that name, else of ours. */
  async #makeDefaultPool(): Promise<void> {
    const { client, storage } = this.#modules;
    if ((await client.get("StoragePool", { name: "default" })) !== undefined) return;
    const there = (await storage.pools()).find(({ name }) => name === "default")?.disks ?? [];
    const disks = there.length > 0 ? there.map(({ path }) => path) : [...this.#options.defaultDisks];
    const spec = { host: this.#options.host, disks };
    await client.create("StoragePool", { metadata: { name: "default" }, spec });
  }

  #isOurs(pool: string): boolean {
    const host = this.#pools.get({ name: pool })?.spec.host;
    return host === undefined || host === this.#options.host;
  }

  /** Runs one object's turn; a refusal of storaged becomes a condition, and the turn comes again. */
  async #reconcile(
    kind: "Volume" | "VolumeSnapshot",
    object: Volume | VolumeSnapshot | undefined,
  ): Promise<void> {
    if (object === undefined) return;
    try {
      if (kind === "Volume") await this.#reconcileVolume(object as Volume);
      else await this.#reconcileSnapshot(object as VolumeSnapshot);
    } catch (thrown) {
      if (!(thrown instanceof PlinthError)) throw thrown;
      const reason = isStorageAway(thrown) ? "StorageUnavailable" : reasonOf(thrown.code);
      const message = isStorageAway(thrown) ? "waiting for storaged to answer" : describeError(thrown);
      const phase = kind === "Volume" && object.status === undefined ? { phase: "Pending" } : {};
      await writeStatus(this.#modules.client, kind, object, phase, [
        { type: "Ready", status: "False", reason, message },
      ]);
      await this.#modules.client.recordEvent(object, { type: "Warning", reason, message });
      throw thrown;
    }
  }

  async #reconcileVolume(volume: Volume): Promise<void> {
    const { client, storage } = this.#modules;
    if (!this.#isOurs(volume.spec.pool)) return;
    const name = keyOf(volume.metadata);
    const owner = `Volume ${name}`;
    if (volume.metadata.deletionTimestamp !== undefined) {
      const machine = this.#options.attachedTo(name);
      if (machine !== undefined) {
        throw new PlinthError(
          "VOLUME_IN_USE",
          `waiting for VirtualMachine ${machine} to give the volume back`,
        );
      }
      await storage.deleteVolume(name, owner);
      await removeFinalizer(client, "Volume", volume);
      return;
    }
    if (!(await addFinalizer(client, "Volume", volume))) return;
    const facts = (await storage.volume(name)) ?? (await this.#makeVolume(volume, name));
    if (facts.owner !== owner) await storage.ownVolume(name, owner);
    const wantedBytes = quantityBytes(volume.spec.size);
    if (facts.sizeBytes < wantedBytes) {
      await storage.growVolume(name, wantedBytes);
      await client.recordEvent(volume, { reason: "Grown", message: `grown to ${volume.spec.size}` });
    }
    const changed = facts.damage === undefined && (await keepAsWanted(storage, volume, facts));
    const shown = changed ? ((await storage.volume(name)) ?? facts) : facts;
    await this.#showVolume(volume, { ...shown, sizeBytes: Math.max(facts.sizeBytes, wantedBytes) });
  }

  async #makeVolume(volume: Volume, name: string): Promise<VolumeFacts> {
    const { client, storage } = this.#modules;
    const { namespace } = volume.metadata;
    const { source, pool, copies, size } = volume.spec;
    const where = volume.spec.class === undefined ? {} : { class: volume.spec.class };
    const { encrypted = false, compression } = volume.spec;
    if (source === undefined) {
      const rewindSeconds = rewindSecondsOf(volume.spec) ?? 0;
      await storage.createVolume({
        name,
        pool,
        sizeBytes: quantityBytes(size),
        copies,
        encrypted,
        ...(compression === undefined ? {} : { compression }),
        rewindSeconds,
        ...where,
      });
    } else {
      const snapshot = this.#snapshots.get({ namespace: namespace as string, name: source.snapshot });
      if (snapshot?.status?.readyToUse !== true) {
        const message = `waiting for VolumeSnapshot ${namespace}/${source.snapshot} to be ready`;
        throw new PlinthError("WAITING_FOR_SNAPSHOT", message);
      }
      await storage.cloneVolume(name, `${namespace}/${snapshot.spec.volume}`, snapshotNameOf(snapshot));
    }
    const facts = await storage.volume(name);
    if (facts === undefined)
      throw new PlinthError("VOLUME_NOT_FOUND", `${name} is not there after its creation`);
    await client.recordEvent(volume, { reason: "Created", message: `made in pool ${pool}` });
    return facts;
  }

  async #showVolume(volume: Volume, facts: VolumeFacts): Promise<void> {
    const attachedTo = this.#options.attachedTo(facts.name);
    const { damage, locked } = facts;
    const served = damage === undefined && locked === undefined;
    const phase = attachedTo === undefined ? "Available" : "InUse";
    const fields = {
      phase: served ? phase : "Failed",
      sizeBytes: facts.sizeBytes,
      allocatedBytes: facts.allocatedBytes,
      promisedBytes: facts.promisedBytes,
      historyBytes: facts.historyBytes,
      packedBytes: facts.packedBytes,
      savedBytes: facts.savedBytes,
      rewindFrom: facts.rewindFrom === undefined ? undefined : formatTime(Date.parse(facts.rewindFrom)),
      attachedTo,
      observedGeneration: volume.metadata.generation,
    };
    await writeStatus(this.#modules.client, "Volume", volume, fields, [
      served
        ? { type: "Ready", status: "True", reason: "Available", message: "" }
        : damage === undefined
          ? { type: "Ready", status: "False", reason: "Locked", message: locked ?? "" }
          : {
              type: "Ready",
              status: "False",
              reason: facts.damageCode === "DISK_MISSING" ? "DiskMissing" : "Damaged",
              message: damage,
            },
      intact(facts),
      ...(volume.spec.rewindWindow === undefined ? [] : [rewindable(facts)]),
      ...(volume.spec.compression === undefined ? [] : [compressed(facts)]),
    ]);
  }

  async #reconcileSnapshot(snapshot: VolumeSnapshot): Promise<void> {
    const { namespace } = snapshot.metadata;
    const name = { namespace, name: snapshot.spec.volume };
    // Asked when our copy lacks it: only who has the pool may judge whether the snapshot is there.
    const volume = this.#volumes.get(name) ?? (await this.#modules.client.get("Volume", name));
    if (volume !== undefined && !this.#isOurs(volume.spec.pool)) return;
    await reconcileSnapshot(snapshot, this.#modules);
  }

  /** Shows the snapshots that schedules have made of a volume. */
  async #adoptSnapshots(volume: Volume | undefined): Promise<void> {
    if (volume === undefined || volume.metadata.deletionTimestamp !== undefined) return;
    if (!this.#isOurs(volume.spec.pool)) return;
    const { client, storage } = this.#modules;
    const facts = await storage.volume(keyOf(volume.metadata));
    if (facts === undefined) return;
    await adoptSnapshots(volume, unshown(volume, facts, this.#snapshots.list()), client);
  }

  #scheduleRefresh(): void {
    if (this.#closed) return;
    this.#timer = this.#modules.clock.after(REFRESH_MS, () => {
      this.#refresh()
        .catch((thrown: unknown) => this.#modules.log.debug({ err: thrown }, "storage figures are old"))
        .finally(() => this.#scheduleRefresh());
    });
  }

  /** Figures change with every write of a guest: read in one call, written where they differ. */
  async #refresh(): Promise<void> {
    const all = await this.#modules.storage.volumes();
    for (const facts of all) {
      const volume = this.#volumeOf(facts.name);
      if (volume?.status?.phase === undefined || volume.metadata.deletionTimestamp !== undefined) continue;
      const unserved = facts.damage ?? facts.locked;
      const differs =
        volume.status.allocatedBytes !== facts.allocatedBytes ||
        volume.status.sizeBytes !== facts.sizeBytes ||
        (volume.status.phase === "Failed") !== (unserved !== undefined) ||
        (unserved !== undefined && conditionOf(volume, "Ready")?.message !== unserved) ||
        volume.status.promisedBytes !== facts.promisedBytes ||
        volume.status.historyBytes !== facts.historyBytes ||
        volume.status.packedBytes !== facts.packedBytes ||
        volume.status.savedBytes !== facts.savedBytes ||
        hasMovedOn(volume.status.rewindFrom, facts.rewindFrom) ||
        conditionOf(volume, "Intact")?.message !== intact(facts).message;
      if (differs) await this.#showVolume(volume, facts);
    }
    for (const pool of this.#pools.list()) this.#queue.add(`StoragePool ${pool.metadata.name}`);
    await this.#refreshSnapshots(all);
  }

  /** Snapshots of schedules come and go by themselves, and what deleting one would free changes with every write. */
  async #refreshSnapshots(volumes: readonly VolumeFacts[]): Promise<void> {
    const objects = this.#snapshots.list();
    const shown = new Set(objects.map(placeOf));
    const found = new Map<string, SnapshotFacts>();
    for (const { name, snapshots } of volumes) {
      const volume = this.#volumeOf(name);
      if (volume !== undefined && !this.#isOurs(volume.spec.pool)) continue;
      for (const each of snapshots) found.set(`${name}@${each.name}`, each);
      const isMissing = snapshots.some(
        (each) => each.schedule !== undefined && !shown.has(`${name}@${each.name}`),
      );
      if (isMissing && volume !== undefined) this.#queue.suggest(`Snapshots ${name}`);
    }
    for (const object of objects) {
      const { spec, status, metadata } = object;
      if (status?.readyToUse !== true || metadata.deletionTimestamp !== undefined) continue;
      const facts = found.get(placeOf(object));
      if (facts === undefined) {
        if (spec.snapshotName !== undefined) this.#queue.suggest(`VolumeSnapshot ${keyOf(metadata)}`);
      } else if (facts.exclusiveBytes !== status.exclusiveBytes) {
        await showSnapshot(object, facts, this.#modules);
      }
    }
  }

  #volumeOf(key: string): Volume | undefined {
    const [namespace = "", name = ""] = key.split("/");
    return this.#volumes.get({ namespace, name });
  }
}

/**
 * What shows only other figures brings no turn. A turn shows new ones, and the store that keeps them may stand on the
 * very disk whose room they tell: each would bring the next. Figures have their time (REFRESH_MS).
 */
function asksForTurn(
  kind: string,
  { type, object, previous }: Change<Volume | VolumeSnapshot | StoragePool>,
): boolean {
  if (type !== "modified") return true;
  const { generation, deletionTimestamp, finalizers = [] } = object.metadata;
  if (generation !== previous.metadata.generation) return true;
  // The figures of a pool are shown while its deletion waits, too.
  if (deletionTimestamp !== undefined)
    return kind !== "StoragePool" || previous.metadata.deletionTimestamp === undefined;
  // Our finalizer may have lost against this change, and waits for it.
  return !finalizers.includes(HOST_FINALIZER);
}

/** Whether the moment from which a volume can be rewound has moved on so far that people would see it. */
function hasMovedOn(shown: string | undefined, from: string | undefined): boolean {
  if (shown === undefined || from === undefined) return shown !== from;
  return Math.abs(Date.parse(from) - Date.parse(shown)) >= REWIND_SHOWN_MS;
}

/** Rewind window, limits and schedules as the Volume says; true when something was changed. */
async function keepAsWanted(storage: StorageClient, volume: Volume, facts: VolumeFacts): Promise<boolean> {
  const { name } = facts;
  let changed = false;
  const rewindSeconds = rewindSecondsOf(volume.spec);
  // What the Volume does not speak of is as the command line left it.
  if (rewindSeconds !== undefined && rewindSeconds !== (facts.rewindSeconds ?? rewindSeconds)) {
    await storage.setRewind(name, rewindSeconds);
    changed = true;
  }
  const { limits, compression } = volume.spec;
  if (compression !== undefined && compression !== (facts.compression ?? compression)) {
    await storage.setCompression(name, compression);
    changed = true;
  }
  if (limits !== undefined) {
    const { iops = 0, bandwidth = "0", burstSeconds = 1 } = limits;
    const bytesPerSecond = quantityBytes(bandwidth);
    const now = facts.limits ?? { iops: 0, bytesPerSecond: 0, burstSeconds };
    if (now.iops !== iops || now.bytesPerSecond !== bytesPerSecond || now.burstSeconds !== burstSeconds) {
      await storage.setLimits(name, { iops, bytesPerSecond, burstSeconds });
      changed = true;
    }
  }
  const wanted = volume.spec.snapshotSchedules;
  for (const { name: schedule, cron, keep } of wanted) {
    const known = facts.schedules?.find((each) => each.name === schedule);
    if (known !== undefined && known.cron === (cron ?? known.cron) && known.keep === (keep ?? known.keep))
      continue;
    await storage.setSchedule(name, schedule, cron, keep);
    changed = true;
  }
  for (const { name: schedule } of wanted.length === 0 ? [] : (facts.schedules ?? [])) {
    if (wanted.some((each) => each.name === schedule)) continue;
    await storage.removeSchedule(name, schedule);
    changed = true;
  }
  return changed;
}

/** Whether all that was ever found unreadable has been written anew. */
function intact({ lostRanges = [] }: VolumeFacts) {
  const type = "Intact";
  const [first] = lostRanges;
  if (first === undefined) return { type, status: "True", reason: "NothingLost", message: "" } as const;
  const { snapshot, offsetBytes, lengthBytes } = first;
  const where = snapshot === undefined ? "" : ` of snapshot ${snapshot}`;
  const others = lostRanges.length - 1;
  const more = others === 0 ? "" : ` and ${others} more ${others === 1 ? "range" : "ranges"}`;
  const message = `no good copy is left of ${lengthBytes} bytes at ${offsetBytes}${where}${more} (plinth volume show); writing there anew or going back to a snapshot ends that`;
  return { type, status: "False", reason: "BlocksLost", message } as const;
}

function rewindable({ rewindFrom, rewindShort }: VolumeFacts) {
  const type = "Rewindable";
  if (rewindFrom === undefined) return { type, status: "False", reason: "NotKept", message: "" } as const;
  if (rewindShort !== true) return { type, status: "True", reason: "Kept", message: "" } as const;
  const message = `only from ${rewindFrom} on: the pool was short of room`;
  return { type, status: "True", reason: "Shortened", message } as const;
}

/** Whether anything is packed as the Volume wants it. */
function compressed({ compression = "none", packedBytes = 0, savedBytes = 0 }: VolumeFacts) {
  const type = "Compressed";
  if (compression === "none") return { type, status: "False", reason: "NotWanted", message: "" } as const;
  const message = `${packedBytes} bytes are packed, which saves ${savedBytes} on the disks`;
  if (packedBytes > 0) return { type, status: "True", reason: "Packed", message } as const;
  return {
    type,
    status: "False",
    reason: "NothingPacked",
    message: "nothing was cold and shrank yet",
  } as const;
}

function conditionOf({ status }: Volume, type: string) {
  return status?.conditions?.find((each) => each.type === type);
}

/** "namespace/volume@snapshot", as the pool has them. */
function placeOf(snapshot: VolumeSnapshot): string {
  return `${snapshot.metadata.namespace}/${snapshot.spec.volume}@${snapshotNameOf(snapshot)}`;
}

function keyOf(metadata: { readonly namespace?: string | undefined; readonly name: string }): string {
  return metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
}
