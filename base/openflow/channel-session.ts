// One OpenFlow connection as a state machine without I/O or clock: bytes in, messages and bytes out.
// Used by both ends. Source: OpenFlow Switch Specification 1.3.5, 6.3 (setup, encryption-less) and 7.5 (hello, echo).
//
//   start() ──► HELLO sent ──hello of the peer──► established ──close──► closed
//                  │  no common version, no hello in time            ▲
//                  └──────────────── error + close ──────────────────┘
//
// Invariant: no message is delivered before the versions are agreed or after close; at most one incomplete message
// (64 KiB) is kept.

import { OFP_HEADER_SIZE, OFP13_VERSION, OFPT } from "./constants.js";
import { experimenterOf, OFP_ERRORS, OFPET_HELLO_FAILED, type OfpErrorName } from "./error-codes.js";
import { type MessageHeader, parseHeader } from "./message-header.js";
import { type AnyDialect, type Dialect, encodeMessage, OPENFLOW_13, parseMessage } from "./message-wire.js";
import type { Hello, OpenFlowMessage } from "./messages.js";
import { writeErrorName10 } from "./v10/errors.js";
import { OFP10_VERSION } from "./v10/numbers.js";
import { WireError, Writer } from "./wire.js";

/** Version numbers of those that a switch speaks, or for programs that look at any switch more of them. */
type AnyVersion = AnyDialect["version"];
type DialectOf<V extends AnyVersion> = Extract<AnyDialect, { readonly version: V }>;

export interface ChannelOptions<V extends AnyVersion = Dialect["version"]> {
  /** Silence after which an echo request is sent; the same again without an answer closes. 0 = never probe. */
  readonly probeIntervalMs?: number;
  /** How long the peer may take to say hello. */
  readonly helloTimeoutMs?: number;
  /**
   * Whether malformed messages are answered here with the error they deserve, or only reported: by a switch that
   * keeps its answers in order, and by a controller, whose peer would not know what to do with an error.
   */
  readonly answerMalformed: boolean;
  /** Those that this end speaks; the highest common one is chosen. OpenFlow 1.3 alone when absent. */
  readonly versions?: readonly V[];
  /** Hears of every whole message that comes once versions are agreed, of hellos and echoes too. It may keep it. */
  readonly onReceived?: (message: Uint8Array) => void;
  /**
   * Nobody writes into received bytes any more, so that what is handed out may be views of them; whoever keeps one
   * keeps all that came with it. Copies are handed out when absent.
   */
  readonly isInputStable?: boolean;
  /** Flow-mods are handed out as they came, for somebody else to read. */
  readonly leavesFlowMods?: boolean;
}

export type ChannelOutput =
  /** Write these bytes, in this order. The receiver owns them. */
  | { readonly type: "send"; readonly bytes: Uint8Array }
  /** Versions are agreed: messages may be sent now. */
  | { readonly type: "established" }
  /** Never hello or echo: these are the session's own, but for echo replies where it never probes. `request` is what an error answer has to quote. */
  | { readonly type: "message"; readonly message: OpenFlowMessage; readonly request: Uint8Array }
  /** One that is left to be read in the session's dialect; whether it can be is not known. */
  | { readonly type: "unread_flow_mod"; readonly header: MessageHeader; readonly request: Uint8Array }
  | {
      readonly type: "malformed";
      readonly error: WireError;
      readonly header: MessageHeader;
      readonly request: Uint8Array;
    }
  /** Write what was sent before, then close. Nothing comes after this. */
  | { readonly type: "close"; readonly reason: string };

/** How much of a failed request an error quotes, so that people see what failed (7.4.4 asks for at least 64 bytes). */
const ERROR_QUOTE_SIZE = 2048;
const DEFAULT_PROBE_INTERVAL_MS = 5_000;
const DEFAULT_HELLO_TIMEOUT_MS = 10_000;

const EMPTY = new Uint8Array(0);

export class ChannelSession<V extends AnyVersion = Dialect["version"]> {
  readonly #probeIntervalMs: number;
  readonly #helloTimeoutMs: number;
  readonly #answerMalformed: boolean;
  readonly #versions: readonly AnyVersion[];
  readonly #onReceived: ((message: Uint8Array) => void) | undefined;
  readonly #isInputStable: boolean;
  readonly #leavesFlowMods: boolean;
  #dialect: AnyDialect = OPENFLOW_13;
  #state: "idle" | "hello_sent" | "established" | "closed" = "idle";
  #pending: Uint8Array = EMPTY;
  #lastReceivedMs = 0;
  /** When the echo request was sent that nothing has come after yet; −1 when there is none. */
  #probedMs = -1;
  #peerVersions: readonly number[] | undefined;
  #xid = 0;

  constructor(options: ChannelOptions<V>) {
    this.#probeIntervalMs = options.probeIntervalMs ?? DEFAULT_PROBE_INTERVAL_MS;
    this.#helloTimeoutMs = options.helloTimeoutMs ?? DEFAULT_HELLO_TIMEOUT_MS;
    this.#answerMalformed = options.answerMalformed;
    this.#onReceived = options.onReceived;
    this.#isInputStable = options.isInputStable ?? false;
    this.#leavesFlowMods = options.leavesFlowMods ?? false;
    this.#versions = [...(options.versions ?? [OFP13_VERSION])].sort((a, b) => a - b);
  }

  /** The version agreed on, and what was arranged beyond it. */
  get dialect(): DialectOf<V> {
    return this.#dialect as DialectOf<V>;
  }

  /** Those that the peer said it speaks, where none of them is ours. */
  get peerVersions(): readonly number[] | undefined {
    return this.#peerVersions;
  }

  get isEstablished(): boolean {
    return this.#state === "established";
  }

  /** The peer was silent for so long that it has been asked whether it is there. */
  get isProbing(): boolean {
    return this.#probedMs >= 0;
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
    const version = this.#highest();
    const hello: Hello = { type: "hello", xid: this.nextXid(), version, versions: this.#versions };
    return [{ type: "send", bytes: encodeMessage(hello) }];
  }

  #highest(): number {
    return this.#versions[this.#versions.length - 1] ?? OFP13_VERSION;
  }

  /** Bytes of the peer, cut anywhere. `bytes` is not kept (see isInputStable). */
  receive(bytes: Uint8Array, nowMs: number): ChannelOutput[] {
    const outputs: ChannelOutput[] = [];
    if (this.#state === "closed" || this.#state === "idle") return outputs;
    this.#lastReceivedMs = nowMs;
    this.#probedMs = -1;
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
      const end = offset + header.length;
      this.#accept(this.#part(all, offset, end), header, outputs);
      offset = end;
      if (this.#isClosed()) return outputs;
    }
    this.#pending = offset === all.byteLength ? EMPTY : all.slice(offset);
    return outputs;
  }

  #part(all: Uint8Array, start: number, end: number): Uint8Array {
    if (!this.#isInputStable) return all.slice(start, end);
    return start === 0 && end === all.byteLength ? all : all.subarray(start, end);
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
    if (this.isProbing) return [this.#close(`no answer to an echo within ${this.#probeIntervalMs} ms`)];
    this.#probedMs = nowMs;
    const probe = encodeMessage({ type: "echo_request", xid: this.nextXid(), data: EMPTY }, this.#dialect);
    return [{ type: "send", bytes: probe }];
  }

  /** When tick() has something to do if nothing is received until then; undefined = never. */
  nextDeadlineMs(): number | undefined {
    if (this.#state === "hello_sent") return this.#lastReceivedMs + this.#helloTimeoutMs;
    if (this.#state !== "established" || this.#probeIntervalMs === 0) return undefined;
    // From when it was asked: whoever looked late must not hang up on a peer that had no time to answer.
    return (this.isProbing ? this.#probedMs : this.#lastReceivedMs) + this.#probeIntervalMs;
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
    this.#onReceived?.(bytes);
    const isFlowMod = header.typeCode === OFPT.flow_mod && header.version === this.#dialect.version;
    if (isFlowMod && this.#leavesFlowMods) {
      outputs.push({ type: "unread_flow_mod", header, request: bytes });
      return;
    }
    let message: OpenFlowMessage;
    try {
      message = parseMessage(bytes, this.#dialect);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      outputs.push({ type: "malformed", error, header, request: bytes });
      if (this.#answerMalformed) {
        outputs.push({ type: "send", bytes: encodeError(error.error, header.xid, bytes, this.#dialect) });
      }
      return;
    }
    if (message.type === "echo_request") {
      outputs.push({ type: "send", bytes: encodeMessage({ ...message, type: "echo_reply" }, this.#dialect) });
    } else if ((message.type !== "echo_reply" || this.#probeIntervalMs === 0) && message.type !== "hello") {
      if (message.type === "flow_mod_table_id") this.#arrangeTableId(message.isEnabled);
      outputs.push({ type: "message", message, request: bytes });
    }
  }

  /** From the next message on, the upper byte of a flow-mod's command is a table, or no longer. */
  #arrangeTableId(flowModTableId: boolean): void {
    if (this.#dialect.version === OFP10_VERSION) this.#dialect = { version: OFP10_VERSION, flowModTableId };
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
    const version = this.#commonVersion(message);
    if (version === undefined) {
      this.#peerVersions = message.versions ?? [message.version];
      const theirs = message.versions?.join(", ") ?? `up to ${message.version}`;
      const ours = this.#versions.map((one) => `${one} (OpenFlow 1.${one - 1})`).join(" and ");
      this.#refuseHello(header, `this end speaks version ${ours}, yours ${theirs}`, outputs);
      return;
    }
    this.#dialect = version === OFP10_VERSION ? { version, flowModTableId: false } : { version };
    this.#state = "established";
    outputs.push({ type: "established" });
  }

  /** With a bitmap the highest common version counts, without one the lower of the two (7.5.1). */
  #commonVersion(hello: Hello): AnyVersion | undefined {
    const { versions } = hello;
    const lower = Math.min(hello.version, this.#highest());
    const common = this.#versions.filter((version) =>
      versions === undefined ? version === lower : versions.includes(version),
    );
    return common[common.length - 1];
  }

  /** HELLO_FAILED with a text, in a version that the peer can read. */
  #refuseHello(header: MessageHeader, text: string, outputs: ChannelOutput[]): void {
    const [errorType, code] = OFP_ERRORS.OFPHFC_INCOMPATIBLE;
    const data = Uint8Array.from(Buffer.from(text, "latin1"));
    const bytes = encodeMessage({ type: "error", xid: header.xid, errorType, code, data });
    bytes[0] = Math.min(header.version, this.#highest());
    outputs.push({ type: "send", bytes }, this.#close(text));
  }

  /** The stream itself is broken: what follows cannot be told apart. */
  #refuse(bytes: Uint8Array, header: MessageHeader, error: OfpErrorName, outputs: ChannelOutput[]): void {
    outputs.push({ type: "send", bytes: encodeError(error, header.xid, bytes, this.#dialect) });
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

/** An error message that quotes the request it answers. */
export function encodeError(
  error: OfpErrorName,
  xid: number,
  request: Uint8Array,
  dialect: AnyDialect = OPENFLOW_13,
): Uint8Array {
  const data = request.slice(0, ERROR_QUOTE_SIZE);
  if (dialect.version === OFP10_VERSION) return encodeError10(error, xid, data);
  const known = experimenterOf(error);
  if (known !== undefined) return encodeMessage({ type: "experimenter_error", xid, ...known, data });
  const [errorType, code] = OFP_ERRORS[error as keyof typeof OFP_ERRORS];
  return encodeMessage({ type: "error", xid, errorType, code, data });
}

function encodeError10(error: OfpErrorName, xid: number, data: Uint8Array): Uint8Array {
  const writer = new Writer();
  writer.u8(OFP10_VERSION).u8(OFPT.error).u16(0).u32(xid);
  writeErrorName10(writer, error);
  writer.put(data).setLength(2, 0);
  return writer.take();
}
