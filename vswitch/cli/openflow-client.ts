// One OpenFlow connection from a command to a switch: requests with deadlines, refusals as errors. Thread: main.
import { connect, type Socket } from "node:net";
import { PlinthError, systemReason } from "../../base/errors/index.js";
import { parseActiveEndpoint } from "../../base/jsonrpc/index.js";
import {
  type AnyDialect,
  type ChannelOutput,
  ChannelSession,
  encodeMessage,
  type MultipartReplyBody,
  type MultipartRequestBody,
  OFP10_VERSION,
  OFPBF_ATOMIC,
  OFPBF_ORDERED,
  OFPMPF_REPLY_MORE,
  OFPT,
  type OpenFlowMessage,
  type Unsent,
} from "../../base/openflow/index.js";
import { systemClock, type Timer } from "../../base/time/index.js";
import { connectTls, type TlsFiles } from "../../base/tls/index.js";
import type { RequestBytes } from "./client-requests.js";
import type { LogLevel } from "./command-log.js";
import { commandError } from "./errors.js";
import { checkTlsFiles, tlsFilesOf, tlsReason } from "./tls-options.js";

/** A message of the switch. */
export interface Reply {
  readonly bytes: Uint8Array;
  /** Absent where its version writes it in a form that is only printed. */
  readonly message: OpenFlowMessage | undefined;
}

interface Pending {
  readonly replies: Reply[];
  readonly resolve: (replies: readonly Reply[]) => void;
  readonly reject: (error: Error) => void;
}

/** The switch answered with an error, which is in `bytes`. code: OPENFLOW_REFUSED. */
export class OpenFlowRefusal extends PlinthError {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    super("OPENFLOW_REFUSED", "the switch refused the request");
    this.bytes = bytes;
  }
}

/** Messages of a bundle that were refused, each with its error. */
export class BundleRefusal extends PlinthError {
  readonly refused: readonly { readonly error: Uint8Array; readonly request: Uint8Array }[];

  constructor(refused: BundleRefusal["refused"]) {
    super("OPENFLOW_REFUSED", "the switch refused the bundle");
    this.refused = refused;
  }
}

export interface ClientOptions {
  /** For everything; absent = none. */
  readonly timeoutMs: number | undefined;
  /** As numbered on the wire. */
  readonly versions: readonly number[];
  /** What the user called the switch. */
  readonly target: string;
  /** For ssl targets. */
  readonly tls?: TlsFiles;
  /** Gets lines for the log; those without a level are warnings. */
  readonly warn?: (module: string, line: string, level?: LogLevel) => void;
}

/** What a request may be: a message, or the bytes of one that has no value here. */
export type Request = Unsent | RequestBytes;
type Version = AnyDialect["version"];

/** IANA's. */
const OPENFLOW_PORT = 6653;

export class OpenFlowClient {
  readonly #socket: Socket;
  readonly #session: ChannelSession<Version>;
  readonly #pending = new Map<number, Pending>();
  readonly #timer: Timer | undefined;
  readonly #name: string;
  readonly #options: ClientOptions;
  /** In 1.0 what was arranged about flow-mods. */
  #arranged = { isNxm: false, flowModTableId: false };
  #established: { resolve: () => void; reject: (error: Error) => void } | undefined;
  /** TLS has been set up, and we believe the switch. */
  #isSecure = false;
  #isAgreed = false;
  #failure: Error | undefined;
  /** Gets messages that answer nothing. */
  onMessage: (message: Reply) => void = () => {};
  /** Hears of every message as it came: hellos and echoes too, which are not replies to anything. */
  onBytes: (bytes: Uint8Array) => void = () => {};
  /** Settles when the connection has ended, with the reason. */
  readonly ended: Promise<Error>;
  #end: (error: Error) => void = () => {};

  private constructor(socket: Socket, name: string, options: ClientOptions) {
    this.#socket = socket;
    this.#name = name;
    this.#options = options;
    const { timeoutMs, versions } = options;
    this.#session = new ChannelSession({
      answerMalformed: false,
      probeIntervalMs: 0,
      versions: versions as readonly Version[],
      onReceived: (bytes) => this.onBytes(bytes),
    });
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    if (timeoutMs !== undefined) {
      this.#timer = systemClock.after(timeoutMs, () =>
        this.#fail(new PlinthError("OPENFLOW_TIMEOUT", `${name} did not answer within ${timeoutMs} ms`)),
      );
    }
    const isTls = name.startsWith("ssl:");
    socket.on(isTls ? "secureConnect" : "connect", () => {
      this.#isSecure = isTls;
      this.#handle(this.#session.start(systemClock.nowMs()));
    });
    socket.on("data", (bytes) => this.#handle(this.#session.receive(bytes, systemClock.nowMs())));
    socket.on("error", (cause: NodeJS.ErrnoException) => {
      const isUnfinished = !this.#isAgreed && (cause.syscall === "read" || cause.syscall === "write");
      if (isTls && cause.syscall === undefined) this.#fail(this.#distrusted(cause));
      else this.#fail(isUnfinished ? this.#unfinished(systemReason(cause)) : unreachable(name, cause));
    });
    socket.on("close", () => this.#fail(this.#closed()));
  }

  /** Connects to "unix:PATH", "tcp:HOST[:PORT]" or "ssl:HOST[:PORT]" and agrees on a version. */
  static async connect(endpoint: string, options: ClientOptions): Promise<OpenFlowClient> {
    const client = new OpenFlowClient(openSocket(endpoint, options), endpoint, options);
    await new Promise<void>((resolve, reject) => {
      client.#established = { resolve, reject };
    });
    return client;
  }

  /** On the wire; agreed on. */
  get version(): number {
    return this.#session.dialect.version;
  }

  /** What flow-mods are written in. */
  get dialect(): AnyDialect {
    const { dialect } = this.#session;
    return dialect.version === OFP10_VERSION ? { version: OFP10_VERSION, ...this.#arranged } : dialect;
  }

  /** How flow-mods of 1.0 are to be written from now on: the switch knows by now. */
  arrange(arranged: { readonly isNxm: boolean; readonly flowModTableId: boolean }): void {
    this.#arranged = { ...arranged };
  }

  /** A number is taken that another program would use for a connection of its own. */
  skipXid(): void {
    this.nextXid();
  }

  /** For messages that are not answered here. */
  nextXid(): number {
    return this.#session.nextXid();
  }

  /** Sends a message as it is; what answers it goes to onMessage. */
  sendBytes(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** While paused nothing is read, so that the switch finds that we do not read. */
  setPaused(isPaused: boolean): void {
    if (isPaused) this.#socket.pause();
    else this.#socket.resume();
  }

  /** Sends `requests` and a barrier; rejects with OpenFlowRefusal at the first error. */
  async send(requests: readonly Request[]): Promise<void> {
    let refusal: unknown;
    for (const request of requests) {
      // Answered only when refused; the barrier's answer comes after all refusals.
      this.ask(request).catch((thrown: unknown) => {
        refusal ??= thrown;
      });
    }
    await this.ask({ type: "barrier_request" });
    if (refusal !== undefined) throw refusal;
  }

  /** Carries `messages` out as one bundle: all of them in their order, or none. Rejects with BundleRefusal. */
  async sendAtomically(messages: readonly Unsent[]): Promise<void> {
    const bundle = { bundleId: 0, flags: OFPBF_ATOMIC | OFPBF_ORDERED };
    const refused: { error: Uint8Array; request: Uint8Array }[] = [];
    const collect = async (asked: Promise<unknown>, request: () => Uint8Array): Promise<void> => {
      try {
        await asked;
      } catch (thrown) {
        if (!(thrown instanceof OpenFlowRefusal)) throw thrown;
        refused.push({ error: thrown.bytes, request: request() });
      }
    };
    const control = (step: "open_request" | "commit_request"): Promise<void> => {
      let bytes = new Uint8Array(0) as Uint8Array;
      const asked = this.ask((_version, xid) => {
        bytes = encodeMessage({ type: "bundle_control", xid, control: step, ...bundle }, this.dialect);
        return bytes;
      });
      return collect(asked, () => bytes);
    };
    await control("open_request");
    if (refused.length > 0) throw new BundleRefusal(refused);
    const added = messages.map((message) => {
      let inner = new Uint8Array(0) as Uint8Array;
      const asked = this.ask((_version, xid) => {
        inner = encodeMessage({ ...message, xid } as OpenFlowMessage, this.dialect);
        return encodeMessage({ type: "bundle_add", xid, ...bundle, message: inner }, this.dialect);
      });
      return collect(asked, () => inner);
    });
    // What is added without complaint is never answered; nothing of it is still on its way when the commit is.
    for (const one of added) one.catch(() => {});
    await control("commit_request");
    if (refused.length > 0) throw new BundleRefusal(refused);
  }

  /** All parts of a multipart reply. */
  request(body: MultipartRequestBody): Promise<readonly Reply[]> {
    return this.ask({ type: "multipart_request", flags: 0, body });
  }

  /** Everything that answers `request`. */
  ask(request: Request): Promise<readonly Reply[]> {
    const xid = this.#session.nextXid();
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      const bytes =
        typeof request === "function"
          ? request(this.version, xid)
          : encodeMessage({ ...request, xid } as OpenFlowMessage, this.dialect);
      this.#pending.set(xid, { replies: [], resolve, reject });
      this.#socket.write(bytes);
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
      else if (output.type === "established") {
        this.#isAgreed = true;
        this.#established?.resolve();
      } else if (output.type === "message") this.#receive({ bytes: output.request, message: output.message });
      // What is not understood may still be printed.
      else if (output.type === "malformed") this.#receive({ bytes: output.request, message: undefined });
      else if (output.type === "close") this.#fail(this.#refused(output.reason));
    }
  }

  /** TLS has failed: on our side while it was being set up, else the other side has turned us down. */
  #distrusted(cause: Error): Error {
    const call = this.#isSecure ? "SSL_read" : "SSL_connect";
    this.#options.warn?.("stream_ssl", `${call}: ${tlsReason(cause)}`);
    return this.#unfinished(this.#isSecure ? "Input/output error" : "Protocol error");
  }

  /** The connection has ended before a version was agreed on. */
  #unfinished(reason: string): Error {
    return commandError(`${this.#options.target}: failed to connect to socket (${reason})`);
  }

  #closed(): Error {
    if (!this.#isAgreed) return this.#unfinished(this.#isSecure ? "Input/output error" : "End of file");
    return new PlinthError("OPENFLOW_CLOSED", `${this.#name} closed the connection`);
  }

  /** There is no version that both speak. */
  #refused(reason: string): Error {
    const { target, versions, warn } = this.#options;
    const theirs = this.#session.peerVersions;
    if (theirs === undefined) return new PlinthError("OPENFLOW_CLOSED", reason);
    const line = `${this.#name}: version negotiation failed (we support ${versionsText(versions)}, peer supports ${versionsText(theirs)})`;
    warn?.("vconn", line);
    return commandError(`${target}: failed to connect to socket (Broken pipe)`);
  }

  #receive(reply: Reply): void {
    const { bytes } = reply;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const xid = view.getUint32(4);
    const pending = this.#pending.get(xid);
    if (pending === undefined) {
      this.onMessage(reply);
      return;
    }
    if (view.getUint8(1) === OFPT.error) {
      this.#pending.delete(xid);
      pending.reject(new OpenFlowRefusal(bytes));
      return;
    }
    pending.replies.push(reply);
    const isMultipart = view.getUint8(1) === (view.getUint8(0) === OFP10_VERSION ? 17 : 19);
    if (isMultipart && bytes.byteLength >= 12 && (view.getUint16(10) & OFPMPF_REPLY_MORE) !== 0) return;
    this.#pending.delete(xid);
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

/** Throws ENDPOINT_INVALID, and COMMAND_FAILED when there is nothing to speak TLS with. */
function openSocket(endpoint: string, { tls, warn }: ClientOptions): Socket {
  const target = parseActiveEndpoint(endpoint, OPENFLOW_PORT);
  if (target.kind === "unix") return connect({ path: target.path });
  if (target.kind === "tcp") return connect({ host: target.host, port: target.port });
  const tell = (line: string, level: LogLevel): void => warn?.("stream_ssl", line, level);
  if (!checkTlsFiles(tls ?? tlsFilesOf([]), tell))
    throw commandError(`connecting to ${endpoint} (Protocol not available)`);
  return connectTls(target, tls);
}

/** "version 0x01", "versions 0x04, 0x05", "version 0x06 and earlier". */
function versionsText(versions: readonly number[]): string {
  const names = versions.map((version) => `0x${version.toString(16).padStart(2, "0")}`);
  return `version${names.length === 1 ? "" : "s"} ${names.join(", ")}`;
}

/** The bodies of multipart replies that are understood. */
export function bodiesOf(replies: readonly Reply[]): readonly MultipartReplyBody[] {
  return replies.flatMap(({ message }) => (message?.type === "multipart_reply" ? [message.body] : []));
}

function unreachable(name: string, cause: NodeJS.ErrnoException): PlinthError {
  return commandError(`connecting to ${name} (${systemReason(cause)})`);
}
