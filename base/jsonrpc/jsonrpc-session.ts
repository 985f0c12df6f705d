// One peer's half of a JSON-RPC 1.0 conversation, as OVSDB (RFC 7047, 4) and unixctl speak it. Pure: no I/O, no clock.
// Invariant: every id handed out by `request` is answered exactly once: response, fault, expiry or `end`.

import { describeError, PlinthError } from "../errors/index.js";
import { decodeEscapedUtf8, isObject, parseExactJson, stringifyExactJson } from "../json/index.js";
import { JsonStream, type JsonStreamOptions } from "./json-stream.js";

export type JsonRpcId = unknown;

export type JsonRpcEvent =
  | {
      readonly kind: "request";
      readonly id: JsonRpcId;
      readonly method: string;
      readonly params: readonly unknown[];
    }
  | { readonly kind: "notification"; readonly method: string; readonly params: readonly unknown[] }
  | { readonly kind: "result"; readonly id: number; readonly result: unknown }
  | { readonly kind: "fault"; readonly id: number; readonly error: unknown }
  /** The peer broke the protocol: close the connection. Always the last event. */
  | { readonly kind: "broken"; readonly error: PlinthError };

interface Pending {
  readonly deadlineMs: number;
}

/** Frames, classifies and matches messages. The caller moves the bytes. */
export class JsonRpcSession {
  readonly #stream: JsonStream;
  readonly #pending = new Map<number, Pending>();
  #nextId = 0;

  constructor(options: JsonStreamOptions = {}) {
    // Bytes that are no UTF-8 are refused where the text is used, with an answer: a client that is hung up on tries again.
    this.#stream = new JsonStream({ decode: decodeEscapedUtf8, parse: parseExactJson, ...options });
  }

  /** The message of a new request that must be answered by `deadlineMs`. */
  request(
    method: string,
    params: readonly unknown[],
    deadlineMs: number,
  ): { readonly id: number; readonly text: string } {
    const id = this.#nextId++;
    this.#pending.set(id, { deadlineMs });
    return { id, text: stringifyExactJson({ id, method, params }) };
  }

  /** Takes bytes from the peer; returns what they mean. Responses to unknown or expired ids are dropped. */
  receive(bytes: Uint8Array): JsonRpcEvent[] {
    let values: unknown[];
    try {
      values = this.#stream.push(bytes);
    } catch (thrown) {
      return [{ kind: "broken", error: asError(thrown) }];
    }
    const events: JsonRpcEvent[] = [];
    for (const value of values) {
      const event = this.#classify(value);
      if (event === undefined) continue;
      events.push(event);
      if (event.kind === "broken") break;
    }
    return events;
  }

  /** Forgets the requests whose deadline has passed and returns their ids. */
  expire(nowMs: number): number[] {
    const expired: number[] = [];
    for (const [id, { deadlineMs }] of this.#pending) if (deadlineMs <= nowMs) expired.push(id);
    for (const id of expired) this.#pending.delete(id);
    return expired;
  }

  /** The connection is gone: forgets every open request and returns their ids. */
  end(): number[] {
    const open = [...this.#pending.keys()];
    this.#pending.clear();
    return open;
  }

  #classify(message: unknown): JsonRpcEvent | undefined {
    if (!isObject(message)) return broken("a message is no object");
    if (Object.hasOwn(message, "method")) return classifyCall(message);
    if (!Object.hasOwn(message, "id")) return broken("a message has neither method nor id");
    if (!Object.hasOwn(message, "result") && !Object.hasOwn(message, "error"))
      return broken("a message has neither method nor result");
    const id = message["id"];
    if (typeof id !== "number" || !this.#pending.delete(id)) return undefined;
    const error = Object.hasOwn(message, "error") ? message["error"] : null;
    if (error !== null) return { kind: "fault", id, error };
    return { kind: "result", id, result: Object.hasOwn(message, "result") ? message["result"] : null };
  }
}

function classifyCall(message: Record<string, unknown>): JsonRpcEvent {
  const { method } = message;
  const params = Object.hasOwn(message, "params") ? message["params"] : [];
  if (typeof method !== "string") return broken("method is no string");
  if (!Array.isArray(params)) return broken(`params of ${method.slice(0, 60)} are no array`);
  const id = Object.hasOwn(message, "id") ? message["id"] : null;
  return id === null ? { kind: "notification", method, params } : { kind: "request", id, method, params };
}

function broken(why: string): JsonRpcEvent {
  return { kind: "broken", error: new PlinthError("RPC_MALFORMED", `not JSON-RPC: ${why}`) };
}

function asError(thrown: unknown): PlinthError {
  return thrown instanceof PlinthError ? thrown : new PlinthError("JSON_MALFORMED", describeError(thrown));
}

/** A response that carries a result. */
export function encodeResult(id: JsonRpcId, result: unknown): string {
  return stringifyExactJson({ id, result: result === undefined ? null : result, error: null });
}

/** A response that carries an error. */
export function encodeFault(id: JsonRpcId, error: unknown): string {
  return stringifyExactJson({ id, result: null, error });
}

/** A notification: nobody answers it. */
export function encodeNotification(method: string, params: readonly unknown[]): string {
  return stringifyExactJson({ id: null, method, params });
}
