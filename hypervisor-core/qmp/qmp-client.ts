// A QMP monitor over a unix socket. The protocol is in qmp-session.ts; this file owns the socket and the timers.
// Invariant: every promise settles, at the latest at its deadline. Thread: main.
import type { Socket } from "node:net";
import { describeError, PlinthError } from "../../base/errors/index.js";
import { connectSocketFile } from "../../base/linux/index.js";
import { type Clock, systemClock, type Timer } from "../../base/time/index.js";
import { hypervisorError } from "../errors.js";
import { type QmpEvent, type QmpOutput, QmpSession } from "./qmp-session.js";
import type { JsonObject } from "./qmp-wire.js";

export interface QmpClientOptions {
  readonly path: string;
  /** From now until the monitor has greeted and negotiated. */
  readonly deadlineMs: number;
  readonly onEvent?: (event: QmpEvent) => void;
  /** Called once, after every command in flight has failed, when the monitor is gone for whatever reason. */
  readonly onClose?: (reason: PlinthError) => void;
  readonly clock?: Clock;
}

export const QMP_COMMAND_DEADLINE_MS = 10_000;

interface Waiter {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: PlinthError) => void;
}

export class QmpClient {
  readonly #options: QmpClientOptions;
  readonly #clock: Clock;
  readonly #socket: Socket;
  readonly #session = new QmpSession();
  readonly #waiters = new Map<number, Waiter>();
  #ready: Waiter | undefined;
  #timer: Timer | undefined;
  #closed = false;

  /**
   * Connects and negotiates. Rejects with QMP_CLOSED when nobody listens, QMP_TIMEOUT when the monitor stays silent
   * (QEMU still waits for a peer of one of its sockets, or another client holds the monitor).
   */
  static open(options: QmpClientOptions): Promise<QmpClient> {
    return new Promise((resolve, reject) => {
      const client = new QmpClient(options, () => resolve(client), reject);
    });
  }

  private constructor(
    options: QmpClientOptions,
    onReady: () => void,
    onFailed: (error: PlinthError) => void,
  ) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#ready = { resolve: onReady, reject: onFailed };
    this.#timer = this.#clock.after(options.deadlineMs, () =>
      this.#end(
        hypervisorError("QMP_TIMEOUT", `QMP: ${options.path} did not greet within ${options.deadlineMs} ms`),
      ),
    );
    this.#socket = connectSocketFile(options.path);
    this.#socket.on("data", (bytes) => this.#receive(bytes));
    this.#socket.on("error", (cause) =>
      this.#end(hypervisorError("QMP_CLOSED", `QMP: ${options.path}: ${cause.message}`, { cause })),
    );
    this.#socket.on("close", () =>
      this.#end(hypervisorError("QMP_CLOSED", `QMP: ${options.path}: the monitor closed`)),
    );
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Runs one command. Rejects with QMP_COMMAND_FAILED, QMP_TIMEOUT or QMP_CLOSED. */
  execute(command: string, args?: JsonObject, deadlineMs = QMP_COMMAND_DEADLINE_MS): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(hypervisorError("QMP_CLOSED", `QMP: ${command} after the monitor closed`));
        return;
      }
      const { id, bytes } = this.#session.execute(command, args, this.#clock.nowMs() + deadlineMs);
      this.#waiters.set(id, { resolve, reject });
      this.#socket.write(bytes);
      this.#armTimer();
    });
  }

  /** Gives up the monitor; QEMU runs on. */
  close(): void {
    this.#end(hypervisorError("QMP_CLOSED", `QMP: ${this.#options.path}: closed by us`));
  }

  #receive(bytes: Uint8Array): void {
    if (this.#closed) return;
    try {
      this.#apply(this.#session.receive(bytes));
    } catch (thrown) {
      if (!(thrown instanceof PlinthError)) throw thrown;
      this.#end(thrown);
    }
  }

  #apply(outputs: readonly QmpOutput[]): void {
    for (const output of outputs) {
      if (output.kind === "send") this.#socket.write(output.bytes);
      else if (output.kind === "ready") this.#becomeReady();
      else if (output.kind === "event") this.#options.onEvent?.(output.event);
      else {
        const waiter = this.#waiters.get(output.id);
        this.#waiters.delete(output.id);
        if (output.kind === "return") waiter?.resolve(output.value);
        else waiter?.reject(output.error);
      }
    }
    this.#armTimer();
  }

  #becomeReady(): void {
    const ready = this.#ready;
    this.#ready = undefined;
    this.#timer?.cancel();
    this.#timer = undefined;
    ready?.resolve(undefined);
  }

  #armTimer(): void {
    if (this.#ready !== undefined || this.#closed) return;
    this.#timer?.cancel();
    const deadlineMs = this.#session.nextDeadlineMs();
    this.#timer =
      deadlineMs === undefined
        ? undefined
        : this.#clock.after(Math.max(0, deadlineMs - this.#clock.nowMs()), () =>
            this.#apply(this.#session.expire(this.#clock.nowMs())),
          );
  }

  #end(reason: PlinthError): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    this.#socket.destroy();
    const failed = this.#session.fail(reason);
    const ready = this.#ready;
    this.#ready = undefined;
    this.#apply(failed);
    if (ready !== undefined) ready.reject(reason);
    else this.#options.onClose?.(reason);
  }
}

/** True when the error says that nobody listens on a unix socket any more (as against a monitor that is busy). */
export function isNobodyThere(thrown: unknown): boolean {
  return (
    thrown instanceof PlinthError &&
    thrown.code === "QMP_CLOSED" &&
    /ECONNREFUSED|ENOENT/.test(describeError(thrown))
  );
}
