// The control methods of sockets that serve one volume each: NBD or vhost-user-blk. Thread: main.
import type { ControlMethod } from "../base/jsonrpc/index.js";
import type { ExportEntry } from "./catalogue/catalogue.js";
import { findVolume } from "./control.js";
import { storageError } from "./errors.js";
import {
  absolutePath,
  flag,
  optionalUid,
  ownerText,
  type Params,
  socketRefusal,
  volumeName,
} from "./parameters.js";
import type { StorageDaemon } from "./storaged.js";
import { refuseUnservedVolume } from "./unserved.js";

export interface ExportView {
  readonly socket: string;
  readonly volume: string;
  readonly readOnly: boolean;
  readonly uid?: number;
  readonly protocol: "nbd" | "vhost-user-blk";
  /** Guest memory is taken that its front-end could truncate. */
  readonly unsealedMemory?: true;
}

const VHOST_USER_BLK = "vhost-user-blk";

/** Method name → what it does. */
export function exportMethods(daemon: StorageDaemon): Record<string, ControlMethod> {
  return {
    "export.open": (params) => daemon.exclusive(() => openExport(daemon, params)),
    "export.close": (params) => daemon.exclusive(() => closeExport(daemon, params)),
    "export.list": async () => [...daemon.catalogue.exports.values()].map(exportView),
  };
}

async function openExport(daemon: StorageDaemon, params: Params): Promise<ExportView> {
  const volume = volumeName(params, "volume");
  const socket = absolutePath(params, "socket");
  const readOnly = flag(params, "readOnly");
  const uid = optionalUid(params);
  const vhostUserBlk = params["protocol"] === VHOST_USER_BLK;
  if (!vhostUserBlk && params["protocol"] !== undefined && params["protocol"] !== "nbd") {
    throw storageError("PARAMETER_INVALID", `protocol must be nbd or ${VHOST_USER_BLK}`, {
      field: "protocol",
    });
  }
  const unsealedMemory = flag(params, "unsealedMemory");
  if (unsealedMemory && !vhostUserBlk) {
    throw storageError("PARAMETER_INVALID", `unsealedMemory is for ${VHOST_USER_BLK} only`, {
      field: "unsealedMemory",
    });
  }
  const entry = findVolume(daemon, volume, "volume");
  refuseUnservedVolume(daemon, entry, "volume");
  const locked = daemon.keys.lockedReason(entry);
  if (locked !== undefined) throw storageError("VOLUME_LOCKED", `${volume}: ${locked}`, { field: "volume" });
  const known = daemon.catalogue.exports.get(socket);
  const asked = { volume: entry.name, readOnly, vhostUserBlk, unsealedMemory };
  if (known !== undefined && !isSameExport(known, asked)) {
    throw storageError("VOLUME_IN_USE", `${socket} exports ${known.volume}`, { field: "socket" });
  }
  const others = [...daemon.catalogue.exports.values()].filter(
    (each) => each.volume === entry.name && !each.readOnly && each.socket !== socket,
  );
  if (!readOnly && others.length > 0 && !isMove(params, vhostUserBlk, others)) {
    throw storageError("VOLUME_IN_USE", `${volume} is attached read-write at ${others[0]?.socket}`, {
      field: "volume",
    });
  }
  const wanted: ExportEntry = {
    ...asked,
    socket,
    hasUid: uid !== undefined,
    uid: uid ?? 0,
    owner: ownerText(params),
  };
  // Asked again: a socket that was lost with its directory comes back, a living one stays untouched.
  await daemon.openExport(wanted).catch((thrown: unknown) => {
    throw socketRefusal(thrown, socket);
  });
  await daemon.catalogue.putExport(wanted);
  return exportView(wanted);
}

/** A guest that moves has two sockets of vhost-user-blk for a while, of which one is served at a time (BlkServer). */
function isMove(params: Params, vhostUserBlk: boolean, others: readonly ExportEntry[]): boolean {
  if (!flag(params, "moving")) return false;
  if (!vhostUserBlk || others.some((each) => !each.vhostUserBlk)) {
    throw storageError("PARAMETER_INVALID", `moving is for ${VHOST_USER_BLK} only, at both sockets`, {
      field: "moving",
    });
  }
  return others.length === 1;
}

async function closeExport(daemon: StorageDaemon, params: Params): Promise<object> {
  const socket = absolutePath(params, "socket");
  if (!daemon.catalogue.exports.has(socket)) return {};
  await daemon.catalogue.deleteExport(socket);
  await daemon.target.ask("unlisten", { name: socket });
  return {};
}

function isSameExport(
  known: ExportEntry,
  asked: Omit<ExportEntry, "socket" | "hasUid" | "uid" | "owner">,
): boolean {
  return (
    known.volume === asked.volume &&
    known.readOnly === asked.readOnly &&
    known.vhostUserBlk === asked.vhostUserBlk &&
    known.unsealedMemory === asked.unsealedMemory
  );
}

function exportView(entry: ExportEntry): ExportView {
  const { socket, volume, readOnly, hasUid, uid, vhostUserBlk, unsealedMemory } = entry;
  const protocol = vhostUserBlk ? VHOST_USER_BLK : "nbd";
  const view = { socket, volume, readOnly, ...(hasUid ? { uid } : {}), protocol } as const;
  return unsealedMemory ? { ...view, unsealedMemory } : view;
}
