// Who pools and volumes belong to: objects of the API make theirs anew when they are gone, empty. So whoever else would delete
// one is told of the object first. Thread: main.
import type { ControlMethod } from "../base/jsonrpc/index.js";
import type { PoolEntry } from "./catalogue/catalogue.js";
import { findVolume, volumeView } from "./control.js";
import { storageError } from "./errors.js";
import { flag, ownerText, type Params, volumeName } from "./parameters.js";
import { openPoolOf, poolView } from "./pool-control.js";
import type { StorageDaemon } from "./storaged.js";

/** Method name → what it does. */
export function ownerMethods(daemon: StorageDaemon): Record<string, ControlMethod> {
  return {
    "pool.own": (params) => daemon.exclusive(() => ownPool(daemon, params)),
    "volume.own": (params) => daemon.exclusive(() => ownVolume(daemon, params)),
  };
}

async function ownPool(daemon: StorageDaemon, params: Params) {
  const { name } = openPoolOf(daemon, params);
  const owner = ownerText(params);
  const pool = daemon.catalogue.pools.get(name) as PoolEntry;
  if (pool.owner !== owner) await daemon.catalogue.putPool({ ...pool, owner });
  return poolView(daemon, name);
}

async function ownVolume(daemon: StorageDaemon, params: Params) {
  const { name, pool } = findVolume(daemon, volumeName(params));
  const owner = ownerText(params);
  const change = async () => daemon.catalogue.putVolume({ ...findVolume(daemon, name), owner });
  if (findVolume(daemon, name).owner !== owner) await daemon.held(pool, change);
  return volumeView(daemon, findVolume(daemon, name));
}

/** Throws OWNED, unless the owner itself asks (`owner`) or somebody who knows (`force`). */
export function refuseOwned(
  what: "pool" | "volume",
  { name, owner }: { readonly name: string; readonly owner: string },
  params: Params,
): void {
  if (owner === "" || owner === ownerText(params) || flag(params, "force")) return;
  const [kind = "", object = ""] = owner.split(" ");
  const [namespace, short] = object.includes("/") ? object.split("/") : [undefined, object];
  const where = namespace === undefined ? "" : ` -n ${namespace}`;
  throw storageError("OWNED", `${what} ${name} belongs to the ${owner}, which would make it anew, empty`, {
    field: "name",
    remedy: `delete that, and it goes with it: plinth delete ${kind.toLowerCase()} ${short}${where}; --force does it all the same`,
  });
}
