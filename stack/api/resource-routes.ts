// The paths of one kind: list, watch, create, read, replace, patch, delete, and status.
// Source: Kubernetes API concepts, "Standard API terminology" and "API verbs".
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from "fastify";
import { isObject } from "../../base/json/index.js";
import { isStoreError } from "../../base/store/index.js";
import type { Clock } from "../../base/time/index.js";
import type { ApiObject, ResourceKind } from "../resources/index.js";
import { type Authorizer, refuseEscalation, type User } from "./access/index.js";
import type { Admitted } from "./admission.js";
import { deletedAnswer, type FormOptions, listAnswer, objectAnswer } from "./answers.js";
import type { Audit } from "./audit.js";
import { pathOf } from "./discovery.js";
import { ApiError } from "./errors.js";
import { orphanDependents } from "./garbage-collector.js";
import { parseApplyBody } from "./managed-fields/index.js";
import { negotiate } from "./negotiate.js";
import { applyPatch, type PatchType } from "./patch/index.js";
import {
  encodeContinue,
  type ListQuery,
  parseDryRun,
  parseForce,
  parseIncludeObject,
  parseListQuery,
  parseWriteQuery,
  type Query,
  type WriteQuery,
} from "./query.js";
import type { ResourceRegistry } from "./registry.js";
import type { DeleteRequest, WriteRequest } from "./registry-requests.js";
import type { Review } from "./review.js";
import { warningHeaders } from "./warning-headers.js";
import type { WatchStreams } from "./watch-stream.js";

export interface RouteModules {
  readonly registry: ResourceRegistry;
  readonly watches: WatchStreams;
  readonly clock: Clock;
  readonly authorizer: Authorizer;
  readonly audit?: Audit | undefined;
  userOf(request: FastifyRequest): User;
}

interface PathParameters {
  readonly namespace?: string;
  readonly name: string;
}
type Request = FastifyRequest<{ Params: PathParameters; Querystring: Query }>;

const PATCH_TYPES: Readonly<Record<string, PatchType>> = {
  "application/json-patch+json": "json",
  "application/merge-patch+json": "merge",
  "application/strategic-merge-patch+json": "strategic",
};

const APPLY_TYPE = "application/apply-patch+yaml";

export function registerKind(server: FastifyInstance, kind: ResourceKind, modules: RouteModules): void {
  const base = pathOf(kind);
  const routes = new KindRoutes(kind, modules);
  const collection = kind.namespaced
    ? `${base}/namespaces/:namespace/${kind.plural}`
    : `${base}/${kind.plural}`;
  if (kind.namespaced)
    server.get(`${base}/${kind.plural}`, (request, reply) => routes.list(request as Request, reply));
  server.get(collection, (request, reply) => routes.list(request as Request, reply));
  server.post(collection, (request, reply) => routes.create(request as Request, reply));
  server.delete(collection, (request, reply) => routes.deleteCollection(request as Request, reply));
  const one = `${collection}/:name`;
  refuse(
    server,
    `${base}/${kind.plural}`,
    kind.namespaced ? ["POST", "PUT", "PATCH", "DELETE"] : ["PUT", "PATCH"],
  );
  if (kind.namespaced) refuse(server, collection, ["PUT", "PATCH"]);
  refuse(server, one, ["POST"]);
  server.get(one, (request) => routes.get(request as Request));
  server.put(one, (request, reply) => routes.replace(request as Request, reply));
  server.patch(one, (request, reply) => routes.patch(request as Request, reply));
  server.delete(one, (request, reply) => routes.delete(request as Request, reply));
  if (!kind.hasStatus) return;
  server.get(`${one}/status`, (request) => routes.get(request as Request));
  server.put(`${one}/status`, (request, reply) => routes.replace(request as Request, reply, "status"));
  server.patch(`${one}/status`, (request, reply) => routes.patch(request as Request, reply, "status"));
  refuse(server, `${one}/status`, ["POST", "DELETE"]);
}

/** What the path is there for, it says; other methods are refused as such, not as a path that is not there. */
function refuse(server: FastifyInstance, url: string, method: HTTPMethods[]): void {
  const refusal = async (): Promise<never> => {
    throw new ApiError("MethodNotAllowed", "the server does not allow this method on the requested resource");
  };
  server.route({ url, method, onRequest: refusal, handler: refusal });
}

class KindRoutes {
  readonly #kind: ResourceKind;
  readonly #modules: RouteModules;

  constructor(kind: ResourceKind, modules: RouteModules) {
    this.#kind = kind;
    this.#modules = modules;
  }

  async get(request: Request): Promise<object> {
    const object = await this.#modules.registry.get(this.#kind, request.params);
    return objectAnswer(this.#kind, object, this.#form(request));
  }

  async list(request: Request, reply: FastifyReply): Promise<object> {
    const query = parseListQuery(this.#kind, request.query);
    const form = this.#form(request);
    if (query.watch) return this.#watch(request, reply, query, form);
    const { namespace } = request.params;
    const revision = query.page?.revision ?? (query.exact ? query.resourceVersion : undefined);
    refuseFuture(query.resourceVersion, this.#modules.registry.revision);
    try {
      const { matches, limit } = query;
      const answer = await this.#modules.registry.list(this.#kind, {
        namespace,
        matches,
        limit,
        revision,
        after: query.page?.after,
      });
      const more = answer.next !== undefined && (answer.remaining ?? 0) > 0;
      const metadata = {
        resourceVersion: String(answer.revision),
        ...(more ? { continue: encodeContinue(answer.revision, answer.next as string) } : {}),
        ...(more && !query.selective ? { remainingItemCount: answer.remaining as number } : {}),
      };
      return listAnswer(this.#kind, answer.objects, metadata, form);
    } catch (thrown) {
      if (isStoreError(thrown, "REVISION_COMPACTED") || isStoreError(thrown, "REVISION_FUTURE")) {
        throw new ApiError(
          "Expired",
          "the resourceVersion or continue token is too old: list again from the start",
        );
      }
      throw thrown;
    }
  }

  async create(request: Request, reply: FastifyReply): Promise<object> {
    const { namespace } = request.params;
    const admitted = await this.#modules.registry.create(this.#kind, namespace, request.body, {
      ...this.#write(request),
      byUser: true,
    });
    reply.code(201);
    return this.#written(request, reply, admitted);
  }

  async replace(request: Request, reply: FastifyReply, subresource?: "status"): Promise<object> {
    const { body } = request;
    const write = { ...this.#write(request), subresource, byUser: true };
    const admitted = await this.#modules.registry.update(this.#kind, request.params, () => body, write);
    return this.#written(request, reply, admitted);
  }

  async patch(request: Request, reply: FastifyReply, subresource?: "status"): Promise<object> {
    const contentType = (request.headers["content-type"] ?? "").split(";")[0]?.trim() ?? "";
    if (contentType === APPLY_TYPE) return this.#apply(request, reply, subresource);
    const type = PATCH_TYPES[contentType];
    if (type === undefined) {
      throw new ApiError("UnsupportedMediaType", `a patch cannot be ${contentType || "of no type"}`);
    }
    const write = { ...this.#write(request), subresource, byUser: true };
    parseForce(request.query, false);
    const change = (current: ApiObject): unknown => applyPatch(this.#kind, type, current, request.body);
    const admitted = await this.#modules.registry.update(this.#kind, request.params, change, write);
    return this.#written(request, reply, admitted);
  }

  async #apply(request: Request, reply: FastifyReply, subresource: "status" | undefined): Promise<object> {
    const force = parseForce(request.query, true);
    const document = parseApplyBody((request.body ?? new Uint8Array()) as Uint8Array);
    const write = { ...this.#write(request), force, subresource, byUser: true };
    await this.#requireCreation(request, subresource);
    const { made, ...admitted } = await this.#modules.registry.apply(
      this.#kind,
      request.params,
      document,
      write,
    );
    if (made) reply.code(201);
    return this.#written(request, reply, admitted);
  }

  async delete(request: Request, reply: FastifyReply): Promise<object> {
    const { registry, audit } = this.#modules;
    const options = parseDeleteOptions(request);
    const dry = (): Promise<unknown> =>
      registry.delete(this.#kind, request.params, { ...options, dryRun: true });
    await this.#orphan(options, [await registry.get(this.#kind, request.params)], dry);
    const { object, gone, ...review } = await registry.delete(this.#kind, request.params, options);
    audit?.change(request.raw, this.#kind, object, undefined);
    this.#tell(request, reply, review);
    return gone ? deletedAnswer(this.#kind, object) : objectAnswer(this.#kind, object, this.#form(request));
  }

  async deleteCollection(request: Request, reply: FastifyReply): Promise<object> {
    const { registry, audit } = this.#modules;
    const { matches } = parseListQuery(this.#kind, request.query);
    const wanted = { namespace: request.params.namespace, matches };
    const options = parseDeleteOptions(request);
    const dry = (): Promise<unknown> =>
      registry.deleteCollection(this.#kind, wanted, { ...options, dryRun: true });
    if (options.propagation === "Orphan")
      await this.#orphan(options, (await registry.list(this.#kind, wanted)).objects, dry);
    const { objects, revision, ...review } = await registry.deleteCollection(this.#kind, wanted, options);
    audit?.deletedAll(request.raw, this.#kind, objects);
    this.#tell(request, reply, review);
    return listAnswer(this.#kind, objects, { resourceVersion: String(revision) }, this.#form(request));
  }

  /** Sets free what `owners` own, once it is known that they may go. */
  async #orphan(
    { propagation, dryRun }: DeleteRequest,
    owners: readonly ApiObject[],
    tryDeletion: () => Promise<unknown>,
  ): Promise<void> {
    if (propagation !== "Orphan" || dryRun) return;
    await tryDeletion();
    for (const owner of owners) await orphanDependents(this.#modules.registry, owner);
  }

  async #watch(
    request: Request,
    reply: FastifyReply,
    query: ListQuery,
    form: FormOptions,
  ): Promise<FastifyReply> {
    const unversioned = query.resourceVersion === undefined || query.resourceVersion === 0;
    const all = query.sendInitialEvents ?? unversioned;
    const { revision } = this.#modules.registry;
    const parameters = {
      namespace: request.params.namespace,
      matches: query.matches,
      fromRevision: all ? undefined : unversioned ? revision : query.resourceVersion,
      bookmarks: query.bookmarks,
      markInitialEnd: query.sendInitialEvents === true,
      timeoutMs: query.timeoutMs,
      form,
    };
    await this.#modules.watches.serve(this.#kind, parameters, () => {
      reply.hijack();
      return reply.raw;
    });
    return reply;
  }

  #written(request: Request, reply: FastifyReply, admitted: Admitted): object {
    this.#tell(request, reply, admitted);
    return objectAnswer(this.#kind, admitted.object, this.#form(request));
  }

  /** What the review had to say: to the audit log, and to the client. */
  #tell(request: Request, reply: FastifyReply, { notes, warnings }: Review): void {
    this.#modules.audit?.note(request.raw, notes);
    if (warnings.length > 0) reply.header("warning", warningHeaders(warnings));
  }

  /** An apply that makes the object needs the right to create as well as to patch. */
  async #requireCreation(request: Request, subresource: "status" | undefined): Promise<void> {
    const { group, plural } = this.#kind;
    const { registry, authorizer, userOf } = this.#modules;
    if (subresource !== undefined || (await registry.find(this.#kind, request.params)) !== undefined) return;
    const { namespace = "", name } = request.params;
    const wanted = { verb: "create", group, resource: plural, subresource: "", namespace, name };
    await authorizer.require(userOf(request), wanted);
  }

  #write(request: Request): WriteQuery & Pick<WriteRequest, "check"> {
    const query = parseWriteQuery(request.query, request.headers["user-agent"]);
    const { authorizer, userOf, audit } = this.#modules;
    const check = async (next: ApiObject, current: ApiObject | undefined): Promise<void> => {
      await refuseEscalation(authorizer, userOf(request), this.#kind, next, current);
      audit?.change(request.raw, this.#kind, current, next);
    };
    return { ...query, check };
  }

  #form(request: Request): FormOptions {
    return {
      form: negotiate(request.headers.accept),
      includeObject: parseIncludeObject(request.query),
      wallMs: this.#modules.clock.wallMs(),
    };
  }
}

/** A version that is still to come, such as one of a server whose state was lost. */
function refuseFuture(wanted: number | undefined, current: number): void {
  if (wanted === undefined || wanted <= current) return;
  throw new ApiError("Timeout", `Too large resource version: ${wanted}, current: ${current}`, {
    causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version", field: "" }],
    retryAfterSeconds: 1,
  });
}

/** DeleteOptions in the body, or the same words in the query. */
function parseDeleteOptions(request: Request): DeleteRequest {
  const body = isObject(request.body) ? request.body : {};
  const preconditions = isObject(body["preconditions"]) ? body["preconditions"] : {};
  const word = (value: unknown): string | undefined =>
    typeof value === "string" && value !== "" ? value : undefined;
  let propagation = word(body["propagationPolicy"]) ?? word(request.query["propagationPolicy"]);
  if (propagation === undefined && body["orphanDependents"] === true) propagation = "Orphan";
  if (propagation !== undefined && !["Background", "Foreground", "Orphan"].includes(propagation)) {
    throw new ApiError("BadRequest", "propagationPolicy: expected Background, Foreground or Orphan");
  }
  return {
    byUser: true,
    dryRun: parseDryRun(body["dryRun"] ?? request.query["dryRun"]),
    propagation: propagation as DeleteRequest["propagation"],
    uid: word(preconditions["uid"]),
    resourceVersion: word(preconditions["resourceVersion"]),
  };
}
