// Keeps the switch's database as this host wants it. The host agent is the only writer of these rows. Thread: main.

import { PlinthError } from "../../../base/errors/index.js";
import type { Logger } from "../../../base/log/index.js";
import { OvsdbClient } from "../../../base/ovsdb/index.js";
import type { Clock } from "../../../base/time/index.js";
import { type DesiredSwitch, planSwitch, SWITCH_TABLES } from "./switch-plan.js";
import { WorkQueue } from "./work-queue.js";

export interface SwitchSyncOptions {
  readonly databaseSocket: string;
  /** Asked at each look, so that nothing has to be told. */
  readonly desired: () => DesiredSwitch;
}

const TRANSACTION_DEADLINE_MS = 5_000;

export class SwitchSync {
  readonly #client: OvsdbClient;
  readonly #desired: () => DesiredSwitch;
  readonly #queue: WorkQueue;
  readonly #log: Logger;
  #enabled = false;
  #last: Promise<void> = Promise.resolve();

  constructor(options: SwitchSyncOptions, modules: { readonly clock: Clock; readonly log: Logger }) {
    this.#desired = options.desired;
    this.#log = modules.log;
    this.#queue = new WorkQueue({ name: "switch", concurrency: 1, run: () => this.#run() }, modules);
    this.#client = new OvsdbClient({
      endpoint: `unix:${options.databaseSocket}`,
      monitor: SWITCH_TABLES,
      onChange: () => this.trigger(),
      onState: (connected) => connected && this.trigger(),
      ...modules,
    });
  }

  get isConnected(): boolean {
    return this.#client.isConnected;
  }

  /** From now on `desired` is complete; before, nothing is changed, so that nothing is taken away by ignorance. */
  enable(): void {
    this.#enabled = true;
    this.trigger();
  }

  /** Looks again soon. */
  trigger(): void {
    this.#queue.add("switch");
  }

  /** Resolves when the rows are as wanted now. Throws SWITCH_UNAVAILABLE when the database is not there, OvsdbError. */
  sync(): Promise<void> {
    // One after the other: two plans on one state would insert twice.
    const run = this.#last.then(() => this.#apply());
    this.#last = run.catch(() => {});
    return run;
  }

  async close(): Promise<void> {
    await this.#queue.close();
    await this.#last;
    this.#client.close();
  }

  async #run(): Promise<undefined> {
    if (this.#enabled && this.#client.isConnected) await this.sync();
    return undefined;
  }

  async #apply(): Promise<void> {
    if (!this.#enabled) throw new PlinthError("SWITCH_UNAVAILABLE", "not all ports are known yet");
    if (!this.#client.isConnected) {
      throw new PlinthError(
        "SWITCH_UNAVAILABLE",
        "the switch's database is not there (vswitchd does not run?)",
      );
    }
    const operations = planSwitch(this.#client, this.#desired());
    if (operations.length === 0) return;
    await this.#client.transact(operations, TRANSACTION_DEADLINE_MS);
    this.#log.info({ operations: operations.length }, "switch configured");
  }
}
