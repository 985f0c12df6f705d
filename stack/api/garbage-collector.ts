// What goes away by itself: objects whose owners are gone, the content of deleted namespaces, foreground deletion, and
// old Events. Level-triggered: each pass looks at everything that may be due, so a restart loses nothing.
import { describeError } from "../../base/errors/index.js";
import type { Logger } from "../../base/log/index.js";
import type { Watch } from "../../base/store/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import {
  ALL_KINDS,
  type ApiObject,
  eventKind,
  namespaceKind,
  networkPolicyKind,
  type OwnerReference,
  portKind,
  type ResourceKind,
  virtualMachineKind,
} from "../resources/index.js";
import { isApiError } from "./errors.js";
import { EVENT_TTL_MS, EVENTS_MAX } from "./limits.js";
import type { ResourceRegistry } from "./registry.js";
import type { WatchEvent } from "./registry-requests.js";
import { FOREGROUND_FINALIZER } from "./stored-object.js";

/** Everything, and old Events, are looked at this often, whatever happens. */
const SWEEP_MS = 60_000;
const RETRY_MS = 1_000;

export interface GarbageCollectorModules {
  readonly registry: ResourceRegistry;
  readonly clock: Clock;
  readonly log: Logger;
}

export class GarbageCollector {
  readonly #modules: GarbageCollectorModules;
  #watches: Watch[] = [];
  #timers = new Set<Timer>();
  #running: Promise<void> | undefined;
  #again = false;
  #closed = false;

  constructor(modules: GarbageCollectorModules) {
    this.#modules = modules;
  }

  async start(): Promise<void> {
    const { registry } = this.#modules;
    for (const kind of ALL_KINDS) {
      if (kind === eventKind) continue;
      const request = { matches: () => true, fromRevision: registry.revision };
      this.#watches.push(
        await registry.watch(kind, request, (events) => {
          // Owner references that change later are looked at by the next sweep.
          const isDue = ({ type, object }: WatchEvent): boolean =>
            type === "DELETED" ||
            object.metadata.deletionTimestamp !== undefined ||
            (type === "ADDED" && object.metadata.ownerReferences !== undefined);
          if (events.some(isDue)) this.#trigger();
        }),
      );
    }
    this.#trigger();
    this.#sweepEvents();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const watch of this.#watches) watch.cancel();
    for (const timer of this.#timers) timer.cancel();
    await this.#running;
  }

  #trigger(): void {
    this.#again = true;
    if (this.#closed) return;
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    await Promise.resolve();
    while (this.#again && !this.#closed) {
      this.#again = false;
      try {
        // What was removed may have been the last thing that something else waited for.
        if (await collectGarbage(this.#modules.registry)) this.#again = true;
      } catch (thrown) {
        this.#modules.log.warn(
          { err: thrown },
          `garbage collection is tried again: ${describeError(thrown)}`,
        );
        this.#later(RETRY_MS, () => this.#trigger());
      }
    }
    this.#running = undefined;
  }

  #sweepEvents(): void {
    const { registry, clock, log } = this.#modules;
    dropOldEvents(registry, clock.wallMs()).catch((thrown: unknown) => {
      log.warn({ err: thrown }, `old events stay for now: ${describeError(thrown)}`);
    });
    this.#later(SWEEP_MS, () => {
      this.#trigger();
      this.#sweepEvents();
    });
  }

  #later(delayMs: number, work: () => void): void {
    if (this.#closed) return;
    const timer = this.#modules.clock.after(delayMs, () => {
      this.#timers.delete(timer);
      if (!this.#closed) work();
    });
    this.#timers.add(timer);
  }
}

/** One pass over everything; true when it removed something, so that another pass may find more to do. */
export async function collectGarbage(registry: ResourceRegistry): Promise<boolean> {
  const everything: { kind: ResourceKind; object: ApiObject }[] = [];
  for (const kind of ALL_KINDS) {
    const { objects } = await registry.list(kind, { matches: () => true });
    for (const object of objects) everything.push({ kind, object });
  }
  const living = new Set(everything.map(({ object }) => object.metadata.uid));
  const dying = new Set(
    everything
      .filter(({ object }) => object.metadata.finalizers?.includes(FOREGROUND_FINALIZER))
      .filter(({ object }) => object.metadata.deletionTimestamp !== undefined)
      .map(({ object }) => object.metadata.uid),
  );
  const terminating = new Set(
    everything
      .filter(({ kind, object }) => kind === namespaceKind && object.metadata.deletionTimestamp !== undefined)
      .map(({ object }) => object.metadata.name),
  );
  // Policies outlive what they shield: a machine that is still to be stopped must not be open to others until then.
  const shielded = new Set(
    everything
      .filter(({ kind }) => kind === virtualMachineKind || kind === portKind)
      .map(({ object }) => object.metadata.namespace),
  );
  const blocked = new Set<string>();
  let removed = false;
  const occupied = new Set<string>();
  for (const { kind, object } of everything) {
    const { metadata } = object;
    const owners = metadata.ownerReferences ?? [];
    for (const owner of owners) if (dying.has(owner.uid)) blocked.add(owner.uid);
    if (metadata.namespace !== undefined) occupied.add(metadata.namespace);
    if (metadata.deletionTimestamp !== undefined) continue;
    const orphaned =
      owners.length > 0 && owners.every((owner) => !living.has(owner.uid) || dying.has(owner.uid));
    const shields = kind === networkPolicyKind && shielded.has(metadata.namespace);
    const homeless = metadata.namespace !== undefined && terminating.has(metadata.namespace) && !shields;
    if ((orphaned || homeless) && (await deleteQuietly(registry, kind, object))) removed = true;
  }
  for (const { kind, object } of everything) {
    if (dying.has(object.metadata.uid) && !blocked.has(object.metadata.uid)) {
      await releaseForeground(registry, kind, object);
    }
  }
  for (const namespace of terminating)
    if (!occupied.has(namespace)) await registry.finishNamespace(namespace);
  return removed;
}

/** Takes `owner` out of the owner references of everything that names it. */
export async function orphanDependents(registry: ResourceRegistry, owner: ApiObject): Promise<void> {
  const isOwner = (reference: OwnerReference): boolean => reference.uid === owner.metadata.uid;
  for (const kind of ALL_KINDS) {
    const matches = ({ metadata }: ApiObject): boolean => metadata.ownerReferences?.some(isOwner) ?? false;
    for (const { metadata } of (await registry.list(kind, { matches })).objects) {
      await registry.update(kind, metadata, (current) => ({
        ...current,
        metadata: {
          ...current.metadata,
          ownerReferences: current.metadata.ownerReferences?.filter((reference) => !isOwner(reference)),
        },
      }));
    }
  }
}

async function dropOldEvents(registry: ResourceRegistry, nowMs: number): Promise<void> {
  const { objects } = await registry.list(eventKind, { matches: () => true });
  const timeOf = (event: ApiObject): number =>
    Date.parse(String(event["lastTimestamp"] ?? event["eventTime"] ?? event.metadata.creationTimestamp));
  const newestFirst = [...objects].sort((a, b) => timeOf(b) - timeOf(a));
  for (const [i, event] of newestFirst.entries()) {
    if (i >= EVENTS_MAX || nowMs - timeOf(event) > EVENT_TTL_MS)
      await deleteQuietly(registry, eventKind, event);
  }
}

async function releaseForeground(
  registry: ResourceRegistry,
  kind: ResourceKind,
  object: ApiObject,
): Promise<void> {
  try {
    await registry.update(kind, object.metadata, (current) => ({
      ...current,
      metadata: {
        ...current.metadata,
        finalizers: current.metadata.finalizers?.filter((each) => each !== FOREGROUND_FINALIZER),
      },
    }));
  } catch (thrown) {
    if (!isApiError(thrown, "NotFound")) throw thrown;
  }
}

/** True when the object is gone; false when it was already, or waits for its finalizers. */
async function deleteQuietly(
  registry: ResourceRegistry,
  kind: ResourceKind,
  object: ApiObject,
): Promise<boolean> {
  try {
    const { gone } = await registry.delete(kind, object.metadata, {
      uid: object.metadata.uid,
      propagation: "Background",
    });
    return gone;
  } catch (thrown) {
    if (!isApiError(thrown, "NotFound") && !isApiError(thrown, "Conflict")) throw thrown;
    return false;
  }
}
