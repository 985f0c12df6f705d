// Deleting volumes, and asking them back: for a while a deleted volume is kept under a name that nobody can give,
// "namespace/name~number", found by nobody and given up first when the pool is short of room. Thread: main.
import type { ControlMethod } from "../base/jsonrpc/index.js";
import type { VolumeEntry } from "./catalogue/catalogue.js";
import { findVolume, refuseInUse, type VolumeView, volumeView } from "./control.js";
import { storageError } from "./errors.js";
import { UNDO_SECONDS, UNDO_SECONDS_MAX } from "./limits.js";
import { refuseOwned } from "./owner-control.js";
import { type Params, volumeName, whole } from "./parameters.js";
import type { StorageDaemon } from "./storaged.js";
import { refuseUnserved, refuseUnservedVolume, unservedOf } from "./unserved.js";

export interface DeletedView {
  /** Until then it can be asked back; absent when it is gone for good. */
  readonly purgeAt?: string;
}

/** Method name → what it does. */
export function trashMethods(daemon: StorageDaemon): Record<string, ControlMethod> {
  const alone =
    (method: (daemon: StorageDaemon, params: Params) => Promise<unknown>): ControlMethod =>
    (params) =>
      daemon.exclusive(() => method(daemon, params));
  return {
    "volume.delete": alone(deleteVolume),
    "volume.undelete": alone(undeleteVolume),
    "volume.rename": alone(renameVolume),
    "volume.deleted": async () => Promise.all(deletedOnes(daemon).map((entry) => volumeView(daemon, entry))),
    "volume.purge": alone(async (_, params) => {
      await purgeVolume(daemon, findDeleted(daemon, params).name);
      return {};
    }),
  };
}

/** `undoSeconds` 0: for good. */
async function deleteVolume(daemon: StorageDaemon, params: Params): Promise<DeletedView> {
  const entry = findVolume(daemon, volumeName(params));
  const undoSeconds = whole(params, "undoSeconds", 0, UNDO_SECONDS_MAX, UNDO_SECONDS);
  refuseUnserved(daemon, entry.pool, "name");
  refuseOwned("volume", entry, params);
  await refuseInUse(daemon, entry, "delete");
  // What is damaged is of no use to anybody who asks it back; what only waits for a disk may be.
  if (undoSeconds === 0 || unservedOf(daemon, entry)?.code === "VOLUME_DAMAGED") {
    await purgeVolume(daemon, entry.name);
    return {};
  }
  const deletedAtMs = Date.now();
  const purgeAtMs = deletedAtMs + undoSeconds * 1000;
  const { pool, id } = entry;
  const to = `${entry.name}~${id}`;
  await daemon.held(pool, async () => {
    const now = findVolume(daemon, entry.name);
    const deleted = { ...now, name: to, deletedName: entry.name, deletedAtMs, purgeAtMs, owner: "" };
    await daemon.catalogue.renameVolume(entry.name, deleted);
    await daemon.target.ask("trashVolume", { pool, id, to, deletedAtMs });
  });
  return { purgeAt: new Date(purgeAtMs).toISOString() };
}

/** The volume that was deleted last under a name is back, as `as` if that is given. */
async function undeleteVolume(daemon: StorageDaemon, params: Params): Promise<VolumeView> {
  const deleted = findDeleted(daemon, params);
  const { name: kept, pool, id, deletedName } = deleted;
  const name = params["as"] === undefined ? deletedName : volumeName(params, "as");
  if (daemon.catalogue.volumes.has(name)) {
    throw storageError("VOLUME_EXISTS", `there is another volume ${name}`, {
      field: params["as"] === undefined ? "name" : "as",
      remedy: "give it another name: --as",
    });
  }
  refuseUnservedVolume(daemon, deleted, "name");
  await daemon.held(pool, async () => {
    const now = daemon.catalogue.volumes.get(kept) as VolumeEntry;
    const back = { ...now, name, deletedName: "", deletedAtMs: 0, purgeAtMs: 0 };
    await daemon.catalogue.renameVolume(kept, back);
    await daemon.target.ask("untrashVolume", { pool, id, name });
  });
  return volumeView(daemon, findVolume(daemon, name));
}

/** Another name for a volume that nobody uses. */
async function renameVolume(daemon: StorageDaemon, params: Params): Promise<VolumeView> {
  const entry = findVolume(daemon, volumeName(params));
  const to = volumeName(params, "to");
  if (to === entry.name) return volumeView(daemon, entry);
  if (daemon.catalogue.volumes.has(to)) {
    throw storageError("VOLUME_EXISTS", `there is another volume ${to}`, { field: "to" });
  }
  refuseUnserved(daemon, entry.pool, "name");
  refuseOwned("volume", entry, params);
  refuseUnservedVolume(daemon, entry, "name");
  await refuseInUse(daemon, entry, "rename");
  const { pool, id } = entry;
  await daemon.held(pool, async () => {
    await daemon.catalogue.renameVolume(entry.name, { ...findVolume(daemon, entry.name), name: to });
    await daemon.target.ask("trashVolume", { pool, id, to, deletedAtMs: 0 });
    await daemon.target.ask("untrashVolume", { pool, id, name: to });
  });
  return volumeView(daemon, findVolume(daemon, to));
}

/** A volume, deleted before or not, goes for good; `name`: its key in the catalogue. */
export async function purgeVolume(daemon: StorageDaemon, name: string): Promise<void> {
  const entry = daemon.catalogue.volumes.get(name);
  if (entry === undefined) return;
  refuseUnserved(daemon, entry.pool, "name");
  const { pool, id } = entry;
  await daemon.held(pool, async () => {
    await daemon.catalogue.deleteVolume(name);
    await daemon.target.ask("deleteVolume", { pool, id, name });
  });
  daemon.damaged.delete(id);
  daemon.keys.destroyUnused(pool);
}

/** Deleted volumes, the one that was deleted last first. */
export function deletedOnes(daemon: StorageDaemon): VolumeEntry[] {
  return [...daemon.catalogue.volumes.values()]
    .filter((entry) => entry.deletedAtMs > 0)
    .sort((a, b) => b.deletedAtMs - a.deletedAtMs);
}

function findDeleted(daemon: StorageDaemon, params: Params): VolumeEntry {
  const name = volumeName(params);
  const id = params["id"] === undefined ? undefined : whole(params, "id", 1, 0xffff_ffff);
  const found = deletedOnes(daemon).find(
    (entry) => entry.deletedName === name && (id === undefined || entry.id === id),
  );
  if (found !== undefined) return found;
  throw storageError("VOLUME_NOT_FOUND", `no deleted volume ${name} is kept`, {
    field: "name",
    remedy: "plinth volume list --deleted shows those that are",
  });
}
