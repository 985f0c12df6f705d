// The resources themselves: reads, writes, deletion and watches over a Store. HTTP and in-process clients are both
// thin layers over this.
//
// Keys: /GROUP/PLURAL/NAMESPACE/NAME or /GROUP/PLURAL/NAME ("core" for the core group); values: the object as JSON
// without resourceVersion, which is the store's revision of the key.
// Invariant: every object in the store has passed admission; objects handed out are shared and never changed.
import { randomBytes, randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { isObject } from "../../base/json/index.js";
import {
  isStoreError,
  type Operation,
  type Store,
  type StoreEntry,
  type Watch,
} from "../../base/store/index.js";
import type { Clock } from "../../base/time/index.js";
import { type ApiObject, namespaceKind, type ResourceKind } from "../resources/index.js";
import { type Admitted, admit, sameWants } from "./admission.js";
import { ApiError, alreadyExists, conflict, notFound } from "./errors.js";
import { OBJECT_SIZE_BYTES_MAX, PATCH_ATTEMPTS_MAX } from "./limits.js";
import { formatTime, type ObjectName } from "./resource-client.js";
import { type Reviewer, reviewed } from "./review.js";
import type { Matcher } from "./selectors.js";

export interface ListRequest {
  readonly namespace?: string | undefined;
  readonly matches: Matcher;
  readonly limit?: number | undefined;
  /** Key after which the page starts. */
  readonly after?: string | undefined;
  readonly revision?: number | undefined;
}

export interface ListAnswer {
  readonly objects: readonly ApiObject[];
  readonly revision: number;
  /** Where the next page starts; undefined when this is the last. */
  readonly next: string | undefined;
  readonly remaining: number | undefined;
}

export interface WriteRequest {
  readonly dryRun?: boolean | undefined;
  readonly fieldValidation?: "Strict" | "Warn" | "Ignore" | undefined;
  readonly subresource?: "status" | undefined;
  /** A user's write: it is shown to the reviewer. */
  readonly byUser?: boolean | undefined;
}

export interface DeleteRequest {
  readonly dryRun?: boolean | undefined;
  readonly byUser?: boolean | undefined;
  readonly propagation?: "Background" | "Foreground" | "Orphan" | undefined;
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
}

export interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: ApiObject;
}

export interface WatchRequest {
  readonly namespace?: string | undefined;
  readonly matches: Matcher;
  readonly fromRevision: number;
}

export const FOREGROUND_FINALIZER = "foregroundDeletion";
const NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789";

export class ResourceRegistry {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #parsed = new WeakMap<StoreEntry, ApiObject>();
  /** Kinds whose objects are compared with each other are written one at a time, and so is what is reviewed. */
  readonly #turns = new Map<string, Promise<unknown>>();
  #reviewer: Reviewer | undefined;

  constructor(modules: { readonly store: Store; readonly clock: Clock }) {
    this.#store = modules.store;
    this.#clock = modules.clock;
  }

  get revision(): number {
    return this.#store.revision;
  }

  /** From now on users' changes are shown to `reviewer` before they are stored. */
  reviewWith(reviewer: Reviewer | undefined): void {
    this.#reviewer = reviewer;
  }

  async get(kind: ResourceKind, name: ObjectName): Promise<ApiObject> {
    const object = await this.find(kind, name);
    if (object === undefined) throw notFound(kind, name.name);
    return object;
  }

  async find(kind: ResourceKind, name: ObjectName): Promise<ApiObject | undefined> {
    const entry = await this.#store.get(keyOf(kind, name));
    return entry === undefined ? undefined : this.#parse(entry);
  }

  async list(kind: ResourceKind, request: ListRequest): Promise<ListAnswer> {
    const { entries, revision } = await this.#store.list({
      prefix: prefixOf(kind, request.namespace),
      ...(request.after === undefined ? {} : { after: request.after }),
      ...(request.revision === undefined ? {} : { revision: request.revision }),
    });
    const objects: ApiObject[] = [];
    const limit = request.limit ?? Number.POSITIVE_INFINITY;
    for (const [i, entry] of entries.entries()) {
      const object = this.#parse(entry);
      if (!request.matches(object)) continue;
      objects.push(object);
      if (objects.length < limit || i === entries.length - 1) continue;
      return { objects, revision, next: entry.key, remaining: entries.length - i - 1 };
    }
    return { objects, revision, next: undefined, remaining: undefined };
  }

  /** Throws ApiError Invalid, AlreadyExists, NotFound (namespace) … */
  async create(
    kind: ResourceKind,
    namespace: string | undefined,
    document: unknown,
    request: WriteRequest = {},
  ): Promise<Admitted> {
    return this.#inTurn(kind, request, async () => {
      for (let attempt = 1; ; attempt++) {
        const place = await this.#namespaceEntry(kind, namespace);
        const admitted = await this.#admit(kind, namespace, document, undefined, request);
        const { object } = admitted;
        if (kind.kind === "Namespace") {
          object["spec"] = { finalizers: ["kubernetes"] };
          object["status"] = { phase: "Active" };
        }
        const key = keyOf(kind, object.metadata);
        if ((await this.#store.get(key)) !== undefined) throw alreadyExists(kind, object.metadata.name);
        const warnings = await this.#review(kind, object, false, request);
        admitted.warnings.push(...warnings);
        if (request.dryRun) return admitted;
        try {
          const revision = await this.#store.transact({
            conditions: [
              { key, revision: 0 },
              ...(place === undefined ? [] : [{ key: place.key, revision: place.revision }]),
            ],
            operations: [{ type: "put", key, value: encode(object) }],
          });
          return { ...admitted, object: withVersion(object, revision) };
        } catch (thrown) {
          if (!isStoreError(thrown, "REVISION_CONFLICT") || attempt >= PATCH_ATTEMPTS_MAX) throw thrown;
        }
      }
    });
  }

  /**
   * Replaces an object by what `change` makes of it; made again from the newer object when another write comes
   * between. Throws ApiError Conflict when the document names a resourceVersion that is not the current one. A change
   * that changes nothing is not written.
   */
  async update(
    kind: ResourceKind,
    name: ObjectName,
    change: (current: ApiObject) => unknown,
    request: WriteRequest = {},
  ): Promise<Admitted> {
    const compared = request.subresource === undefined ? kind : undefined;
    return this.#inTurn(compared, request, async () => {
      for (let attempt = 1; ; attempt++) {
        const current = await this.get(kind, name);
        const document = change(current);
        checkVersion(kind, current, document);
        const admitted = await this.#admit(kind, name.namespace, document, current, request);
        if (compared !== undefined && !sameForReview(current, admitted.object))
          admitted.warnings.push(...(await this.#review(kind, admitted.object, false, request)));
        try {
          return { ...admitted, object: await this.#replace(kind, current, admitted.object, request) };
        } catch (thrown) {
          if (!isStoreError(thrown, "REVISION_CONFLICT")) throw thrown;
          if (attempt >= PATCH_ATTEMPTS_MAX) throw conflict(kind, name.name, MODIFIED);
        }
      }
    });
  }

  /** Marks or removes; resolves with the object as it was left, and whether it is gone. */
  async delete(
    kind: ResourceKind,
    name: ObjectName,
    request: DeleteRequest = {},
  ): Promise<{ object: ApiObject; gone: boolean }> {
    return this.#inTurn(this.#isReviewed(kind, request) ? kind : undefined, request, async () => {
      for (let attempt = 1; ; attempt++) {
        const current = await this.get(kind, name);
        checkPreconditions(kind, current, request);
        const marked = this.#markDeleted(kind, current, request);
        const gone = mayGo(kind, marked);
        await this.#review(kind, current, true, request);
        if (request.dryRun) return { object: marked, gone };
        if (!gone && isDeepStrictEqual(marked, current)) return { object: current, gone };
        try {
          const object = gone ? await this.#remove(kind, current) : await this.#put(kind, current, marked);
          return { object, gone };
        } catch (thrown) {
          if (!isStoreError(thrown, "REVISION_CONFLICT") || attempt >= PATCH_ATTEMPTS_MAX) throw thrown;
        }
      }
    });
  }

  /** Removes a namespace that is being deleted and has no content left. */
  async finishNamespace(name: string): Promise<void> {
    const current = await this.find(namespaceKind, { name });
    if (current?.metadata.deletionTimestamp === undefined) return;
    if ((current.metadata.finalizers ?? []).length > 0) return;
    await this.#remove(namespaceKind, current);
  }

  /** Events in order; what stops or starts to match is told as DELETED or ADDED. Throws ApiError Expired. */
  async watch(
    kind: ResourceKind,
    request: WatchRequest,
    onEvents: (events: readonly WatchEvent[]) => void,
  ): Promise<Watch> {
    const { matches } = request;
    try {
      return await this.#store.watch(
        {
          prefix: prefixOf(kind, request.namespace),
          fromRevision: Math.min(request.fromRevision, this.revision),
        },
        (events) => {
          const told: WatchEvent[] = [];
          for (const event of events) {
            const before = event.previous === undefined ? undefined : this.#parse(event.previous);
            const had = before !== undefined && matches(before);
            const after = event.type === "put" ? this.#parse(event.entry) : undefined;
            if (after !== undefined && matches(after))
              told.push({ type: had ? "MODIFIED" : "ADDED", object: after });
            else if (had)
              told.push({ type: "DELETED", object: withVersion(after ?? before, event.revision) });
          }
          if (told.length > 0) onEvents(told);
        },
      );
    } catch (thrown) {
      if (isStoreError(thrown, "REVISION_COMPACTED")) {
        throw new ApiError("Expired", `too old resource version: ${request.fromRevision}`);
      }
      throw thrown;
    }
  }

  async #admit(
    kind: ResourceKind,
    namespace: string | undefined,
    document: unknown,
    previous: ApiObject | undefined,
    request: WriteRequest,
  ): Promise<Admitted> {
    const compares = kind.comparesSiblings === true && request.subresource === undefined;
    const everyone = compares ? await this.list(kind, { namespace, matches: () => true }) : undefined;
    // A creation under a name that is taken is told that, and not what it shares with its own namesake.
    const own = previous?.metadata.name ?? nameOf(document);
    return admit(document, {
      kind,
      namespace,
      previous,
      fieldValidation: request.fieldValidation ?? "Warn",
      subresource: request.subresource,
      siblings: () => (everyone?.objects ?? []).filter((other) => other.metadata.name !== own),
      identity: { uid: randomUUID(), now: formatTime(this.#clock.wallMs()), nameSuffix: nameSuffix() },
    });
  }

  async #replace(
    kind: ResourceKind,
    current: ApiObject,
    next: ApiObject,
    request: WriteRequest,
  ): Promise<ApiObject> {
    next.metadata.generation = current.metadata.generation + (sameWants(current, next) ? 0 : 1);
    const version = current.metadata.resourceVersion;
    if (isDeepStrictEqual(withVersion(next, Number(version)), current)) return current;
    if (request.dryRun) return withVersion(next, Number(version));
    if (next.metadata.deletionTimestamp !== undefined && mayGo(kind, next))
      return this.#remove(kind, current);
    return this.#put(kind, current, next);
  }

  async #put(kind: ResourceKind, current: ApiObject, next: ApiObject): Promise<ApiObject> {
    const key = keyOf(kind, current.metadata);
    const expectedRevision = Number(current.metadata.resourceVersion);
    return withVersion(next, await this.#store.put(key, encode(next), { expectedRevision }));
  }

  async #remove(kind: ResourceKind, current: ApiObject): Promise<ApiObject> {
    const key = keyOf(kind, current.metadata);
    const operations: Operation[] = [{ type: "delete", key }];
    const conditions = [{ key, revision: Number(current.metadata.resourceVersion) }];
    return withVersion(current, await this.#store.transact({ conditions, operations }));
  }

  #markDeleted(kind: ResourceKind, current: ApiObject, request: DeleteRequest): ApiObject {
    if (kind.kind === "Namespace" && current.metadata.name === "default") {
      throw new ApiError("Forbidden", 'namespaces "default" is forbidden: this namespace may not be deleted');
    }
    const marked = structuredClone(current);
    const { metadata } = marked;
    if (metadata.deletionTimestamp === undefined) {
      metadata.deletionTimestamp = formatTime(this.#clock.wallMs());
      metadata.deletionGracePeriodSeconds = 0;
      metadata.generation += 1;
      if (request.propagation === "Foreground") {
        metadata.finalizers = [...new Set([...(metadata.finalizers ?? []), FOREGROUND_FINALIZER])];
      }
    }
    if (kind.kind === "Namespace") marked["status"] = { phase: "Terminating" };
    return marked;
  }

  async #namespaceEntry(kind: ResourceKind, namespace: string | undefined): Promise<StoreEntry | undefined> {
    if (!kind.namespaced) return undefined;
    const entry = await this.#store.get(keyOf(namespaceKind, { name: namespace ?? "" }));
    if (entry === undefined) throw notFound(namespaceKind, namespace ?? "");
    if (this.#parse(entry).metadata.deletionTimestamp !== undefined) {
      throw new ApiError(
        "Forbidden",
        `${kind.plural} is forbidden: unable to create new content in namespace ${namespace} because it is being terminated`,
        {
          causes: [
            {
              reason: "NamespaceTerminating",
              message: `namespace ${namespace} is being terminated`,
              field: "metadata.namespace",
            },
          ],
        },
      );
    }
    return entry;
  }

  #isReviewed(kind: ResourceKind, request: { readonly byUser?: boolean | undefined }): boolean {
    return request.byUser === true && this.#reviewer?.reviews(kind) === true;
  }

  /** Warnings. Throws ApiError Forbidden. */
  async #review(
    kind: ResourceKind,
    object: ApiObject,
    gone: boolean,
    request: WriteRequest | DeleteRequest,
  ): Promise<readonly string[]> {
    if (this.#reviewer === undefined || !this.#isReviewed(kind, request)) return [];
    return reviewed(this.#reviewer, { kind, object, gone, dryRun: request.dryRun === true });
  }

  #inTurn<T>(
    kind: ResourceKind | undefined,
    request: { readonly byUser?: boolean | undefined },
    work: () => Promise<T>,
  ): Promise<T> {
    if (kind === undefined) return work();
    const compared = kind.comparesSiblings === true ? () => this.#turn(kind.kind, work) : work;
    return this.#isReviewed(kind, request) ? this.#turn("", compared) : compared();
  }

  #turn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(name) ?? Promise.resolve()).then(work, work);
    this.#turns.set(name, turn);
    return turn;
  }

  #parse(entry: StoreEntry): ApiObject {
    const known = this.#parsed.get(entry);
    if (known !== undefined) return known;
    const object = withVersion(JSON.parse(Buffer.from(entry.value).toString()) as ApiObject, entry.revision);
    this.#parsed.set(entry, object);
    return object;
  }
}

const MODIFIED =
  "the object has been modified; please apply your changes to the latest version and try again";

export function prefixOf(kind: ResourceKind, namespace?: string): string {
  const base = `/${kind.group === "" ? "core" : kind.group}/${kind.plural}/`;
  return namespace === undefined ? base : `${base}${namespace}/`;
}

function keyOf(kind: ResourceKind, name: ObjectName): string {
  return prefixOf(kind, kind.namespaced ? (name.namespace ?? "") : undefined) + name.name;
}

/** A copy with resourceVersion in its usual place, behind uid. */
function withVersion(object: ApiObject, revision: number): ApiObject {
  const metadata: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(object.metadata)) {
    if (name !== "resourceVersion") metadata[name] = value;
    if (name === "uid") metadata["resourceVersion"] = String(revision);
  }
  return { ...object, metadata: metadata as unknown as ApiObject["metadata"] };
}

function encode(object: ApiObject): Uint8Array {
  const { resourceVersion: _version, ...metadata } = object.metadata;
  const bytes = Buffer.from(JSON.stringify({ ...object, metadata }));
  if (bytes.byteLength > OBJECT_SIZE_BYTES_MAX) {
    throw new ApiError(
      "RequestEntityTooLarge",
      `the object has ${bytes.byteLength} bytes, at most ${OBJECT_SIZE_BYTES_MAX} are allowed`,
    );
  }
  return bytes;
}

/** Nothing holds the object back: no finalizer, and for a namespace no content either (finishNamespace sees to that). */
function mayGo(kind: ResourceKind, object: ApiObject): boolean {
  return (object.metadata.finalizers ?? []).length === 0 && kind.kind !== "Namespace";
}

/** Labels count beside what is wanted: selectors look at them. */
function sameForReview(a: ApiObject, b: ApiObject): boolean {
  return sameWants(a, b) && isDeepStrictEqual(a.metadata.labels ?? {}, b.metadata.labels ?? {});
}

function checkVersion(kind: ResourceKind, current: ApiObject, document: unknown): void {
  const wanted = (document as Partial<ApiObject> | null)?.metadata?.resourceVersion;
  if (wanted === undefined || wanted === "" || wanted === current.metadata.resourceVersion) return;
  throw conflict(kind, current.metadata.name, MODIFIED);
}

function checkPreconditions(kind: ResourceKind, current: ApiObject, request: DeleteRequest): void {
  const { uid, resourceVersion } = current.metadata;
  if (request.uid !== undefined && request.uid !== uid) {
    const why = `Precondition failed: UID in precondition: ${request.uid}, UID in object meta: ${uid}`;
    throw conflict(kind, current.metadata.name, why);
  }
  if (request.resourceVersion !== undefined && request.resourceVersion !== resourceVersion) {
    throw conflict(kind, current.metadata.name, MODIFIED);
  }
}

function nameSuffix(): string {
  return [...randomBytes(5)].map((byte) => NAME_LETTERS[byte % NAME_LETTERS.length]).join("");
}

function nameOf(document: unknown): unknown {
  return isObject(document) && isObject(document["metadata"]) ? document["metadata"]["name"] : undefined;
}
