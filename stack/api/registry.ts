// The resources themselves: reads, writes, deletion and watches over a Store. HTTP and in-process clients are both
// thin layers over this.
// Invariant: every object in the store has passed admission; objects handed out are shared and never changed.
import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import {
  isStoreError,
  type Operation,
  type Store,
  type StoreEntry,
  type Watch,
} from "../../base/store/index.js";
import type { Clock } from "../../base/time/index.js";
import { type ApiObject, namespaceKind, type ResourceKind, resourceQuotaKind } from "../resources/index.js";
import { type Admitted, admit, sameWants } from "./admission.js";
import { planCollectionDeletion } from "./collection-deletion.js";
import { ApiError, alreadyExists, conflict, isApiError, notFound } from "./errors.js";
import { COLLECTION_OBJECTS_MAX, PATCH_ATTEMPTS_MAX } from "./limits.js";
import { applyConfiguration, ownersAfterUpdate, readConfiguration } from "./managed-fields/index.js";
import { type Charge, type Counted, NO_CHARGE, QuotaKeeper } from "./quota-keeper.js";
import type {
  ApplyRequest,
  CollectionDeletion,
  DeleteRequest,
  Deletion,
  ListAnswer,
  ListRequest,
  WatchEvent,
  WatchRequest,
  WriteRequest,
} from "./registry-requests.js";
import { formatTime, type ObjectName } from "./resource-client.js";
import { type Review, type ReviewedChange, type Reviewer, reviewed } from "./review.js";
import {
  checkPreconditions,
  checkVersion,
  encode,
  isMeant,
  keepTimes,
  keyOf,
  MODIFIED,
  markDeleted,
  mayGo,
  nameOf,
  nameSuffix,
  prefixOf,
  sameForReview,
  setOwners,
  withVersion,
} from "./stored-object.js";

/** How a write tells who owns what: an update by what it changes, an applied configuration has told already. */
type OwnersOf = (before: ApiObject | undefined, after: ApiObject) => ApiObject["metadata"]["managedFields"];

const NOTHING_TO_SAY: Review = { warnings: [] };
/** Users' changes of kinds that are reviewed are written one at a time. */
const REVIEWED_TURN = "";

export class ResourceRegistry {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #parsed = new WeakMap<StoreEntry, ApiObject>();
  /** Kinds whose objects are compared with each other are written one at a time, and so is what is reviewed. */
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #quotas = new QuotaKeeper(
    async (kind, namespace) => (await this.list(kind, { namespace, matches: () => true })).objects,
  );
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
    ownersOf: OwnersOf = this.#ownersOfUpdate(kind, request),
  ): Promise<Admitted> {
    return this.#inTurn(kind, { kind, namespace }, request, async () => {
      for (let attempt = 1; ; attempt++) {
        const place = await this.#namespaceEntry(kind, namespace);
        const admitted = await this.#admit(kind, namespace, document, undefined, request);
        const { object } = admitted;
        if (kind.kind === "Namespace") {
          object["spec"] = { finalizers: ["kubernetes"] };
          object["status"] = { phase: "Active" };
        }
        setOwners(object, ownersOf(undefined, object));
        const key = keyOf(kind, object.metadata);
        if ((await this.#store.get(key)) !== undefined) throw alreadyExists(kind, object.metadata.name);
        await request.check?.(object, undefined);
        const { warnings, notes } = await this.#review(kind, [object], false, request);
        admitted.warnings.push(...warnings);
        const charge = await this.#quotas.charge({ kind, before: undefined, after: object });
        if (request.dryRun) return { ...admitted, notes };
        try {
          const revision = await this.#store.transact({
            conditions: [
              { key, revision: 0 },
              ...(place === undefined ? [] : [{ key: place.key, revision: place.revision }]),
              ...charge.conditions,
            ],
            operations: [{ type: "put", key, value: encode(object) }, ...charge.operations],
          });
          return { ...admitted, notes, object: withVersion(object, revision) };
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
    ownersOf: OwnersOf = this.#ownersOfUpdate(kind, request),
  ): Promise<Admitted> {
    const compared = request.subresource === undefined ? kind : undefined;
    // A status comes to nothing, but for that of a quota.
    const counted = compared ?? (kind === resourceQuotaKind ? kind : undefined);
    return this.#inTurn(compared, { kind: counted, namespace: name.namespace }, request, async () => {
      for (let attempt = 1; ; attempt++) {
        const current = await this.get(kind, name);
        const document = change(current);
        checkVersion(kind, current, document);
        const admitted = await this.#admit(kind, name.namespace, document, current, request);
        setOwners(admitted.object, ownersOf(current, admitted.object));
        keepTimes(current, admitted.object);
        await request.check?.(admitted.object, current);
        const isChange = compared !== undefined && !sameForReview(current, admitted.object);
        const review = isChange
          ? await this.#review(kind, [admitted.object], false, request)
          : NOTHING_TO_SAY;
        admitted.warnings.push(...review.warnings);
        const { notes } = review;
        try {
          return { ...admitted, notes, object: await this.#replace(kind, current, admitted.object, request) };
        } catch (thrown) {
          if (!isStoreError(thrown, "REVISION_CONFLICT")) throw thrown;
          if (attempt >= PATCH_ATTEMPTS_MAX) throw conflict(kind, name.name, MODIFIED);
        }
      }
    });
  }

  /**
   * Server-side apply: makes the object be as `document` states, or makes it. `made` says which. Throws ApiError Conflict
   * naming the fields that others own, unless forced.
   */
  async apply(
    kind: ResourceKind,
    name: ObjectName,
    document: unknown,
    request: ApplyRequest,
  ): Promise<Admitted & { readonly made: boolean }> {
    const configuration = readConfiguration(kind, name, document);
    let stated: ApiObject["metadata"]["managedFields"];
    const change = (live: ApiObject | undefined): ApiObject => {
      const { manager, force, subresource } = request;
      const writer = { manager, force, subresource, now: formatTime(this.#clock.wallMs()) };
      const applied = applyConfiguration(kind, live, configuration, writer);
      stated = applied.metadata.managedFields;
      return applied;
    };
    const ownersOf = () => stated;
    for (let attempt = 1; ; attempt++) {
      const isThere = request.subresource !== undefined || (await this.find(kind, name)) !== undefined;
      try {
        if (isThere) return { ...(await this.update(kind, name, change, request, ownersOf)), made: false };
        if (configuration.metadata.uid !== undefined) throw conflict(kind, name.name, MODIFIED);
        const fresh = change(undefined);
        return { ...(await this.create(kind, name.namespace, fresh, request, ownersOf)), made: true };
      } catch (thrown) {
        // Made or deleted by somebody else just now.
        const raced = isApiError(thrown, isThere ? "NotFound" : "AlreadyExists");
        if (!raced || request.subresource !== undefined || attempt >= PATCH_ATTEMPTS_MAX) throw thrown;
      }
    }
  }

  #ownersOfUpdate(kind: ResourceKind, request: WriteRequest): OwnersOf {
    const { manager = "plinth", subresource } = request;
    const writer = { manager, subresource, now: formatTime(this.#clock.wallMs()) };
    return (before, after) => ownersAfterUpdate(kind, before, after, after.metadata.managedFields, writer);
  }

  /** Marks or removes; resolves with the object as it was left, and whether it is gone. */
  async delete(kind: ResourceKind, name: ObjectName, request: DeleteRequest = {}): Promise<Deletion> {
    const turn = this.#isReviewed(kind, request) ? kind : undefined;
    return this.#inTurn(turn, { kind, namespace: name.namespace }, request, async () => {
      for (let attempt = 1; ; attempt++) {
        const current = await this.get(kind, name);
        checkPreconditions(kind, current, request);
        const now = formatTime(this.#clock.wallMs());
        const marked = markDeleted(kind, current, { propagation: request.propagation, now });
        const gone = mayGo(kind, marked);
        const { notes, warnings } = await this.#review(kind, [current], true, request);
        if (request.dryRun) return { object: marked, gone, notes, warnings };
        if (!gone && isDeepStrictEqual(marked, current)) return { object: current, gone, warnings };
        try {
          const object = gone ? await this.#remove(kind, current) : await this.#put(kind, current, marked);
          return { object, gone, notes, warnings };
        } catch (thrown) {
          if (!isStoreError(thrown, "REVISION_CONFLICT") || attempt >= PATCH_ATTEMPTS_MAX) throw thrown;
        }
      }
    });
  }

  /**
   * Deletes what matches as one change: reviewed together and stored in one transaction, so that all goes or nothing does. More
   * than COLLECTION_OBJECTS_MAX objects take several transactions. `objects` are as they were left. Throws ApiError
   * Forbidden.
   */
  async deleteCollection(
    kind: ResourceKind,
    wanted: ListRequest,
    request: DeleteRequest,
  ): Promise<CollectionDeletion> {
    const turn = this.#isReviewed(kind, request) ? kind : undefined;
    return this.#inTurn(turn, { kind, namespace: wanted.namespace }, request, async () => {
      for (let attempt = 1; ; attempt++) {
        const { objects: found, revision } = await this.list(kind, wanted);
        const [first, ...others] = found.filter((object) => isMeant(object, request));
        if (first === undefined) return { ...NOTHING_TO_SAY, objects: [], revision };
        const review = await this.#review(kind, [first, ...others], true, request);
        try {
          return { ...review, objects: await this.#removeAll(kind, [first, ...others], request), revision };
        } catch (thrown) {
          if (!isStoreError(thrown, "REVISION_CONFLICT") || attempt >= PATCH_ATTEMPTS_MAX) throw thrown;
        }
      }
    });
  }

  async #removeAll(
    kind: ResourceKind,
    objects: readonly ApiObject[],
    request: DeleteRequest,
  ): Promise<ApiObject[]> {
    const how = { propagation: request.propagation, now: formatTime(this.#clock.wallMs()) };
    const left: ApiObject[] = [];
    for (let start = 0; start < objects.length; start += COLLECTION_OBJECTS_MAX) {
      const plan = planCollectionDeletion(kind, objects.slice(start, start + COLLECTION_OBJECTS_MAX), how);
      if (request.dryRun === true) {
        left.push(...plan.marked);
        continue;
      }
      const charge = await this.#quotas.release(kind, plan.gone);
      const conditions = [...plan.conditions, ...charge.conditions];
      const operations = [...plan.operations, ...charge.operations];
      const revision = await this.#store.transact({ conditions, operations });
      left.push(...plan.left(revision, charge.operations.length));
    }
    return left;
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
    const isCharged = kind === resourceQuotaKind || !sameWants(current, next);
    const charge = isCharged ? await this.#quotas.charge({ kind, before: current, after: next }) : NO_CHARGE;
    if (isDeepStrictEqual(withVersion(next, Number(version)), current)) return current;
    if (request.dryRun) return withVersion(next, Number(version));
    if (next.metadata.deletionTimestamp !== undefined && mayGo(kind, next))
      return this.#remove(kind, current);
    return this.#put(kind, current, next, charge);
  }

  async #put(
    kind: ResourceKind,
    current: ApiObject,
    next: ApiObject,
    charge: Charge = NO_CHARGE,
  ): Promise<ApiObject> {
    const key = keyOf(kind, current.metadata);
    const revision = await this.#store.transact({
      conditions: [{ key, revision: Number(current.metadata.resourceVersion) }, ...charge.conditions],
      operations: [{ type: "put", key, value: encode(next) }, ...charge.operations],
    });
    return withVersion(next, revision);
  }

  async #remove(kind: ResourceKind, current: ApiObject): Promise<ApiObject> {
    const key = keyOf(kind, current.metadata);
    const charge = await this.#quotas.charge({ kind, before: current, after: undefined });
    const operations: Operation[] = [{ type: "delete", key }, ...charge.operations];
    const conditions = [{ key, revision: Number(current.metadata.resourceVersion) }, ...charge.conditions];
    return withVersion(current, await this.#store.transact({ conditions, operations }));
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

  /** Throws ApiError Forbidden. */
  async #review(
    kind: ResourceKind,
    objects: ReviewedChange["objects"],
    gone: boolean,
    request: WriteRequest | DeleteRequest,
  ): Promise<Review> {
    if (this.#reviewer === undefined || !this.#isReviewed(kind, request)) return NOTHING_TO_SAY;
    return reviewed(this.#reviewer, { kind, objects, gone, dryRun: request.dryRun === true });
  }

  #inTurn<T>(
    kind: ResourceKind | undefined,
    counted: Counted,
    request: { readonly byUser?: boolean | undefined },
    work: () => Promise<T>,
  ): Promise<T> {
    const inGate = (): Promise<T> => this.#quotas.inTurn(counted, work);
    if (kind === undefined) return inGate();
    const compared = kind.comparesSiblings === true ? () => this.#turn(kind.kind, inGate) : inGate;
    return this.#isReviewed(kind, request) ? this.#turn(REVIEWED_TURN, compared) : compared();
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
