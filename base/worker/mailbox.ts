// Messages between the main thread and a worker that runs its own poll loop and never returns to Node's.
//
//   main: WorkerHandle.request() ─ postMessage ─► port ─► Mailbox.poll() ─► handler, in order
//         flag = 1 in shared memory, eventfd rung            │ flag tells without a system call
//   main: promise resolves   ◄─────── postMessage ───────────┘ eventfd wakes a worker in epoll_wait
//
// Invariant: a message is in the port before the flag is set, and the flag before the eventfd is rung.
// Thread: worker. Hot: yes (poll without a message costs one atomic load).
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { PlinthError } from "../errors/index.js";
import { drainEventfd } from "../linux/index.js";

/** What the handle gives its worker in `workerData.mailbox`. */
export interface MailboxSetup {
  readonly port: MessagePort;
  /** Word 0: messages may be waiting. Word HAS_BEGUN: the worker has loaded what it is made of. */
  readonly flag: SharedArrayBuffer;
  /** Descriptor of the doorbell; the handle owns it. */
  readonly doorbell: number;
}

export interface RequestMessage {
  /** 0: a notice, nobody waits for an answer. */
  readonly id: number;
  readonly method: string;
  readonly body: unknown;
}

export type ReplyMessage =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: SerializedError }
  | { readonly event: string; readonly body: unknown };

export interface SerializedError {
  readonly code: string;
  readonly message: string;
  readonly field?: string | undefined;
  readonly remedy?: string | undefined;
  readonly context: Readonly<Record<string, unknown>>;
}

/** Answers one request, synchronously. A thrown PlinthError becomes the caller's; anything else kills the worker. */
export type MailboxHandler = (body: never) => unknown;

/** Word of MailboxSetup.flag. */
export const HAS_BEGUN = 1;

/** Reserved method: the loop shall end. */
export const CLOSE_METHOD = "$close";

export class Mailbox {
  /** Add this to the worker's epoll set (EPOLLIN) and call `onDoorbell` when it is ready. */
  readonly doorbell: number;
  /** Set once the handle asked to end: leave the loop, release everything, then call `close`. */
  closing = false;
  readonly #port: MessagePort;
  readonly #flag: Int32Array;
  readonly #handlers: Readonly<Record<string, MailboxHandler>>;
  #closeId = 0;

  constructor(setup: MailboxSetup, handlers: Readonly<Record<string, MailboxHandler>>) {
    this.#port = setup.port;
    this.#flag = new Int32Array(setup.flag);
    this.doorbell = setup.doorbell;
    this.#handlers = handlers;
    Atomics.store(this.#flag, HAS_BEGUN, 1);
  }

  /**
   * Handles waiting messages in order, `most` of them or all; returns how many. Call once per breath or every few thousand
   * polls. All can take for ever: more may come while they are handled. Before it sleeps, a worker that handles only
   * some must have had 0 from it.
   */
  poll(most = Number.POSITIVE_INFINITY): number {
    if (Atomics.load(this.#flag, 0) === 0) return 0;
    return this.#receive(most);
  }

  /** Silences the doorbell; messages that it has rung for are seen by the next poll(). */
  silence(): void {
    drainEventfd(this.doorbell);
  }

  /** Silences the doorbell and handles all waiting messages. */
  onDoorbell(): number {
    this.silence();
    return this.poll();
  }

  /** Tells the main thread that something happened. `transfer` as in postMessage. */
  emit(event: string, body: unknown, transfer: ArrayBuffer[] = []): void {
    this.#port.postMessage({ event, body } satisfies ReplyMessage, transfer);
  }

  /** Answers the closing request and lets the thread end. */
  close(): void {
    if (this.#closeId !== 0) this.#port.postMessage({ id: this.#closeId, result: undefined });
    this.#port.close();
  }

  #receive(most: number): number {
    Atomics.store(this.#flag, 0, 0);
    for (let count = 0; count < most; count++) {
      const received = receiveMessageOnPort(this.#port) as { message: RequestMessage } | undefined;
      if (received === undefined) return count;
      this.#handle(received.message);
    }
    // There may be more, for which nobody will set it again.
    Atomics.store(this.#flag, 0, 1);
    return most;
  }

  #handle(message: RequestMessage): void {
    if (message.method === CLOSE_METHOD) {
      this.closing = true;
      this.#closeId = message.id;
      return;
    }
    const reply = this.#answer(message);
    if (message.id !== 0) this.#port.postMessage(reply);
  }

  #answer(message: RequestMessage): ReplyMessage {
    const handler = this.#handlers[message.method];
    try {
      if (handler === undefined) {
        throw new PlinthError("METHOD_UNKNOWN", `the worker does not know ${message.method}`);
      }
      return { id: message.id, result: handler(message.body as never) };
    } catch (thrown) {
      if (!(thrown instanceof PlinthError)) throw thrown;
      const { code, message: text, field, remedy, context } = thrown;
      return { id: message.id, error: { code, message: text, field, remedy, context } };
    }
  }
}
