// One OpenFlow connection as a state machine without I/O or clock: bytes in, messages and bytes out.
// Used by both ends. Source: OpenFlow Switch Specification 1.3.5, 6.3 (setup, encryption-less) and 7.5 (hello, echo).
//
//   start() ──► HELLO sent ──hello of the peer──► established ──close──► closed
//                  │  no common version, no hello in time            ▲
//                  └──────────────── error + close ──────────────────┘
//
// Invariant: no message is delivered before the versions are agreed or after close; at most one incomplete message
// (64 KiB) is kept.

import { OFP_HEADER_SIZE, OFP13_VERSION, ONF_EXPERIMENTER } from "./constants.js";
import { isOnfError, OFP_ERRORS, OFPET_HELLO_FAILED, type OfpErrorName, ONF_ERRORS } from "./error-codes.js";
import { encodeMessage, type MessageHeader, parseHeader, parseMessage } from "./message-wire.js";
import type { Hello, OpenFlowMessage } from "./messages.js";
import { WireError } from "./wire.js";

export interface ChannelOptions {
  /** Silence after which an echo request is sent; the same again without an answer closes. 0 = never probe. */
  readonly probeIntervalMs?: number;
  /** How long the peer may take to say hello. */
  readonly helloTimeoutMs?: number;
  /**
   * Whether malformed messages are answered here with the error they deserve, or only reported: by a switch that
   * keeps its answers in order, and by a controller, whose peer would not know what to do with an error.
   */
  readonly answerMalformed: boolean;
}

export type ChannelOutput =
  /** Write these bytes, in this order. The receiver owns them. */
  | { readonly type: "send"; readonly bytes: Uint8Array }
  /** Versions are agreed: messages may be sent now. */
  | { readonly type: "established" }
  /** Never hello or echo: these are the session's own, but for echo replies where it never probes. `request` is what an error answer has to quote. */
  | { readonly type: "message"; readonly message: OpenFlowMessage; readonly request: Uint8Array }
  | {
      readonly type: "malformed";
      readonly error: WireError;
      readonly header: MessageHeader;
      readonly request: Uint8Array;
    }
  /** Write what was sent before, then close. Nothing comes after this. */
  | { readonly type: "close"; readonly reason: string };

/** How much of a failed request an error quotes (7.4.4 asks for at least 64 bytes). */
const ERROR_QUOTE_SIZE = 64;
const DEFAULT_PROBE_INTERVAL_MS = 5_000;
const DEFAULT_HELLO_TIMEOUT_MS = 10_000;

const EMPTY = new Uint8Array(0);

export class ChannelSession {
  readonly #probeIntervalMs: number;
  readonly #helloTimeoutMs: number;
  readonly #answerMalformed: boolean;
  #state: "idle" | "hello_sent" | "established" | "closed" = "idle";
  #pending: Uint8Array = EMPTY;
  #lastReceivedMs = 0;
  #probeSent = false;
  #xid = 0;

  constructor(options: ChannelOptions) {
    this.#probeIntervalMs = options.probeIntervalMs ?? DEFAULT_PROBE_INTERVAL_MS;
    this.#helloTimeoutMs = options.helloTimeoutMs ?? DEFAULT_HELLO_TIMEOUT_MS;
    this.#answerMalformed = options.answerMalformed;
  }

  get isEstablished(): boolean {
    return this.#state === "established";
  }

  /** A transaction id for a message of ours. Never 0, which unasked messages carry. */
  nextXid(): number {
    this.#xid = this.#xid >= 0xffffffff ? 1 : this.#xid + 1;
    return this.#xid;
  }

  /** The transport is connected: says hello. Called once, first. */
  start(nowMs: number): ChannelOutput[] {
    this.#state = "hello_sent";
    this.#lastReceivedMs = nowMs;
    const hello: Hello = {
      type: "hello",
      xid: this.nextXid(),
      version: OFP13_VERSION,
      versions: [OFP13_VERSION],
    };
    return [{ type: "send", bytes: encodeMessage(hello) }];
  }

  /** Bytes of the peer, cut anywhere. `bytes` is not kept. */
  receive(bytes: Uint8Array, nowMs: number): ChannelOutput[] {
    const outputs: ChannelOutput[] = [];
    if (this.#state === "closed" || this.#state === "idle") return outputs;
    this.#lastReceivedMs = nowMs;
    this.#probeSent = false;
    const all = this.#join(bytes);
    let offset = 0;
    for (;;) {
      const header = parseHeader(all, offset);
      if (header === undefined) break;
      if (header.length < OFP_HEADER_SIZE) {
        this.#refuse(all.subarray(offset, offset + OFP_HEADER_SIZE), header, "OFPBRC_BAD_LEN", outputs);
        return outputs;
      }
      if (all.byteLength - offset < header.length) break;
      this.#accept(all.slice(offset, offset + header.length), header, outputs);
      offset += header.length;
      if (this.#isClosed()) return outputs;
    }
    this.#pending = all.slice(offset);
    return outputs;
  }

  #join(bytes: Uint8Array): Uint8Array {
    const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (this.#pending.byteLength === 0) return view;
    const all = new Uint8Array(this.#pending.byteLength + view.byteLength);
    all.set(this.#pending);
    all.set(view, this.#pending.byteLength);
    return all;
  }

  #isClosed(): boolean {
    return this.#state === "closed";
  }

  /** Time passed: probes a silent peer, gives up on a dead one. */
  tick(nowMs: number): ChannelOutput[] {
    const deadlineMs = this.nextDeadlineMs();
    if (deadlineMs === undefined || nowMs < deadlineMs) return [];
    if (this.#state === "hello_sent") return [this.#close(`no hello within ${this.#helloTimeoutMs} ms`)];
    if (this.#probeSent) return [this.#close(`no answer to an echo within ${this.#probeIntervalMs} ms`)];
    this.#probeSent = true;
    const probe = encodeMessage({ type: "echo_request", xid: this.nextXid(), data: EMPTY });
    return [{ type: "send", bytes: probe }];
  }

  /** When tick() has something to do if nothing is received until then; undefined = never. */
  nextDeadlineMs(): number | undefined {
    if (this.#state === "hello_sent") return this.#lastReceivedMs + this.#helloTimeoutMs;
    if (this.#state !== "established" || this.#probeIntervalMs === 0) return undefined;
    return this.#lastReceivedMs + this.#probeIntervalMs * (this.#probeSent ? 2 : 1);
  }

  #close(reason: string): ChannelOutput {
    this.#state = "closed";
    this.#pending = EMPTY;
    return { type: "close", reason };
  }

  /** One whole message. */
  #accept(bytes: Uint8Array, header: MessageHeader, outputs: ChannelOutput[]): void {
    if (this.#state === "hello_sent") {
      this.#negotiate(bytes, header, outputs);
      return;
    }
    let message: OpenFlowMessage;
    try {
      message = parseMessage(bytes);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      outputs.push({ type: "malformed", error, header, request: bytes });
      if (this.#answerMalformed) {
        outputs.push({ type: "send", bytes: encodeError(error.error, header.xid, bytes) });
      }
      return;
    }
    if (message.type === "echo_request") {
      outputs.push({ type: "send", bytes: encodeMessage({ ...message, type: "echo_reply" }) });
    } else if ((message.type !== "echo_reply" || this.#probeIntervalMs === 0) && message.type !== "hello") {
      outputs.push({ type: "message", message, request: bytes });
    }
  }

  #negotiate(bytes: Uint8Array, header: MessageHeader, outputs: ChannelOutput[]): void {
    const message = tryParse(bytes);
    if (message?.type === "error" && message.errorType === OFPET_HELLO_FAILED) {
      outputs.push(
        this.#close(`the peer refused us: ${Buffer.from(message.data).toString("latin1", 0, 200)}`),
      );
      return;
    }
    if (message?.type !== "hello") {
      this.#refuseHello(header, `expected a hello, not message type ${header.typeCode}`, outputs);
      return;
    }
    if (!speaks13(message)) {
      const theirs = message.versions?.join(", ") ?? `up to ${message.version}`;
      this.#refuseHello(header, `this end speaks version 4 (OpenFlow 1.3), yours ${theirs}`, outputs);
      return;
    }
    this.#state = "established";
    outputs.push({ type: "established" });
  }

  /** HELLO_FAILED with a text, in a version that the peer can read. */
  #refuseHello(header: MessageHeader, text: string, outputs: ChannelOutput[]): void {
    const [errorType, code] = OFP_ERRORS.OFPHFC_INCOMPATIBLE;
    const data = Uint8Array.from(Buffer.from(text, "latin1"));
    const bytes = encodeMessage({ type: "error", xid: header.xid, errorType, code, data });
    bytes[0] = Math.min(header.version, OFP13_VERSION);
    outputs.push({ type: "send", bytes }, this.#close(text));
  }

  /** The stream itself is broken: what follows cannot be told apart. */
  #refuse(bytes: Uint8Array, header: MessageHeader, error: OfpErrorName, outputs: ChannelOutput[]): void {
    outputs.push({ type: "send", bytes: encodeError(error, header.xid, bytes) });
    outputs.push(this.#close(`a message says that it is ${header.length} bytes long`));
  }
}

function tryParse(bytes: Uint8Array): OpenFlowMessage | undefined {
  try {
    return parseMessage(bytes);
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}

/** With a bitmap the highest common version counts, without one the lower of the two (7.5.1). */
function speaks13(hello: Hello): boolean {
  return hello.versions === undefined
    ? hello.version >= OFP13_VERSION
    : hello.versions.includes(OFP13_VERSION);
}

/** An error message that quotes the request it answers. */
export function encodeError(error: OfpErrorName, xid: number, request: Uint8Array): Uint8Array {
  const data = request.slice(0, ERROR_QUOTE_SIZE);
  if (isOnfError(error)) {
    const expType = ONF_ERRORS[error];
    return encodeMessage({
      type: "experimenter_error",
      xid,
      expType,
      experimenter: ONF_EXPERIMENTER,
      data,
    });
  }
  const [errorType, code] = OFP_ERRORS[error];
  return encodeMessage({ type: "error", xid, errorType, code, data });
}
