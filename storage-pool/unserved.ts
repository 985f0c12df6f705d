// What is answered to who wants something of a pool that is not served. Thread: main.
import { PlinthError } from "../base/errors/index.js";
import { storageError } from "./errors.js";
import type { StorageDaemon } from "./storaged.js";

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
