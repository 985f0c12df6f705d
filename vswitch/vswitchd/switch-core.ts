// Ties database and backend together: commits in, status out.
// Thread: main. Invariant: what the switch writes itself does not wake it.
import { describeError } from "../../base/errors/index.js";
import type { Logger } from "../../base/log/index.js";
import { mapValue, type Operation, updateOp } from "../../base/ovsdb/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import type { FailedPort } from "../datapath/index.js";
import { type Database, type DatabaseServer, transact } from "../db/index.js";
import { ConnectionTimes } from "./connection-times.js";
import { LinkResets } from "./link-resets.js";
import { Managers } from "./managers.js";
import type { BridgeStatus, SwitchBackend, SwitchConfig } from "./model.js";
import { type ReadOptions, readModel } from "./read-model.js";
import { Reconciler } from "./reconciler.js";
import type { StartConfig } from "./start-config.js";
import { StartNotes } from "./start-notes.js";
import { isSameStatus, type Statuses } from "./status-reader.js";
import { systemStatistics } from "./system-statistics.js";
import { runOperations, type StatusOptions, statusOperations } from "./write-back.js";

/** How often link and controller states are looked at; counters are written as often as the database asks. */
const STATUS_INTERVAL_MS = 500;
/** After so many looks that showed nothing new, and until one does. */
const STATUS_INTERVAL_QUIET_MS = 1000;
const QUIET_LOOKS = 20;

export class SwitchCore {
  readonly reconciler: Reconciler;
  readonly #database: Database;
  readonly #backend: SwitchBackend;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly managers: Managers;
  readonly #startNotes: StartNotes;
  #writing = false;
  #unsubscribe = (): void => {};
  #timer: Timer | undefined;
  readonly #linkResets = new LinkResets();
  readonly #connectionTimes = new ConnectionTimes();
  #quietLooks = 0;
  #statistics: Pick<SwitchConfig, "statsIntervalMs" | "wantsStatistics"> | undefined;
  #countedMs = 0;
  /** What the last look told of, unless everything is to be told anew. */
  #shown: Statuses | undefined;
  /** What the last looks wrote, by row. */
  readonly #written = new Map<string, string>();
  #looking: Promise<void> = Promise.resolve();
  #following: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(
    database: Database,
    server: DatabaseServer,
    backend: SwitchBackend,
    {
      log,
      clock,
      started,
      ...reading
    }: ReadOptions & { readonly log: Logger; readonly clock: Clock; readonly started: StartConfig },
  ) {
    this.#database = database;
    this.#backend = backend;
    this.#clock = clock;
    this.#log = log;
    this.#startNotes = new StartNotes(started, log);
    this.managers = new Managers(server, clock);
    this.reconciler = new Reconciler({
      backend,
      clock,
      log,
      read: () => readModel(database, reading),
      report: (config) => this.#report(config),
    });
  }

  /** Carries the configuration out for the first time, then follows it. */
  async start(): Promise<void> {
    await this.reconciler.trigger();
    this.#unsubscribe = this.#database.subscribe(() => {
      if (!this.#writing) void this.reconciler.trigger();
    });
    this.#schedule();
  }

  /** These ports are not there after all; they are tried again. */
  lost(failed: readonly FailedPort[]): void {
    for (const { bridge, name, message } of failed) this.reconciler.lose(bridge, name, message);
    if (failed.length > 0) void this.reconciler.trigger();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe();
    this.#timer?.cancel();
    await this.reconciler.stop();
    await this.#looking;
    await this.#following;
  }

  /** Writes to the database without being woken by that. */
  write(operations: readonly Operation[]): void {
    this.#writing = true;
    try {
      const outcome = transact(this.#database, operations);
      if (outcome.kind !== "done" || !outcome.committed) {
        this.#log.error({ outcome }, "could not write to the database");
      }
    } finally {
      this.#writing = false;
    }
  }

  /** One transaction, so that whoever waits for cur_cfg finds numbers, errors and link states in place. */
  async #report(config: SwitchConfig): Promise<void> {
    const { applied, errors } = this.reconciler;
    const statuses = await this.#statuses(true);
    this.#written.clear();
    this.#shown = undefined;
    this.#statistics = config;
    this.#startNotes.observe(config);
    await this.#backend.setThreads(config.threads);
    this.write([
      ...statusOperations(applied, this.#observe(statuses, true)),
      ...runOperations(config, applied, errors),
    ]);
    this.#following = this.#following.then(() => this.#followManagers(config));
  }

  async #followManagers({ managers, tls }: SwitchConfig): Promise<void> {
    if (this.#stopped) return;
    await this.managers.follow(managers, tls);
    if (!this.#stopped) this.write(this.managers.operations(true));
  }

  #schedule(): void {
    const intervalMs = this.#quietLooks < QUIET_LOOKS ? STATUS_INTERVAL_MS : STATUS_INTERVAL_QUIET_MS;
    this.#timer = this.#clock.after(intervalMs, () => {
      this.#looking = this.#look().then(() => {
        if (!this.#stopped) this.#schedule();
      });
    });
  }

  async #look(): Promise<void> {
    const counters = this.#isTimeToCount();
    if (counters)
      this.#following = this.#following.then(() => (this.#stopped ? undefined : this.managers.retry()));
    const statuses = await this.#statuses(counters);
    if (this.#stopped) return;
    const { applied } = this.reconciler;
    const isShown = !counters && isSameStatus(statuses, this.#shown);
    this.#shown = statuses;
    const operations = [
      ...(isShown ? [] : statusOperations(applied, this.#observe(statuses, counters))),
      ...this.managers.operations(counters),
      ...(counters ? this.#systemOperations() : []),
    ];
    const news = operations.filter((operation) => this.#isNews(operation));
    this.#quietLooks = news.length > 0 ? 0 : this.#quietLooks + 1;
    if (news.length > 0) this.write(news);
  }

  /** What a look at `statuses` shows, together with what only a series of looks does. */
  #observe(statuses: ReadonlyMap<string, BridgeStatus>, counters: boolean): StatusOptions {
    const { applied } = this.reconciler;
    const nowMs = this.#clock.nowMs();
    return {
      statuses,
      linkResets: this.#linkResets.observe(applied, statuses),
      connectionTimes: this.#connectionTimes.observe(applied, statuses, nowMs, counters),
      counters,
    };
  }

  #isTimeToCount(): boolean {
    const nowMs = this.#clock.nowMs();
    if (nowMs - this.#countedMs < (this.#statistics?.statsIntervalMs ?? 0)) return false;
    this.#countedMs = nowMs;
    return true;
  }

  #systemOperations(): Operation[] {
    const statistics = this.#statistics?.wantsStatistics === true ? systemStatistics("vswitchd") : {};
    return [updateOp("Open_vSwitch", [], { statistics: mapValue(statistics) })];
  }

  /** False when exactly this was written by an earlier look. */
  #isNews(operation: Operation): boolean {
    const key = JSON.stringify(operation["where"]);
    const row = JSON.stringify(operation["row"]);
    if (this.#written.get(key) === row) return false;
    this.#written.set(key, row);
    return true;
  }

  async #statuses(counters: boolean): Promise<Map<string, BridgeStatus>> {
    const names = [...this.reconciler.applied.keys()];
    const told = await Promise.allSettled(names.map((name) => this.#backend.status(name, counters)));
    const statuses = new Map<string, BridgeStatus>();
    for (const [i, one] of told.entries()) {
      if (one.status === "fulfilled") statuses.set(names[i]!, one.value);
      // A bridge may go while it is asked; the next look tells.
      else this.#log.debug({ why: describeError(one.reason) }, "no status");
    }
    return statuses;
  }
}
