// The control methods of snapshots: of one volume, of several at one moment, and what differs between two. Thread: main.
import type { ControlMethod } from "../base/jsonrpc/index.js";
import type { VolumeEntry } from "./catalogue/catalogue.js";
import { findSnapshot, findVolume, type SnapshotView, volumeView } from "./control.js";
import { storageError } from "./errors.js";
import { GROUP_VOLUMES_MAX } from "./limits.js";
import { flag, label, type Params, volumeName } from "./parameters.js";
import type { StorageDaemon } from "./storaged.js";
import type { ChangedRange } from "./target/target-types.js";
import { refuseUnservedVolume } from "./unserved.js";
import { whenRoom } from "./when-room.js";

export interface GroupView {
  readonly name: string;
  readonly createdAt: string;
  readonly volumes: readonly string[];
}

export interface DiffView {
  /** Bytes that may differ, in whole blocks. */
  readonly changedBytes: number;
  /** The first of them, by offset. */
  readonly ranges: readonly ChangedRange[];
  /** There are more ranges than are told. */
  readonly truncated: boolean;
}

/** Method name → what it does. */
export function snapshotMethods(daemon: StorageDaemon): Record<string, ControlMethod> {
  const alone =
    (method: (daemon: StorageDaemon, params: Params) => Promise<unknown>): ControlMethod =>
    (params) =>
      daemon.exclusive(() => method(daemon, params));
  return {
    "snapshot.create": alone(createSnapshot),
    "snapshot.createGroup": alone(createGroup),
    "snapshot.delete": alone(deleteSnapshot),
    "snapshot.list": async (params) =>
      (await volumeView(daemon, findVolume(daemon, volumeName(params, "volume")))).snapshots,
    "volume.diff": async (params) => diffVolume(daemon, params),
  };
}

async function createSnapshot(daemon: StorageDaemon, params: Params): Promise<SnapshotView> {
  const volume = volumeName(params, "volume");
  const name = label(params, "name");
  const entry = findVolume(daemon, volume, "volume");
  if (has(entry, name)) refuseWhenNew(params, entry, name);
  else await snapshotAll(daemon, [entry], name);
  return snapshotView(daemon, volume, name);
}

/** All volumes at one moment: no write is in one of the snapshots that was begun after one missing in another ended. */
async function createGroup(daemon: StorageDaemon, params: Params): Promise<GroupView> {
  const name = label(params, "name");
  const given = params["volumes"];
  if (!Array.isArray(given) || given.length === 0 || given.length > GROUP_VOLUMES_MAX) {
    throw storageError("PARAMETER_INVALID", `volumes must be 1 to ${GROUP_VOLUMES_MAX} names of volumes`, {
      field: "volumes",
    });
  }
  const names = [...new Set(given.map((each) => volumeName({ volumes: each }, "volumes")))];
  const entries = names.map((each) => findVolume(daemon, each, "volumes"));
  const other = entries.find((entry) => entry.pool !== entries[0]?.pool);
  if (other !== undefined) {
    throw storageError(
      "PARAMETER_INVALID",
      `${other.name} is in the pool ${other.pool}: a group is in one pool`,
      {
        field: "volumes",
      },
    );
  }
  const holders = entries.filter((entry) => has(entry, name));
  const [holder] = holders;
  if (holder !== undefined) {
    if (holders.length < entries.length) throw exists(holder, name);
    refuseWhenNew(params, holder, name);
  }
  if (holders.length === 0) await snapshotAll(daemon, entries, name);
  const made = findSnapshot(findVolume(daemon, names[0] as string, "volumes"), name);
  return { name, createdAt: new Date(made.createdAtMs).toISOString(), volumes: names };
}

function has(entry: VolumeEntry, name: string): boolean {
  return entry.snapshots.some((each) => each.name === name);
}

/** All at one moment. Throws POOL_FULL when there is no room to overwrite what they share then. */
export async function snapshotAll(
  daemon: StorageDaemon,
  entries: readonly VolumeEntry[],
  name: string,
  schedule = "",
): Promise<void> {
  for (const entry of entries) refuseUnservedVolume(daemon, entry, "volume");
  const { pool } = entries[0] as VolumeEntry;
  const ids = entries.map((entry) => entry.id);
  const make = async (): Promise<void> => {
    const made = await daemon.target.ask("createSnapshots", { pool, ids, name });
    const createdAtMs = Date.now();
    const changed = entries.map(({ name: volume }, i) => {
      const entry = findVolume(daemon, volume, "volume");
      const map = made[i] as (typeof made)[number];
      return { ...entry, snapshots: [...entry.snapshots, { name, ...map, createdAtMs, schedule }] };
    });
    try {
      await daemon.catalogue.putVolumes(changed);
    } catch (thrown) {
      for (const id of ids) await daemon.target.ask("deleteSnapshot", { pool, id, name });
      throw thrown;
    }
  };
  await whenRoom(() => daemon.held(pool, make));
}

/** Whoever wants a snapshot of this moment is not told that one of another moment is it. Throws SNAPSHOT_EXISTS. */
function refuseWhenNew(params: Params, entry: VolumeEntry, name: string): void {
  if (flag(params, "isNew")) throw exists(entry, name);
}

function exists(entry: VolumeEntry, name: string): Error {
  return storageError("SNAPSHOT_EXISTS", `${entry.name} has a snapshot ${name} already`, { field: "name" });
}

async function deleteSnapshot(daemon: StorageDaemon, params: Params): Promise<object> {
  const name = volumeName(params, "volume");
  const snapshot = label(params, "name");
  findSnapshot(findVolume(daemon, name, "volume"), snapshot);
  await dropSnapshot(daemon, name, snapshot);
  return {};
}

/** A snapshot that is there goes. */
export async function dropSnapshot(daemon: StorageDaemon, name: string, snapshot: string): Promise<void> {
  const { pool, id } = findVolume(daemon, name, "volume");
  await daemon.held(pool, async () => {
    const entry = findVolume(daemon, name, "volume");
    await daemon.catalogue.putVolume({
      ...entry,
      snapshots: entry.snapshots.filter((each) => each.name !== snapshot),
    });
    await daemon.target.ask("deleteSnapshot", { pool, id, name: snapshot });
  });
}

/** What changed since the snapshot `from`, until the snapshot `to` or now. */
async function diffVolume(daemon: StorageDaemon, params: Params): Promise<DiffView> {
  const entry = findVolume(daemon, volumeName(params));
  const from = label(params, "from");
  findSnapshot(entry, from);
  const to = params["to"] === undefined ? "" : label(params, "to");
  if (to !== "") findSnapshot(entry, to);
  return daemon.target.ask("diff", { pool: entry.pool, id: entry.id, from, to });
}

async function snapshotView(daemon: StorageDaemon, volume: string, snapshot: string): Promise<SnapshotView> {
  const { snapshots } = await volumeView(daemon, findVolume(daemon, volume, "volume"));
  return snapshots.find((each) => each.name === snapshot) as SnapshotView;
}
