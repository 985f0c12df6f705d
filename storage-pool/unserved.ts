// Why pools and volumes are not served, and what is answered to who wants something of them. Thread: main.
import { PlinthError } from "../base/errors/index.js";
import type { VolumeEntry } from "./catalogue/catalogue.js";
import { storageError } from "./errors.js";
import type { StorageDaemon } from "./storaged.js";

/** Why a volume is not served. */
export interface Unserved {
  /** What whoever asks for it gets: DISK_MISSING when a disk that comes back makes up for it. */
  readonly code: string;
  readonly why: string;
  /** The disk that it waits for may hold the end of its log. */
  readonly lacksEnd?: boolean;
}

/** Throws POOL_DELETING, or how opening the pool failed, when it is not served. */
export function refuseUnserved(
  { catalogue, unavailable, refusals }: StorageDaemon,
  pool: string,
  field: string,
): void {
  const why = unavailable.get(pool);
  if (catalogue.pools.get(pool)?.deleting) {
    const waits = refusals.get(pool);
    throw storageError(
      "POOL_DELETING",
      `pool ${pool} is being deleted${waits === undefined ? "" : ` (${waits.message})`}: nothing can be done with it any more`,
      { field, remedy: "plinth pool show tells what its deletion waits for" },
    );
  }
  if (why === undefined) return;
  throw new PlinthError(refusals.get(pool)?.code ?? "DISK_MISSING", `pool ${pool} is not served: ${why}`, {
    field,
  });
}

/** Undefined when the volume is served, or only locked. */
export function unservedOf(
  { unavailable, refusals, damaged }: StorageDaemon,
  { id, pool }: Pick<VolumeEntry, "id" | "pool">,
): Unserved | undefined {
  const why = unavailable.get(pool);
  return why === undefined ? damaged.get(id) : { code: refusals.get(pool)?.code ?? "DISK_MISSING", why };
}

/** Throws VOLUME_DAMAGED, DISK_MISSING when a disk that comes back makes up for it, or how opening its pool failed. */
export function refuseUnservedVolume(daemon: StorageDaemon, entry: VolumeEntry, field: string): void {
  const unserved = unservedOf(daemon, entry);
  if (unserved === undefined) return;
  throw new PlinthError(unserved.code, `${entry.name} is not served: ${unserved.why}`, { field });
}
