// The socket on which anyone who may reads along what a bridge and one of its controllers say (`ovs-ofctl snoop`).
//
// A snooper says hello, and is told every message that the dialled controller with the highest role at that moment sends
// and gets from then on, also after that controller was dialled anew, until its row goes. What it says is not heard.
// Invariant: the switch waits for no snooper; one that does not read is hung up on. Thread: main.

import { createServer, type Server, type Socket } from "node:net";
import type { Logger } from "../../base/log/index.js";
import { type ChannelOutput, ChannelSession } from "../../base/openflow/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import { SNOOP_QUEUE_BYTES_MAX, SNOOPERS_MAX } from "./limits.js";
import { listenOn } from "./listener.js";

export interface SnoopersModules {
  readonly clock: Clock;
  readonly log: Logger;
  /** The target that a new snooper is to read along with; undefined = no controller is dialled. */
  readonly choose: () => string | undefined;
}

/** Messages are passed on unread, so any version will do. */
const VERSIONS = [1, 2, 3, 4, 5, 6] as const;

class Snooper {
  readonly target: string;
  readonly #socket: Socket;
  readonly #modules: SnoopersModules;
  readonly #onClosed: (snooper: Snooper) => void;
  readonly #session = new ChannelSession<(typeof VERSIONS)[number]>({
    answerMalformed: false,
    probeIntervalMs: 0,
    versions: VERSIONS,
  });
  readonly #timer: Timer;
  #isClosed = false;

  constructor(
    socket: Socket,
    target: string,
    modules: SnoopersModules,
    onClosed: (snooper: Snooper) => void,
  ) {
    this.target = target;
    this.#socket = socket;
    this.#modules = modules;
    this.#onClosed = onClosed;
    const { clock } = modules;
    socket.on("data", (bytes: Buffer) => this.#perform(this.#session.receive(bytes, clock.nowMs())));
    socket.on("error", () => this.close());
    socket.on("close", () => this.close());
    this.#perform(this.#session.start(clock.nowMs()));
    const helloMs = (this.#session.nextDeadlineMs() ?? clock.nowMs()) - clock.nowMs();
    this.#timer = clock.after(helloMs, () => this.#perform(this.#session.tick(clock.nowMs())));
  }

  /** One whole message. */
  tell(message: Uint8Array): void {
    if (this.#session.isEstablished) this.#write(message);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#timer.cancel();
    this.#socket.destroy();
    this.#onClosed(this);
  }

  #perform(outputs: readonly ChannelOutput[]): void {
    for (const output of outputs) {
      if (output.type === "send") this.#write(output.bytes);
      else if (output.type === "close") this.close();
    }
  }

  #write(bytes: Uint8Array): void {
    if (this.#isClosed) return;
    this.#socket.write(bytes);
    if (this.#socket.writableLength <= SNOOP_QUEUE_BYTES_MAX) return;
    this.#modules.log.warn({ controller: this.target }, "a snooper does not read, and was hung up on");
    this.close();
  }
}

export class Snoopers {
  readonly #modules: SnoopersModules;
  readonly #server: Server;
  readonly #snoopers = new Set<Snooper>();
  #isClosed = false;

  private constructor(modules: SnoopersModules) {
    this.#modules = modules;
    this.#server = createServer((socket) => this.#onSocket(socket));
  }

  /** Resolves when snoopers can connect. PlinthError OPENFLOW_LISTEN_FAILED, SOCKET_PATH_TOO_LONG. */
  static async open(path: string, modules: SnoopersModules): Promise<Snoopers> {
    const snoopers = new Snoopers(modules);
    await listenOn(snoopers.#server, "snoop", { type: "punix", path });
    return snoopers;
  }

  /** The switch and the controller `target` exchanged `message`, which is whole and not changed later. */
  tell(target: string, message: Uint8Array): void {
    for (const snooper of this.#snoopers) if (snooper.target === target) snooper.tell(message);
  }

  /** Ends those that read along with a controller for which `isThere` is false. */
  keep(isThere: (target: string) => boolean): void {
    for (const snooper of [...this.#snoopers]) if (!isThere(snooper.target)) snooper.close();
  }

  /** Ends all connections and removes the socket. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.keep(() => false);
    await closed;
  }

  #onSocket(socket: Socket): void {
    const target = this.#modules.choose();
    if (target === undefined) this.#modules.log.info("no controller connection to snoop");
    if (this.#isClosed || target === undefined || this.#snoopers.size >= SNOOPERS_MAX) {
      socket.destroy();
      return;
    }
    this.#snoopers.add(
      new Snooper(socket, target, this.#modules, (snooper) => this.#snoopers.delete(snooper)),
    );
  }
}
