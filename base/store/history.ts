// The newest changes of a store, bounded by count and bytes, and the watchers that follow them.
// Invariant: every event with a revision above `compactedRevision` is held; revisions are consecutive.
import { storeError } from "./errors.js";
import { HISTORY_EVENTS_MAX, HISTORY_SIZE_BYTES_MAX } from "./limits.js";
import type { StoreEntry, StoreEvent, Watch, WatchOptions } from "./store.js";

interface Watcher {
  readonly prefix: string;
  readonly onEvents: (events: readonly StoreEvent[]) => void;
}

export interface HistoryLimits {
  readonly eventsMax?: number;
  readonly sizeBytesMax?: number;
}

export class History {
  readonly #eventsMax: number;
  readonly #sizeBytesMax: number;
  #events: StoreEvent[] = [];
  #sizeBytes = 0;
  #compactedRevision: number;
  readonly #watchers = new Set<Watcher>();

  /** Of what happened up to `revision`, only `events` are known: the last ones, without a gap. */
  constructor(revision: number, limits: HistoryLimits = {}, events: readonly StoreEvent[] = []) {
    this.#compactedRevision = revision - events.length;
    this.#eventsMax = limits.eventsMax ?? HISTORY_EVENTS_MAX;
    this.#sizeBytesMax = limits.sizeBytesMax ?? HISTORY_SIZE_BYTES_MAX;
    this.append(events);
  }

  get revision(): number {
    return this.#compactedRevision + this.#events.length;
  }

  /** Adds events with consecutive revisions and tells the watchers. */
  append(events: readonly StoreEvent[]): void {
    for (const event of events) {
      this.#events.push(event);
      this.#sizeBytes += sizeOf(event);
    }
    this.#compact();
    for (const watcher of [...this.#watchers]) {
      if (this.#watchers.has(watcher)) deliver(watcher, events);
    }
  }

  /** Events after `revision`, oldest first. */
  since(revision: number): readonly StoreEvent[] {
    if (revision < this.#compactedRevision) {
      throw storeError(
        "REVISION_COMPACTED",
        `revision ${revision} is too old; history starts at ${this.#compactedRevision}`,
        { revision, compactedRevision: this.#compactedRevision },
      );
    }
    if (revision > this.revision) {
      throw storeError("REVISION_FUTURE", `revision ${revision} is ahead of ${this.revision}`, {
        revision,
        newestRevision: this.revision,
      });
    }
    return this.#events.slice(revision - this.#compactedRevision);
  }

  /** What each key changed since `revision` held then: its entry, or undefined for a key made later. */
  undo(revision: number): Map<string, StoreEntry | undefined> {
    const before = new Map<string, StoreEntry | undefined>();
    for (const event of this.since(revision)) {
      const key = event.type === "put" ? event.entry.key : event.previous.key;
      if (!before.has(key)) before.set(key, event.previous);
    }
    return before;
  }

  watch(options: WatchOptions, onEvents: (events: readonly StoreEvent[]) => void): Watch {
    const missed = this.since(options.fromRevision ?? this.revision);
    const watcher: Watcher = { prefix: options.prefix, onEvents };
    this.#watchers.add(watcher);
    deliver(watcher, missed);
    return { cancel: () => void this.#watchers.delete(watcher) };
  }

  close(): void {
    this.#watchers.clear();
  }

  /** Drops a quarter at a time, so that the cost per event stays constant. */
  #compact(): void {
    if (this.#events.length <= this.#eventsMax && this.#sizeBytes <= this.#sizeBytesMax) return;
    let drop = 0;
    const keepMax = Math.floor(this.#eventsMax * 0.75);
    while (
      this.#events.length - drop > keepMax ||
      (this.#sizeBytes > this.#sizeBytesMax * 0.75 && drop < this.#events.length)
    ) {
      this.#sizeBytes -= sizeOf(this.#events[drop] as StoreEvent);
      drop++;
    }
    this.#events = this.#events.slice(drop);
    this.#compactedRevision += drop;
  }
}

function deliver(watcher: Watcher, events: readonly StoreEvent[]): void {
  const matching = events.filter((event) =>
    (event.type === "put" ? event.entry.key : event.previous.key).startsWith(watcher.prefix),
  );
  if (matching.length > 0) watcher.onEvents(matching);
}

function sizeOf(event: StoreEvent): number {
  const previousSize = event.previous?.value.byteLength ?? 0;
  return 256 + previousSize + (event.type === "put" ? event.entry.value.byteLength : 0);
}
