// The typed client over HTTPS: for the host agent, the command line and tests. See resource-client.ts for the contract.
import { type Clock, systemClock } from "../../base/time/index.js";
import {
  type ApiObject,
  apiVersionOf,
  type KindName,
  kindByName,
  type ResourceInput,
  type ResourceKind,
  type ResourceTypes,
} from "../resources/index.js";
import { readKubeconfig, type ServerAccess } from "./credentials.js";
import { pathOf } from "./discovery.js";
import { fromStatus, isApiError, type Status } from "./errors.js";
import { recordEvent } from "./event-recorder.js";
import { HttpTransport } from "./http-transport.js";
import { type InformerSource, startInformer, type WatchedEvent } from "./informer.js";
import { BOOKMARK_INTERVAL_MS } from "./limits.js";
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

export interface ApiClientOptions extends ServerAccess {
  /** Who reports Events, e.g. "host". */
  readonly component?: string;
  readonly clock?: Clock;
  readonly onWarning?: (text: string) => void;
}

/** A silent watch is taken for lost after this: the server sends bookmarks far more often. */
const WATCH_IDLE_MS = 3 * BOOKMARK_INTERVAL_MS;
const PATCH_CONTENT_TYPE = {
  merge: "application/merge-patch+json",
  json: "application/json-patch+json",
  strategic: "application/strategic-merge-patch+json",
} as const;

/** A client for the server that a kubeconfig names. Throws KUBECONFIG_UNREADABLE. */
export async function connectWithKubeconfig(
  path: string,
  options: Omit<ApiClientOptions, keyof ServerAccess> = {},
): Promise<ApiClient> {
  return new ApiClient({ ...(await readKubeconfig(path)), ...options });
}

export class ApiClient implements ResourceClient {
  /** For requests beyond this interface (subresources, tables). */
  readonly transport: HttpTransport;
  readonly #component: string;
  readonly #clock: Clock;

  constructor(options: ApiClientOptions) {
    const { server, ca, token, certificate } = options;
    const proof = {
      ...(token === undefined ? {} : { token }),
      ...(certificate === undefined ? {} : { certificate }),
    };
    this.transport = new HttpTransport({ server, ca, ...proof }, options.onWarning);
    this.#component = options.component ?? "plinth";
    this.#clock = options.clock ?? systemClock;
  }

  async get<K extends KindName>(kindName: K, name: ObjectName): Promise<ResourceTypes[K] | undefined> {
    const path = objectPath(kindByName(kindName), name);
    try {
      return (await this.transport.json({ method: "GET", path })) as ResourceTypes[K];
    } catch (thrown) {
      if (isApiError(thrown, "NotFound")) return undefined;
      throw thrown;
    }
  }

  async list<K extends KindName>(
    kindName: K,
    options: ListOptions = {},
  ): Promise<ResourceList<ResourceTypes[K]>> {
    const kind = kindByName(kindName);
    const answer = (await this.transport.json({
      method: "GET",
      path: collectionPath(kind, options.namespace),
      query: { labelSelector: options.labelSelector, fieldSelector: options.fieldSelector },
    })) as { items: ResourceTypes[K][]; metadata: { resourceVersion: string } };
    return { items: answer.items, resourceVersion: answer.metadata.resourceVersion };
  }

  async create<K extends KindName>(
    kindName: K,
    object: ResourceInput<K>,
    options: WriteOptions = {},
  ): Promise<ResourceTypes[K]> {
    const kind = kindByName(kindName);
    const path = collectionPath(kind, object.metadata.namespace);
    const body = { ...typeOf(kind), ...object };
    return (await this.transport.json({
      method: "POST",
      path,
      query: this.#writeQuery(options),
      body,
    })) as ResourceTypes[K];
  }

  async replace<K extends KindName>(
    kindName: K,
    object: ResourceInput<K>,
    options: WriteOptions & { readonly subresource?: "status" } = {},
  ): Promise<ResourceTypes[K]> {
    const kind = kindByName(kindName);
    const path = objectPath(kind, object.metadata as ObjectName, options.subresource);
    const body = { ...typeOf(kind), ...object };
    return (await this.transport.json({
      method: "PUT",
      path,
      query: this.#writeQuery(options),
      body,
    })) as ResourceTypes[K];
  }

  async patch<K extends KindName>(
    kindName: K,
    name: ObjectName,
    patch: unknown,
    options: PatchOptions = {},
  ): Promise<ResourceTypes[K]> {
    const answer = await this.transport.json({
      method: "PATCH",
      path: objectPath(kindByName(kindName), name, options.subresource),
      query: this.#writeQuery(options),
      contentType: PATCH_CONTENT_TYPE[options.type ?? "merge"],
      body: patch,
    });
    return answer as ResourceTypes[K];
  }

  patchStatus<K extends KindName>(kindName: K, name: ObjectName, status: object): Promise<ResourceTypes[K]> {
    return this.patch(kindName, name, { status }, { subresource: "status" });
  }

  async delete(kindName: KindName, name: ObjectName, options: DeleteOptions = {}): Promise<boolean> {
    try {
      await this.transport.json({
        method: "DELETE",
        path: objectPath(kindByName(kindName), name),
        body: {
          kind: "DeleteOptions",
          apiVersion: "v1",
          ...(options.propagation === undefined ? {} : { propagationPolicy: options.propagation }),
          ...(options.uid === undefined ? {} : { preconditions: { uid: options.uid } }),
          ...(options.dryRun ? { dryRun: ["All"] } : {}),
        },
      });
      return true;
    } catch (thrown) {
      if (isApiError(thrown, "NotFound")) return false;
      throw thrown;
    }
  }

  watchKind<K extends KindName>(
    kindName: K,
    options: InformerOptions<ResourceTypes[K]>,
  ): Informer<ResourceTypes[K]> {
    return startInformer(this.#source(kindByName(kindName), options), options, { clock: this.#clock });
  }

  recordEvent(object: Pick<ApiObject, "apiVersion" | "kind" | "metadata">, event: EventInput): Promise<void> {
    const context = { component: this.#component, nowMs: this.#clock.wallMs() };
    return recordEvent(this, object, event, context);
  }

  /** Ends idle connections; requests under way finish. */
  close(): void {
    this.transport.close();
  }

  #writeQuery(options: WriteOptions): Record<string, string | undefined> {
    const { dryRun, fieldValidation } = options;
    return { dryRun: dryRun ? "All" : undefined, fieldValidation, fieldManager: this.#component };
  }

  #source(kind: ResourceKind, options: ListOptions): InformerSource {
    const path = collectionPath(kind, options.namespace);
    const selectors = { labelSelector: options.labelSelector, fieldSelector: options.fieldSelector };
    return {
      list: async (signal) => {
        const answer = (await this.transport.json({ method: "GET", path, query: selectors, signal })) as {
          items: ApiObject[];
          metadata: { resourceVersion: string };
        };
        return { items: answer.items, resourceVersion: answer.metadata.resourceVersion };
      },
      watch: (resourceVersion, onEvent, signal) => {
        const query = { ...selectors, watch: true, allowWatchBookmarks: true, resourceVersion };
        return this.transport.lines({ method: "GET", path, query, signal }, WATCH_IDLE_MS, (line) => {
          const event = line as WatchedEvent | { type: "ERROR"; object: Status };
          if (event.type === "ERROR") throw fromStatus(event.object, event.object.code);
          onEvent(event);
        });
      },
    };
  }
}

export function collectionPath(kind: ResourceKind, namespace: string | undefined): string {
  const scope =
    kind.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : "";
  return `${pathOf(kind)}${scope}/${kind.plural}`;
}

export function objectPath(kind: ResourceKind, name: ObjectName, subresource?: string): string {
  const namespace = kind.namespaced ? (name.namespace ?? "default") : undefined;
  const path = `${collectionPath(kind, namespace)}/${encodeURIComponent(name.name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}

function typeOf(kind: ResourceKind): { apiVersion: string; kind: string } {
  return { apiVersion: apiVersionOf(kind), kind: kind.kind };
}
