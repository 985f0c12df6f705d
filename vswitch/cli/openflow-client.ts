// One OpenFlow connection from a command to a switch: requests with deadlines, refusals as errors. Thread: main.
import { connect, type Socket } from "node:net";
import { PlinthError } from "../../base/errors/index.js";
import { parseActiveEndpoint } from "../../base/jsonrpc/index.js";
import {
  type ChannelOutput,
  ChannelSession,
  encodeMessage,
  type MultipartReplyBody,
  type MultipartRequestBody,
  OFP_ERRORS,
  type OpenFlowMessage,
  type Unsent,
} from "../../base/openflow/index.js";
import { systemClock, type Timer } from "../../base/time/index.js";

interface Pending {
  readonly replies: MultipartReplyBody[];
  readonly resolve: (replies: readonly MultipartReplyBody[]) => void;
  readonly reject: (error: Error) => void;
}

export class OpenFlowClient {
  readonly #socket: Socket;
  readonly #session = new ChannelSession({ answerMalformed: false, probeIntervalMs: 0 });
  readonly #pending = new Map<number, Pending>();
  readonly #timer: Timer;
  #established: Pending | undefined;
  #failure: Error | undefined;

  private constructor(socket: Socket, name: string, timeoutMs: number) {
    this.#socket = socket;
    this.#timer = systemClock.after(timeoutMs, () =>
      this.#fail(new PlinthError("OPENFLOW_TIMEOUT", `${name} did not answer within ${timeoutMs} ms`)),
    );
    socket.on("connect", () => this.#handle(this.#session.start(systemClock.nowMs())));
    socket.on("data", (bytes) => this.#handle(this.#session.receive(bytes, systemClock.nowMs())));
    socket.on("error", (cause) =>
      this.#fail(
        new PlinthError("OPENFLOW_UNREACHABLE", `cannot talk to ${name}: ${cause.message}`, { cause }),
      ),
    );
    socket.on("close", () => this.#fail(new PlinthError("OPENFLOW_CLOSED", `${name} closed the connection`)));
  }

  /** Connects to "unix:PATH" or "tcp:HOST:PORT" and agrees on OpenFlow 1.3; everything must end within `timeoutMs`. */
  static async connect(endpoint: string, timeoutMs: number): Promise<OpenFlowClient> {
    const target = parseActiveEndpoint(endpoint);
    if (target.kind === "tls")
      throw new PlinthError("ENDPOINT_INVALID", `"${endpoint}": OpenFlow over TLS is not spoken here`);
    const socket =
      target.kind === "unix"
        ? connect({ path: target.path })
        : connect({ host: target.host, port: target.port });
    const client = new OpenFlowClient(socket, endpoint, timeoutMs);
    await new Promise<unknown>((resolve, reject) => {
      client.#established = { replies: [], resolve, reject };
    });
    return client;
  }

  /** Sends `messages` and a barrier; rejects with OPENFLOW_REFUSED at the first error. */
  async send(messages: readonly Unsent[]): Promise<void> {
    let refusal: unknown;
    for (const message of messages) {
      // Answered only when refused; the barrier's answer comes after all refusals.
      this.#ask(message).catch((thrown: unknown) => {
        refusal ??= thrown;
      });
    }
    await this.#ask({ type: "barrier_request" });
    if (refusal !== undefined) throw refusal;
  }

  /** All parts of a multipart reply. */
  request(body: MultipartRequestBody): Promise<readonly MultipartReplyBody[]> {
    return this.#ask({ type: "multipart_request", flags: 0, body });
  }

  async features(): Promise<Extract<OpenFlowMessage, { type: "features_reply" }>> {
    return new Promise((resolve, reject) => {
      this.#features = resolve;
      this.#ask({ type: "features_request" }).catch(reject);
    });
  }

  #features: ((reply: Extract<OpenFlowMessage, { type: "features_reply" }>) => void) | undefined;

  close(): void {
    this.#timer.cancel();
    this.#socket.destroy();
  }

  #ask(message: Unsent): Promise<readonly MultipartReplyBody[]> {
    const xid = this.#session.nextXid();
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      this.#pending.set(xid, { replies: [], resolve, reject });
      this.#socket.write(encodeMessage({ ...message, xid } as OpenFlowMessage));
    });
  }

  #handle(outputs: readonly ChannelOutput[]): void {
    for (const output of outputs) {
      if (output.type === "send") this.#socket.write(output.bytes);
      else if (output.type === "established") this.#established?.resolve([]);
      else if (output.type === "message") this.#receive(output.message);
      else if (output.type === "close") this.#fail(new PlinthError("OPENFLOW_CLOSED", output.reason));
      else this.#fail(new PlinthError("OPENFLOW_MALFORMED", `the switch sent: ${output.error.message}`));
    }
  }

  #receive(message: OpenFlowMessage): void {
    const pending = this.#pending.get(message.xid);
    if (pending === undefined) return;
    switch (message.type) {
      case "multipart_reply":
        pending.replies.push(message.body);
        if ((message.flags & 1) !== 0) return;
        break;
      case "error":
        this.#pending.delete(message.xid);
        pending.reject(
          new PlinthError(
            "OPENFLOW_REFUSED",
            `the switch refused: ${errorName(message.errorType, message.code)}`,
          ),
        );
        return;
      case "features_reply":
        this.#features?.(message);
        break;
      default:
    }
    this.#pending.delete(message.xid);
    pending.resolve(pending.replies);
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#timer.cancel();
    this.#socket.destroy();
    this.#established?.reject(error);
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }
}

function errorName(type: number, code: number): string {
  const found = Object.entries(OFP_ERRORS).find(([, pair]) => pair[0] === type && pair[1] === code);
  return found?.[0] ?? `type ${type} code ${code}`;
}
