// Snapshots by the clock: schedules of volumes, when they are due, and which of their snapshots go. Thread: main.
import { Cron } from "croner";
import type { ControlMethod } from "../base/jsonrpc/index.js";
import type { ScheduleEntry, VolumeEntry } from "./catalogue/catalogue.js";
import { findVolume, type VolumeView, volumeView } from "./control.js";
import { storageError } from "./errors.js";
import { SCHEDULES_PER_VOLUME_MAX, SNAPSHOTS_PER_VOLUME_MAX } from "./limits.js";
import { flag, label, type Params, volumeName, whole } from "./parameters.js";
import { dropSnapshot, snapshotAll } from "./snapshot-control.js";
import type { StorageDaemon } from "./storaged.js";
import { unservedOf } from "./unserved.js";

/** Schedules that have a name of their own, and how many snapshots they keep. */
const KNOWN: Readonly<Record<string, { cron: string; keep: number }>> = {
  hourly: { cron: "0 * * * *", keep: 24 },
  daily: { cron: "0 0 * * *", keep: 7 },
  weekly: { cron: "0 0 * * 1", keep: 4 },
  monthly: { cron: "0 0 1 * *", keep: 12 },
};

/** Method name → what it does. */
export function scheduleMethods(daemon: StorageDaemon): Record<string, ControlMethod> {
  return {
    "volume.schedule": (params) => daemon.exclusive(() => setSchedule(daemon, params)),
  };
}

/** Sets or removes one schedule of a volume; its snapshots stay when it goes. */
async function setSchedule(daemon: StorageDaemon, params: Params): Promise<VolumeView> {
  const { name: volume, pool } = findVolume(daemon, volumeName(params));
  const name = label(params, "schedule");
  const remove = flag(params, "remove");
  const others = (entry: VolumeEntry) => entry.schedules.filter((each) => each.name !== name);
  const made = remove ? undefined : newSchedule(name, params, Date.now());
  if (made !== undefined && others(findVolume(daemon, volume)).length >= SCHEDULES_PER_VOLUME_MAX) {
    throw storageError("LIMIT_REACHED", `a volume has at most ${SCHEDULES_PER_VOLUME_MAX} schedules`, {
      field: "schedule",
    });
  }
  await change(daemon, pool, volume, (entry) => ({
    ...entry,
    schedules: [...others(entry), ...(made === undefined ? [] : [made])],
  }));
  return volumeView(daemon, findVolume(daemon, volume));
}

function newSchedule(name: string, params: Params, nowMs: number): ScheduleEntry {
  const known = KNOWN[name];
  const cron = params["cron"] ?? known?.cron;
  if (typeof cron !== "string" || cron.length > 100 || nextAfter(cron, nowMs) === undefined) {
    throw storageError(
      "PARAMETER_INVALID",
      `cron must be five fields such as "30 2 * * *" (UTC), not ${JSON.stringify(cron) ?? "nothing"}`,
      { field: "cron", remedy: `or give a schedule that is known: ${Object.keys(KNOWN).join(", ")}` },
    );
  }
  const keep = whole(params, "keep", 1, SNAPSHOTS_PER_VOLUME_MAX - 1, known?.keep ?? 10);
  return { name, cron, keep, lastMs: nowMs };
}

/** When a schedule is due next after a moment; undefined when the text is none or never is. */
export function nextAfter(cron: string, afterMs: number): number | undefined {
  // Seconds would be six fields, and nicknames are not what users of schedules here know.
  if (cron.trim().split(/\s+/).length !== 5) return undefined;
  try {
    return new Cron(cron, { timezone: "UTC", paused: true }).nextRun(new Date(afterMs))?.getTime();
  } catch {
    return undefined;
  }
}

/** The name of the snapshot that a schedule makes at a moment: "hourly-2026-03-01t12-00-00z". */
export function snapshotName(schedule: string, timeMs: number): string {
  const stamp = new Date(timeMs).toISOString().slice(0, 19).replaceAll(":", "-").toLowerCase();
  return `${schedule}-${stamp}z`;
}

/**
 * Makes the snapshots that are due, those of one schedule and pool at one moment, and forgets those that are too many.
 * One that fails is tried again with the next call; returns what went wrong by volume.
 */
export async function runSchedules(
  daemon: StorageDaemon,
  nowMs: number,
): Promise<ReadonlyMap<string, unknown>> {
  const failed = new Map<string, unknown>();
  const groups = new Map<string, VolumeEntry[]>();
  for (const entry of daemon.catalogue.volumes.values()) {
    if (entry.deletedAtMs > 0 || unservedOf(daemon, entry) !== undefined) continue;
    for (const { name, cron, lastMs } of entry.schedules) {
      if ((nextAfter(cron, lastMs) ?? Number.POSITIVE_INFINITY) > nowMs) continue;
      const key = `${entry.pool} ${name}`;
      groups.set(key, [...(groups.get(key) ?? []), entry]);
    }
  }
  for (const [key, entries] of groups) {
    const [pool = "", schedule = ""] = key.split(" ");
    await makeDue(daemon, pool, schedule, entries, nowMs, failed);
  }
  return failed;
}

async function makeDue(
  daemon: StorageDaemon,
  pool: string,
  schedule: string,
  entries: readonly VolumeEntry[],
  nowMs: number,
  failed: Map<string, unknown>,
): Promise<void> {
  const name = snapshotName(schedule, nowMs);
  try {
    await snapshotAll(daemon, entries, name, schedule);
  } catch (thrown) {
    // One that cannot must not keep the others from theirs.
    if (entries.length > 1) {
      for (const entry of entries) await makeDue(daemon, pool, schedule, [entry], nowMs, failed);
      return;
    }
    failed.set((entries[0] as VolumeEntry).name, thrown);
    return;
  }
  for (const { name: volume } of entries) {
    await change(daemon, pool, volume, (entry) => ({
      ...entry,
      schedules: entry.schedules.map((each) => (each.name === schedule ? { ...each, lastMs: nowMs } : each)),
    }));
    const { snapshots, schedules } = findVolume(daemon, volume);
    const keep = schedules.find((each) => each.name === schedule)?.keep ?? 0;
    const ours = snapshots
      .filter((snapshot) => snapshot.schedule === schedule)
      .sort((a, b) => a.createdAtMs - b.createdAtMs);
    for (const old of ours.slice(0, Math.max(0, ours.length - keep)))
      await dropSnapshot(daemon, volume, old.name);
  }
}

/** Changes what the catalogue says of a volume, which the worker does not need to know. */
async function change(
  daemon: StorageDaemon,
  pool: string,
  volume: string,
  by: (entry: VolumeEntry) => VolumeEntry,
): Promise<void> {
  await daemon.held(pool, () => daemon.catalogue.putVolume(by(findVolume(daemon, volume))));
}
