// The control methods of pools, their disks and background jobs. As with volumes each checks its own parameters and
// changes catalogue and worker in an order that a crash between the two survives. Thread: main.
import type { ControlMethod } from "../base/jsonrpc/index.js";
import type { DiskEntry, PoolEntry } from "./catalogue/catalogue.js";
import { isDiskPresent } from "./disk/disk-file.js";
import { storageError } from "./errors.js";
import type { Forecast } from "./forecast.js";
import { noteLostEnds, reopenPool } from "./giving-up.js";
import { DISKS_MAX } from "./limits.js";
import { refuseOwned } from "./owner-control.js";
import {
  absolutePath,
  className,
  diskPaths,
  flag,
  jobNumber,
  label,
  type Params,
  volumeName,
  whole,
} from "./parameters.js";
import type { JobReport } from "./pool/job.js";
import type { DiskUsage } from "./pool/pool-disks.js";
import { deletePool } from "./pool-deletion.js";
import type { ScrubView } from "./scrub-control.js";
import type { StorageDaemon } from "./storaged.js";
import { refuseUnserved, refuseUnservedVolume } from "./unserved.js";

/** Shares of a pool from which users are warned when nothing else is said. */
const WARNING_PERCENT = 80;
const CRITICAL_PERCENT = 95;

export interface DiskView extends Omit<DiskUsage, "state" | "damage"> {
  /** "damaged": it is used, and something on it is not as it was; "closed": it is there, and its pool is not served. */
  readonly state: DiskUsage["state"] | "damaged" | "closed";
  /** Why it is not used, or what is wrong with it; absent when nothing is, or when nobody looked yet. */
  readonly why?: string;
}
export type JobView = JobReport & { readonly pool: string };

export interface PoolView {
  readonly name: string;
  /** Who makes it anew when it is gone: "StoragePool default"; absent when nobody said. */
  readonly owner?: string;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly freeBytes: number;
  /** Space in use for each byte that something names. */
  readonly spaceAmplification: number;
  /** What lies packed, and what that has won; all copies. */
  readonly packedBytes: number;
  readonly savedBytes: number;
  /** Bytes that clients wrote, and that were moved, since the pool was opened. */
  readonly writtenBytes: number;
  readonly movedBytes: number;
  /** What can be stored and promised at most. */
  readonly usableBytes: number;
  /** Of it, what is still to be had beyond all that is stored and promised. */
  readonly growthBytes: number;
  /** Room that is kept for overwriting what snapshots and clones share. */
  readonly promisedBytes: number;
  /** Held by deleted volumes and for rewinding; given up when room is short. */
  readonly spareBytes: number;
  /** Percent of what is usable that is stored or promised. */
  readonly usedPercent: number;
  readonly level: "ok" | "warning" | "critical" | "full";
  readonly warningPercent: number;
  readonly criticalPercent: number;
  /** The trend, once there is one. */
  readonly forecast?: Forecast;
  readonly repairedBlocks: number;
  readonly lostBlocks: number;
  readonly volumes: number;
  readonly disks: readonly DiskView[];
  /** Segments that have fewer copies than they shall have. */
  readonly degradedSegments: number;
  readonly jobs: readonly JobReport[];
  readonly scrub: ScrubView;
  /** Where the key of its encrypted volumes comes from; absent for a pool without one. */
  readonly key?: PoolKeyView;
  /** Why the pool is not served; absent when it is. */
  readonly unavailable?: string;
}

export interface PoolKeyView {
  readonly kind: "file" | "passphrase";
  /** The file that holds it; "" when the passphrase is typed after each start. */
  readonly path: string;
  /** Why encrypted volumes cannot be used; absent when they can. */
  readonly locked?: string;
}

/** Method name → what it does. */
export function poolMethods(daemon: StorageDaemon): Record<string, ControlMethod> {
  const alone =
    (method: (daemon: StorageDaemon, params: Params) => Promise<unknown>): ControlMethod =>
    (params) =>
      daemon.exclusive(() => method(daemon, params));
  return {
    "pool.list": async () =>
      Promise.all([...daemon.catalogue.pools.keys()].sort().map((name) => poolView(daemon, name))),
    "pool.create": alone(createPool),
    "pool.set": alone(setPool),
    "pool.delete": alone(async (_, params) => {
      const asked = { force: flag(params, "force"), lost: flag(params, "lost") };
      const name = label(params, "name");
      const pool = daemon.catalogue.pools.get(name);
      if (pool?.deleting === false) refuseOwned("pool", pool, params);
      await deletePool(daemon, name, asked);
      return {};
    }),
    "pool.accept": alone(acceptPool),
    "disk.class": alone(classDisk),
    "pool.scrub": alone(scrubPool),
    "pool.cancelScrub": alone(cancelScrub),
    "disk.add": alone(addDisks),
    "disk.drain": alone(drainDisk),
    "disk.undrain": alone(undrainDisk),
    "disk.remove": alone(removeDisk),
    "job.get": async (params) => {
      const view = await jobView(daemon, openPoolOf(daemon, params, "pool").name, jobNumber(params, "id"));
      const ended = view.state !== "waiting" && view.state !== "running";
      // Who waited for a scrub finds it recorded.
      if (view.kind === "scrub" && ended) await daemon.exclusive(() => daemon.scrubs.round(Date.now()));
      return view;
    },
    "volume.prove": async (params) => {
      const name = volumeName(params);
      const entry = daemon.catalogue.volumes.get(name);
      if (entry === undefined) {
        throw storageError("VOLUME_NOT_FOUND", `there is no volume ${name}`, { field: "name" });
      }
      refuseUnservedVolume(daemon, entry, "name");
      const { pool, id } = entry;
      return jobView(daemon, pool, await daemon.target.ask("prove", { pool, id }));
    },
  };
}

async function createPool(daemon: StorageDaemon, params: Params): Promise<PoolView> {
  const name = label(params, "name");
  await daemon.createPool(name, diskPaths(params), className(params));
  return poolView(daemon, name);
}

async function scrubPool(daemon: StorageDaemon, params: Params): Promise<JobView> {
  const { name } = openPoolOf(daemon, params);
  return jobView(daemon, name, await daemon.scrubs.begin(name, Date.now()));
}

async function cancelScrub(daemon: StorageDaemon, params: Params): Promise<PoolView> {
  const { name } = openPoolOf(daemon, params);
  await daemon.scrubs.cancel(name, Date.now());
  return poolView(daemon, name);
}

async function addDisks(daemon: StorageDaemon, params: Params): Promise<PoolView> {
  const { name, disks } = openPoolOf(daemon, params);
  const paths = diskPaths(params);
  const fresh = paths.filter((path) => !disks.some((disk) => disk.path === path));
  if (disks.length + fresh.length > DISKS_MAX) {
    throw storageError("LIMIT_REACHED", `a pool has at most ${DISKS_MAX} disks`, { field: "disks" });
  }
  for (const other of daemon.catalogue.pools.values()) {
    const taken = other.name === name ? undefined : other.disks.find((disk) => paths.includes(disk.path));
    if (taken === undefined) continue;
    throw storageError("DISK_FOREIGN", `${taken.path} belongs to the pool ${other.name}`, { field: "disks" });
  }
  const diskClass = className(params);
  const other = disks.find((disk) => paths.includes(disk.path) && disk.diskClass !== diskClass);
  if (other !== undefined && params["class"] !== undefined) {
    const is = other.diskClass === "" ? "of no class" : `of class ${other.diskClass}`;
    throw storageError("PARAMETER_INVALID", `${other.path} is in the pool already, and ${is}`, {
      field: "class",
      remedy: "plinth pool class changes it",
    });
  }
  for (const path of fresh) await daemon.addDisk(name, path, diskClass);
  return poolView(daemon, name);
}

/** The catalogue is older than the disks, and there is no newer one: the pool is opened by it. */
async function acceptPool(daemon: StorageDaemon, params: Params): Promise<PoolView> {
  const name = label(params, "name");
  if (!daemon.catalogue.pools.has(name))
    throw storageError("POOL_NOT_FOUND", `there is no pool ${name}`, { field: "name" });
  await daemon.acceptCatalogue(name);
  return poolView(daemon, name);
}

/** From which share on users are warned, and when and how fast it is scrubbed; all or nothing. */
async function setPool(daemon: StorageDaemon, params: Params): Promise<PoolView> {
  const { name } = openPoolOf(daemon, params);
  const pool = daemon.catalogue.pools.get(name) as PoolEntry;
  const { warningPercent, criticalPercent } = thresholds(pool);
  const given = ["warningPercent", "criticalPercent", "scrub", "scrubBytesPerSecond"];
  if (given.every((field) => params[field] === undefined)) {
    throw storageError("PARAMETER_INVALID", "nothing to change was given", {
      remedy: "give --warning, --critical, --scrub or --scrub-rate",
    });
  }
  const warning = whole(params, "warningPercent", 1, 99, warningPercent);
  const critical = whole(params, "criticalPercent", 1, 100, criticalPercent);
  if (critical <= warning) {
    throw storageError("PARAMETER_INVALID", `criticalPercent must be more than warningPercent (${warning})`, {
      field: "criticalPercent",
    });
  }
  await daemon.scrubs.set(name, params, Date.now());
  await daemon.catalogue.putPool({ ...pool, warningPercent: warning, criticalPercent: critical });
  return poolView(daemon, name);
}

/** What a disk is called; volumes of a class go to such disks only, from now on. */
async function classDisk(daemon: StorageDaemon, params: Params): Promise<PoolView> {
  const { name } = openPoolOf(daemon, params);
  const { index, diskClass: before } = diskOf(daemon, name, params);
  const diskClass = className(params);
  refuseLastOfClass(daemon, name, index, before);
  await daemon.changeDisk(name, index, { diskClass });
  await daemon.target.ask("classDisk", { pool: name, index, diskClass });
  return poolView(daemon, name);
}

/** A class that volumes want keeps enough disks for their copies. */
function refuseLastOfClass(daemon: StorageDaemon, pool: string, index: number, diskClass: string): void {
  if (diskClass === "") return;
  const disks = daemon.catalogue.pools.get(pool)?.disks ?? [];
  const others = disks.filter(
    (disk) => disk.index !== index && !disk.draining && disk.diskClass === diskClass,
  );
  for (const volume of daemon.catalogue.volumes.values()) {
    if (volume.pool !== pool || volume.diskClass !== diskClass || volume.copies <= others.length) continue;
    throw storageError(
      "DISK_IN_USE",
      `volume ${volume.name} is kept on disks of class ${diskClass}, and ${others.length} others are left`,
      { field: "disk", remedy: "add a disk of that class first" },
    );
  }
}

async function drainDisk(daemon: StorageDaemon, params: Params): Promise<JobView> {
  const { name } = openPoolOf(daemon, params);
  const { index, diskClass } = diskOf(daemon, name, params);
  refuseLastOfClass(daemon, name, index, diskClass);
  const id = await daemon.target.ask("drainDisk", { pool: name, index });
  await daemon.changeDisk(name, index, { draining: true });
  return jobView(daemon, name, id);
}

async function undrainDisk(daemon: StorageDaemon, params: Params): Promise<PoolView> {
  const { name } = openPoolOf(daemon, params);
  const { index } = diskOf(daemon, name, params);
  await daemon.target.ask("undrainDisk", { pool: name, index });
  await daemon.changeDisk(name, index, { draining: false });
  return poolView(daemon, name);
}

async function removeDisk(daemon: StorageDaemon, params: Params): Promise<PoolView> {
  const pool = openPoolOf(daemon, params);
  const { index } = diskOf(daemon, pool.name, params);
  await daemon.target.ask("checkRemoveDisk", { pool: pool.name, index, lost: flag(params, "lost") });
  const waits = await noteLostEnds(daemon, pool.name);
  const now = daemon.catalogue.pools.get(pool.name) as PoolEntry;
  // Forgotten before it is wiped: a disk that the catalogue names is never without its superblock.
  await daemon.catalogue.putPool({ ...now, disks: now.disks.filter((disk) => disk.index !== index) });
  await daemon.target.ask("removeDisk", { pool: pool.name, index });
  // What waited for it does not wait any more.
  if (waits) await reopenPool(daemon, pool.name);
  return poolView(daemon, pool.name);
}

export function openPoolOf(daemon: StorageDaemon, params: Params, field = "name"): PoolEntry {
  const name = label(params, field, "default");
  const pool = daemon.catalogue.pools.get(name);
  if (pool === undefined) throw storageError("POOL_NOT_FOUND", `there is no pool ${name}`, { field });
  refuseUnserved(daemon, name, field);
  return pool;
}

export function diskOf(daemon: StorageDaemon, pool: string, params: Params): DiskEntry {
  const path = absolutePath(params, "disk");
  const disks = daemon.catalogue.pools.get(pool)?.disks ?? [];
  const disk = disks.find((each) => each.path === path);
  if (disk !== undefined) return disk;
  throw storageError("DISK_NOT_FOUND", `pool ${pool} has no disk ${path}`, {
    field: "disk",
    remedy: `its disks: ${disks.map((each) => each.path).join(", ")}`,
  });
}

export async function poolView(daemon: StorageDaemon, name: string): Promise<PoolView> {
  const volumes = [...daemon.catalogue.volumes.values()].filter(
    (volume) => volume.pool === name && volume.deletedAtMs === 0,
  ).length;
  const limits = thresholds(daemon.catalogue.pools.get(name));
  const unavailable = daemon.unavailable.get(name);
  if (unavailable !== undefined) {
    const room = { usableBytes: 0, growthBytes: 0, promisedBytes: 0, spareBytes: 0, usedPercent: 0 };
    const bytes = { sizeBytes: 0, allocatedBytes: 0, freeBytes: 0, repairedBlocks: 0, lostBlocks: 0 };
    const none = { ...bytes, ...room, ...limits, level: "ok" as const };
    const work = { spaceAmplification: 1, writtenBytes: 0, movedBytes: 0, packedBytes: 0, savedBytes: 0 };
    const disks = (daemon.catalogue.pools.get(name)?.disks ?? []).map(({ index, path, diskClass }) => {
      const fixed = { sizeBytes: 0, freeBytes: 0, failed: false, badBlocks: 0, segments: 0 };
      const state = isDiskPresent(path) ? ("closed" as const) : ("missing" as const);
      return { index, path, ...fixed, class: diskClass, state };
    });
    return {
      name,
      ...keyOf(daemon, name),
      ...ownerOf(daemon, name),
      ...none,
      ...work,
      volumes,
      disks,
      degradedSegments: 0,
      jobs: [],
      scrub: daemon.scrubs.view(name, []),
      unavailable,
    };
  }
  const usage = await daemon.target.ask("poolUsage", { pool: name });
  const disks = usage.disks.map(({ damage, ...disk }): DiskView => {
    const isUsed = disk.state === "online" || disk.state === "draining";
    const why = isUsed ? damage : (daemon.diskReturns.reasonOf(name, disk.index) ?? "");
    if (why === "") return disk;
    return { ...disk, state: disk.state === "online" ? "damaged" : disk.state, why };
  });
  const { usableBytes, growthBytes } = usage;
  const share = usableBytes === 0 ? 1 : 1 - growthBytes / usableBytes;
  const usedPercent = Math.round(share * 1000) / 10;
  const level =
    growthBytes === 0
      ? ("full" as const)
      : usedPercent >= limits.criticalPercent
        ? ("critical" as const)
        : usedPercent >= limits.warningPercent
          ? ("warning" as const)
          : ("ok" as const);
  const forecast = daemon.forecastOf(name, growthBytes);
  return {
    name,
    ...keyOf(daemon, name),
    ...ownerOf(daemon, name),
    ...usage,
    disks,
    usedPercent,
    level,
    ...limits,
    ...(forecast === undefined ? {} : { forecast }),
    scrub: daemon.scrubs.view(name, usage.jobs),
    volumes,
  };
}

function ownerOf(daemon: StorageDaemon, name: string): { readonly owner?: string } {
  const owner = daemon.catalogue.pools.get(name)?.owner ?? "";
  return owner === "" ? {} : { owner };
}

function keyOf(daemon: StorageDaemon, name: string): { readonly key?: PoolKeyView } {
  const { source, locked } = daemon.keys.of(name);
  if (source === undefined) return {};
  return { key: { ...source, ...(locked === "" ? {} : { locked }) } };
}

function thresholds(pool: PoolEntry | undefined): { warningPercent: number; criticalPercent: number } {
  return {
    warningPercent: pool?.warningPercent || WARNING_PERCENT,
    criticalPercent: pool?.criticalPercent || CRITICAL_PERCENT,
  };
}

async function jobView(daemon: StorageDaemon, pool: string, id: number): Promise<JobView> {
  const job = (await daemon.target.ask("jobs", { pool })).find((each) => each.id === id);
  if (job === undefined) {
    throw storageError("JOB_NOT_FOUND", `pool ${pool} has no job ${id}`, { field: "id" });
  }
  return { ...job, pool };
}
