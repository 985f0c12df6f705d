// What the API server refuses, as metav1.Status. Source: Kubernetes API conventions, "Response Status Kind".
//
//   reason                HTTP  when
//   BadRequest             400  not JSON, unknown field (Strict), bad selector, wrong name or namespace in the body
//   Unauthorized           401  no or wrong bearer token
//   Forbidden              403  no right to; a quota would be exceeded; the reviewer refuses
//   NotFound               404  no such kind or object
//   MethodNotAllowed       405  verb not supported
//   NotAcceptable          406  only JSON is spoken
//   Conflict, AlreadyExists 409 changed meanwhile; fields that another manager owns, each as a cause; name taken
//   Expired                410  resourceVersion too old: list again
//   RequestEntityTooLarge  413  body too large
//   UnsupportedMediaType   415  patch type or encoding not known
//   Invalid                422  fields that do not fit, each as a cause
//   TooManyRequests        429  too many watches, or requests of one user or of all
//   InternalError          500  our bug
//   ServiceUnavailable     503  store cannot write; host agent is not there
//   Timeout                504  host agent did not answer in time
import { PlinthError } from "../../base/errors/index.js";
import type { FieldError } from "../resources/index.js";

const HTTP_STATUS = {
  BadRequest: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotFound: 404,
  MethodNotAllowed: 405,
  NotAcceptable: 406,
  Conflict: 409,
  AlreadyExists: 409,
  Expired: 410,
  RequestEntityTooLarge: 413,
  UnsupportedMediaType: 415,
  Invalid: 422,
  TooManyRequests: 429,
  InternalError: 500,
  ServiceUnavailable: 503,
  Timeout: 504,
} as const;
export type StatusReason = keyof typeof HTTP_STATUS;

export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly { reason: string; message: string; field: string }[];
  readonly retryAfterSeconds?: number;
}

/** metav1.Status of a refusal. */
export interface Status {
  readonly kind: "Status";
  readonly apiVersion: "v1";
  readonly metadata: Record<string, never>;
  readonly status: "Failure";
  readonly message: string;
  readonly reason: string;
  readonly details?: StatusDetails;
  readonly code: number;
}

/** A refusal of the API. `reason` and `status` (HTTP) are those of Kubernetes. */
export class ApiError extends PlinthError {
  readonly status: number;
  readonly reason: string;
  readonly details: StatusDetails | undefined;

  constructor(reason: StatusReason, message: string, details?: StatusDetails, status = HTTP_STATUS[reason]) {
    const field = details?.causes?.[0]?.field;
    super(codeOf(reason), message, field === undefined ? {} : { field });
    this.reason = reason;
    this.status = status;
    this.details = details;
  }

  toStatus(): Status {
    return {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: this.message,
      reason: this.reason,
      ...(this.details === undefined ? {} : { details: this.details }),
      code: this.status,
    };
  }
}

/** The error that a Status from a server stands for. */
export function fromStatus(status: Partial<Status>, httpStatus: number): ApiError {
  const reason = (status.reason ?? "InternalError") as StatusReason;
  return new ApiError(reason, status.message ?? `HTTP ${httpStatus}`, status.details, httpStatus as never);
}

/** True when `thrown` is a refusal with that reason. */
export function isApiError(thrown: unknown, reason: StatusReason): thrown is ApiError {
  return thrown instanceof ApiError && thrown.reason === reason;
}

interface Named {
  readonly group: string;
  readonly kind: string;
  readonly plural: string;
}
const qualified = (kind: Named, word: string): string => (kind.group === "" ? word : `${word}.${kind.group}`);

export function notFound(kind: Named, name: string): ApiError {
  return new ApiError("NotFound", `${qualified(kind, kind.plural)} "${name}" not found`, {
    name,
    group: kind.group,
    kind: kind.plural,
  });
}

export function alreadyExists(kind: Named, name: string): ApiError {
  return new ApiError("AlreadyExists", `${qualified(kind, kind.plural)} "${name}" already exists`, {
    name,
    group: kind.group,
    kind: kind.plural,
  });
}

export function conflict(kind: Named, name: string, why: string): ApiError {
  return new ApiError(
    "Conflict",
    `Operation cannot be fulfilled on ${qualified(kind, kind.plural)} "${name}": ${why}`,
    {
      name,
      group: kind.group,
      kind: kind.plural,
    },
  );
}

export function invalid(kind: Named, name: string, errors: readonly FieldError[]): ApiError {
  const each = errors.map((error) => `${error.field}: ${error.message}`);
  const list = each.length === 1 ? each[0] : `[${each.join(", ")}]`;
  return new ApiError("Invalid", `${qualified(kind, kind.kind)} "${name}" is invalid: ${list}`, {
    name,
    group: kind.group,
    kind: kind.kind,
    causes: errors.map(({ reason, message, field }) => ({ reason, message, field })),
  });
}

function codeOf(reason: string): string {
  return `API_${reason.replace(/([a-z])([A-Z])/g, "$1_$2").toUpperCase()}`;
}
