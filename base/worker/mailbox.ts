// Messages between the main thread and a worker that runs its own poll loop and never returns to Node's.
//
//   main: WorkerHandle.request() ─ postMessage ─► port ─► Mailbox.poll() ─► handler, in order
//         MAY_WAIT = 1 in shared memory,                     │ it tells without a system call
//         eventfd rung where IS_ASLEEP                       │ that wakes a worker in epoll_wait
//   main: promise resolves   ◄─────── postMessage ───────────┤
//         or, where it lingers, at once  ◄─── ANSWERED + 1 ──┘
//
// Invariant: a message is in the port before MAY_WAIT is set, and that before IS_ASLEEP is read; a sleeper sets IS_ASLEEP
// before it looks at MAY_WAIT for the last time. So nobody sleeps over a message.
// Thread: worker. Hot: yes (poll without a message costs one atomic load).
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { PlinthError } from "../errors/index.js";
import { drainEventfd } from "../linux/index.js";

/** What the handle gives its worker in `workerData.mailbox`. */
export interface MailboxSetup {
  readonly port: MessagePort;
  /** See createMailboxState(). */
  readonly state: SharedArrayBuffer;
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

/** Words of MailboxSetup.state: messages may be waiting. */
export const MAY_WAIT = 0;
/** The worker has loaded what it is made of. */
export const HAS_BEGUN = 1;
/** The doorbell is to be rung. */
export const IS_ASLEEP = 2;
/** Requests that were answered, modulo 2³²; in a cache line of its own, as the asker may look at it all the time. */
export const ANSWERED = 16;
const STATE_WORDS = 32;

/** Of a worker that is rung for every message until it says that it is awake. */
export function createMailboxState(): SharedArrayBuffer {
  const state = new SharedArrayBuffer(4 * STATE_WORDS);
  new Int32Array(state)[IS_ASLEEP] = 1;
  return state;
}

/** Reserved method: the loop shall end. */
export const CLOSE_METHOD = "$close";

export class Mailbox {
  /** Add this to the worker's epoll set (EPOLLIN) and call `onDoorbell` when it is ready. */
  readonly doorbell: number;
  /** Set once the handle asked to end: leave the loop, release everything, then call `close`. */
  closing = false;
  readonly #port: MessagePort;
  readonly #state: Int32Array;
  readonly #handlers: Readonly<Record<string, MailboxHandler>>;
  #closeId = 0;

  constructor(setup: MailboxSetup, handlers: Readonly<Record<string, MailboxHandler>>) {
    this.#port = setup.port;
    this.#state = new Int32Array(setup.state);
    this.doorbell = setup.doorbell;
    this.#handlers = handlers;
    Atomics.store(this.#state, HAS_BEGUN, 1);
  }

  /**
   * Handles waiting messages in order, `most` of them or all; returns how many. Call once per breath or every few thousand
   * polls. All can take for ever: more may come while they are handled. Before it sleeps, a worker that handles only
   * some must have had 0 from it.
   */
  poll(most = Number.POSITIVE_INFINITY): number {
    if (Atomics.load(this.#state, MAY_WAIT) === 0) return 0;
    return this.#receive(most);
  }

  /**
   * The doorbell is not rung from now on, which saves whoever asks a system call; before it sleeps the worker must call
   * beginSleep(), and sleep only when that says true, and endSleep() after it has woken or was told false.
   */
  endSleep(): void {
    Atomics.store(this.#state, IS_ASLEEP, 0);
  }

  /** False: there are messages. */
  beginSleep(): boolean {
    Atomics.store(this.#state, IS_ASLEEP, 1);
    return Atomics.load(this.#state, MAY_WAIT) === 0;
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
    Atomics.store(this.#state, MAY_WAIT, 0);
    for (let count = 0; count < most; count++) {
      const received = receiveMessageOnPort(this.#port) as { message: RequestMessage } | undefined;
      if (received === undefined) return count;
      this.#handle(received.message);
    }
    // There may be more, for which nobody will set it again.
    Atomics.store(this.#state, MAY_WAIT, 1);
    return most;
  }

  #handle(message: RequestMessage): void {
    if (message.method === CLOSE_METHOD) {
      this.closing = true;
      this.#closeId = message.id;
      return;
    }
    const reply = this.#answer(message);
    if (message.id === 0) return;
    this.#port.postMessage(reply);
    Atomics.add(this.#state, ANSWERED, 1);
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
