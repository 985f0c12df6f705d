// The socket that captures are taken from. A client sends one line of JSON (capture-request.ts) and gets pcapng until
// it ends its side, or a line {"error": …}. Whatever reads pcapng from a pipe can be fed by it.
// Invariants: a capture lives as long as its connection; what a slow client does not read is lost in the ring and
// counted, it takes no more memory than the ring and one buffer. Thread: main.
import { chmodSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { describeError, PlinthError } from "../../base/errors/index.js";
import { clearStaleSocket } from "../../base/jsonrpc/index.js";
import type { Logger } from "../../base/log/index.js";
import { OFPP_LOCAL } from "../../base/openflow/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import { checkUnixPath } from "../../base/unix-path/index.js";
import { createCaptureMemory, type DatapathHandle } from "../datapath/index.js";
import { CAPTURE_REQUEST_SIZE_MAX, type CaptureOrder, parseCaptureRequest } from "./capture-request.js";
import { CaptureStream } from "./capture-stream.js";
import { OFPORT_LOCAL } from "./model.js";
import type { BridgePorts } from "./trace-commands.js";

const CLIENTS_MAX = 16;
const REQUEST_DEADLINE_MS = 10_000;
/** How often the ring is looked at. */
const POLL_INTERVAL_MS = 10;
/** Bytes that may wait for the client, and that are read from the ring at once. */
const WAITING_MAX = 1 << 20;

export interface CaptureServerModules {
  readonly datapath: Pick<DatapathHandle, "call">;
  readonly bridges: () => BridgePorts;
  readonly clock: Clock;
  readonly log: Logger;
  /** Names the writer of the files. */
  readonly application: string;
}

export class CaptureServer {
  readonly #modules: CaptureServerModules;
  readonly #server: Server;
  readonly #clients = new Set<CaptureClient>();
  #nextId = 1;

  private constructor(modules: CaptureServerModules) {
    this.#modules = modules;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  /** Throws SOCKET_IN_USE, SOCKET_PATH_TAKEN, SOCKET_PATH_TOO_LONG, SOCKET_UNAVAILABLE. */
  static async open(path: string, modules: CaptureServerModules): Promise<CaptureServer> {
    checkUnixPath(path);
    await clearStaleSocket(path);
    const one = new CaptureServer(modules);
    const before = process.umask(0o177);
    try {
      await new Promise<void>((resolve, reject) => {
        one.#server.once("error", (cause) =>
          reject(
            new PlinthError("SOCKET_UNAVAILABLE", `cannot listen on ${path}: ${cause.message}`, { cause }),
          ),
        );
        one.#server.listen(path, () => {
          chmodSync(path, 0o600);
          resolve();
        });
      });
    } finally {
      process.umask(before);
    }
    one.#server.on("error", () => {}); // A connection that could not be accepted is its peer's to try again.
    return one;
  }

  /** Ends every capture. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const client of this.#clients) client.hangUp();
    await closed;
  }

  #accept(socket: Socket): void {
    if (this.#clients.size >= CLIENTS_MAX) {
      socket.on("error", () => {});
      socket.end(refusalLine(`at most ${CLIENTS_MAX} captures at a time`), () => socket.destroy());
      return;
    }
    const client: CaptureClient = new CaptureClient(socket, this.#nextId++, this.#modules, () =>
      this.#clients.delete(client),
    );
    this.#clients.add(client);
  }
}

class CaptureClient {
  readonly #socket: Socket;
  readonly #id: number;
  readonly #modules: CaptureServerModules;
  readonly #requestTimer: Timer;
  #line = "";
  #asked = false;
  #order: CaptureOrder | undefined;
  /** The bridge as it was at the beginning: one that is made anew is another. */
  #bridge: unknown;
  #stream: CaptureStream | undefined;
  #poll: Timer | undefined;
  #isEnding = false;
  #isGone = false;

  constructor(socket: Socket, id: number, modules: CaptureServerModules, gone: () => void) {
    this.#socket = socket;
    this.#id = id;
    this.#modules = modules;
    this.#requestTimer = modules.clock.after(REQUEST_DEADLINE_MS, () => this.#refuse("no request came"));
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => this.#receive(text));
    socket.on("end", () => void this.#finish());
    socket.on("error", () => {}); // Followed by close.
    socket.on("close", () => {
      this.#isGone = true;
      this.#requestTimer.cancel();
      this.#poll?.cancel();
      void this.#stop();
      gone();
    });
  }

  hangUp(): void {
    this.#socket.destroy();
  }

  #receive(text: string): void {
    // Nothing may follow the request.
    if (this.#asked) return;
    this.#line += text;
    const end = this.#line.indexOf("\n");
    if (end < 0 && this.#line.length <= CAPTURE_REQUEST_SIZE_MAX) return;
    this.#asked = true;
    this.#requestTimer.cancel();
    if (end < 0) this.#refuse(`the request is longer than ${CAPTURE_REQUEST_SIZE_MAX} characters`);
    else void this.#begin(this.#line.slice(0, end));
    this.#line = "";
  }

  async #begin(line: string): Promise<void> {
    const { datapath, bridges, application } = this.#modules;
    try {
      const order = parseCaptureRequest(line, bridges());
      const { bridge, point, ports, match, snapLength, rate } = order;
      const ring = createCaptureMemory(order.ringSize);
      const spec = { point, ports, match, snapLength, rate, ring };
      this.#order = order;
      this.#bridge = bridges().get(bridge);
      await datapath.call("startCapture", { bridge, id: this.#id, spec });
      const portName = (ofport: number): string | undefined => nameOf(bridges(), bridge, ofport);
      this.#stream = new CaptureStream({ order, ring, application, portName });
    } catch (thrown) {
      this.#order = undefined;
      this.#refuse(describeError(thrown));
      return;
    }
    // The client may have gone while the worker was asked.
    if (this.#isGone) {
      void this.#stop();
      return;
    }
    this.#socket.write(this.#stream.start());
    this.#schedule();
  }

  #schedule(): void {
    this.#poll = this.#modules.clock.after(POLL_INTERVAL_MS, () => {
      if (this.#isEnding || this.#isGone) return;
      const isThere =
        this.#order !== undefined && this.#modules.bridges().get(this.#order.bridge) === this.#bridge;
      this.#forward();
      if (this.#stream?.isComplete === true || !isThere) void this.#finish();
      else this.#schedule();
    });
  }

  /** What the ring holds, as far as the client reads. */
  #forward(): void {
    if (this.#stream === undefined) return;
    const room = WAITING_MAX - this.#socket.writableLength;
    if (room <= 0) return;
    for (const block of this.#stream.read(room)) this.#socket.write(block);
  }

  /** The client has seen enough, the count is reached, or the bridge is gone: the rest, then the counts. */
  async #finish(): Promise<void> {
    if (this.#isEnding) return;
    this.#isEnding = true;
    const counts = await this.#stop();
    if (this.#isGone) return;
    if (this.#stream === undefined) {
      this.#socket.end();
      return;
    }
    // Bounded by the ring; nobody writes into it any more.
    for (;;) {
      const blocks = this.#stream.read(WAITING_MAX);
      for (const block of blocks) this.#socket.write(block);
      if (blocks.length === 0) break;
    }
    for (const block of this.#stream.end(counts, this.#modules.clock.wallMs())) this.#socket.write(block);
    this.#socket.end();
  }

  async #stop() {
    const order = this.#order;
    this.#order = undefined;
    if (order === undefined) return [];
    try {
      return await this.#modules.datapath.call("stopCapture", { bridge: order.bridge, id: this.#id });
    } catch (thrown) {
      // The bridge has gone, and the capture with it.
      this.#modules.log.debug({ why: describeError(thrown) }, "a capture ended before its client");
      return [];
    }
  }

  #refuse(why: string): void {
    this.#isEnding = true;
    this.#socket.end(refusalLine(why), () => this.#socket.destroy());
  }
}

function refusalLine(why: string): string {
  return `${JSON.stringify({ error: why })}\n`;
}

function nameOf(bridges: BridgePorts, bridge: string, ofport: number): string | undefined {
  const wanted = ofport === OFPP_LOCAL ? OFPORT_LOCAL : ofport;
  for (const [name, port] of bridges.get(bridge)?.ports ?? []) if (port.ofport === wanted) return name;
  return undefined;
}
