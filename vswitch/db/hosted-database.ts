// One database as the server offers it: with its waiting transactions and the history that returning clients need.
import type { Clock } from "../../base/time/index.js";
import type { Commit, Database } from "./database.js";
import { TransactionHistory } from "./history.js";
import { WaitingTransactions } from "./waiting.js";

export interface ServedDatabase {
  readonly database: Database;
  /** Resolves when every commit so far is on the medium; absent for one in memory only. */
  readonly sync?: () => Promise<void>;
  /** Clients may only read it. */
  readonly isReserved?: boolean;
}

export class HostedDatabase {
  readonly database: Database;
  readonly sync: () => Promise<void>;
  readonly isReserved: boolean;
  readonly waiting: WaitingTransactions;
  readonly history = new TransactionHistory();
  readonly #unsubscribe: () => void;

  /** `publish` is called with each commit, before the transactions that waited for it are tried again. */
  constructor(
    served: ServedDatabase,
    clock: Clock,
    publish: (hosted: HostedDatabase, commit: Commit) => void,
  ) {
    this.database = served.database;
    this.sync = served.sync ?? (() => Promise.resolve());
    this.isReserved = served.isReserved ?? false;
    this.waiting = new WaitingTransactions(clock);
    this.#unsubscribe = this.database.subscribe((commit) => {
      this.history.add(commit.changes);
      publish(this, commit);
      this.waiting.changed();
    });
  }

  get name(): string {
    return this.database.schema.name;
  }

  /** Ends what waits. The database stays open. */
  close(): void {
    this.#unsubscribe();
    this.waiting.close();
  }
}
