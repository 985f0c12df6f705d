// Runs commands inside a guest through QEMU's socket of the agent port. QEMU serves one connection at a time, so this
// client shares one among all commands and gives it back as soon as none is in flight. Thread: main.
import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import type { PlinthError } from "../../base/errors/index.js";
import { connectSocketFile } from "../../base/linux/index.js";
import { type Clock, systemClock } from "../../base/time/index.js";
import { hypervisorError } from "../errors.js";
import { type ExecResult, ExecSession } from "./exec-session.js";
import type { ExecRequest } from "./exec-wire.js";

/** How much longer than the command itself the guest may take: a busy guest under emulation starts slowly. */
export const EXEC_GRACE_MS = 30_000;

interface Waiter {
  readonly resolve: (result: ExecResult) => void;
  readonly reject: (error: PlinthError) => void;
}

export class ExecClient {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #session = new ExecSession();
  readonly #waiters = new Map<string, Waiter>();
  #socket: Socket | undefined;

  constructor(path: string, clock: Clock = systemClock) {
    this.#path = path;
    this.#clock = clock;
  }

  /**
   * Runs `request` and resolves with what the guest answers. A guest that is still booting is waited for. Rejects
   * with GUEST_AGENT_SILENT after the command's time limit and `graceMs`, or when QEMU is not there.
   */
  run(request: ExecRequest, graceMs = EXEC_GRACE_MS): Promise<ExecResult> {
    const id = randomBytes(8).toString("hex");
    return new Promise((resolve, reject) => {
      const bytes = this.#session.begin(id, request);
      const waitMs = request.timeoutMs + graceMs;
      const timer = this.#clock.after(waitMs, () => {
        this.#settle(id)?.reject(
          hypervisorError("GUEST_AGENT_SILENT", `the guest's agent did not answer within ${waitMs} ms`, {
            remedy: "only images with the agent of our guest image can run commands; see the serial console",
          }),
        );
      });
      this.#waiters.set(id, {
        resolve: (result) => {
          timer.cancel();
          resolve(result);
        },
        reject: (error) => {
          timer.cancel();
          reject(error);
        },
      });
      this.#connection().write(bytes);
    });
  }

  /** Fails everything in flight and lets go of the socket. The client may be used again. */
  close(): void {
    this.#fail(hypervisorError("GUEST_AGENT_SILENT", "the connection to the guest's agent was closed"));
  }

  #connection(): Socket {
    if (this.#socket !== undefined) return this.#socket;
    const socket = connectSocketFile(this.#path);
    this.#socket = socket;
    this.#session.restart();
    const gone = (why: string): void => {
      if (this.#socket !== socket) return;
      this.#fail(hypervisorError("GUEST_AGENT_SILENT", `${this.#path}: ${why}`));
    };
    socket.on("data", (bytes) => {
      if (this.#socket !== socket) return;
      for (const { id, result } of this.#session.receive(bytes)) this.#settle(id)?.resolve(result);
    });
    socket.on("error", (error) => gone(error.message));
    socket.on("close", () => gone("QEMU closed the agent's port"));
    return socket;
  }

  #settle(id: string): Waiter | undefined {
    const waiter = this.#waiters.get(id);
    this.#waiters.delete(id);
    this.#session.abandon(id);
    this.#releaseWhenIdle();
    return waiter;
  }

  #releaseWhenIdle(): void {
    const socket = this.#socket;
    if (this.#waiters.size > 0 || socket === undefined) return;
    this.#socket = undefined;
    socket.destroy();
  }

  #fail(reason: PlinthError): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.destroy();
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const [id, waiter] of waiters) {
      this.#session.abandon(id);
      waiter.reject(reason);
    }
  }
}
