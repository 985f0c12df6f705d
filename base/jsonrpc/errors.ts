// What can go wrong between JSON-RPC peers.
//
// code                 meaning                                              remedy
// JSON_MALFORMED       the bytes are no sequence of JSON objects            the connection is closed; speak JSON-RPC 1.0
// JSON_TOO_LARGE       one value exceeds the size limit                     send less at once
// JSON_TOO_DEEP        one value nests deeper than the limit                –
// RPC_MALFORMED        JSON, but no request, notification or response       the connection is closed
// RPC_TIMEOUT          no response before the deadline                      the peer is busy or hung
// RPC_CLOSED           the connection ended before the response             reconnect
// RPC_UNREACHABLE      nobody listens at the endpoint                       start the daemon
// ENDPOINT_INVALID     an endpoint text that cannot be understood           unix:PATH, tcp:HOST:PORT, ssl:HOST:PORT and so on
// SOCKET_PATH_INVALID  an empty unix path, or one with a NUL                –
// SOCKET_PATH_TOO_LONG a unix path of more than 107 bytes                   choose a shorter directory
// SOCKET_IN_USE        another process listens there                        stop it first
// SOCKET_PATH_TAKEN    something that is no socket stands at the path       remove it
// SOCKET_UNAVAILABLE   the system refuses to listen there                   as the message says
// METHOD_UNKNOWN       a control socket has no such method                  the message lists them
// PARAMS_INVALID       a control method takes one object                    –
// RPC_BUSY             a peer has too many requests under way               wait for answers
// RPC_FAULT            the peer answered with an error without a code       as the message says
import { PlinthError } from "../errors/index.js";

/** The peer answered with an error; `value` is the error member of its response, unchanged. */
export class JsonRpcFault extends Error {
  override readonly name = "JsonRpcFault";
  readonly value: unknown;

  constructor(value: unknown, message = describeFault(value)) {
    super(message);
    this.value = value;
  }
}

function describeFault(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "object" && value !== null) {
    const { message, error, details } = value as Record<string, unknown>;
    if (typeof message === "string") return message;
    if (typeof error === "string") return typeof details === "string" ? `${error}: ${details}` : error;
  }
  return JSON.stringify(value) ?? "unknown error";
}

/** The error member that a control socket answers with: `{code, message, field?, remedy?}`. */
export function faultValueOf(thrown: unknown): unknown {
  if (thrown instanceof JsonRpcFault) return thrown.value;
  if (thrown instanceof PlinthError) {
    return {
      code: thrown.code,
      message: thrown.message,
      ...(thrown.field === undefined ? {} : { field: thrown.field }),
      ...(thrown.remedy === undefined ? {} : { remedy: thrown.remedy }),
    };
  }
  return { code: "INTERNAL", message: thrown instanceof Error ? thrown.message : String(thrown) };
}

/** Turns a control socket's error member back into the PlinthError it was made of. */
export function errorOfFault(fault: JsonRpcFault): PlinthError {
  const value = (typeof fault.value === "object" && fault.value !== null ? fault.value : {}) as Record<
    string,
    unknown
  >;
  const text = (key: string): string | undefined => {
    const found = Object.hasOwn(value, key) ? value[key] : undefined;
    return typeof found === "string" ? found : undefined;
  };
  const field = text("field");
  const remedy = text("remedy");
  return new PlinthError(text("code") ?? "RPC_FAULT", fault.message, {
    ...(field === undefined ? {} : { field }),
    ...(remedy === undefined ? {} : { remedy }),
  });
}
