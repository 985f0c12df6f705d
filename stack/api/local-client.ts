// The typed client inside the controller's own process: the registry without HTTP. See resource-client.ts.
import type { Clock } from "../../base/time/index.js";
import {
  type ApiObject,
  apiVersionOf,
  type KindName,
  kindByName,
  type ResourceInput,
  type ResourceKind,
  type ResourceTypes,
} from "../resources/index.js";
import { isApiError } from "./errors.js";
import { recordEvent } from "./event-recorder.js";
import { type InformerSource, startInformer } from "./informer.js";
import { applyPatch } from "./patch/index.js";
import type { ResourceRegistry } from "./registry.js";
import type {
  DeleteOptions,
  EventInput,
  Informer,
  InformerOptions,
  ListOptions,
  ObjectName,
  PatchOptions,
  ResourceClient,
  ResourceList,
  WriteOptions,
} from "./resource-client.js";
import { parseSelectors } from "./selectors.js";

export class LocalClient implements ResourceClient {
  readonly #registry: ResourceRegistry;
  readonly #clock: Clock;
  readonly #component: string;

  constructor(
    options: { readonly component: string },
    modules: { readonly registry: ResourceRegistry; readonly clock: Clock },
  ) {
    this.#registry = modules.registry;
    this.#clock = modules.clock;
    this.#component = options.component;
  }

  async get<K extends KindName>(kind: K, name: ObjectName): Promise<ResourceTypes[K] | undefined> {
    return typed<K>(await this.#registry.find(kindByName(kind), name));
  }

  async list<K extends KindName>(
    kindName: K,
    options: ListOptions = {},
  ): Promise<ResourceList<ResourceTypes[K]>> {
    const kind = kindByName(kindName);
    const matches = parseSelectors(kind, options.labelSelector, options.fieldSelector);
    const { objects, revision } = await this.#registry.list(kind, { namespace: options.namespace, matches });
    return { items: objects as unknown as ResourceTypes[K][], resourceVersion: String(revision) };
  }

  async create<K extends KindName>(
    kindName: K,
    object: ResourceInput<K>,
    options: WriteOptions = {},
  ): Promise<ResourceTypes[K]> {
    const kind = kindByName(kindName);
    const document = { apiVersion: apiVersionOf(kind), kind: kind.kind, ...object };
    const admitted = await this.#registry.create(
      kind,
      object.metadata.namespace,
      document,
      this.#as(options),
    );
    return typed<K>(admitted.object);
  }

  async replace<K extends KindName>(
    kindName: K,
    object: ResourceInput<K>,
    options: WriteOptions & { readonly subresource?: "status" } = {},
  ): Promise<ResourceTypes[K]> {
    const kind = kindByName(kindName);
    const document = { apiVersion: apiVersionOf(kind), kind: kind.kind, ...object };
    const name = object.metadata as ObjectName;
    return typed<K>((await this.#registry.update(kind, name, () => document, this.#as(options))).object);
  }

  async patch<K extends KindName>(
    kindName: K,
    name: ObjectName,
    patch: unknown,
    options: PatchOptions = {},
  ): Promise<ResourceTypes[K]> {
    const kind = kindByName(kindName);
    const type = options.type ?? "merge";
    const change = (current: ApiObject): unknown => applyPatch(kind, type, current, patch);
    return typed<K>((await this.#registry.update(kind, name, change, this.#as(options))).object);
  }

  patchStatus<K extends KindName>(kind: K, name: ObjectName, status: object): Promise<ResourceTypes[K]> {
    return this.patch(kind, name, { status }, { subresource: "status" });
  }

  async delete(kind: KindName, name: ObjectName, options: DeleteOptions = {}): Promise<boolean> {
    try {
      await this.#registry.delete(kindByName(kind), name, options);
      return true;
    } catch (thrown) {
      if (isApiError(thrown, "NotFound")) return false;
      throw thrown;
    }
  }

  watchKind<K extends KindName>(
    kind: K,
    options: InformerOptions<ResourceTypes[K]>,
  ): Informer<ResourceTypes[K]> {
    return startInformer(this.#source(kindByName(kind), options), options, { clock: this.#clock });
  }

  recordEvent(object: Pick<ApiObject, "apiVersion" | "kind" | "metadata">, event: EventInput): Promise<void> {
    const context = { component: this.#component, nowMs: this.#clock.wallMs() };
    return recordEvent(this, object, event, context);
  }

  #as<T extends object>(options: T): T & { readonly manager: string } {
    return { ...options, manager: this.#component };
  }

  #source(kind: ResourceKind, options: ListOptions): InformerSource {
    const matches = parseSelectors(kind, options.labelSelector, options.fieldSelector);
    const { namespace } = options;
    return {
      list: async () => {
        const { objects, revision } = await this.#registry.list(kind, { namespace, matches });
        return { items: objects, resourceVersion: String(revision) };
      },
      watch: async (resourceVersion, onEvent, signal) => {
        const request = { namespace, matches, fromRevision: Number(resourceVersion) };
        const watch = await this.#registry.watch(kind, request, (events) => events.forEach(onEvent));
        if (!signal.aborted)
          await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
        watch.cancel();
      },
    };
  }
}

function typed<K extends KindName>(object: ApiObject): ResourceTypes[K];
function typed<K extends KindName>(object: ApiObject | undefined): ResourceTypes[K] | undefined;
function typed<K extends KindName>(object: ApiObject | undefined): ResourceTypes[K] | undefined {
  return object as unknown as ResourceTypes[K] | undefined;
}
