// For tests: one process's way to a store, on which requests fail or answers are late as told. A write that is late is done.
import { storeError } from "./errors.js";
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

export class FlakyStore implements Store {
  /** Writes are refused as by a full disk. */
  isFull = false;
  /** Writes are done, and told to have failed. */
  isUnsure = false;
  /** Everything is refused. */
  isGone = false;
  readonly #store: Store;
  #late: (() => void)[] | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  get revision(): number {
    return this.#store.revision;
  }

  get failure(): Error | undefined {
    return this.isFull || this.isGone ? fault() : this.#store.failure;
  }

  /** Answers wait until `goOn`. */
  hang(): void {
    this.#late ??= [];
  }

  goOn(): void {
    const late = this.#late ?? [];
    this.#late = undefined;
    for (const resolve of late) resolve();
  }

  get(key: string): Promise<StoreEntry | undefined> {
    return this.#pass(false, () => this.#store.get(key));
  }

  list(options: ListOptions): Promise<ListResult> {
    return this.#pass(false, () => this.#store.list(options));
  }

  put(key: string, value: Uint8Array, options?: WriteOptions): Promise<number> {
    return this.#pass(true, () => this.#store.put(key, value, options));
  }

  delete(key: string, options?: WriteOptions): Promise<boolean> {
    return this.#pass(true, () => this.#store.delete(key, options));
  }

  transact(transaction: Transaction): Promise<number> {
    return this.#pass(true, () => this.#store.transact(transaction));
  }

  watch(options: WatchOptions, onEvents: (events: readonly StoreEvent[]) => void): Promise<Watch> {
    return this.#store.watch(options, onEvents);
  }

  close(): Promise<void> {
    this.goOn();
    return this.#store.close();
  }

  async #pass<T>(writes: boolean, work: () => Promise<T>): Promise<T> {
    if (this.isGone || (writes && this.isFull)) throw fault();
    try {
      const result = await work();
      if (writes && this.isUnsure) throw fault();
      return result;
    } finally {
      const late = this.#late;
      if (late !== undefined) await new Promise<void>((resolve) => late.push(resolve));
    }
  }
}

function fault(): Error {
  return storeError("STORE_WRITE_FAILED", "the store cannot write: no space left on device");
}
