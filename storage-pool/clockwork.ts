// What storaged does by the clock: snapshots and scrubs that are due, deleted volumes whose time is over, pools that may be back, and
// an eye on how full pools get. One round after the other; what fails is tried again. Thread: main.
import type { Logger } from "../base/log/index.js";
import { type Forecast, Trend } from "./forecast.js";
import { poolView } from "./pool-control.js";
import { runSchedules } from "./schedule-control.js";
import type { StorageDaemon } from "./storaged.js";
import { deletedOnes, purgeVolume } from "./trash-control.js";

const ROUND_MS = 1000;
const SAMPLE_MS = 10_000;
const RETRY_POOL_MS = 5000;
const RETRY_SCHEDULE_MS = 60_000;

export class Clockwork {
  readonly #daemon: StorageDaemon;
  readonly #log: Logger;
  readonly #trends = new Map<string, Trend>();
  readonly #levels = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> = Promise.resolve();
  #sampledMs = Number.NEGATIVE_INFINITY;
  #retriedMs = 0;
  #notBeforeMs = 0;
  #closed = false;

  constructor(daemon: StorageDaemon, log: Logger) {
    this.#daemon = daemon;
    this.#log = log;
    this.#schedule(0);
  }

  forecastOf(pool: string, leftBytes: number): Forecast | undefined {
    return this.#trends.get(pool)?.forecast(leftBytes);
  }

  /** The pool is no more. */
  forget(pool: string): void {
    this.#trends.delete(pool);
    this.#levels.delete(pool);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#round;
  }

  #schedule(afterMs: number): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#round = this.#run()
        .catch((thrown: unknown) => this.#log.error({ err: thrown }, "a round of the clock failed"))
        .then(() => this.#schedule(ROUND_MS));
    }, afterMs);
    this.#timer.unref();
  }

  async #run(): Promise<void> {
    const nowMs = Date.now();
    await this.#purge(nowMs);
    await this.#snapshots(nowMs);
    await this.#retryPools(nowMs);
    if (nowMs - this.#sampledMs >= SAMPLE_MS || nowMs < this.#sampledMs) {
      this.#sampledMs = nowMs;
      await this.#sample(nowMs);
    }
    await this.#daemon.exclusive(() => this.#daemon.scrubs.round(nowMs));
  }

  async #purge(nowMs: number): Promise<void> {
    for (const { name, deletedName, pool, purgeAtMs } of deletedOnes(this.#daemon)) {
      if (purgeAtMs > nowMs || this.#daemon.unavailable.has(pool)) continue;
      await this.#daemon.exclusive(() => purgeVolume(this.#daemon, name));
      this.#log.info({ volume: deletedName }, "a deleted volume is gone for good");
    }
  }

  async #snapshots(nowMs: number): Promise<void> {
    if (nowMs < this.#notBeforeMs) return;
    const failed = await this.#daemon.exclusive(() => runSchedules(this.#daemon, nowMs));
    for (const [volume, thrown] of failed)
      this.#log.error({ err: thrown, volume }, "a snapshot that is due was not made");
    this.#notBeforeMs = failed.size > 0 ? nowMs + RETRY_SCHEDULE_MS : 0;
  }

  async #retryPools(nowMs: number): Promise<void> {
    if (nowMs - this.#retriedMs < RETRY_POOL_MS) return;
    this.#retriedMs = nowMs;
    for (const name of [...this.#daemon.unavailable.keys()])
      await this.#daemon.exclusive(() => this.#daemon.tryOpenPool(name));
    await this.#daemon.diskReturns.round();
    for (const pool of await this.#daemon.exclusive(() => this.#daemon.keys.retry()))
      this.#log.info({ pool }, "the key of the pool is there: its encrypted volumes are served");
  }

  async #sample(nowMs: number): Promise<void> {
    for (const name of this.#daemon.catalogue.pools.keys()) {
      if (this.#daemon.unavailable.has(name)) continue;
      const pool = await poolView(this.#daemon, name);
      const trend = this.#trends.get(name) ?? new Trend();
      this.#trends.set(name, trend);
      trend.add(nowMs, pool.usableBytes - pool.growthBytes);
      const before = this.#levels.get(name) ?? "ok";
      this.#levels.set(name, pool.level);
      if (pool.level === before) continue;
      const facts = {
        pool: name,
        level: pool.level,
        usedPercent: pool.usedPercent,
        leftBytes: pool.growthBytes,
      };
      if (pool.level === "ok") this.#log.info(facts, "the pool has room again");
      else this.#log.warn(facts, "the pool is getting full");
    }
  }
}
