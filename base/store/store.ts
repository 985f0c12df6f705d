// The Store: ordered keys with revisions, conditional writes and a change feed. Implemented by memory and level;
// every implementation passes `store-suite.ts`.
//
// Invariants: the revision rises by one for every changed key, never falls, and survives a restart; a transaction is
// all or nothing and takes consecutive revisions; what a resolved write says is on the disk (SIGKILL and power loss).

export interface StoreEntry {
  readonly key: string;
  /** Belongs to the store: neither the writer nor a reader may change these bytes. */
  readonly value: Uint8Array;
  /** Revision of the write that created the key. */
  readonly createRevision: number;
  /** Revision of the last write of the key. */
  readonly revision: number;
}

export interface ListOptions {
  /** Only keys that start with this; "" lists everything. */
  readonly prefix: string;
  /** Only keys greater than this one: the last key of the page before. */
  readonly after?: string;
  /** At most so many entries; all when absent. */
  readonly limit?: number;
  /** The state as it was at that revision; the newest when absent. */
  readonly revision?: number;
}

export interface ListResult {
  /** In byte order of their keys. */
  readonly entries: readonly StoreEntry[];
  /** The revision that this list shows; watch from here to miss nothing. */
  readonly revision: number;
  /** Matching entries beyond `limit`. */
  readonly remaining: number;
}

/** The key's last write must have had exactly this revision; 0 = the key must not exist. */
export interface Condition {
  readonly key: string;
  readonly revision: number;
}

export type Operation =
  | { readonly type: "put"; readonly key: string; readonly value: Uint8Array }
  | { readonly type: "delete"; readonly key: string };

export interface Transaction {
  readonly conditions?: readonly Condition[];
  /** At most one operation per key. Deleting an absent key changes nothing and takes no revision. */
  readonly operations: readonly Operation[];
}

export interface WriteOptions {
  /** Refuse with REVISION_CONFLICT unless the key's last write had this revision (0 = must not exist). */
  readonly expectedRevision?: number;
}

export type StoreEvent =
  | {
      readonly type: "put";
      readonly revision: number;
      readonly entry: StoreEntry;
      readonly previous: StoreEntry | undefined;
    }
  | { readonly type: "delete"; readonly revision: number; readonly previous: StoreEntry };

export interface WatchOptions {
  readonly prefix: string;
  /** Events after this revision are delivered; the newest revision when absent. */
  readonly fromRevision?: number;
}

export interface Watch {
  /** No event is delivered once this returns. Cancelling twice is allowed. */
  cancel(): void;
}

export interface Store {
  /** The newest revision that is durable; 0 in an empty store. */
  readonly revision: number;

  /** Why the store is read-only (STORE_WRITE_FAILED); undefined while it works. A later write finds out whether it may again. */
  readonly failure: Error | undefined;

  /** The key's entry, or undefined. Sees every write that has resolved. */
  get(key: string): Promise<StoreEntry | undefined>;

  /** Throws REVISION_COMPACTED or REVISION_FUTURE when `revision` cannot be shown. */
  list(options: ListOptions): Promise<ListResult>;

  /** Writes one key and resolves with its revision once it is durable. */
  put(key: string, value: Uint8Array, options?: WriteOptions): Promise<number>;

  /** Removes one key; resolves with false when there was none. */
  delete(key: string, options?: WriteOptions): Promise<boolean>;

  /**
   * Applies all operations or none; resolves with the revision of the last change once all are durable (the newest
   * revision when nothing changed). Throws REVISION_CONFLICT, STORE_LIMIT, STORE_OVERLOADED, STORE_WRITE_FAILED.
   * Transactions take effect in the order of the calls. A conflict is told when the write that it lost to can be read.
   */
  transact(transaction: Transaction): Promise<number>;

  /**
   * Calls `onEvents` with every change under `prefix` after `fromRevision`, in order of revision, each exactly once;
   * kept history comes first. The callback is synchronous, must not throw and may cancel the watch. Throws
   * REVISION_COMPACTED when history no longer reaches back that far (so across a restart, unless the store keeps its history)
   */
  watch(options: WatchOptions, onEvents: (events: readonly StoreEvent[]) => void): Promise<Watch>;

  /** Waits for the writes under way, ends every watch and releases the directory. */
  close(): Promise<void>;
}
