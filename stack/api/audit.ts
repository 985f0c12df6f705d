// Who did what, and when: one JSON line (audit.k8s.io/v1 Event) for each write and each refusal, after the answer.
//
//   reads that were allowed, Events, status, reviews     not written down: nothing changes by them, or programs do it all day
//   policies, invariants, roles and their bindings       level Request: with the object sent, and what was there before
//   changes of policies; machines that come, go, change  the pairs of machines that gained or lost connections, as an annotation
//   labels of machines, ports and namespaces             what selects them, from and to, as an annotation
//   changes that the review refuses                      why, as an annotation
//   deletions of collections                             the names, as an annotation
//   everything else, Secrets and userData among them     level Metadata: no content
//
// Source: Kubernetes documentation, "Auditing"; API reference, Event v1 audit.k8s.io.
import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { isDeepStrictEqual } from "node:util";
import { isObject } from "../../base/json/index.js";
import { type ApiObject, RBAC_GROUP, type ResourceKind } from "../resources/index.js";
import { attributesOf, isDenial, type User } from "./access/index.js";
import { ApiError } from "./errors.js";
import { type AuditNotes, REVIEW_REFUSED } from "./review.js";

/** Takes one line at a time, such as a RotatingFile. */
export interface AuditSink {
  write(line: string): void;
}

export interface AuditedAnswer {
  readonly code: number;
  /** Of a refusal. */
  readonly reason?: string | undefined;
}

const READS = new Set(["get", "list", "watch"]);
const WHOLE_GROUPS = new Set(["networking.k8s.io", "policy.networking.k8s.io", RBAC_GROUP]);
const LABELLED_KINDS = new Set(["Namespace", "VirtualMachine", "Port"]);
const UNTOLD_GROUPS = new Set(["authorization.k8s.io", "authentication.k8s.io"]);
const TEXT_LENGTH_MAX = 1024;
/** Of the list of what a deletion of a collection took away. */
const LIST_LENGTH_MAX = 256 * 1024;

interface Notes {
  readonly receivedMs: number;
  sender?: User;
  user?: User;
  annotations: Record<string, string>;
  requestObject?: unknown;
  /** Of what a creation makes: its path does not say. */
  name?: string;
  reason?: string;
  /** For lack of rights. */
  isDenied?: boolean;
}

export class Audit {
  readonly #sink: AuditSink;
  readonly #wallMs: () => number;
  readonly #notes = new WeakMap<IncomingMessage, Notes>();

  constructor(sink: AuditSink, wallMs: () => number) {
    this.#sink = sink;
    this.#wallMs = wallMs;
  }

  /** When the request comes. */
  begin(request: IncomingMessage): void {
    this.#notes.set(request, { receivedMs: this.#wallMs(), annotations: {} });
  }

  /** When it is known who sends it, and then whom that user acts as. */
  identify(request: IncomingMessage, user: User): void {
    const notes = this.#notes.get(request);
    if (notes === undefined) return;
    notes.sender ??= user;
    notes.user = user;
  }

  refused(request: IncomingMessage, error: ApiError): void {
    const { reason, details } = error;
    const notes = this.#notes.get(request);
    if (notes === undefined) return;
    notes.reason = reason;
    notes.isDenied = isDenial(error);
    const cause = details?.causes?.find((each) => each.reason === REVIEW_REFUSED);
    if (cause !== undefined) notes.annotations["plinth.dev/refused"] = cause.message;
  }

  /** When a write of `next` over `before` is about to be stored; for a deletion `next` is undefined. */
  change(
    request: IncomingMessage,
    kind: ResourceKind,
    before: ApiObject | undefined,
    next: ApiObject | undefined,
  ): void {
    const notes = this.#notes.get(request);
    if (notes === undefined) return;
    const made = (next ?? before)?.metadata.name;
    if (made !== undefined) notes.name = made;
    if (isWhole(kind)) {
      if (next !== undefined) notes.requestObject = wants(next);
      if (before !== undefined) notes.annotations["plinth.dev/before"] = JSON.stringify(wants(before));
    }
    if (!LABELLED_KINDS.has(kind.kind)) return;
    const [from, to] = [before?.metadata.labels ?? {}, next?.metadata.labels ?? {}];
    if (!isDeepStrictEqual(from, to)) notes.annotations["plinth.dev/labels"] = JSON.stringify({ from, to });
  }

  /** When a collection has been deleted. */
  deletedAll(request: IncomingMessage, kind: ResourceKind, objects: readonly ApiObject[]): void {
    const notes = this.#notes.get(request);
    if (notes === undefined) return;
    const { annotations } = notes;
    annotations["plinth.dev/deleted"] = upTo(objects.map(({ metadata }) => metadata.name));
    if (isWhole(kind)) annotations["plinth.dev/before"] = upTo(objects.map(wants));
  }

  /** When the write is stored: what the review of it had to say. */
  note(request: IncomingMessage, notes: AuditNotes | undefined): void {
    Object.assign(this.#notes.get(request)?.annotations ?? {}, notes);
  }

  /** When it has been answered. */
  end(request: IncomingMessage, { code, reason }: AuditedAnswer): void {
    const notes = this.#notes.get(request);
    this.#notes.delete(request);
    if (notes === undefined) return;
    const event = this.#event(request, notes, { code, reason: reason ?? notes.reason });
    if (event !== undefined) this.#sink.write(`${JSON.stringify(event)}\n`);
  }

  #event(request: IncomingMessage, notes: Notes, { code, reason }: AuditedAnswer): object | undefined {
    const { method = "GET", url = "/", headers, socket } = request;
    const asked = attributesIn(method, url);
    if (asked === undefined) return undefined;
    const isDenied = code === 401 || code === 403;
    if (!isDenied && !isTold(asked)) return undefined;
    const { verb, ...place } = asked;
    const entries = Object.entries({
      resource: place.resource,
      namespace: place.namespace,
      name: place.name || notes.name,
      apiGroup: place.group,
      subresource: place.subresource,
    }).filter(([, value]) => value !== undefined && value !== "");
    const { sender, user, annotations, requestObject, receivedMs } = notes;
    const decision =
      user === undefined
        ? {}
        : { "authorization.k8s.io/decision": notes.isDenied === true ? "forbid" : "allow" };
    return {
      kind: "Event",
      apiVersion: "audit.k8s.io/v1",
      level: requestObject === undefined ? "Metadata" : "Request",
      auditID: randomUUID(),
      stage: "ResponseComplete",
      requestURI: url.slice(0, TEXT_LENGTH_MAX),
      verb,
      user: sender ?? { username: "", groups: [] },
      ...(user === sender ? {} : { impersonatedUser: user }),
      sourceIPs: [socket.remoteAddress ?? ""],
      userAgent: (headers["user-agent"] ?? "").slice(0, TEXT_LENGTH_MAX),
      ...(entries.length === 0 ? {} : { objectRef: Object.fromEntries(entries) }),
      responseStatus: { metadata: {}, code, ...(reason === undefined ? {} : { reason }) },
      ...(requestObject === undefined ? {} : { requestObject }),
      requestReceivedTimestamp: new Date(receivedMs).toISOString(),
      stageTimestamp: new Date(this.#wallMs()).toISOString(),
      annotations: { ...decision, ...annotations },
    };
  }
}

interface Asked {
  readonly verb: string;
  readonly group?: string;
  readonly resource?: string;
  readonly subresource?: string;
  readonly namespace?: string;
  readonly name?: string;
}

function attributesIn(method: string, url: string): Asked | undefined {
  try {
    return attributesOf(method, url);
  } catch (thrown) {
    if (thrown instanceof ApiError) return undefined;
    throw thrown;
  }
}

function isTold({ verb, group = "", resource, subresource }: Asked): boolean {
  if (resource === undefined || subresource === "status" || UNTOLD_GROUPS.has(group)) return false;
  if (group === "" && resource === "events") return false;
  return !READS.has(verb) || subresource === "console";
}

function isWhole({ group, kind }: ResourceKind): boolean {
  return WHOLE_GROUPS.has(group) || kind === "Invariant";
}

/** A JSON list; what would make it too long is counted in its last item. */
function upTo(items: readonly unknown[]): string {
  const told: string[] = [];
  let size = 0;
  for (const item of items) {
    const text = JSON.stringify(item);
    size += text.length + 1;
    if (size > LIST_LENGTH_MAX) {
      told.push(JSON.stringify({ leftOut: items.length - told.length }));
      break;
    }
    told.push(text);
  }
  return `[${told.join(",")}]`;
}

/** What the object says, without what the server keeps beside it. */
function wants({ metadata, status: _status, ...rest }: ApiObject): object {
  const { name, namespace, labels } = metadata;
  const kept = isObject(labels) ? { labels } : {};
  return { ...rest, metadata: { name, ...(namespace === undefined ? {} : { namespace }), ...kept } };
}
