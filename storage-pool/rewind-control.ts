// Rewinding: how far back a volume is kept, and going back. Thread: main.
import type { ControlMethod } from "../base/jsonrpc/index.js";
import type { VolumeEntry } from "./catalogue/catalogue.js";
import { setCompression, volumeCompression } from "./compression-control.js";
import { findVolume, makeClone, newEntry, refuseInUse, type VolumeView, volumeView } from "./control.js";
import { storageError } from "./errors.js";
import { limitFields, limitsOf, sendLimits, volumeLimits } from "./limits-control.js";
import { moment, type Params, rewindWindow, volumeName } from "./parameters.js";
import { mergedKeyframes } from "./pool/keyframes.js";
import { outdateCopies } from "./pool-opening.js";
import type { StorageDaemon } from "./storaged.js";
import { refuseUnservedVolume } from "./unserved.js";
import { whenRoom } from "./when-room.js";

/** Method name → what it does. */
export function rewindMethods(daemon: StorageDaemon): Record<string, ControlMethod> {
  const alone =
    (method: (daemon: StorageDaemon, params: Params) => Promise<unknown>): ControlMethod =>
    (params) =>
      daemon.exclusive(() => method(daemon, params));
  return {
    "volume.set": alone(setVolume),
    "volume.rewind": alone(rewindVolume),
    /** How far a rewind of the volume is; empty when none is under way. */
    "volume.rewindProgress": async (params) => daemon.rewinds.get(volumeName(params)) ?? {},
  };
}

async function setVolume(daemon: StorageDaemon, params: Params): Promise<VolumeView> {
  const entry = findVolume(daemon, volumeName(params));
  const windowMs = rewindWindow(params);
  const limits = limitFields(volumeLimits(params, limitsOf(entry)));
  const compression = volumeCompression(params, entry.keyId !== "");
  refuseUnservedVolume(daemon, entry, "name");
  const { iopsLimit, bytesLimit, burstMs } = limits;
  if (entry.iopsLimit !== iopsLimit || entry.bytesLimit !== bytesLimit || entry.burstMs !== burstMs) {
    await daemon.held(entry.pool, () =>
      daemon.catalogue.putVolume({ ...findVolume(daemon, entry.name), ...limits }),
    );
    await sendLimits(daemon, [findVolume(daemon, entry.name)]);
  }
  if (compression !== undefined) await setCompression(daemon, entry, compression);
  if (windowMs !== undefined && windowMs !== entry.rewindMs) {
    await daemon.held(entry.pool, () => setWindow(daemon, entry.name, windowMs));
  }
  return volumeView(daemon, findVolume(daemon, entry.name));
}

async function setWindow(daemon: StorageDaemon, name: string, windowMs: number): Promise<void> {
  const now = findVolume(daemon, name);
  const { pool, id } = now;
  if (windowMs === 0) {
    await daemon.catalogue.putVolume({ ...now, rewindMs: 0, keyframes: [] });
    await daemon.target.ask("setRewind", { pool, id, windowMs });
    return;
  }
  const made = await daemon.target.ask("setRewind", { pool, id, windowMs });
  try {
    const entry = findVolume(daemon, name);
    await daemon.catalogue.putVolume({
      ...entry,
      rewindMs: windowMs,
      keyframes: [...entry.keyframes, ...made],
    });
  } catch (thrown) {
    await daemon.target.ask("setRewind", { pool, id, windowMs: now.rewindMs });
    throw thrown;
  }
}

/** Back to the moment `to`; the volume itself, or with `into` a new volume as it was then. */
async function rewindVolume(daemon: StorageDaemon, params: Params): Promise<VolumeView> {
  const entry = findVolume(daemon, volumeName(params));
  const timeMs = moment(params, "to", Date.now());
  const into = params["into"] === undefined ? entry.name : volumeName(params, "into");
  refuseUnservedVolume(daemon, entry, "name");
  if (into === entry.name) await refuseInUse(daemon, entry, "rewind");
  else if (daemon.catalogue.volumes.has(into))
    throw storageError("VOLUME_EXISTS", `volume ${into} exists already`, { field: "into" });
  const { pool, id } = entry;
  await whenRoom(() =>
    daemon.held(pool, async () => {
      await daemon.target.ask("beginRewind", { pool, id, timeMs });
      try {
        for (let done = false; !done; ) {
          const progress = await daemon.target.ask("stepRewind", { pool, id });
          daemon.rewinds.set(entry.name, progress);
          done = progress.done;
        }
        if (into === entry.name) await putBack(daemon, entry, "");
        else await makeClone(daemon, cloneEntry(daemon, entry, into), entry, "");
      } finally {
        daemon.rewinds.delete(entry.name);
        await daemon.target.ask("endRewind", { pool, id });
      }
    }),
  );
  return volumeView(daemon, findVolume(daemon, into));
}

/** Puts a volume back to a snapshot, or to the moment that was looked up (""). The pool is held. */
export async function putBack(
  daemon: StorageDaemon,
  { name, pool, id }: VolumeEntry,
  snapshot: string,
): Promise<void> {
  const made = await daemon.target.ask("prepareRevert", { pool, id, snapshot });
  let recorded = false;
  try {
    const now = findVolume(daemon, name);
    await daemon.catalogue.putVolume({
      ...now,
      mapFile: made.mapFile,
      checkpointSequence: made.sequence,
      snapshots: now.snapshots.map((each) => ({
        ...each,
        mapFile: made.snapshotFiles[each.name] ?? each.mapFile,
      })),
      keyframes: mergedKeyframes(now, made.keyframes),
    });
    recorded = true;
    await outdateCopies(daemon, pool);
  } finally {
    await daemon.target.ask("finishRevert", { pool, id, recorded });
  }
}

function cloneEntry(daemon: StorageDaemon, origin: VolumeEntry, name: string): VolumeEntry {
  const { pool, copies, diskClass, keyId, compression, id: originVolume } = origin;
  const { sizeBytes } = findVolume(daemon, origin.name);
  return newEntry(daemon, {
    name,
    pool,
    sizeBytes,
    copies,
    diskClass,
    keyId,
    compression,
    originVolume,
    rewindMs: 0,
    keyframes: [],
  });
}
