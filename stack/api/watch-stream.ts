// One open watch: change events as JSON lines on an HTTP answer.
// Invariant: every bookmark's resourceVersion covers all events sent before it; a client that does not read is cut off
// and has to start again.
import type { ServerResponse } from "node:http";
import type { Watch } from "../../base/store/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import { type ApiObject, apiVersionOf, type ResourceKind } from "../resources/index.js";
import { type FormOptions, objectAnswer, partialObject } from "./answers.js";
import { ApiError } from "./errors.js";
import {
  BOOKMARK_INTERVAL_MS,
  WATCH_BACKLOG_BYTES_MAX,
  WATCH_DURATION_MS_MAX,
  WATCHES_MAX,
} from "./limits.js";
import type { ResourceRegistry } from "./registry.js";
import type { WatchEvent } from "./registry-requests.js";
import type { Matcher } from "./selectors.js";
import type { Table } from "./table.js";

export interface WatchParameters {
  readonly namespace: string | undefined;
  readonly matches: Matcher;
  /** Events after this revision; undefined = everything that is there first, as ADDED. */
  readonly fromRevision: number | undefined;
  readonly bookmarks: boolean;
  /** A bookmark with an annotation says that the initial events are complete. */
  readonly markInitialEnd: boolean;
  readonly timeoutMs: number | undefined;
  readonly form: Omit<FormOptions, "wallMs">;
}

/** All watches of a server, so that it can end them. */
export class WatchStreams {
  readonly #open = new Set<WatchStream>();
  readonly #registry: ResourceRegistry;
  readonly #clock: Clock;

  constructor(modules: { readonly registry: ResourceRegistry; readonly clock: Clock }) {
    this.#registry = modules.registry;
    this.#clock = modules.clock;
  }

  get count(): number {
    return this.#open.size;
  }

  /**
   * Answers with the watch; `start` takes the answer over once nothing can be refused any more. Throws ApiError
   * Expired or TooManyRequests before that.
   */
  async serve(kind: ResourceKind, parameters: WatchParameters, start: () => ServerResponse): Promise<void> {
    if (this.#open.size >= WATCHES_MAX) {
      throw new ApiError("TooManyRequests", `${WATCHES_MAX} watches are open`, { retryAfterSeconds: 5 });
    }
    const stream = new WatchStream(kind, parameters, this.#clock, () => this.#open.delete(stream));
    this.#open.add(stream);
    try {
      let fromRevision = parameters.fromRevision;
      let initial: readonly ApiObject[] = [];
      if (fromRevision === undefined) {
        const list = await this.#registry.list(kind, parameters);
        initial = list.objects;
        fromRevision = list.revision;
      }
      const { namespace, matches } = parameters;
      const watch = await this.#registry.watch(kind, { namespace, matches, fromRevision }, (events) =>
        stream.queue(events),
      );
      stream.start(
        start(),
        watch,
        { objects: initial, revision: fromRevision },
        () => this.#registry.revision,
      );
    } catch (thrown) {
      this.#open.delete(stream);
      throw thrown;
    }
  }

  close(): void {
    for (const stream of [...this.#open]) stream.end();
  }
}

class WatchStream {
  readonly #kind: ResourceKind;
  readonly #parameters: WatchParameters;
  readonly #clock: Clock;
  readonly #onEnd: () => void;
  #response: ServerResponse | undefined;
  #watch: Watch | undefined;
  /** Events that came before the answer was started. */
  #early: WatchEvent[] = [];
  #columnsSent = false;
  #ended = false;
  #bookmarkTimer: Timer | undefined;
  #endTimer: Timer | undefined;

  constructor(kind: ResourceKind, parameters: WatchParameters, clock: Clock, onEnd: () => void) {
    this.#kind = kind;
    this.#parameters = parameters;
    this.#clock = clock;
    this.#onEnd = onEnd;
  }

  start(
    response: ServerResponse,
    watch: Watch,
    initial: { readonly objects: readonly ApiObject[]; readonly revision: number },
    revision: () => number,
  ): void {
    this.#response = response;
    this.#watch = watch;
    response.writeHead(200, { "content-type": "application/json", "cache-control": "no-cache, private" });
    response.flushHeaders();
    response.on("close", () => this.end());
    response.on("error", () => this.end());
    for (const object of initial.objects) this.#send("ADDED", object);
    // Of the list, not of now: what came meanwhile is sent only after this.
    if (this.#parameters.markInitialEnd) this.#bookmark(initial.revision, true);
    const early = this.#early;
    this.#early = [];
    for (const event of early) this.#send(event.type, event.object);
    const timeoutMs = Math.min(this.#parameters.timeoutMs ?? WATCH_DURATION_MS_MAX, WATCH_DURATION_MS_MAX);
    this.#endTimer = this.#clock.after(timeoutMs, () => this.end());
    if (this.#parameters.bookmarks) this.#scheduleBookmark(revision);
  }

  queue(events: readonly WatchEvent[]): void {
    if (this.#response === undefined) {
      this.#early.push(...events);
      return;
    }
    for (const event of events) this.#send(event.type, event.object);
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#watch?.cancel();
    this.#bookmarkTimer?.cancel();
    this.#endTimer?.cancel();
    this.#response?.end();
    this.#onEnd();
  }

  #send(type: string, object: ApiObject): void {
    const wallMs = this.#clock.wallMs();
    const answer = objectAnswer(this.#kind, object, { ...this.#parameters.form, wallMs });
    this.#write({
      type,
      object: this.#parameters.form.form === "table" ? this.#trimTable(answer as Table) : answer,
    });
  }

  /** Columns are told once. */
  #trimTable(table: Table): Table {
    if (!this.#columnsSent) {
      this.#columnsSent = true;
      return table;
    }
    return { ...table, columnDefinitions: [] };
  }

  #bookmark(revision: number, initialEnd: boolean): void {
    const annotations = initialEnd ? { annotations: { "k8s.io/initial-events-end": "true" } } : {};
    const metadata = { resourceVersion: String(revision), creationTimestamp: null, ...annotations };
    const bare = { kind: this.#kind.kind, apiVersion: apiVersionOf(this.#kind), metadata };
    const { form } = this.#parameters.form;
    const object =
      form === "full"
        ? bare
        : form === "partial"
          ? partialObject(bare as unknown as ApiObject)
          : { kind: "Table", apiVersion: "meta.k8s.io/v1", metadata, columnDefinitions: [], rows: [] };
    this.#write({ type: "BOOKMARK", object });
  }

  #scheduleBookmark(revision: () => number): void {
    this.#bookmarkTimer = this.#clock.after(BOOKMARK_INTERVAL_MS, () => {
      this.#bookmark(revision(), false);
      if (!this.#ended) this.#scheduleBookmark(revision);
    });
  }

  #write(event: object): void {
    const response = this.#response;
    if (this.#ended || response === undefined) return;
    response.write(`${JSON.stringify(event)}\n`);
    if (response.writableLength > WATCH_BACKLOG_BYTES_MAX) {
      response.destroy();
      this.end();
    }
  }
}
