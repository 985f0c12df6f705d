// The HTTPS server of the resource API: authentication, errors, discovery, and the paths of every kind.
import type { KeyObject } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from "fastify";
import { AssertionError, assert } from "../../base/assert/index.js";
import { PlinthError } from "../../base/errors/index.js";
import type { Logger } from "../../base/log/index.js";
import type { Clock } from "../../base/time/index.js";
import { ALL_KINDS } from "../resources/index.js";
import {
  type Attributes,
  Authenticator,
  Authorizer,
  attributesOf,
  isResource,
  MASTERS,
  makeTokenKey,
  registerReviews,
  ServiceAccountTokens,
  type User,
} from "./access/index.js";
import { type ActionModules, Consoles, registerActions } from "./action-routes.js";
import { Audit, type AuditSink } from "./audit.js";
import type { ServerAccess } from "./credentials.js";
import { checkDepth } from "./depth.js";
import {
  apiGroupList,
  apiGroupVersions,
  apiResourceList,
  coreVersions,
  findApiGroup,
  serverVersion,
} from "./discovery.js";
import { ApiError } from "./errors.js";
import { parseKubernetesProtobuf } from "./kubernetes-protobuf.js";
import { BODY_SIZE_BYTES_MAX, GZIP_SIZE_BYTES_MIN, REQUEST_TIMEOUT_MS } from "./limits.js";
import { negotiateOpenApiV2, requireJson } from "./negotiate.js";
import { buildOpenApi } from "./openapi.js";
import { API_HOST, portError } from "./port.js";
import { buildReferencePage, PAGE_POLICY } from "./reference/reference-page.js";
import type { ResourceRegistry } from "./registry.js";
import { RequestLimits } from "./request-limits.js";
import { registerKind } from "./resource-routes.js";
import { Seats } from "./seats.js";
import type { TlsFiles } from "./tls.js";
import { WatchStreams } from "./watch-stream.js";

export interface ApiServerOptions {
  /** 0 = any free port. */
  readonly port: number;
  readonly host?: string;
  readonly tls: TlsFiles;
  readonly token: string;
  /** Signs tokens of service accounts; without it they end with this server. */
  readonly tokenKey?: KeyObject;
  readonly version: string;
  /** DIR/run/host.sock */
  readonly hostSocket: string;
  /** REQUESTS_IN_FLIGHT_MAX when absent. */
  readonly requestsInFlightMax?: number;
}

export interface ApiServerModules {
  readonly registry: ResourceRegistry;
  readonly clock: Clock;
  readonly log: Logger;
  /** Where it is written down who changed what; nowhere when absent. */
  readonly auditSink?: AuditSink;
  /** Why the server is not ready, or undefined when it is. */
  readonly notReady?: () => string | undefined;
}

export interface ApiServer {
  readonly access: ServerAccess;
  readonly port: number;
  /** New certificates for connections from now on. */
  renewTls(tls: TlsFiles): void;
  /** Ends every watch and console, finishes requests under way, and frees the port. */
  close(): Promise<void>;
}

/** Requests under way when the server closes may take this long. */
const CLOSE_GRACE_MS = 5_000;
const NO_RESOURCE = "the server could not find the requested resource";
const NOT_JSON = "the body must be application/json";
const HOST_ACTIONS = new Set(["exec", "reboot", "revert", "rewind"]);
const OPEN_PATHS = new Set(["/healthz", "/livez", "/readyz", "/version", "/docs"]);

/** Listens when it resolves. Throws PlinthError PORT_IN_USE or PORT_REFUSED. */
export async function startApiServer(
  options: ApiServerOptions,
  modules: ApiServerModules,
): Promise<ApiServer> {
  const { tls, token, hostSocket } = options;
  const { clock, registry } = modules;
  const wallMs = (): number => clock.wallMs();
  const tokens = new ServiceAccountTokens(options.tokenKey ?? makeTokenKey(), { registry, wallMs });
  const authorizer = new Authorizer(registry);
  const authenticator = new Authenticator({ token, ca: tls.ca }, { authorizer, tokens, wallMs });
  const audit = modules.auditSink === undefined ? undefined : new Audit(modules.auditSink, wallMs);
  const limits = new RequestLimits(() => clock.nowMs());
  const seats = new Seats(clock, options.requestsInFlightMax);
  const users = new WeakMap<object, User>();
  const userOf = (request: FastifyRequest): User => {
    const user = users.get(request.raw);
    assert(user !== undefined, "a request that is answered has a user");
    return user;
  };
  const identify = async (request: IncomingMessage): Promise<User> => {
    const sender = await authenticator.senderOf(request);
    audit?.identify(request, sender);
    const user = await authenticator.actingAs(sender, request);
    audit?.identify(request, user);
    return user;
  };
  const authorize = async (request: IncomingMessage): Promise<void> => {
    audit?.begin(request);
    try {
      const user = await identify(request);
      await authorizer.require(user, attributesOf(request.method ?? "GET", request.url ?? "/"));
      audit?.end(request, { code: 101 });
    } catch (thrown) {
      if (thrown instanceof ApiError) audit?.end(request, { code: thrown.status, reason: thrown.reason });
      throw thrown;
    }
  };
  const actions: ActionModules = { registry, tokens, hostSocket };
  const watches = new WatchStreams(modules);
  const consoles = new Consoles(actions, authorize);
  const server = fastify({
    https: secureContext(tls),
    bodyLimit: BODY_SIZE_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    forceCloseConnections: "idle",
    return503OnClosing: true,
    exposeHeadRoutes: false,
    // A path that is no URL is refused before there is a route with an error handler.
    frameworkErrors: (thrown: FastifyError, _request: unknown, reply: FastifyReply) => {
      const error = toApiError(thrown);
      reply.code(error.status).type("application/json").send(error.toStatus());
    },
    routerOptions: { maxParamLength: 512, ignoreTrailingSlash: true },
  } as const) as unknown as FastifyInstance;
  addBodyParsers(server);
  server.addHook("onRequest", async (request, reply) => {
    const path = request.url.split("?")[0] as string;
    if (OPEN_PATHS.has(path)) return;
    audit?.begin(request.raw);
    const user = await identify(request.raw);
    const wanted = attributesOf(request.method, request.url);
    reply.raw.once("close", limits.begin(user, isWatch(wanted)));
    // Not what may take long by its nature: it would keep others waiting for nothing.
    if (!user.groups.includes(MASTERS) && !isWatch(wanted) && !isAction(wanted)) {
      const seat = seats.take(user.username);
      reply.raw.once("close", seat.end);
      await seat.ready;
    }
    // Before the body is looked at: whatever it is, there is nobody to take it.
    if (request.is404) throw new ApiError("NotFound", NO_RESOURCE);
    await authorizer.require(user, wanted);
    users.set(request.raw, user);
    // As in Kubernetes: older clients do not say that they send JSON. A patch must say of which kind it is.
    if (request.method !== "PATCH") request.raw.headers["content-type"] ??= "application/json";
  });
  server.addHook("preValidation", async (request) => {
    if (!(request.body instanceof Uint8Array)) checkDepth(request.body);
    else if (request.method !== "PATCH") throw new ApiError("UnsupportedMediaType", NOT_JSON);
  });
  server.addHook("onSend", compressed);
  server.addHook("onError", async (request, _reply, thrown) => {
    audit?.refused(request.raw, toApiError(thrown));
  });
  server.addHook("onResponse", async (request, reply) => {
    audit?.end(request.raw, { code: reply.statusCode });
  });
  addErrorAnswers(server, modules.log);
  addDiscovery(server, options, modules);
  for (const kind of ALL_KINDS)
    registerKind(server, kind, { ...modules, watches, authorizer, audit, userOf });
  registerActions(server, actions);
  registerReviews(server, authorizer, userOf);
  server.server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    void consoles.upgrade(request, socket, head);
  });
  await listen(server, options.port, options.host ?? API_HOST);
  const { port } = server.server.address() as AddressInfo;
  return {
    port,
    access: { server: `https://${options.host ?? API_HOST}:${port}`, ca: tls.ca, token },
    renewTls(fresh) {
      authenticator.renewAuthority(fresh.ca);
      (server.server as unknown as { setSecureContext(context: object): void }).setSecureContext(
        secureContext(fresh),
      );
    },
    async close() {
      watches.close();
      consoles.close();
      const deadline = clock.after(CLOSE_GRACE_MS, () => server.server.closeAllConnections());
      await server.close();
      await authorizer.close();
      deadline.cancel();
    },
  };
}

function isWatch(wanted: Attributes): boolean {
  return isResource(wanted) && wanted.verb === "watch";
}

/** Something that a host is asked to do, such as exec. */
function isAction(wanted: Attributes): boolean {
  return isResource(wanted) && HOST_ACTIONS.has(wanted.subresource);
}

/** Client certificates are asked for and judged by the authenticator: without one, a token will do. */
function secureContext({ key, cert, ca }: TlsFiles): object {
  return { key, cert, ca, minVersion: "TLSv1.2", requestCert: true, rejectUnauthorized: false };
}

async function listen(server: FastifyInstance, port: number, host: string): Promise<void> {
  try {
    await server.ready();
    await server.listen({ port, host });
  } catch (cause) {
    await server.close().catch(() => {});
    throw portError(port, host, cause);
  }
}

/** JSON and the patch types; a body named __proto__ or constructor.prototype is refused by the parser. */
function addBodyParsers(server: FastifyInstance): void {
  const parseJson = server.getDefaultJsonParser("error", "error");
  const types = [
    "application/json",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
  ];
  server.removeAllContentTypeParsers();
  server.addContentTypeParser(types, { parseAs: "string" }, (request, body, done) => {
    if (body === "") done(null, undefined);
    else parseJson(request, body as string, done);
  });
  server.addContentTypeParser(
    "application/vnd.kubernetes.protobuf",
    { parseAs: "buffer" },
    (_request, body, done) => {
      try {
        done(null, body.length === 0 ? undefined : parseKubernetesProtobuf(body as Buffer));
      } catch (thrown) {
        done(thrown as Error);
      }
    },
  );
  // Read where it is known to be a patch: elsewhere it is refused as a type.
  server.addContentTypeParser("application/apply-patch+yaml", { parseAs: "buffer" }, (_request, body, done) =>
    done(null, body),
  );
}

function addErrorAnswers(server: FastifyInstance, log: Logger): void {
  server.setErrorHandler((thrown, request, reply) => {
    const error = toApiError(thrown);
    if (error.status === 500)
      log.error({ err: thrown, method: request.method, url: request.url }, "request failed");
    // A broken invariant is our bug: answer, then let the process end and be started again.
    if (thrown instanceof AssertionError) setImmediate(() => Promise.reject(thrown));
    const retryAfter = error.details?.retryAfterSeconds;
    if (retryAfter !== undefined) reply.header("retry-after", String(retryAfter));
    reply.code(error.status).type("application/json").send(error.toStatus());
  });
  server.setNotFoundHandler(() => {
    throw new ApiError("NotFound", NO_RESOURCE);
  });
}

const gzipped = promisify(gzip);

/** Long answers as gzip, for clients that take it. */
async function compressed(request: FastifyRequest, reply: FastifyReply, payload: unknown): Promise<unknown> {
  if (typeof payload !== "string" || payload.length < GZIP_SIZE_BYTES_MIN) return payload;
  reply.header("vary", "Accept, Accept-Encoding");
  const taken = String(request.headers["accept-encoding"] ?? "").split(",");
  if (!taken.some((each) => /^\s*gzip\s*(;\s*q=(?!0(\.0*)?\s*$)[\d.]+\s*)?$/i.test(each))) return payload;
  reply.header("content-encoding", "gzip").removeHeader("content-length");
  return gzipped(payload, { level: 1 });
}

const STORE_TROUBLE = new Set(["STORE_WRITE_FAILED", "STORE_OVERLOADED", "STORE_CLOSED"]);

function toApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  if (thrown instanceof PlinthError && STORE_TROUBLE.has(thrown.code)) {
    return new ApiError("ServiceUnavailable", thrown.message, { retryAfterSeconds: 1 });
  }
  if (thrown instanceof PlinthError && thrown.code === "STORE_LIMIT")
    return new ApiError("BadRequest", thrown.message);
  const { statusCode, message } = thrown as Partial<FastifyError>;
  if (statusCode === 413)
    return new ApiError("RequestEntityTooLarge", `the body may have ${BODY_SIZE_BYTES_MAX} bytes`);
  if (statusCode === 415) return new ApiError("UnsupportedMediaType", NOT_JSON);
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return new ApiError("BadRequest", message ?? "bad request");
  }
  return new ApiError("InternalError", "Internal error occurred; the server's log says more");
}

function addDiscovery(server: FastifyInstance, options: ApiServerOptions, modules: ApiServerModules): void {
  const openApi = buildOpenApi(options.version);
  const json = (path: string, answer: () => object): void => {
    server.get(path, async (request) => {
      requireJson(request.headers.accept);
      return answer();
    });
  };
  for (const path of ["/healthz", "/livez"])
    server.get(path, async (_request, reply) => reply.type("text/plain").send("ok"));
  server.get("/readyz", async (_request, reply) => {
    const why = modules.notReady?.();
    return reply
      .code(why === undefined ? 200 : 503)
      .type("text/plain")
      .send(why ?? "ok");
  });
  server.get("/version", async () => serverVersion(options.version));
  json("/api", () =>
    coreVersions(`${options.host ?? API_HOST}:${(server.server.address() as AddressInfo).port}`),
  );
  json("/api/v1", () => apiResourceList("", "v1"));
  json("/apis", apiGroupList);
  for (const { group, version } of apiGroupVersions()) {
    if (!server.hasRoute({ method: "GET", url: `/apis/${group}` }))
      json(`/apis/${group}`, () => findApiGroup(group) as object);
    json(`/apis/${group}/${version}`, () => apiResourceList(group, version));
  }
  const page = buildReferencePage(options.version);
  server.get("/docs", async (_request, reply) =>
    reply.type("text/html; charset=utf-8").header("content-security-policy", PAGE_POLICY).send(page),
  );
  server.get("/openapi/v3", async () => openApi.index);
  server.get("/openapi/v2", async (request, reply) => {
    if (negotiateOpenApiV2(request.headers.accept) === "json")
      return reply.type("application/json").send(openApi.v2.json);
    // The "@" that clients ask with has no place in a Content-Type.
    return reply.type("application/com.github.proto-openapi.spec.v2.v1.0+protobuf").send(openApi.v2.protobuf);
  });
  for (const [path, text] of openApi.byPath) {
    server.get(`/openapi/v3/${path}`, async (_request, reply) => reply.type("application/json").send(text));
  }
}
