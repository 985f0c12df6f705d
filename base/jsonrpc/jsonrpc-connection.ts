// A JSON-RPC session on a connected socket: calls with deadlines, an inbound handler, echo answered by itself.
// Source: RFC 7047, 4 (framing, echo). Thread: main.
// Invariant: every call settles; after `closed` nothing is sent and no handler is called.
import type { Socket } from "node:net";
import { PlinthError } from "../errors/index.js";
import { type Clock, systemClock, type Timer } from "../time/index.js";
import { faultValueOf, JsonRpcFault } from "./errors.js";
import {
  encodeFault,
  encodeNotification,
  encodeResult,
  type JsonRpcEvent,
  type JsonRpcId,
  JsonRpcSession,
} from "./jsonrpc-session.js";
import { BACKLOG_BYTES_MAX, CALL_TIMEOUT_MS, REQUESTS_PENDING_MAX } from "./limits.js";

export interface JsonRpcRequest {
  readonly id: JsonRpcId;
  readonly method: string;
  readonly params: readonly unknown[];
}

export interface JsonRpcHandler {
  /**
   * Answers one request; called in order of arrival, answers may overtake each other. The returned (or awaited)
   * value is the result; a thrown JsonRpcFault, PlinthError or Error becomes the error member.
   */
  request?(request: JsonRpcRequest, connection: JsonRpcConnection): unknown;
  notification?(method: string, params: readonly unknown[], connection: JsonRpcConnection): void;
  /** Called once when the connection is gone, with the reason when the peer broke the protocol. */
  closed?(connection: JsonRpcConnection, reason: Error | undefined): void;
}

export interface JsonRpcOptions {
  readonly clock?: Clock;
  readonly sizeBytesMax?: number;
  readonly depthMax?: number;
  readonly backlogBytesMax?: number;
  /** A peer that says nothing for so long is asked by an echo, and hung up on when it stays silent; 0 for never. */
  readonly inactivityProbeMs?: number;
}

interface Waiter {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: Timer;
}

export class JsonRpcConnection {
  readonly #socket: Socket;
  readonly #handler: JsonRpcHandler;
  readonly #clock: Clock;
  readonly #session: JsonRpcSession;
  readonly #backlogBytesMax: number;
  readonly #waiters = new Map<number, Waiter>();
  #serving = 0;
  #open = true;
  #inactivityProbeMs = 0;
  #inactivity: Timer | undefined;
  #heard = false;
  #asked = false;
  /** Resolves when the connection is gone. Never rejects. */
  readonly closed: Promise<void>;

  /** Owns `socket` from now on; it must be connected. */
  constructor(socket: Socket, handler: JsonRpcHandler, options: JsonRpcOptions = {}) {
    this.#socket = socket;
    this.#handler = handler;
    this.#clock = options.clock ?? systemClock;
    this.#session = new JsonRpcSession(options);
    this.#backlogBytesMax = options.backlogBytesMax ?? BACKLOG_BYTES_MAX;
    this.setInactivityProbe(options.inactivityProbeMs ?? 0);
    socket.setNoDelay(true);
    socket.on("data", (bytes) => {
      this.#heard = true;
      this.#receive(bytes);
    });
    let failure: Error | undefined;
    socket.on("error", (error) => {
      failure = error;
    });
    this.closed = new Promise((resolve) => {
      socket.once("close", () => {
        this.#ended(failure);
        resolve();
      });
    });
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Resolves with the peer's result. Rejects with JsonRpcFault, RPC_TIMEOUT or RPC_CLOSED. */
  call(method: string, params: readonly unknown[], timeoutMs: number = CALL_TIMEOUT_MS): Promise<unknown> {
    if (!this.#open) return Promise.reject(closedError(method));
    const { id, text } = this.#session.request(method, params, this.#clock.nowMs() + timeoutMs);
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(timeoutMs, () => this.#expire(id, method, timeoutMs));
      this.#waiters.set(id, { resolve, reject, timer });
      this.#send(text);
    });
  }

  notify(method: string, params: readonly unknown[]): void {
    this.#send(encodeNotification(method, params));
  }

  /** Sends a request whose answer nobody waits for (an echo probe). */
  probe(timeoutMs: number): Promise<boolean> {
    return this.call("echo", [], timeoutMs).then(
      () => true,
      () => false,
    );
  }

  /** See `inactivityProbeMs`; holds from now on. */
  setInactivityProbe(intervalMs: number): void {
    if (intervalMs === this.#inactivityProbeMs) return;
    this.#inactivityProbeMs = intervalMs;
    this.#inactivity?.cancel();
    this.#asked = false;
    if (intervalMs > 0) this.#watch();
  }

  #watch(): void {
    this.#heard = false;
    this.#inactivity = this.#clock.after(this.#inactivityProbeMs, () => {
      if (!this.#open) return;
      if (!this.#heard && this.#asked) {
        const silentMs = 2 * this.#inactivityProbeMs;
        this.close(new PlinthError("RPC_CLOSED", `the peer has said nothing for ${silentMs} ms`));
        return;
      }
      this.#asked = !this.#heard;
      if (this.#asked) void this.probe(this.#inactivityProbeMs);
      this.#watch();
    });
  }

  /** Ends the connection now; open calls reject with RPC_CLOSED. */
  close(reason?: Error): void {
    this.#socket.destroy(reason);
  }

  /** Ends the connection after what was sent has left, at most `deadlineMs` later. */
  async end(deadlineMs = 1000): Promise<void> {
    this.#socket.end();
    const timer = this.#clock.after(deadlineMs, () => this.#socket.destroy());
    await this.closed;
    timer.cancel();
  }

  #send(text: string): void {
    if (!this.#open || this.#socket.destroyed) return;
    this.#socket.write(text);
    if (this.#socket.writableLength > this.#backlogBytesMax) {
      this.close(
        new PlinthError(
          "RPC_CLOSED",
          `the peer does not read: ${this.#socket.writableLength} bytes are waiting`,
        ),
      );
    }
  }

  #receive(bytes: Uint8Array): void {
    for (const event of this.#session.receive(bytes)) {
      if (!this.#open) return;
      this.#dispatch(event);
    }
  }

  #dispatch(event: JsonRpcEvent): void {
    switch (event.kind) {
      case "request":
        this.#serve(event);
        return;
      case "notification":
        this.#handler.notification?.(event.method, event.params, this);
        return;
      case "result":
        this.#take(event.id)?.resolve(event.result);
        return;
      case "fault":
        this.#take(event.id)?.reject(new JsonRpcFault(event.error));
        return;
      case "broken":
        this.close(event.error);
    }
  }

  #serve(request: JsonRpcRequest): void {
    if (request.method === "echo") {
      this.#send(encodeResult(request.id, request.params));
      return;
    }
    if (this.#serving >= REQUESTS_PENDING_MAX) {
      this.#send(
        encodeFault(request.id, {
          code: "RPC_BUSY",
          message: `more than ${REQUESTS_PENDING_MAX} requests are under way`,
        }),
      );
      return;
    }
    let answer: unknown;
    try {
      answer = this.#handler.request
        ? this.#handler.request(request, this)
        : Promise.reject(new JsonRpcFault("unknown method"));
    } catch (thrown) {
      this.#send(encodeFault(request.id, faultValueOf(thrown)));
      return;
    }
    if (!(answer instanceof Promise)) {
      this.#send(encodeResult(request.id, answer));
      return;
    }
    this.#serving++;
    answer
      .then(
        (result) => this.#send(encodeResult(request.id, result)),
        (thrown) => this.#send(encodeFault(request.id, faultValueOf(thrown))),
      )
      .finally(() => {
        this.#serving--;
      });
  }

  #take(id: number): Waiter | undefined {
    const waiter = this.#waiters.get(id);
    this.#waiters.delete(id);
    waiter?.timer.cancel();
    return waiter;
  }

  #expire(id: number, method: string, timeoutMs: number): void {
    this.#session.expire(this.#clock.nowMs());
    this.#take(id)?.reject(new PlinthError("RPC_TIMEOUT", `no answer to ${method} within ${timeoutMs} ms`));
  }

  #ended(failure: Error | undefined): void {
    this.#open = false;
    this.#inactivity?.cancel();
    this.#session.end();
    for (const id of [...this.#waiters.keys()]) this.#take(id)?.reject(closedError("a call", failure));
    this.#handler.closed?.(this, failure);
  }
}

function closedError(what: string, cause?: Error): PlinthError {
  return new PlinthError(
    "RPC_CLOSED",
    `the connection ended before ${what} was answered${cause ? `: ${cause.message}` : ""}`,
    { cause },
  );
}
