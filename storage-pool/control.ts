// The control methods of storaged, as its socket offers them. Each checks its own parameters, changes the catalogue
// and the worker in an order that a crash between the two survives, and may be repeated. Thread: main.
import { setTimeout as sleep } from "node:timers/promises";
import type { ControlMethod } from "../base/jsonrpc/index.js";
import type { SnapshotEntry, VolumeEntry } from "./catalogue/catalogue.js";
import { compressionOf, specOf } from "./catalogue/volume-spec.js";
import { volumeCompression } from "./compression-control.js";
import { diskReturnMethods } from "./disk-returns.js";
import { storageError } from "./errors.js";
import { exportMethods } from "./export-control.js";
import { givingUpMethods } from "./giving-up.js";
import { keyMethods } from "./key-control.js";
import { type LimitsView, limitFields, limitsView, sendLimits, volumeLimits } from "./limits-control.js";
import { formatMetrics } from "./metrics/metrics.js";
import { ownerMethods } from "./owner-control.js";
import {
  className,
  copies,
  flag,
  label,
  type Params,
  rewindWindow,
  sizeBytes,
  snapshotReference,
  volumeName,
} from "./parameters.js";
import { poolMethods } from "./pool-control.js";
import { outdateCopies } from "./pool-opening.js";
import { putBack, rewindMethods } from "./rewind-control.js";
import { scheduleMethods } from "./schedule-control.js";
import { snapshotMethods } from "./snapshot-control.js";
import type { StorageDaemon } from "./storaged.js";
import { trashMethods } from "./trash-control.js";
import { refuseUnserved, refuseUnservedVolume, unservedOf } from "./unserved.js";
import type { Compression } from "./volume/compression.js";
import type { LostRange } from "./volume/lost-blocks.js";
import { whenRoom } from "./when-room.js";

export interface AttachmentView {
  readonly socket: string;
  /** Who uses it there, as whoever attached it said: "VirtualMachine shop/db"; absent when nobody did. */
  readonly owner?: string;
  readonly readOnly: boolean;
}

export interface SnapshotView {
  readonly name: string;
  readonly createdAt: string;
  readonly sizeBytes: number;
  /** Freed by deleting it. */
  readonly exclusiveBytes: number;
  /** The schedule that made it. */
  readonly schedule?: string;
}

export interface ScheduleView {
  readonly name: string;
  readonly cron: string;
  readonly keep: number;
}

export interface VolumeView {
  readonly name: string;
  /** Who makes it anew when it is gone: "Volume shop/data"; absent when nobody said. */
  readonly owner?: string;
  readonly pool: string;
  readonly sizeBytes: number;
  readonly copies: number;
  readonly allocatedBytes: number;
  readonly exclusiveBytes: number;
  /** Room that the pool keeps for overwriting what the volume shares with snapshots and clones. */
  readonly promisedBytes: number;
  /** Held only to be rewound to; given up when the pool is short of room. */
  readonly historyBytes: number;
  /** Class of disks that it is kept on; "" for any. */
  readonly class: string;
  /** How far back it can be rewound; 0: not at all. */
  readonly rewindSeconds: number;
  /** The earliest moment that it can be rewound to. */
  readonly rewindFrom?: string;
  /** The pool was short of room: the window is not kept for now. */
  readonly rewindShort?: boolean;
  readonly schedules: readonly ScheduleView[];
  /** Only of deleted ones: when, until when they can be asked back, and the number that tells them apart. */
  readonly deletedAt?: string;
  readonly purgeAt?: string;
  readonly id?: number;
  readonly snapshots: readonly SnapshotView[];
  readonly attachments: readonly AttachmentView[];
  /** NBD clients that are connected now. */
  readonly connections: number;
  /** What was found unreadable since storaged started; absent when nothing was. */
  readonly lostRanges?: readonly LostRange[];
  readonly encrypted: boolean;
  /** How what was not written for a while is packed: none, deflate. */
  readonly compression: Compression;
  /** What lies packed now, and what that has won: room on the disks, of which nothing else counts less. */
  readonly packedBytes: number;
  readonly savedBytes: number;
  /** Absent when there are none. */
  readonly limits?: LimitsView;
  /** Why an encrypted volume cannot be used; absent when it can. */
  readonly locked?: string;
  /** Why the volume is not served; absent when nothing is wrong. */
  readonly damage?: string;
  /** VOLUME_DAMAGED, DISK_MISSING when a disk that comes back makes up for it, or how opening its pool failed. */
  readonly damageCode?: string;
}

/** Method name → what it does. Changing methods run one after the other. */
export function controlMethods(daemon: StorageDaemon): Record<string, ControlMethod> {
  const alone =
    (method: (daemon: StorageDaemon, params: Params) => Promise<unknown>): ControlMethod =>
    (params) =>
      daemon.exclusive(() => method(daemon, params));
  return {
    ...poolMethods(daemon),
    ...diskReturnMethods(daemon),
    ...givingUpMethods(daemon),
    ...ownerMethods(daemon),
    ...keyMethods(daemon),
    "volume.list": async () =>
      Promise.all(
        [...daemon.catalogue.volumes.values()]
          .filter((entry) => entry.deletedAtMs === 0)
          .sort(byName)
          .map((entry) => volumeView(daemon, entry)),
      ),
    "volume.get": async (params) =>
      volumeView(daemon, findVolume(daemon, volumeName(params)), flag(params, "exact")),
    "volume.create": alone(createVolume),
    "volume.clone": alone((_, params) =>
      cloneVolume(
        daemon,
        volumeName(params),
        volumeName(params, "volume"),
        label(params, "snapshot"),
        params,
      ),
    ),
    "volume.grow": alone(growVolume),
    "volume.revert": alone(revertVolume),
    ...snapshotMethods(daemon),
    ...trashMethods(daemon),
    ...rewindMethods(daemon),
    ...scheduleMethods(daemon),
    /** The page that Prometheus scrapes. */
    metrics: async () => ({ text: await formatMetrics(daemon) }),
    ...exportMethods(daemon),
  };
}

async function createVolume(daemon: StorageDaemon, params: Params): Promise<VolumeView> {
  const name = volumeName(params);
  const from = params["fromSnapshot"];
  if (from !== undefined && from !== null) {
    const { volume, snapshot } = snapshotReference(from);
    return cloneVolume(daemon, name, volume, snapshot, params);
  }
  const size = sizeBytes(params);
  const pool = label(params, "pool", "default");
  const copyCount = copies(params);
  const diskClass = className(params);
  const rewindMs = rewindWindow(params) ?? 0;
  const encrypted = flag(params, "encrypted");
  const limits = volumeLimits(params);
  const packing = volumeCompression(params, encrypted) ?? "none";
  const known = daemon.catalogue.volumes.get(name);
  if (known !== undefined) {
    const { diskClass: itsClass, keyId: itsKey } = known;
    const alike = known.pool === pool && known.sizeBytes === size && itsClass === diskClass;
    const same = alike && (itsKey !== "") === encrypted && known.copies === copyCount;
    if (same && !flag(params, "isNew")) return volumeView(daemon, known);
    const how = same ? "already" : "with other properties";
    throw storageError("VOLUME_EXISTS", `volume ${name} exists ${how}`, { field: "name" });
  }
  const poolEntry = daemon.catalogue.pools.get(pool);
  if (poolEntry === undefined)
    throw storageError("POOL_NOT_FOUND", `there is no pool ${pool}`, { field: "pool" });
  refuseUnserved(daemon, pool, "pool");
  const fitting = poolEntry.disks.filter((disk) => diskClass === "" || disk.diskClass === diskClass).length;
  if (copyCount > fitting) {
    const which = diskClass === "" ? "" : ` of class ${diskClass}`;
    throw storageError(
      "PARAMETER_INVALID",
      `${copyCount} ${copyCount === 1 ? "copy needs a disk" : `copies need ${copyCount} disks`}${which}; ${pool} has ${fitting}`,
      { field: fitting === 0 ? "class" : "copies" },
    );
  }
  const key = encrypted ? daemon.keys.of(pool).create() : undefined;
  const entry = newEntry(daemon, {
    name,
    pool,
    sizeBytes: size,
    copies: copyCount,
    originVolume: 0,
    diskClass,
    keyId: key?.id ?? "",
    ...limitFields(limits),
    compression: packing,
    rewindMs,
    // The empty volume: without records before it no map is needed.
    keyframes:
      rewindMs === 0 ? [] : [{ name: "~0", sequence: 0, sizeBytes: size, mapFile: "", timeMs: Date.now() }],
  });
  // In the catalogue first: a volume that only the worker knows would be gone after a crash, with its writes.
  await daemon.catalogue.putVolume(entry);
  try {
    if (key !== undefined) await daemon.target.ask("unlock", { pool, keys: { [key.id]: key.key } });
    await daemon.target.ask("createVolume", { pool, spec: specOf(entry) });
    await sendLimits(daemon, [entry]);
  } catch (thrown) {
    await daemon.catalogue.deleteVolume(name);
    daemon.keys.sweep(pool);
    throw thrown;
  }
  return volumeView(daemon, entry);
}

async function cloneVolume(
  daemon: StorageDaemon,
  name: string,
  originName: string,
  snapshotName: string,
  params: Params,
): Promise<VolumeView> {
  const origin = findVolume(daemon, originName, "volume");
  const snapshot = findSnapshot(origin, snapshotName);
  const size = params["sizeBytes"] === undefined ? snapshot.sizeBytes : sizeBytes(params);
  if (size < snapshot.sizeBytes) {
    throw storageError(
      "PARAMETER_INVALID",
      `a clone is at least as large as its snapshot (${snapshot.sizeBytes} bytes)`,
      {
        field: "sizeBytes",
      },
    );
  }
  const known = daemon.catalogue.volumes.get(name);
  if (known !== undefined) {
    const isSame = known.originVolume === origin.id && known.sizeBytes === size && !flag(params, "isNew");
    if (isSame) return volumeView(daemon, known);
    throw storageError("VOLUME_EXISTS", `volume ${name} exists already`, { field: "name" });
  }
  const { pool } = origin;
  const entry = newEntry(daemon, {
    name,
    pool,
    sizeBytes: size,
    copies: origin.copies,
    originVolume: origin.id,
    diskClass: origin.diskClass,
    keyId: origin.keyId,
    compression: origin.compression,
    rewindMs: 0,
    keyframes: [],
  });
  const complete = await whenRoom(() =>
    daemon.held(pool, () => makeClone(daemon, entry, origin, snapshotName)),
  );
  return volumeView(daemon, complete);
}

/** Makes the volume of `entry` from a snapshot, or from the moment that was looked up (""). The pool is held. */
export async function makeClone(
  daemon: StorageDaemon,
  entry: VolumeEntry,
  { id: origin, pool }: VolumeEntry,
  snapshot: string,
): Promise<VolumeEntry> {
  await daemon.catalogue.useVolumeId(entry.id);
  const made = await daemon.target.ask("cloneVolume", { pool, spec: specOf(entry), origin, snapshot });
  const complete = { ...entry, mapFile: made.mapFile };
  try {
    await daemon.catalogue.putVolume(complete);
  } catch (thrown) {
    await daemon.target.ask("deleteVolume", { pool, id: entry.id, name: entry.name });
    throw thrown;
  }
  // What only the clone has would be let go of by a catalogue that does not know it.
  await outdateCopies(daemon, pool);
  return complete;
}

async function growVolume(daemon: StorageDaemon, params: Params): Promise<VolumeView> {
  const entry = findVolume(daemon, volumeName(params));
  const size = sizeBytes(params);
  if (size < entry.sizeBytes) {
    throw storageError("PARAMETER_INVALID", `a volume does not shrink (it has ${entry.sizeBytes} bytes)`, {
      field: "sizeBytes",
    });
  }
  refuseUnservedVolume(daemon, entry, "name");
  await daemon.held(entry.pool, async () => {
    await daemon.catalogue.putVolume({ ...entry, ...findVolume(daemon, entry.name), sizeBytes: size });
    await outdateCopies(daemon, entry.pool);
    await daemon.target.ask("growVolume", { pool: entry.pool, id: entry.id, sizeBytes: size });
  });
  return volumeView(daemon, findVolume(daemon, entry.name));
}

async function revertVolume(daemon: StorageDaemon, params: Params): Promise<VolumeView> {
  const entry = findVolume(daemon, volumeName(params));
  const snapshot = label(params, "snapshot");
  findSnapshot(entry, snapshot);
  await refuseInUse(daemon, entry, "revert");
  await whenRoom(() => daemon.held(entry.pool, () => putBack(daemon, entry, snapshot)));
  return volumeView(daemon, findVolume(daemon, entry.name));
}

/** `exact`: space is counted now; a count may be seconds old otherwise, where counting takes long. */
export async function volumeView(
  daemon: StorageDaemon,
  entry: VolumeEntry,
  exact = false,
): Promise<VolumeView> {
  const { name, pool, sizeBytes: size, copies: copyCount } = entry;
  const attachments = [...daemon.catalogue.exports.values()]
    .filter((each) => each.volume === name)
    .map(({ socket, readOnly, owner }) => ({ socket, readOnly, ...(owner === "" ? {} : { owner }) }));
  const { diskClass, rewindMs, schedules } = entry;
  const locked = daemon.keys.lockedReason(entry);
  const fixed = {
    name: entry.deletedName === "" ? name : entry.deletedName,
    ...(entry.owner === "" ? {} : { owner: entry.owner }),
    pool,
    sizeBytes: size,
    copies: copyCount,
    class: diskClass,
    encrypted: entry.keyId !== "",
    compression: compressionOf(entry),
    ...limitsView(entry),
    ...(locked === undefined ? {} : { locked }),
    rewindSeconds: rewindMs / 1000,
    schedules: schedules.map(({ name: called, cron, keep }) => ({ name: called, cron, keep })),
    attachments,
    ...(entry.deletedAtMs === 0
      ? {}
      : {
          deletedAt: new Date(entry.deletedAtMs).toISOString(),
          purgeAt: new Date(entry.purgeAtMs).toISOString(),
          id: entry.id,
        }),
  };
  const unserved = unservedOf(daemon, entry);
  if (unserved !== undefined) {
    const packed = { packedBytes: 0, savedBytes: 0 };
    const none = { allocatedBytes: 0, exclusiveBytes: 0, promisedBytes: 0, historyBytes: 0, ...packed };
    const { why: damage, code: damageCode } = unserved;
    return { ...fixed, damage, damageCode, ...none, snapshots: [], connections: 0 };
  }
  const usage = await daemon.target.ask("usage", { pool, id: entry.id, exact });
  const snapshots = entry.snapshots.map((each) => ({
    name: each.name,
    createdAt: new Date(each.createdAtMs).toISOString(),
    sizeBytes: each.sizeBytes,
    exclusiveBytes: usage.snapshots[each.name] ?? 0,
    ...(each.schedule === "" ? {} : { schedule: each.schedule }),
  }));
  const { allocatedBytes, exclusiveBytes, connections, lostRanges } = usage;
  const lost = lostRanges.length === 0 ? {} : { lostRanges };
  const { promisedBytes, historyBytes, earliestMs, historyShort, packedBytes, savedBytes } = usage;
  const past =
    earliestMs === 0 ? {} : { rewindFrom: new Date(earliestMs).toISOString(), rewindShort: historyShort };
  const bytes = { allocatedBytes, exclusiveBytes, promisedBytes, historyBytes, packedBytes, savedBytes };
  return { ...fixed, ...bytes, ...past, snapshots, connections, ...lost };
}

export function findVolume(daemon: StorageDaemon, name: string, field = "name"): VolumeEntry {
  const entry = daemon.catalogue.volumes.get(name);
  if (entry === undefined) throw storageError("VOLUME_NOT_FOUND", `there is no volume ${name}`, { field });
  return entry;
}

export function findSnapshot(volume: VolumeEntry, name: string): SnapshotEntry {
  const entry = volume.snapshots.find((each) => each.name === name);
  if (entry !== undefined) return entry;
  throw storageError("SNAPSHOT_NOT_FOUND", `volume ${volume.name} has no snapshot ${name}`, {
    field: "snapshot",
  });
}

/** Throws VOLUME_IN_USE, after a quarter of a second: a client's user may know sooner than the worker that it ended. */
export async function refuseInUse(daemon: StorageDaemon, entry: VolumeEntry, verb: string): Promise<void> {
  let view = await volumeView(daemon, entry);
  for (let tries = 0; tries < 5 && view.attachments.length === 0 && view.connections > 0; tries++) {
    await sleep(50);
    view = await volumeView(daemon, entry);
  }
  const [attachment] = view.attachments;
  if (attachment === undefined && view.connections === 0) return;
  const where = attachment === undefined ? `${view.connections} NBD clients` : attachment.socket;
  throw storageError("VOLUME_IN_USE", `cannot ${verb} ${entry.name}: it is attached at ${where}`, {
    remedy: "detach it first",
  });
}

export function newEntry(
  daemon: StorageDaemon,
  given: Pick<
    VolumeEntry,
    | "name"
    | "pool"
    | "sizeBytes"
    | "copies"
    | "originVolume"
    | "diskClass"
    | "keyId"
    | "rewindMs"
    | "keyframes"
    | "compression"
  > &
    Partial<Pick<VolumeEntry, "iopsLimit" | "bytesLimit" | "burstMs">>,
): VolumeEntry {
  const id = daemon.catalogue.nextVolumeId;
  return {
    id,
    epoch: 1,
    mapFile: "",
    checkpointSequence: 0,
    snapshots: [],
    schedules: [],
    iopsLimit: 0,
    bytesLimit: 0,
    burstMs: 0,
    clockMs: 0,
    deletedAtMs: 0,
    deletedName: "",
    purgeAtMs: 0,
    owner: "",
    ...given,
  };
}

function byName(a: VolumeEntry, b: VolumeEntry): number {
  return a.name < b.name ? -1 : 1;
}
