// Keeps a copy of a kind's objects by list and watch, and tells the differences. The transport is given.
// Invariant: after a lost connection the copy is brought up to date by differences only; a change is told once.
import { assert } from "../../base/assert/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import type { ApiObject } from "../resources/index.js";
import { isApiError } from "./errors.js";
import type { Change, Informer, InformerOptions, ObjectName } from "./resource-client.js";

export interface WatchedEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  readonly object: ApiObject;
}

/** A list, then the changes after it. */
export interface InformerSource {
  list(signal: AbortSignal): Promise<{ items: readonly ApiObject[]; resourceVersion: string }>;
  /** Resolves when the stream ends by itself; rejects with ApiError Expired when the version is too old. */
  watch(resourceVersion: string, onEvent: (event: WatchedEvent) => void, signal: AbortSignal): Promise<void>;
}

const RETRY_MS_MIN = 200;
const RETRY_MS_MAX = 5_000;

export function startInformer<T>(
  source: InformerSource,
  options: InformerOptions<T>,
  modules: { readonly clock: Clock },
): Informer<T> {
  return new RunningInformer<T>(source, options, modules.clock);
}

class RunningInformer<T> implements Informer<T> {
  readonly synced: Promise<void>;
  readonly #source: InformerSource;
  readonly #options: InformerOptions<T>;
  readonly #clock: Clock;
  readonly #objects = new Map<string, ApiObject>();
  readonly #abort = new AbortController();
  #isSynced = false;
  #markSynced: () => void = () => {};
  #failSync: (reason: Error) => void = () => {};
  #retryMs = RETRY_MS_MIN;
  #timer: Timer | undefined;
  #wake: (() => void) | undefined;

  constructor(source: InformerSource, options: InformerOptions<T>, clock: Clock) {
    this.#source = source;
    this.#options = options;
    this.#clock = clock;
    this.synced = new Promise((resolve, reject) => {
      this.#markSynced = resolve;
      this.#failSync = reject;
    });
    this.synced.catch(() => {});
    void this.#run();
  }

  get(name: ObjectName): T | undefined {
    return this.#objects.get(keyOf(name)) as T | undefined;
  }

  list(): T[] {
    return [...this.#objects.values()] as T[];
  }

  close(): void {
    this.#abort.abort();
    this.#timer?.cancel();
    this.#wake?.();
    this.#failSync(new Error("closed before the first list was complete"));
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    let version: string | undefined;
    while (!signal.aborted) {
      try {
        if (version === undefined) {
          const { items, resourceVersion } = await this.#source.list(signal);
          if (signal.aborted) return;
          this.#reconcile(items);
          version = resourceVersion;
        }
        await this.#source.watch(
          version,
          (event) => {
            if (signal.aborted) return;
            version = event.object.metadata.resourceVersion;
            this.#retryMs = RETRY_MS_MIN;
            this.#apply(event);
          },
          signal,
        );
        // A watch that ends by itself (the server stops, its time is over) is taken up where it ended.
        await this.#pause();
      } catch (thrown) {
        if (signal.aborted) return;
        if (isApiError(thrown, "Expired")) {
          version = undefined;
          continue;
        }
        this.#options.onError?.(thrown instanceof Error ? thrown : new Error(String(thrown)));
        await this.#pause();
      }
    }
  }

  /** What the list shows and the copy does not, and the other way round, is told as changes. */
  #reconcile(items: readonly ApiObject[]): void {
    const present = new Set<string>();
    for (const object of items) {
      present.add(keyOf(object.metadata));
      this.#put(object);
    }
    for (const [key, object] of [...this.#objects]) {
      if (present.has(key)) continue;
      this.#objects.delete(key);
      this.#tell({ type: "deleted", object, previous: object });
    }
    if (this.#isSynced) return;
    this.#isSynced = true;
    this.#markSynced();
    this.#options.onSynced?.();
  }

  #apply(event: WatchedEvent): void {
    if (event.type === "BOOKMARK") return;
    if (event.type !== "DELETED") {
      this.#put(event.object);
      return;
    }
    const key = keyOf(event.object.metadata);
    const previous = this.#objects.get(key);
    if (previous === undefined) return;
    this.#objects.delete(key);
    this.#tell({ type: "deleted", object: event.object, previous });
  }

  #put(object: ApiObject): void {
    const key = keyOf(object.metadata);
    const previous = this.#objects.get(key);
    if (previous?.metadata.resourceVersion === object.metadata.resourceVersion) return;
    this.#objects.set(key, object);
    if (previous !== undefined && previous.metadata.uid !== object.metadata.uid) {
      // Deleted and made again while nobody looked.
      this.#tell({ type: "deleted", object: previous, previous });
      this.#tell({ type: "added", object, previous: undefined });
    } else if (previous === undefined) this.#tell({ type: "added", object, previous: undefined });
    else this.#tell({ type: "modified", object, previous });
  }

  #tell(change: Change<ApiObject>): void {
    this.#options.onChange?.(change as Change<T>);
  }

  #pause(): Promise<void> {
    assert(this.#wake === undefined, "one pause at a time");
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
      this.#timer = this.#clock.after(this.#retryMs, () => this.#wake?.());
      this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX);
    });
  }
}

function keyOf(name: ObjectName): string {
  return name.namespace === undefined ? name.name : `${name.namespace}/${name.name}`;
}
