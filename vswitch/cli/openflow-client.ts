// One OpenFlow connection from a command to a switch: requests with deadlines, refusals as errors. Thread: main.
import { connect, type Socket } from "node:net";
import { PlinthError } from "../../base/errors/index.js";
import { parseActiveEndpoint } from "../../base/jsonrpc/index.js";
import {
  type ChannelOutput,
  ChannelSession,
  encodeMessage,
  errorName,
  type MultipartReplyBody,
  type MultipartRequestBody,
  OFPBF_ATOMIC,
  OFPBF_ORDERED,
  OFPMPF_REPLY_MORE,
  type OpenFlowMessage,
  type Unsent,
} from "../../base/openflow/index.js";
import { systemClock, type Timer } from "../../base/time/index.js";
import { commandError } from "./errors.js";

interface Pending {
  readonly request: OpenFlowMessage;
  readonly replies: OpenFlowMessage[];
  readonly resolve: (replies: readonly OpenFlowMessage[]) => void;
  readonly reject: (error: Error) => void;
}

/** The switch answered with an error. code: OPENFLOW_REFUSED. */
export class OpenFlowRefusal extends PlinthError {
  readonly error: OpenFlowMessage & { type: "error" };
  readonly request: OpenFlowMessage;

  constructor(error: OpenFlowMessage & { type: "error" }, request: OpenFlowMessage) {
    super(
      "OPENFLOW_REFUSED",
      `the switch refused: ${errorName(error.errorType, error.code) ?? `type ${error.errorType}, code ${error.code}`}`,
    );
    this.error = error;
    this.request = request;
  }
}

export interface MultipartReply {
  readonly xid: number;
  readonly flags: number;
  readonly body: MultipartReplyBody;
}

export class OpenFlowClient {
  readonly #socket: Socket;
  readonly #session = new ChannelSession({ answerMalformed: false, probeIntervalMs: 0 });
  readonly #pending = new Map<number, Pending>();
  readonly #timer: Timer | undefined;
  readonly #name: string;
  #established: { resolve: () => void; reject: (error: Error) => void } | undefined;
  #failure: Error | undefined;
  /** Gets messages that answer nothing. */
  onMessage: (message: OpenFlowMessage) => void = () => {};
  /** Settles when the connection has ended, with the reason. */
  readonly ended: Promise<Error>;
  #end: (error: Error) => void = () => {};

  private constructor(socket: Socket, name: string, timeoutMs: number | undefined) {
    this.#socket = socket;
    this.#name = name;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    if (timeoutMs !== undefined) {
      this.#timer = systemClock.after(timeoutMs, () =>
        this.#fail(new PlinthError("OPENFLOW_TIMEOUT", `${name} did not answer within ${timeoutMs} ms`)),
      );
    }
    socket.on("connect", () => this.#handle(this.#session.start(systemClock.nowMs())));
    socket.on("data", (bytes) => this.#handle(this.#session.receive(bytes, systemClock.nowMs())));
    socket.on("error", (cause: NodeJS.ErrnoException) => this.#fail(unreachable(name, cause)));
    socket.on("close", () => this.#fail(new PlinthError("OPENFLOW_CLOSED", `${name} closed the connection`)));
  }

  /** Connects to "unix:PATH" or "tcp:HOST:PORT" and agrees on OpenFlow 1.3; everything must end within `timeoutMs`. */
  static async connect(endpoint: string, timeoutMs: number | undefined): Promise<OpenFlowClient> {
    const target = parseActiveEndpoint(endpoint);
    if (target.kind === "tls")
      throw new PlinthError("ENDPOINT_INVALID", `"${endpoint}": OpenFlow over TLS is not spoken here`);
    const socket =
      target.kind === "unix"
        ? connect({ path: target.path })
        : connect({ host: target.host, port: target.port });
    const client = new OpenFlowClient(socket, endpoint, timeoutMs);
    await new Promise<void>((resolve, reject) => {
      client.#established = { resolve, reject };
    });
    return client;
  }

  /** Sends `messages` and a barrier; rejects with OpenFlowRefusal at the first error. */
  async send(messages: readonly Unsent[]): Promise<void> {
    let refusal: unknown;
    for (const message of messages) {
      // Answered only when refused; the barrier's answer comes after all refusals.
      this.ask(message).catch((thrown: unknown) => {
        refusal ??= thrown;
      });
    }
    await this.ask({ type: "barrier_request" });
    if (refusal !== undefined) throw refusal;
  }

  /**
   * Carries `messages` out as one bundle: all of them in their order, or none. Rejects with the OpenFlowRefusal of the
   * message that was refused.
   */
  async sendAtomically(messages: readonly Unsent[]): Promise<void> {
    const bundle = { bundleId: this.#session.nextXid(), flags: OFPBF_ATOMIC | OFPBF_ORDERED };
    const control = (step: "open_request" | "commit_request") =>
      this.ask({ type: "bundle_control", control: step, ...bundle });
    await control("open_request");
    let refusal: unknown;
    for (const message of messages) {
      this.#ask(message, (request) =>
        encodeMessage({ type: "bundle_add", xid: request.xid, ...bundle, message: encodeMessage(request) }),
      ).catch((thrown: unknown) => {
        refusal ??= thrown;
      });
    }
    try {
      await control("commit_request");
    } catch (thrown) {
      // The commit only repeats that a message was refused.
      throw refusal ?? thrown;
    }
    if (refusal !== undefined) throw refusal;
  }

  /** All parts of a multipart reply. */
  async request(body: MultipartRequestBody): Promise<readonly MultipartReply[]> {
    const replies = await this.ask({ type: "multipart_request", flags: 0, body });
    return replies.flatMap((reply) =>
      reply.type === "multipart_reply" ? [{ xid: reply.xid, flags: reply.flags, body: reply.body }] : [],
    );
  }

  /** Everything that answers `message`. */
  ask(message: Unsent): Promise<readonly OpenFlowMessage[]> {
    return this.#ask(message, encodeMessage);
  }

  #ask(
    message: Unsent,
    encode: (request: OpenFlowMessage) => Uint8Array,
  ): Promise<readonly OpenFlowMessage[]> {
    const xid = this.#session.nextXid();
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      const request = { ...message, xid } as OpenFlowMessage;
      this.#pending.set(xid, { request, replies: [], resolve, reject });
      this.#socket.write(encode(request));
    });
  }

  close(): void {
    this.#timer?.cancel();
    this.#failure ??= new PlinthError("OPENFLOW_CLOSED", `${this.#name} is no longer needed`);
    this.#socket.destroy();
  }

  #handle(outputs: readonly ChannelOutput[]): void {
    for (const output of outputs) {
      if (output.type === "send") this.#socket.write(output.bytes);
      else if (output.type === "established") this.#established?.resolve();
      else if (output.type === "message") this.#receive(output.message);
      else if (output.type === "close") this.#fail(new PlinthError("OPENFLOW_CLOSED", output.reason));
      else this.#fail(new PlinthError("OPENFLOW_MALFORMED", `the switch sent: ${output.error.message}`));
    }
  }

  #receive(message: OpenFlowMessage): void {
    const pending = this.#pending.get(message.xid);
    if (pending === undefined) {
      this.onMessage(message);
      return;
    }
    if (message.type === "error") {
      this.#pending.delete(message.xid);
      pending.reject(new OpenFlowRefusal(message, pending.request));
      return;
    }
    pending.replies.push(message);
    if (message.type === "multipart_reply" && (message.flags & OFPMPF_REPLY_MORE) !== 0) return;
    this.#pending.delete(message.xid);
    pending.resolve(pending.replies);
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#timer?.cancel();
    this.#socket.destroy();
    this.#established?.reject(error);
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    this.#end(error);
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "No such file or directory",
  ECONNREFUSED: "Connection refused",
  EACCES: "Permission denied",
  EHOSTUNREACH: "No route to host",
  ETIMEDOUT: "Connection timed out",
};

function unreachable(name: string, cause: NodeJS.ErrnoException): PlinthError {
  const reason = REASONS[cause.code ?? ""] ?? cause.message;
  return commandError(`connecting to ${name} (${reason})`);
}
