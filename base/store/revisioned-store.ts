// The Store's logic over a Journal that makes changes durable. The whole state is held in memory (a control plane's
// state is small); the journal is only read at the start.
//
//   transact ──judge against committed + pending──▶ pending ──one journal write at a time──▶ committed ──▶ watchers
//
// Writes that arrive while the journal is busy share the next journal write (group commit). After a failed write the
// store is read-only until the journal, read again, agrees with what is known: a full disk is got over without a restart.
// Invariant: readers and watchers see committed changes only; conditions are judged on what will be committed.
import { assert } from "../assert/index.js";
import { storeError } from "./errors.js";
import { History, type HistoryLimits } from "./history.js";
import {
  KEY_SIZE_BYTES_MAX,
  PENDING_TRANSACTIONS_MAX,
  RECOVERY_INTERVAL_MS,
  TRANSACTION_OPERATIONS_MAX,
  VALUE_SIZE_BYTES_MAX,
} from "./limits.js";
import { compareKeys, SortedEntries } from "./sorted-entries.js";
import type {
  ListOptions,
  ListResult,
  Store,
  StoreEntry,
  StoreEvent,
  Transaction,
  Watch,
  WatchOptions,
  WriteOptions,
} from "./store.js";

/** Where committed changes go. One write is under way at a time. */
export interface Journal {
  /** Resolves once all `events` are durable together; a rejection makes the store read-only, at least for a while. */
  write(events: readonly StoreEvent[], revision: number): Promise<void>;
  /** After a failed write: opens what is durable again and tells its revision. Rejects while that cannot be done. */
  reopen?(): Promise<number>;
  close(): Promise<void>;
}

export interface InitialState {
  readonly entries: readonly StoreEntry[];
  readonly revision: number;
  /** The last changes that led there, as far as they are known. */
  readonly events?: readonly StoreEvent[];
}

interface PendingTransaction {
  readonly events: readonly StoreEvent[];
  readonly revision: number;
  readonly resolve: (revision: number) => void;
  readonly reject: (reason: unknown) => void;
}

export class RevisionedStore implements Store {
  readonly #journal: Journal;
  readonly #history: History;
  readonly #committed = new SortedEntries();
  /** What pending transactions will leave behind; undefined = deleted. */
  readonly #overlay = new Map<string, StoreEntry | undefined>();
  #pending: PendingTransaction[] = [];
  #headRevision: number;
  #flushing: Promise<void> | undefined;
  #failure: Error | undefined;
  /** Of the write that failed: all or nothing of it is on the disk. */
  #inDoubt: readonly StoreEvent[] = [];
  #recovering: Promise<void> | undefined;
  #recoverAtMs = 0;
  #closed = false;

  constructor(journal: Journal, initial: InitialState, limits: HistoryLimits = {}) {
    this.#journal = journal;
    this.#history = new History(initial.revision, limits, initial.events);
    this.#headRevision = initial.revision;
    this.#committed.load(initial.entries);
  }

  get revision(): number {
    return this.#history.revision;
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  async get(key: string): Promise<StoreEntry | undefined> {
    this.#assertOpen();
    return this.#committed.get(key);
  }

  async list(options: ListOptions): Promise<ListResult> {
    this.#assertOpen();
    const revision = options.revision ?? this.revision;
    let entries = this.#committed.withPrefix(options.prefix);
    if (revision !== this.revision) entries = this.#rewind(entries, options.prefix, revision);
    const after = options.after;
    if (after !== undefined) entries = entries.filter((entry) => entry.key > after);
    const page = options.limit === undefined ? entries : entries.slice(0, options.limit);
    return { entries: page, revision, remaining: entries.length - page.length };
  }

  put(key: string, value: Uint8Array, options: WriteOptions = {}): Promise<number> {
    return this.transact({
      conditions: conditionsOf(key, options),
      operations: [{ type: "put", key, value }],
    });
  }

  async delete(key: string, options: WriteOptions = {}): Promise<boolean> {
    const existed = this.#head(key) !== undefined;
    await this.transact({ conditions: conditionsOf(key, options), operations: [{ type: "delete", key }] });
    return existed;
  }

  async transact(transaction: Transaction): Promise<number> {
    if (this.#failure !== undefined) await this.#recover();
    this.#assertWritable();
    checkLimits(transaction);
    for (const condition of transaction.conditions ?? []) {
      const actual = this.#head(condition.key)?.revision ?? 0;
      if (actual === condition.revision) continue;
      // Whoever reads again after a conflict must see what it lost to.
      if (this.#overlay.has(condition.key)) await this.#flushing;
      throw storeError(
        "REVISION_CONFLICT",
        `${condition.key} is at revision ${actual}, expected ${condition.revision}`,
        { key: condition.key, expectedRevision: condition.revision, actualRevision: actual },
      );
    }
    const events = this.#stage(transaction);
    return new Promise<number>((resolve, reject) => {
      this.#pending.push({ events, revision: this.#headRevision, resolve, reject });
      this.#flushing ??= this.#flush();
    });
  }

  async watch(options: WatchOptions, onEvents: (events: readonly StoreEvent[]) => void): Promise<Watch> {
    this.#assertOpen();
    return this.#history.watch(options, onEvents);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#flushing;
    await this.#recovering;
    this.#history.close();
    await this.#journal.close();
  }

  #head(key: string): StoreEntry | undefined {
    return this.#overlay.has(key) ? this.#overlay.get(key) : this.#committed.get(key);
  }

  /** Gives every real change its revision and puts it into the overlay. */
  #stage(transaction: Transaction): StoreEvent[] {
    const events: StoreEvent[] = [];
    for (const operation of transaction.operations) {
      const key = operation.key;
      const previous = this.#head(key);
      if (operation.type === "delete") {
        if (previous === undefined) continue;
        this.#headRevision++;
        this.#overlay.set(key, undefined);
        events.push({ type: "delete", revision: this.#headRevision, previous });
        continue;
      }
      this.#headRevision++;
      const revision = this.#headRevision;
      const createRevision = previous?.createRevision ?? revision;
      const entry: StoreEntry = { key, value: operation.value, createRevision, revision };
      this.#overlay.set(key, entry);
      events.push({ type: "put", revision, entry, previous });
    }
    return events;
  }

  async #flush(): Promise<void> {
    // Writes made in the same turn of the event loop share one journal write.
    await Promise.resolve();
    while (this.#pending.length > 0) {
      const group = this.#pending;
      this.#pending = [];
      const events = group.flatMap((transaction) => transaction.events);
      try {
        if (events.length > 0) await this.#journal.write(events, (events.at(-1) as StoreEvent).revision);
      } catch (cause) {
        this.#fail(group, events, cause);
        break;
      }
      this.#commit(events);
      for (const transaction of group) transaction.resolve(transaction.revision);
    }
    this.#flushing = undefined;
  }

  #commit(events: readonly StoreEvent[]): void {
    for (const event of events) {
      assert(event.revision > this.#history.revision, "a committed event is new");
      if (event.type === "put") {
        this.#committed.set(event.entry);
        if (this.#overlay.get(event.entry.key) === event.entry) this.#overlay.delete(event.entry.key);
      } else {
        const key = event.previous.key;
        this.#committed.delete(key);
        if (this.#pending.length === 0) this.#overlay.delete(key);
      }
    }
    if (this.#pending.length === 0) this.#overlay.clear();
    this.#history.append(events);
  }

  /** What was in flight may or may not be on the disk, so nothing more is written until that is found out. */
  #fail(group: readonly PendingTransaction[], events: readonly StoreEvent[], cause: unknown): void {
    const failure = storeError("STORE_WRITE_FAILED", `the store cannot write: ${String(cause)}`, {}, cause);
    this.#failure = failure;
    this.#inDoubt = events;
    this.#recoverAtMs = performance.now() + RECOVERY_INTERVAL_MS;
    for (const transaction of [...group, ...this.#pending]) transaction.reject(failure);
    this.#pending = [];
    this.#overlay.clear();
    this.#headRevision = this.#history.revision;
  }

  /** One attempt at a time, and not more often than RECOVERY_INTERVAL_MS. Never rejects. */
  async #recover(): Promise<void> {
    if (this.#recovering === undefined) {
      if (this.#closed || performance.now() < this.#recoverAtMs) return;
      this.#recoverAtMs = performance.now() + RECOVERY_INTERVAL_MS;
      this.#recovering = this.#reopen().finally(() => {
        this.#recovering = undefined;
      });
    }
    await this.#recovering;
  }

  async #reopen(): Promise<void> {
    let revision: number | undefined;
    try {
      revision = await this.#journal.reopen?.();
    } catch {
      return; // What made the write fail is still so.
    }
    if (revision === this.#inDoubt.at(-1)?.revision) this.#commit(this.#inDoubt);
    else if (revision !== this.revision) return; // Not what we wrote: only a restart can tell.
    this.#headRevision = this.revision;
    this.#inDoubt = [];
    this.#failure = undefined;
  }

  #rewind(entries: readonly StoreEntry[], prefix: string, revision: number): StoreEntry[] {
    const before = this.#history.undo(revision);
    const result = entries.filter((entry) => !before.has(entry.key));
    for (const [key, entry] of before) {
      if (entry !== undefined && key.startsWith(prefix)) result.push(entry);
    }
    return result.sort((a, b) => compareKeys(a.key, b.key));
  }

  #assertOpen(): void {
    if (this.#closed) throw storeError("STORE_CLOSED", "the store is closed");
  }

  #assertWritable(): void {
    this.#assertOpen();
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#pending.length >= PENDING_TRANSACTIONS_MAX) {
      throw storeError("STORE_OVERLOADED", `${this.#pending.length} writes wait for the disk`);
    }
  }
}

function conditionsOf(key: string, options: WriteOptions): Transaction["conditions"] & object {
  return options.expectedRevision === undefined ? [] : [{ key, revision: options.expectedRevision }];
}

function checkLimits(transaction: Transaction): void {
  const { operations } = transaction;
  if (operations.length > TRANSACTION_OPERATIONS_MAX) {
    throw storeError(
      "STORE_LIMIT",
      `a transaction has ${operations.length} operations, at most ${TRANSACTION_OPERATIONS_MAX} are allowed`,
    );
  }
  const seen = new Set<string>();
  for (const operation of operations) {
    const { key } = operation;
    if (key.length === 0 || Buffer.byteLength(key) > KEY_SIZE_BYTES_MAX || /[\ud800-\udfff]/.test(key)) {
      throw storeError("STORE_LIMIT", `a key has 1 to ${KEY_SIZE_BYTES_MAX} bytes and no surrogates`, {
        key,
      });
    }
    if (seen.has(key)) throw storeError("STORE_LIMIT", `a transaction changes ${key} twice`, { key });
    seen.add(key);
    if (operation.type === "put" && operation.value.byteLength > VALUE_SIZE_BYTES_MAX) {
      throw storeError(
        "STORE_LIMIT",
        `the value of ${key} has ${operation.value.byteLength} bytes, at most ${VALUE_SIZE_BYTES_MAX} are allowed`,
        { key },
      );
    }
  }
}
