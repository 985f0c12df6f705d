// Makes the pool hold the snapshots that VolumeSnapshots want, and shows those that schedules make as VolumeSnapshots of
// their own, named VOLUME.SNAPSHOT, which go when the schedule lets their snapshot go. Thread: main.
//
//   by hand:     object ──► snapshot in the pool ──(object deleted)──► deleted in the pool
//   by schedule: snapshot in the pool ──► object ──(snapshot gone)──► object goes by itself
//
// Invariants: an object with spec.snapshotName never makes a snapshot. What storaged cannot list, of a damaged volume or
// a pool that is not open, is not taken for gone.
import { createHash } from "node:crypto";
import { PlinthError } from "../../../base/errors/index.js";
import type { Clock } from "../../../base/time/index.js";
import { formatTime, isApiError, type ResourceClient } from "../../api/index.js";
import {
  isDnsSubdomain,
  isLabelValue,
  type ResourceInput,
  snapshotNameOf,
  type Volume,
  type VolumeSnapshot,
} from "../../resources/index.js";
import { addFinalizer, HOST_FINALIZER, removeFinalizer, writeStatus } from "./api-writer.js";
import type { SnapshotFacts, StorageClient, VolumeFacts } from "./storage-client.js";

export interface SnapshotModules {
  readonly client: ResourceClient;
  readonly storage: SnapshotStorage;
  readonly clock: Clock;
}

export type SnapshotStorage = Pick<StorageClient, "volume" | "createSnapshot" | "deleteSnapshot">;

/** On objects of scheduled snapshots: the name of the schedule. */
export const SCHEDULE_LABEL = "plinth.dev/schedule";
/** How many names are tried for one object; each after the first has another hash in it. */
const NAMES_MAX = 4;
const PREFIX_LENGTH_MAX = 200;

/** One turn for an object of this host. Throws what storaged refused, for the turn to come again. */
export async function reconcileSnapshot(snapshot: VolumeSnapshot, modules: SnapshotModules): Promise<void> {
  const { client, storage } = modules;
  const { namespace, finalizers = [], deletionTimestamp } = snapshot.metadata;
  const volume = `${namespace}/${snapshot.spec.volume}`;
  const name = snapshotNameOf(snapshot);
  const isTaken = finalizers.includes(HOST_FINALIZER);
  if (deletionTimestamp !== undefined) {
    if (!isTaken) return;
    await storage.deleteSnapshot(volume, name);
    await removeFinalizer(client, "VolumeSnapshot", snapshot);
    return;
  }
  const find = (facts: VolumeFacts | undefined) => facts?.snapshots.find((each) => each.name === name);
  const volumeFacts = await storage.volume(volume);
  if (volumeFacts?.damage !== undefined)
    throw new PlinthError(volumeFacts.damageCode ?? "VOLUME_DAMAGED", volumeFacts.damage);
  const wasReady = snapshot.status?.readyToUse === true;
  let facts = find(volumeFacts);
  if (facts === undefined && snapshot.spec.snapshotName !== undefined) {
    if (isTaken || wasReady) return await follow(snapshot, client);
    throw new PlinthError("SNAPSHOT_NOT_FOUND", `${volume} has no snapshot ${name} in its pool`);
  }
  if (!(await addFinalizer(client, "VolumeSnapshot", snapshot))) return;
  if (facts === undefined) {
    if (wasReady) throw new PlinthError("SNAPSHOT_NOT_FOUND", "the snapshot is gone from the pool");
    await storage.createSnapshot(volume, name);
    facts = find(await storage.volume(volume));
    await client.recordEvent(snapshot, { reason: "Created", message: `${volume} was cut` });
  }
  await showSnapshot(snapshot, facts, modules);
}

/**
 * The snapshot is gone, and so goes its object. The finalizer first: should the snapshot come back in between, with a
 * volume that is undeleted, the deletion must not reach it.
 */
async function follow(snapshot: VolumeSnapshot, client: ResourceClient): Promise<void> {
  if (!(await removeFinalizer(client, "VolumeSnapshot", snapshot))) return;
  await client.delete("VolumeSnapshot", snapshot.metadata, { uid: snapshot.metadata.uid });
}

/** Ready, with the figures that storaged gave. */
export async function showSnapshot(
  snapshot: VolumeSnapshot,
  facts: SnapshotFacts | undefined,
  { client, clock }: Pick<SnapshotModules, "client" | "clock">,
): Promise<void> {
  const fields = {
    readyToUse: true,
    createdAt: snapshot.status?.createdAt ?? facts?.createdAt ?? formatTime(clock.wallMs()),
    ...(facts?.sizeBytes === undefined ? {} : { sizeBytes: facts.sizeBytes }),
    ...(facts?.exclusiveBytes === undefined ? {} : { exclusiveBytes: facts.exclusiveBytes }),
  };
  await writeStatus(client, "VolumeSnapshot", snapshot, fields, [
    { type: "Ready", status: "True", reason: "Created", message: "" },
  ]);
}

/** Snapshots of schedules that none of the `known` objects stands for. */
export function unshown(
  volume: Volume,
  facts: VolumeFacts,
  known: readonly VolumeSnapshot[],
): SnapshotFacts[] {
  const { namespace, name } = volume.metadata;
  const shown = new Set<string>();
  for (const each of known) {
    if (each.metadata.namespace === namespace && each.spec.volume === name) shown.add(snapshotNameOf(each));
  }
  return facts.snapshots.filter((each) => each.schedule !== undefined && !shown.has(each.name));
}

/** Makes a VolumeSnapshot for each of `snapshots` of the volume; one that is there already is left as it is. */
export async function adoptSnapshots(
  volume: Volume,
  snapshots: readonly SnapshotFacts[],
  client: ResourceClient,
): Promise<void> {
  try {
    for (const facts of snapshots) await adopt(volume, facts, client);
  } catch (thrown) {
    // A quota, say. The snapshot is none the worse for it.
    if (isApiError(thrown, "Forbidden")) {
      const { message } = thrown;
      await client.recordEvent(volume, { type: "Warning", reason: "SnapshotNotShown", message });
    }
    throw thrown;
  }
}

async function adopt(volume: Volume, facts: SnapshotFacts, client: ResourceClient): Promise<void> {
  const { namespace, name: volumeName } = volume.metadata;
  const { name: snapshotName, schedule = "" } = facts;
  const names = objectNames(volumeName, snapshotName);
  for (const name of names) {
    const labels = isLabelValue(schedule) ? { [SCHEDULE_LABEL]: schedule } : {};
    // With the finalizer from the beginning: by it such an object is told from one that somebody made by hand.
    const object: ResourceInput<"VolumeSnapshot"> = {
      metadata: { namespace: namespace as string, name, labels, finalizers: [HOST_FINALIZER] },
      spec: { volume: volumeName, snapshotName },
    };
    try {
      await client.create("VolumeSnapshot", object);
      return;
    } catch (thrown) {
      if (!isApiError(thrown, "AlreadyExists")) throw thrown;
    }
    const other = await client.get("VolumeSnapshot", { namespace, name });
    if (other?.spec.volume === volumeName && snapshotNameOf(other) === snapshotName) return;
  }
  throw new PlinthError("NAME_TAKEN", `other VolumeSnapshots have the names ${names.join(", ")}`);
}

/** VOLUME.SNAPSHOT where that is a name, and others, always the same, for when it is not or is taken. */
function objectNames(volume: string, snapshot: string): string[] {
  const plain = `${volume}.${snapshot}`;
  const prefix = volume.slice(0, PREFIX_LENGTH_MAX).replace(/[-.]+$/, "");
  const hashed = Array.from({ length: NAMES_MAX - 1 }, (_, attempt) => {
    const text = [volume, snapshot, attempt].join("\0");
    return `${prefix}.snapshot-${createHash("sha256").update(text).digest("hex").slice(0, 16)}`;
  });
  return isDnsSubdomain(plain) ? [plain, ...hashed] : hashed;
}
