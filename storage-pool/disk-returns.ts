// Disks of open pools that are missing, failed or not at their paths: looked for now and then, and used again when they are
// back. What they hold is old until it was looked through, and the catalogue says so first.
//
//   missing ──at its path──► used, or (something needs it that is not served) pool opened anew
//   failed ──was away and is back, or somebody says so──► as missing
//   detached ──at its path──► used as before
//
// Invariants: clients wait while a pool is opened anew, none of them is cut off. It is never done by itself while an open
// disk is detached, which may hold newer data than what stands at its path now. Thread: main.
import { describeError, PlinthError } from "../base/errors/index.js";
import type { ControlMethod } from "../base/jsonrpc/index.js";
import type { Logger } from "../base/log/index.js";
import type { DiskEntry, PoolEntry } from "./catalogue/catalogue.js";
import { NOT_THERE, probeDisk } from "./disk/probe-disk.js";
import { storageError } from "./errors.js";
import { reopenPool } from "./giving-up.js";
import { flag, type Params } from "./parameters.js";
import { diskOf, openPoolOf, poolView } from "./pool-control.js";
import { outdateCopies } from "./pool-opening.js";
import type { StorageDaemon } from "./storaged.js";

const FAILED = "a read, write or sync failed: once it is repaired, plinth pool online uses it again";
const DETACHED =
  "what is open is not at its path any more (removed, unmounted or moved): what it holds is moved to the others while it can be read";

export class DiskReturns {
  readonly #daemon: StorageDaemon;
  readonly #log: Logger;
  /** Pool and disk → why the disk is not used. */
  readonly #reasons = new Map<string, string>();
  /** Disks that failed and were seen to be away since. */
  readonly #pulled = new Set<string>();

  constructor(daemon: StorageDaemon, log: Logger) {
    this.#daemon = daemon;
    this.#log = log;
  }

  /** Why a disk of an open pool is not used; undefined when it is. */
  reasonOf(pool: string, index: number): string | undefined {
    return this.#reasons.get(keyOf(pool, index));
  }

  /** A look at all pools that are open. */
  async round(): Promise<void> {
    const { catalogue, unavailable } = this.#daemon;
    for (const pool of [...catalogue.pools.values()]) {
      if (unavailable.has(pool.name) || pool.deleting || !pool.formatted) continue;
      try {
        await this.#look(pool);
      } catch (thrown) {
        // One that is just being made is not open yet.
        if (!(thrown instanceof PlinthError)) throw thrown;
        if (thrown.code !== "POOL_NOT_FOUND")
          this.#log.error({ err: thrown, pool: pool.name }, "disks of the pool could not be looked for");
      }
    }
  }

  async #look({ name, id, disks }: PoolEntry): Promise<void> {
    const away = await this.#daemon.target.ask("disksAway", { pool: name });
    for (const disk of disks) {
      const key = keyOf(name, disk.index);
      const state = away.find(({ index }) => index === disk.index)?.state;
      if (state === undefined) {
        if (this.#reasons.delete(key))
          this.#log.info({ pool: name, disk: disk.path }, "a disk is used again");
        this.#pulled.delete(key);
        continue;
      }
      // What is put in its place may be a copy of it: from now on only what is open here is the disk itself.
      if (state === "detached" && !this.#reasons.has(key))
        await this.#daemon.exclusive(() => outdateCopies(this.#daemon, name));
      const why = await probeDisk(id, disk);
      if (why !== "") this.#pulled.add(key);
      const wait =
        why === "" && state === "failed" && !this.#pulled.has(key)
          ? FAILED
          : why === ""
            ? await this.#daemon.exclusive(() => this.#tryUse(name, disk, false))
            : state === "detached"
              ? DETACHED + (why === NOT_THERE ? "" : `; what is there now ${why}`)
              : why;
      this.#note(name, disk, wait);
    }
  }

  #note(pool: string, { path, index }: DiskEntry, why: string): void {
    const key = keyOf(pool, index);
    if (why === "" || this.#reasons.get(key) === why) return;
    this.#reasons.set(key, why);
    this.#log.error({ pool, disk: path, why }, "a disk is not used");
  }

  async #tryUse(pool: string, disk: DiskEntry, reopen: boolean): Promise<string> {
    try {
      return await this.use(pool, disk, reopen);
    } catch (thrown) {
      if (!(thrown instanceof PlinthError)) throw thrown;
      return describeError(thrown);
    }
  }

  /**
   * Uses a disk that is back; "", or why it is not used. `reopen`: also if what is open of it is no more what stands at its
   * path, and the pool has to be opened anew. Throws DISK_…. To be called as an operation of its own.
   */
  async use(pool: string, { index }: DiskEntry, reopen: boolean): Promise<string> {
    const daemon = this.#daemon;
    const entry = daemon.catalogue.pools.get(pool);
    const disk = entry?.disks.find((each) => each.index === index);
    if (entry === undefined || disk === undefined || daemon.unavailable.has(pool)) return "";
    const away = await daemon.target.ask("disksAway", { pool });
    const state = away.find((each) => each.index === index)?.state;
    if (state === undefined) return "";
    // Before anything is read from it: what it holds may be old.
    if (!disk.suspect) await daemon.changeDisk(pool, index, { suspect: true });
    const { id: poolId, epoch } = entry;
    const name = { path: disk.path, index, diskId: disk.diskId, usedEpoch: disk.usedEpoch };
    const why = await daemon.target.ask("takeBackDisk", { pool, poolId, epoch, ...name });
    if (why === "") {
      await daemon.changeDisk(pool, index, { usedEpoch: epoch });
      this.#log.info({ pool, disk: disk.path }, "a disk is back: every copy on it is looked through");
    } else {
      if (!reopen && state === "detached")
        return `the pool has to be opened anew for what stands at its path now (${why}), and what is open of the disk may be newer: plinth pool online --reopen`;
      this.#log.warn({ pool, disk: disk.path, why }, "a disk is back: the pool is opened anew");
      await reopenPool(daemon, pool);
    }
    this.#reasons.delete(keyOf(pool, index));
    this.#pulled.delete(keyOf(pool, index));
    return "";
  }
}

/** Method name → what it does. */
export function diskReturnMethods(daemon: StorageDaemon): Record<string, ControlMethod> {
  return {
    "disk.online": (params) => daemon.exclusive(() => useDisk(daemon, params)),
  };
}

/** Somebody says that a disk which was missing or failed can be used again. */
async function useDisk(daemon: StorageDaemon, params: Params) {
  const { name } = openPoolOf(daemon, params);
  const disk = diskOf(daemon, name, params);
  const why = await daemon.diskReturns.use(name, disk, flag(params, "reopen"));
  if (why === "") return poolView(daemon, name);
  throw storageError("VOLUME_IN_USE", `${disk.path}: ${why}`, { field: "disk" });
}

function keyOf(pool: string, index: number): string {
  return `${pool} ${index}`;
}
