// The controller's end of OpenFlow: listens on a unix socket, speaks the handshake with whichever switch dials in, and
// hands over a SwitchLink once the switch has said who it is. Source: OpenFlow 1.3.5, 6.3. Thread: the controller's.
import { chmodSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import type { Logger } from "../../base/log/index.js";
import {
  type ChannelOutput,
  ChannelSession,
  MessageBatch,
  type OpenFlowMessage,
  type Unsent,
} from "../../base/openflow/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import { checkUnixPath } from "../../base/unix-path/index.js";
import { SwitchLink, type SwitchLinkEvents } from "./switch-link.js";

export interface OpenFlowListenerOptions {
  /** Path of the unix socket; a stale one is replaced. */
  readonly path: string;
  /** Called when a switch is there; the returned events get what it says until `onGone`. */
  readonly onSwitch: (link: SwitchLink) => void;
  readonly onGone: (link: SwitchLink) => void;
  readonly eventsFor: () => SwitchLinkEvents;
}

/** A bundle is written in pieces of about this size. */
const WRITE_SIZE = 64 * 1024;

export class OpenFlowListener {
  readonly #server: Server;
  readonly #connections = new Set<Connection>();

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listens; the caller guarantees that no other instance uses the path. */
  static async open(
    options: OpenFlowListenerOptions,
    modules: { readonly clock: Clock; readonly log: Logger },
  ): Promise<OpenFlowListener> {
    const { path } = options;
    checkUnixPath(path);
    rmSync(path, { force: true });
    const server = createServer();
    const listener = new OpenFlowListener(server);
    server.on("connection", (socket) => {
      const connection = new Connection(socket, options, modules);
      listener.#connections.add(connection);
      socket.on("close", () => listener.#connections.delete(connection));
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, () => resolve());
    });
    chmodSync(path, 0o600);
    return listener;
  }

  /** Closes every channel and removes the socket. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const connection of this.#connections) connection.destroy();
    await closed;
  }
}

class Connection {
  readonly #socket: Socket;
  readonly #options: OpenFlowListenerOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  // The socket makes a new buffer for what comes next.
  readonly #session = new ChannelSession({ answerMalformed: false, isInputStable: true });
  readonly #batch = new MessageBatch();
  #isHandling = false;
  #isFlushDue = false;
  #link: SwitchLink | undefined;
  #timer: Timer | undefined;
  #timerDueMs = 0;

  constructor(
    socket: Socket,
    options: OpenFlowListenerOptions,
    modules: { readonly clock: Clock; readonly log: Logger },
  ) {
    this.#socket = socket;
    this.#options = options;
    this.#clock = modules.clock;
    this.#log = modules.log;
    socket.on("data", (bytes: Buffer) => this.#handle(this.#session.receive(bytes, this.#clock.nowMs())));
    socket.on("error", (error) => this.#log.debug({ err: error }, "OpenFlow channel failed"));
    socket.on("close", () => this.#gone());
    this.#handle(this.#session.start(this.#clock.nowMs()));
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** All answers to what came together leave together. */
  #handle(outputs: readonly ChannelOutput[]): void {
    this.#isHandling = true;
    try {
      this.#carryOut(outputs);
    } finally {
      this.#isHandling = false;
      this.#flush();
    }
    this.#schedule();
  }

  #carryOut(outputs: readonly ChannelOutput[]): void {
    for (const output of outputs) {
      switch (output.type) {
        case "send":
          this.#batch.addBytes(output.bytes);
          break;
        case "established":
          this.#write({ type: "features_request" }, this.#session.nextXid());
          break;
        case "message":
          this.#receive(output.message);
          break;
        case "malformed":
          this.#log.warn({ err: output.error }, "the switch sent a malformed message");
          break;
        case "close":
          this.#log.info({ reason: output.reason }, "OpenFlow channel closed");
          this.#flush();
          this.#socket.end();
          break;
      }
    }
  }

  #receive(message: OpenFlowMessage): void {
    if (this.#link !== undefined) {
      this.#link.receive(message);
      return;
    }
    if (message.type !== "features_reply") return;
    const write = (out: Unsent, xid: number): void => this.#write(out, xid);
    const events = this.#options.eventsFor();
    this.#link = new SwitchLink({ datapathId: message.datapathId, write, events }, { clock: this.#clock });
    this.#options.onSwitch(this.#link);
  }

  /** What is written in one turn leaves in one piece: a bundle is thousands of messages. */
  #write(message: Unsent, xid: number): void {
    if (!this.#socket.writable) return;
    this.#batch.add(message, xid);
    if (this.#batch.size >= WRITE_SIZE) this.#flush();
    else if (!this.#isHandling && !this.#isFlushDue) {
      this.#isFlushDue = true;
      process.nextTick(() => {
        this.#isFlushDue = false;
        this.#flush();
      });
    }
  }

  #flush(): void {
    if (this.#batch.size === 0) return;
    const bytes = this.#batch.take();
    if (this.#socket.writable) this.#socket.write(bytes);
  }

  /** A timer that is due earlier stays: whatever comes moves the deadline, and most of it before the timer is due. */
  #schedule(): void {
    const deadlineMs = this.#session.nextDeadlineMs();
    if (deadlineMs === undefined || this.#socket.destroyed) {
      this.#cancelTimer();
      return;
    }
    if (this.#timer !== undefined && this.#timerDueMs <= deadlineMs) return;
    this.#cancelTimer();
    this.#timerDueMs = deadlineMs;
    this.#timer = this.#clock.after(Math.max(0, deadlineMs - this.#clock.nowMs()), () => {
      this.#timer = undefined;
      this.#handle(this.#session.tick(this.#clock.nowMs()));
    });
  }

  #cancelTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #gone(): void {
    this.#cancelTimer();
    if (this.#link === undefined) return;
    this.#link.close();
    this.#options.onGone(this.#link);
  }
}
