// The main thread's end of a worker: ordered requests with answers, notices, events, and a clean end.
// Invariant: requests are handled in the order in which they were made, each answered exactly once: by the
// worker, or by WORKER_DIED. A worker that answers too late is ended, as one that died. Thread: main.
import { MessageChannel, type MessagePort, receiveMessageOnPort, type Worker } from "node:worker_threads";
import { PlinthError } from "../errors/index.js";
import { closeFile, createEventfd, ringEventfd, yieldProcessor } from "../linux/index.js";
import {
  ANSWERED,
  CLOSE_METHOD,
  createMailboxState,
  HAS_BEGUN,
  IS_ASLEEP,
  MAY_WAIT,
  type MailboxSetup,
  type ReplyMessage,
  type RequestMessage,
  type SerializedError,
} from "./mailbox.js";
import { spawnWorker } from "./spawn-worker.js";

export interface WorkerHandleOptions {
  /** Shown in errors and as the thread's name. */
  readonly name: string;
  /** Reaches the worker as `workerData.data`. */
  readonly data?: unknown;
  /** How long any one answer may take, 10 minutes unless given. */
  readonly answerDeadlineMs?: number;
  /**
   * How long the main thread may spin for the answer of a single request before it goes on with something else: an answer
   * that comes sooner costs no wake-up. Where answers take longer it is hardly tried. 0 unless given.
   */
  readonly lingerMs?: number;
  /** Called for each `Mailbox.emit`. */
  readonly onEvent?: (event: string, body: unknown) => void;
  /** Called once when the thread ended, or was ended at a deadline, without `close` having been asked. */
  readonly onDied?: (error: PlinthError) => void;
}

const ANSWER_DEADLINE_MS = 600_000;
/** A worker loads what it is made of in some tenths of a second; one that is to be ended has so long to finish that. */
const LOADING_MAX_MS = 60_000;
const LOADING_LOOK_MS = 10;
/** So many answers are lingered for; then all else has a turn. */
const LINGERS_MAX = 32;
/** Requests that are not lingered for after one that was in vain: at first, and at most. */
const SKIPS_MIN = 4;
const SKIPS_MAX = 1024;

interface Waiting {
  readonly method: string;
  readonly deadlineMs: number;
  resolve(result: unknown): void;
  reject(error: PlinthError): void;
  /** Called when it has been answered, in whatever way. */
  done?: (() => void)[];
}

export class WorkerHandle {
  readonly #name: string;
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #state = createMailboxState();
  readonly #words = new Int32Array(this.#state);
  readonly #doorbell = createEventfd();
  readonly #waiting = new Map<number, Waiting>();
  readonly #options: WorkerHandleOptions;
  readonly #answerDeadlineMs: number;
  readonly #exited: Promise<void>;
  #nextId = 1;
  #died: PlinthError | undefined;
  #failure: unknown;
  #closing: Promise<void> | undefined;
  readonly #startMs = performance.now();
  #ending: NodeJS.Timeout | undefined;
  /** For the answer that is waited for longest; there may be none any more. */
  #timer: NodeJS.Timeout | undefined;
  /** Whether it will be lingered for the last request; how often it has been, and how often it is left out. */
  #willLinger = false;
  #lingers = 0;
  #skips = 0;
  #skipsNext = SKIPS_MIN;

  /** `entry` is `new URL("./x-worker.js", import.meta.url)`. */
  constructor(entry: URL, options: WorkerHandleOptions) {
    this.#options = options;
    this.#name = options.name;
    this.#answerDeadlineMs = options.answerDeadlineMs ?? ANSWER_DEADLINE_MS;
    const channel = new MessageChannel();
    this.#port = channel.port1;
    const mailbox: MailboxSetup = { port: channel.port2, state: this.#state, doorbell: this.#doorbell };
    this.#worker = spawnWorker(entry, {
      name: options.name,
      workerData: { mailbox, data: options.data },
      transferList: [channel.port2],
    });
    this.#port.on("message", (message: ReplyMessage) => this.#onReply(message));
    this.#worker.on("error", (error) => {
      this.#failure = error;
    });
    this.#exited = new Promise((resolve) => {
      this.#worker.on("exit", (code) => {
        this.#onExit(code);
        resolve();
      });
    });
  }

  /** Has the worker do `method`; resolves with what its handler returned, rejects with its PlinthError. */
  request<Result>(method: string, body?: unknown, transfer: ArrayBuffer[] = []): Promise<Result> {
    if (this.#died !== undefined) return Promise.reject(this.#died);
    const id = this.#nextId++;
    return new Promise<Result>((resolve, reject) => {
      const deadlineMs = performance.now() + this.#answerDeadlineMs;
      this.#waiting.set(id, { method, deadlineMs, resolve: resolve as (result: unknown) => void, reject });
      if (this.#timer === undefined) this.#arm(this.#answerDeadlineMs);
      this.#post({ id, method, body }, transfer);
      this.#lingerLater();
    });
  }

  /** Resolves when everything that was asked so far has been answered. Rejects with WORKER_DIED when it was before. */
  settled(): Promise<void> {
    if (this.#died !== undefined) return Promise.reject(this.#died);
    // Answers come in the order of requests.
    const last = this.#waiting.get(this.#nextId - 1);
    if (last === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      last.done ??= [];
      last.done.push(resolve);
    });
  }

  /** As request, without an answer. */
  notify(method: string, body?: unknown, transfer: ArrayBuffer[] = []): void {
    if (this.#died === undefined) this.#post({ id: 0, method, body }, transfer);
  }

  /**
   * Asks the worker to end after everything asked before, and waits for it. A worker that does not end within
   * `deadlineMs` is terminated. Closing twice is allowed.
   */
  close(deadlineMs = 5000): Promise<void> {
    this.#closing ??= this.#close(deadlineMs);
    return this.#closing;
  }

  async #close(deadlineMs: number): Promise<void> {
    if (this.#died === undefined) {
      this.request(CLOSE_METHOD).catch(() => undefined);
      const timer = setTimeout(() => this.#terminate(), deadlineMs);
      await this.#exited;
      clearTimeout(timer);
    }
    await this.#exited;
  }

  /** Ends a worker that does not do its work any more; it is reported as one that died, with this reason. */
  abort(reason: string): void {
    this.#failure ??= new Error(reason);
    this.#terminate();
  }

  #arm(delayMs: number): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      for (const { method, deadlineMs } of this.#waiting.values()) {
        const leftMs = deadlineMs - performance.now();
        if (leftMs <= 0) this.#hangs(method);
        else this.#arm(Math.ceil(leftMs));
        return;
      }
    }, delayMs);
    this.#timer.unref();
  }

  /** Its state is unknown from here on: it is ended, and everything that waits is told. */
  #hangs(method: string): void {
    this.#failure ??= new Error(`it did not answer ${method} within ${this.#answerDeadlineMs} ms`);
    this.#terminate();
  }

  /** A thread that is ended while it loads native code takes the whole process along: N-API aborts where it cannot throw. */
  #terminate(): void {
    const begun = Atomics.load(this.#words, HAS_BEGUN) === 1;
    if (!begun && performance.now() - this.#startMs < LOADING_MAX_MS) {
      clearTimeout(this.#ending);
      this.#ending = setTimeout(() => this.#terminate(), LOADING_LOOK_MS);
      return;
    }
    // terminate() does not interrupt epoll_wait; the doorbell does.
    void this.#worker.terminate();
    ringEventfd(this.#doorbell);
  }

  #post(message: RequestMessage, transfer: ArrayBuffer[]): void {
    this.#port.postMessage(message, transfer);
    Atomics.store(this.#words, MAY_WAIT, 1);
    if (Atomics.load(this.#words, IS_ASLEEP) === 1) ringEventfd(this.#doorbell);
  }

  // --- Lingering

  /** When everything has been done that what goes on now brings about. */
  #lingerLater(): void {
    const { lingerMs = 0 } = this.#options;
    if (lingerMs === 0 || this.#willLinger) return;
    if (this.#skips > 0) {
      this.#skips--;
      return;
    }
    this.#willLinger = true;
    process.nextTick(() => {
      this.#willLinger = false;
      this.#linger(lingerMs);
    });
  }

  /** Spins for the one answer that is waited for. */
  #linger(lingerMs: number): void {
    if (this.#waiting.size !== 1 || this.#died !== undefined) return;
    if (this.#lingers >= LINGERS_MAX) return;
    if (++this.#lingers === LINGERS_MAX) setImmediate(() => (this.#lingers = 0));
    const answered = (this.#nextId - 1) | 0;
    const endMs = performance.now() + lingerMs;
    while (Atomics.load(this.#words, ANSWERED) !== answered) {
      // The worker may wait for this very processor.
      yieldProcessor();
      if (performance.now() < endMs) continue;
      this.#skips = this.#skipsNext;
      this.#skipsNext = Math.min(SKIPS_MAX, 2 * this.#skipsNext);
      return;
    }
    this.#skipsNext = SKIPS_MIN;
    for (let received = this.#receive(); received !== undefined; received = this.#receive())
      this.#onReply(received.message);
  }

  #receive(): { readonly message: ReplyMessage } | undefined {
    return receiveMessageOnPort(this.#port) as { message: ReplyMessage } | undefined;
  }

  #onReply(message: ReplyMessage): void {
    if ("event" in message) {
      this.#options.onEvent?.(message.event, message.body);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    if (waiting === undefined) return;
    this.#waiting.delete(message.id);
    if ("result" in message) waiting.resolve(message.result);
    else waiting.reject(errorOf(message.error));
    for (const settle of waiting.done ?? []) settle();
  }

  #onExit(code: number): void {
    clearTimeout(this.#ending);
    const why = this.#failure instanceof Error ? this.#failure.message : `exit code ${code}`;
    this.#died = new PlinthError("WORKER_DIED", `the worker ${this.#name} has ended: ${why}`, {
      context: { name: this.#name, code },
      cause: this.#failure,
    });
    // Answers already posted are delivered first: the port's own queue is drained before it reports closing.
    const finish = (): void => {
      clearTimeout(this.#timer);
      for (const { reject, done = [] } of this.#waiting.values()) {
        reject(this.#died!);
        for (const settle of done) settle();
      }
      this.#waiting.clear();
      this.#port.close();
      closeFile(this.#doorbell);
      if (this.#closing === undefined) this.#options.onDied?.(this.#died!);
    };
    setImmediate(finish);
  }
}

function errorOf({ code, message, field, remedy, context }: SerializedError): PlinthError {
  return new PlinthError(code, message, {
    context,
    ...(field === undefined ? {} : { field }),
    ...(remedy === undefined ? {} : { remedy }),
  });
}
