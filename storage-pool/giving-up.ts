// A disk that is given up as lost with volumes that waited for it. Where only blocks were there these read as errors; where
// the log may have ended there nobody knows what was flushed last, and what is left is an earlier state of the volume.
// Invariant: such a volume is served only once somebody has said that the earlier state will do. Thread: main.
import type { ControlMethod } from "../base/jsonrpc/index.js";
import { findVolume, type VolumeView, volumeView } from "./control.js";
import { storageError } from "./errors.js";
import { type Params, volumeName } from "./parameters.js";
import type { StorageDaemon } from "./storaged.js";
import { refuseUnserved, refuseUnservedVolume } from "./unserved.js";

/** Method name → what it does. */
export function givingUpMethods(daemon: StorageDaemon): Record<string, ControlMethod> {
  return {
    "volume.accept": (params) => daemon.exclusive(() => acceptVolume(daemon, params)),
  };
}

/** Before a disk is given up: notes which volumes may lose the end of their log with it; whether any waits for it at all. */
export async function noteLostEnds(daemon: StorageDaemon, pool: string): Promise<boolean> {
  let waits = false;
  for (const entry of [...daemon.catalogue.volumes.values()]) {
    const unserved = daemon.damaged.get(entry.id);
    if (entry.pool !== pool || unserved?.code !== "DISK_MISSING") continue;
    waits = true;
    if (unserved.lacksEnd === true) await daemon.catalogue.putVolume({ ...entry, endLost: true });
  }
  return waits;
}

/** Clients wait meanwhile: until keys and limits of the volumes are in force again, too. */
export async function reopenPool(daemon: StorageDaemon, pool: string): Promise<void> {
  await daemon.closePool(pool, "it is being opened anew", true);
  daemon.scrubs.forget(pool);
  try {
    await daemon.tryOpenPool(pool);
  } finally {
    await daemon.target.ask("goOn", undefined);
  }
}

/** What is left of a volume whose log has lost its end is the volume from now on. */
async function acceptVolume(daemon: StorageDaemon, params: Params): Promise<VolumeView> {
  const entry = findVolume(daemon, volumeName(params));
  refuseUnserved(daemon, entry.pool, "name");
  if (entry.endLost !== true) {
    throw storageError("PARAMETER_INVALID", `${entry.name} has not lost the end of its log with a disk`, {
      field: "name",
    });
  }
  await daemon.catalogue.putVolume({ ...entry, endLost: false });
  await reopenPool(daemon, entry.pool);
  refuseUnservedVolume(daemon, entry, "name");
  return volumeView(daemon, findVolume(daemon, entry.name));
}
