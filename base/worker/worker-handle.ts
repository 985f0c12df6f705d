// The main thread's end of a worker: ordered requests with answers, notices, events, and a clean end.
// Invariant: requests are handled in the order in which they were made, each answered exactly once: by the
// worker, or by WORKER_DIED. A worker that answers too late is ended, as one that died. Thread: main.
import { MessageChannel, type MessagePort, type Worker } from "node:worker_threads";
import { PlinthError } from "../errors/index.js";
import { closeFile, createEventfd, ringEventfd } from "../linux/index.js";
import {
  CLOSE_METHOD,
  HAS_BEGUN,
  type MailboxSetup,
  type ReplyMessage,
  type RequestMessage,
} from "./mailbox.js";
import { spawnWorker } from "./spawn-worker.js";

export interface WorkerHandleOptions {
  /** Shown in errors and as the thread's name. */
  readonly name: string;
  /** Reaches the worker as `workerData.data`. */
  readonly data?: unknown;
  /** How long any one answer may take, 10 minutes unless given. */
  readonly answerDeadlineMs?: number;
  /** Called for each `Mailbox.emit`. */
  readonly onEvent?: (event: string, body: unknown) => void;
  /** Called once when the thread ended, or was ended at a deadline, without `close` having been asked. */
  readonly onDied?: (error: PlinthError) => void;
}

const ANSWER_DEADLINE_MS = 600_000;
/** A worker loads what it is made of in some tenths of a second; one that is to be ended has so long to finish that. */
const LOADING_MAX_MS = 60_000;
const LOADING_LOOK_MS = 10;

interface Waiting {
  readonly timer: NodeJS.Timeout;
  resolve(result: unknown): void;
  reject(error: PlinthError): void;
}

export class WorkerHandle {
  readonly #name: string;
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #flag = new SharedArrayBuffer(8);
  readonly #flagWords = new Int32Array(this.#flag);
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

  /** `entry` is `new URL("./x-worker.js", import.meta.url)`. */
  constructor(entry: URL, options: WorkerHandleOptions) {
    this.#options = options;
    this.#name = options.name;
    this.#answerDeadlineMs = options.answerDeadlineMs ?? ANSWER_DEADLINE_MS;
    const channel = new MessageChannel();
    this.#port = channel.port1;
    const mailbox: MailboxSetup = { port: channel.port2, flag: this.#flag, doorbell: this.#doorbell };
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
      const timer = setTimeout(() => this.#hangs(method), this.#answerDeadlineMs);
      timer.unref();
      this.#waiting.set(id, { timer, resolve: resolve as (result: unknown) => void, reject });
      this.#post({ id, method, body }, transfer);
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

  /** Its state is unknown from here on: it is ended, and everything that waits is told. */
  #hangs(method: string): void {
    this.#failure ??= new Error(`it did not answer ${method} within ${this.#answerDeadlineMs} ms`);
    this.#terminate();
  }

  /** A thread that is ended while it loads native code takes the whole process along: N-API aborts where it cannot throw. */
  #terminate(): void {
    const begun = Atomics.load(this.#flagWords, HAS_BEGUN) === 1;
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
    Atomics.store(this.#flagWords, 0, 1);
    ringEventfd(this.#doorbell);
  }

  #onReply(message: ReplyMessage): void {
    if ("event" in message) {
      this.#options.onEvent?.(message.event, message.body);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    if (waiting === undefined) return;
    this.#waiting.delete(message.id);
    clearTimeout(waiting.timer);
    if ("result" in message) {
      waiting.resolve(message.result);
      return;
    }
    const { code, message: text, field, remedy, context } = message.error;
    waiting.reject(
      new PlinthError(code, text, {
        context,
        ...(field === undefined ? {} : { field }),
        ...(remedy === undefined ? {} : { remedy }),
      }),
    );
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
      for (const { timer, reject } of this.#waiting.values()) {
        clearTimeout(timer);
        reject(this.#died!);
      }
      this.#waiting.clear();
      this.#port.close();
      closeFile(this.#doorbell);
      if (this.#closing === undefined) this.#options.onDied?.(this.#died!);
    };
    setImmediate(finish);
  }
}
