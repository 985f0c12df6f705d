// The keys of all pools of a daemon, and what brings them to the worker. Thread: main. Hot: no.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describeError, PlinthError } from "../../base/errors/index.js";
import type { VolumeEntry } from "../catalogue/catalogue.js";
import { storageError } from "../errors.js";
import type { StorageDaemon } from "../storaged.js";
import { PoolKeys } from "./pool-keys.js";

export class DaemonKeys {
  readonly #daemon: StorageDaemon;
  readonly #directory: string;
  readonly #pools = new Map<string, PoolKeys>();

  /** `directory` of the key rings, one file for each pool. */
  constructor(daemon: StorageDaemon, directory: string) {
    this.#daemon = daemon;
    this.#directory = directory;
  }

  /** Of a pool that was opened. */
  of(pool: string): PoolKeys {
    const known = this.#pools.get(pool);
    const id = this.#daemon.catalogue.pools.get(pool)?.id ?? "";
    // Of that name there may have been another one.
    if (known?.poolId === id) return known;
    const made = new PoolKeys(join(this.#directory, `${id}.ring`), id);
    this.#pools.set(pool, made);
    return made;
  }

  /** After the worker opened the pool: its encrypted volumes are served if their keys are there. */
  async open(pool: string): Promise<void> {
    const keys = this.of(pool);
    if (!keys.isOpen) await keys.load();
    // Of volumes whose deletion a crash interrupted, or that were never made.
    this.sweep(pool);
    await this.send(pool);
  }

  /** What is known of the pool's keys goes to the worker. */
  async send(pool: string): Promise<void> {
    const keys = this.of(pool).volumeKeys();
    if (Object.keys(keys).length > 0) await this.#daemon.target.ask("unlock", { pool, keys });
  }

  /** Keys that no volume has any more, not even a deleted one that can be asked back, are destroyed. Throws KEY_KEPT. */
  destroyUnused(pool: string): void {
    const volumes = [...this.#daemon.catalogue.volumes.values()];
    const wanted = new Set(volumes.filter((each) => each.pool === pool).map((each) => each.keyId));
    try {
      this.of(pool).destroyExcept(wanted);
    } catch (thrown) {
      if (!(thrown instanceof Error) || !("code" in thrown)) throw thrown;
      throw storageError(
        "KEY_KEPT",
        `the volume is gone, but its key could not be taken out of the key ring: ${describeError(thrown)}`,
        { remedy: "until that succeeds it is tried every five seconds", cause: thrown },
      );
    }
  }

  /** The same for whoever does not wait for it: what cannot go now goes at the next round. */
  sweep(pool: string): void {
    try {
      this.destroyUnused(pool);
    } catch (thrown) {
      if (!(thrown instanceof PlinthError)) throw thrown;
    }
  }

  /** The pool is no more: its ring goes with all keys in it. */
  forget(pool: string): void {
    this.of(pool).destroy();
    this.#pools.delete(pool);
  }

  /** Pools whose key file was not there: perhaps it is now. Returns those that were unlocked. Keys that are to go, go. */
  async retry(): Promise<string[]> {
    const unlocked: string[] = [];
    for (const [name, keys] of this.#pools) {
      if (!this.#daemon.unavailable.has(name)) this.sweep(name);
      const path = keys.source?.path ?? "";
      if (keys.isOpen || path === "" || !existsSync(path) || this.#daemon.unavailable.has(name)) continue;
      try {
        await keys.unlock(undefined);
        await this.send(name);
        unlocked.push(name);
      } catch (thrown) {
        if (!(thrown instanceof PlinthError)) throw thrown;
      }
    }
    return unlocked;
  }

  /** Why nobody can use an encrypted volume; undefined for others and for those that can be used. */
  lockedReason({ keyId, pool }: VolumeEntry): string | undefined {
    if (keyId === "") return undefined;
    const keys = this.of(pool);
    if (!keys.isOpen) return keys.locked === "" ? "the key ring of the pool is not there" : keys.locked;
    return keyId in keys.volumeKeys() ? undefined : "its key is not in the key ring of the pool";
  }
}
