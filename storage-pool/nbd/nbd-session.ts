// The NBD handshake as a state machine: bytes of a client in, replies and finally a choice of export out.
//
//   greeting ─► flags ─► options ⟲ ─┬─ GO, EXPORT_NAME ─► transmission (the rest of the bytes is requests)
//                                   ├─ STARTTLS ─► starttls (the rest of the bytes is TLS; everything is forgotten)
//                                   └─ ABORT, bad bytes, too many ─► closed
//
// Source: NBD protocol, "Fixed newstyle negotiation", "TLS support", "Metadata querying". Every length is checked before
// use; strings are at most 4096 bytes of UTF-8; unknown options are consumed and refused. Pure. Thread: any.
import { setUint64 } from "../../base/bytes/index.js";
import {
  NBD_CONTEXTS_MAX,
  NBD_OPTION_BYTES_MAX,
  NBD_OPTION_SKIPPED_BYTES_MAX,
  NBD_OPTIONS_MAX,
  NBD_OPTIONS_PER_EXPORT_MAX,
  REPLY_QUEUE_BYTES_MAX,
  REQUEST_SIZE_BYTES_MAX,
} from "../limits.js";
import { parseExportName, parseInfoRequest, parseMetaRequest } from "./nbd-option-data.js";
import {
  encodeGreeting,
  encodeOptionReply,
  IHAVEOPT_HI,
  IHAVEOPT_LO,
  NBD_FLAG_BLOCK_STATUS_PAYLOAD,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_FLAG_SEND_DF,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_EXPORT,
  NBD_INFO_NAME,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_EXT_HEADER_REQD,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
} from "./nbd-wire.js";

/** What the handshake says of an export. */
export interface ExportInfo {
  /** As LIST shows it. */
  readonly name: string;
  readonly description: string;
  readonly sizeBytes: number;
  /** NBD_FLAG_… of transmission, but for those that follow from the handshake. */
  readonly flags: number;
  /** Names of the snapshots that it can be compared with. */
  readonly snapshots: readonly string[];
}

/** The exports that one socket offers. */
export interface ExportDirectory {
  list(): readonly ExportInfo[];
  /** By any of its names; "" is the default export, if there is one. */
  find(name: string): ExportInfo | undefined;
  /** Why one that there is cannot be found now. */
  whyNot?(name: string): string | undefined;
}

/**
 * Whether the connection is, may be or has to be encrypted. "refused": there is no TLS here; "required": nothing but
 * STARTTLS and ABORT is answered in the clear; "active": this is the inside of TLS.
 */
export type TlsMode = "refused" | "allowed" | "required" | "active";

export type ReplyMode = "simple" | "structured" | "extended";

/** A metadata context; its id is its place among the chosen ones, from 1. `snapshot`: what changed since then. */
export interface MetaContext {
  readonly name: string;
  readonly snapshot: string | undefined;
}

/** How the handshake ended. */
export interface Negotiated {
  readonly exportName: string;
  readonly mode: ReplyMode;
  readonly contexts: readonly MetaContext[];
}

export interface SessionOutput {
  /** To be sent, in order. */
  readonly replies: readonly Uint8Array[];
  /** How many of the bytes given belonged to the handshake. */
  readonly consumed: number;
  readonly state: "open" | "transmission" | "starttls" | "closed";
}

export const BASE_ALLOCATION = "base:allocation";
/** Followed by the name of a snapshot: one flag, PLINTH_STATE_CHANGED. */
export const DIFF_PREFIX = "x-plinth:diff:";
const FLAGS_SIZE = 4;
const OPTION_SIZE = 16;
/** In UTF-16 units: at most three times as many bytes. */
const REASON_LENGTH_MAX = 1024;
const NO_CONTEXTS: readonly MetaContext[] = [];

type OptionHandler = (session: NbdSession, option: number, data: Uint8Array) => void;

export class NbdSession {
  state: "flags" | "options" | "transmission" | "starttls" | "closed" = "flags";
  readonly #exports: ExportDirectory;
  readonly #tls: TlsMode;
  #replies: Uint8Array[] = [encodeGreeting()];
  /** Of `#replies`. */
  #replyBytes = 0;
  #fixed = false;
  #noZeroes = false;
  #mode: ReplyMode = "simple";
  /** Export for which the contexts were chosen. */
  #contextsFor: string | undefined;
  #contexts = NO_CONTEXTS;
  #chosen: string | undefined;
  /** An option that is too long to be looked at, and how many bytes of it are still to come. */
  #skipped = 0;
  #skipBytes = 0;
  #options = 0;
  #optionsMax = NBD_OPTIONS_MAX;

  constructor(exports: ExportDirectory, tls: TlsMode = "refused") {
    this.#exports = exports;
    this.#tls = tls;
  }

  /** Takes what has arrived and is not yet consumed. Call again with the rest and more. */
  receive(bytes: Uint8Array): SessionOutput {
    let consumed = 0;
    while (this.state === "flags" || this.state === "options") {
      const took = this.state === "flags" ? this.#receiveFlags(bytes) : this.#receiveOption(bytes, consumed);
      if (took === 0) break;
      consumed += took;
    }
    const replies = this.#replies;
    this.#replies = [];
    this.#replyBytes = 0;
    const state = this.state === "flags" || this.state === "options" ? "open" : this.state;
    return { replies, consumed, state };
  }

  /** After the state "transmission". */
  get negotiated(): Negotiated {
    const exportName = this.#chosen ?? "";
    return { exportName, mode: this.#mode, contexts: this.#contextsOf(exportName) };
  }

  #contextsOf(exportName: string): readonly MetaContext[] {
    return this.#contextsFor === exportName ? this.#contexts : NO_CONTEXTS;
  }

  /** Flags of transmission as they are after what was negotiated so far. */
  #flagsOf(found: ExportInfo, name: string): number {
    let { flags } = found;
    if (this.#mode !== "simple") flags |= NBD_FLAG_SEND_DF;
    if (this.#mode === "extended" && this.#contextsOf(name).length > 0) {
      flags |= NBD_FLAG_BLOCK_STATUS_PAYLOAD;
    }
    return flags;
  }

  #receiveFlags(bytes: Uint8Array): number {
    if (bytes.byteLength < FLAGS_SIZE) return 0;
    const flags = viewOf(bytes).getUint32(0);
    const unknown = (flags & ~(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) !== 0;
    this.#fixed = (flags & NBD_FLAG_FIXED_NEWSTYLE) !== 0;
    this.#noZeroes = (flags & NBD_FLAG_NO_ZEROES) !== 0;
    this.state = unknown ? "closed" : "options";
    return FLAGS_SIZE;
  }

  #receiveOption(bytes: Uint8Array, at: number): number {
    if (this.#skipBytes > 0) return this.#skip(bytes.byteLength - at);
    if (bytes.byteLength - at < OPTION_SIZE) return 0;
    const view = viewOf(bytes);
    const option = view.getUint32(at + 8);
    const length = view.getUint32(at + 12);
    const isOption = view.getUint32(at) === IHAVEOPT_HI && view.getUint32(at + 4) === IHAVEOPT_LO;
    if (!isOption || length > NBD_OPTION_SKIPPED_BYTES_MAX || this.#isTooMuch()) {
      this.state = "closed";
      return OPTION_SIZE;
    }
    if (length > NBD_OPTION_BYTES_MAX) {
      this.#options++;
      this.#skipped = option;
      this.#skipBytes = length;
      return OPTION_SIZE;
    }
    if (bytes.byteLength - at < OPTION_SIZE + length) return 0;
    this.#options++;
    const data = bytes.subarray(at + OPTION_SIZE, at + OPTION_SIZE + length);
    this.#handle(option, data);
    return OPTION_SIZE + length;
  }

  /** Lets bytes of a long option go by, and answers it behind them. */
  #skip(have: number): number {
    const count = Math.min(have, this.#skipBytes);
    this.#skipBytes -= count;
    if (this.#skipBytes > 0) return count;
    const option = this.#skipped;
    const isLookedAt = OPTIONS.has(option) && option !== NBD_OPT_ABORT;
    const isDue = this.#tls !== "required" || option === NBD_OPT_STARTTLS;
    if (option === NBD_OPT_EXPORT_NAME) this.state = "closed";
    else if (!isLookedAt || !isDue) this.#handle(option, EMPTY);
    else this.refuse(option, NBD_REP_ERR_TOO_BIG, `more than ${NBD_OPTION_BYTES_MAX} bytes`);
    return count;
  }

  /** Clients wait for the answer to an option before they send the next: one that does not may not fill the memory. */
  #isTooMuch(): boolean {
    if (this.#replyBytes > REPLY_QUEUE_BYTES_MAX) return true;
    if (this.#options < this.#optionsMax) return false;
    this.#optionsMax = NBD_OPTIONS_MAX + NBD_OPTIONS_PER_EXPORT_MAX * this.#exports.list().length;
    return this.#options >= this.#optionsMax;
  }

  #handle(option: number, data: Uint8Array): void {
    if (this.#tls === "required" && option !== NBD_OPT_STARTTLS && option !== NBD_OPT_ABORT) {
      if (option === NBD_OPT_EXPORT_NAME) this.state = "closed";
      else this.refuse(option, NBD_REP_ERR_TLS_REQD, "use TLS: STARTTLS first");
      return;
    }
    const handler = OPTIONS.get(option);
    if (handler === undefined) this.reply(option, NBD_REP_ERR_UNSUP);
    else handler(this, option, data);
  }

  reply(option: number, type: number, payload: Uint8Array = EMPTY): void {
    const reply = encodeOptionReply(option, type, payload);
    this.#replies.push(reply);
    this.#replyBytes += reply.byteLength;
  }

  /** An error with a reason for people. */
  refuse(option: number, type: number, reason: string): void {
    // A name of 4096 bytes in it must not make the text longer than a client takes.
    this.reply(option, type, new TextEncoder().encode(reason.slice(0, REASON_LENGTH_MAX)));
  }

  #refuseUnknown(option: number, name: string): void {
    const why = this.#exports.whyNot?.(name);
    const what = JSON.stringify(name);
    const reason =
      why === undefined ? `there is no export ${what}` : `the export ${what} is not served: ${why}`;
    this.refuse(option, NBD_REP_ERR_UNKNOWN, reason);
  }

  list(option: number, data: Uint8Array): void {
    if (data.byteLength !== 0) {
      this.refuse(option, NBD_REP_ERR_INVALID, "LIST takes no data");
      return;
    }
    for (const { name, description } of this.#exports.list()) {
      this.reply(option, NBD_REP_SERVER, encodeServer(name, description));
    }
    this.reply(option, NBD_REP_ACK);
  }

  abort(option: number): void {
    this.reply(option, NBD_REP_ACK);
    this.state = "closed";
  }

  /** Has no way to say no: an unknown name ends the connection. */
  exportName(data: Uint8Array): void {
    const name = parseExportName(data);
    const found = name === undefined ? undefined : this.#exports.find(name);
    if (name === undefined || found === undefined || this.#mode === "extended") {
      this.state = "closed";
      return;
    }
    const reply = new Uint8Array(this.#noZeroes ? 10 : 134);
    setUint64(viewOf(reply), 0, found.sizeBytes);
    viewOf(reply).setUint16(8, this.#flagsOf(found, name));
    this.#replies.push(reply);
    this.#enter(name);
  }

  info(option: number, data: Uint8Array): void {
    const asked = parseInfoRequest(data);
    if (asked === undefined) {
      this.refuse(option, NBD_REP_ERR_INVALID, "malformed request");
      return;
    }
    if (asked === "too big") {
      this.refuse(option, NBD_REP_ERR_TOO_BIG, "the name is too long");
      return;
    }
    const found = this.#exports.find(asked.name);
    if (found === undefined) {
      this.#refuseUnknown(option, asked.name);
      return;
    }
    const flags = this.#flagsOf(found, asked.name);
    for (const payload of describe(found, flags, asked.wanted)) this.reply(option, NBD_REP_INFO, payload);
    this.reply(option, NBD_REP_ACK);
    if (option === NBD_OPT_GO) this.#enter(asked.name);
  }

  /** Everything said so far in the clear is forgotten: what goes on inside TLS is a new session. */
  startTls(option: number, data: Uint8Array): void {
    if (data.byteLength !== 0) this.refuse(option, NBD_REP_ERR_INVALID, "STARTTLS takes no data");
    else if (this.#tls === "active") this.refuse(option, NBD_REP_ERR_INVALID, "TLS is active already");
    else if (this.#tls === "refused" || !this.#fixed) {
      this.refuse(option, NBD_REP_ERR_POLICY, "TLS is not configured here");
    } else {
      this.reply(option, NBD_REP_ACK);
      this.state = "starttls";
    }
  }

  structured(option: number, data: Uint8Array): void {
    if (data.byteLength !== 0) {
      this.refuse(option, NBD_REP_ERR_INVALID, "STRUCTURED_REPLY takes no data");
      return;
    }
    if (this.#mode === "extended") {
      this.refuse(option, NBD_REP_ERR_EXT_HEADER_REQD, "extended headers are negotiated already");
      return;
    }
    this.#mode = "structured";
    this.reply(option, NBD_REP_ACK);
  }

  extendedHeaders(option: number, data: Uint8Array): void {
    if (data.byteLength !== 0) {
      this.refuse(option, NBD_REP_ERR_INVALID, "EXTENDED_HEADERS takes no data");
      return;
    }
    this.#mode = "extended";
    this.reply(option, NBD_REP_ACK);
  }

  metaContext(option: number, data: Uint8Array): void {
    const choosing = option === NBD_OPT_SET_META_CONTEXT;
    // What was chosen before is gone, also when this request fails.
    if (choosing) this.#contextsFor = undefined;
    const asked = parseMetaRequest(data);
    // Who only lists may do so before: others let them, and clients count on it.
    if ((choosing && this.#mode === "simple") || asked === undefined) {
      this.refuse(option, NBD_REP_ERR_INVALID, asked ? "needs structured replies" : "malformed request");
      return;
    }
    if (asked === "too big") {
      this.refuse(option, NBD_REP_ERR_TOO_BIG, "a string is too long");
      return;
    }
    const found = this.#exports.find(asked.name);
    if (found === undefined) {
      this.#refuseUnknown(option, asked.name);
      return;
    }
    const contexts = contextsOf(found).filter(({ name }) => isWanted(name, asked.queries, choosing));
    if (choosing && contexts.length > NBD_CONTEXTS_MAX) {
      this.refuse(option, NBD_REP_ERR_TOO_BIG, `at most ${NBD_CONTEXTS_MAX} contexts can be chosen`);
      return;
    }
    for (const [i, { name }] of contexts.entries()) {
      this.reply(option, NBD_REP_META_CONTEXT, encodeContext(choosing ? i + 1 : 0, name));
    }
    this.reply(option, NBD_REP_ACK);
    if (!choosing) return;
    this.#contextsFor = asked.name;
    this.#contexts = contexts;
  }

  #enter(name: string): void {
    this.#chosen = name;
    this.state = "transmission";
  }
}

const EMPTY = new Uint8Array();

const OPTIONS: ReadonlyMap<number, OptionHandler> = new Map<number, OptionHandler>([
  [NBD_OPT_EXPORT_NAME, (session, _option, data) => session.exportName(data)],
  [NBD_OPT_ABORT, (session, option) => session.abort(option)],
  [NBD_OPT_LIST, (session, option, data) => session.list(option, data)],
  [NBD_OPT_STARTTLS, (session, option, data) => session.startTls(option, data)],
  [NBD_OPT_INFO, (session, option, data) => session.info(option, data)],
  [NBD_OPT_GO, (session, option, data) => session.info(option, data)],
  [NBD_OPT_STRUCTURED_REPLY, (session, option, data) => session.structured(option, data)],
  [NBD_OPT_LIST_META_CONTEXT, (session, option, data) => session.metaContext(option, data)],
  [NBD_OPT_SET_META_CONTEXT, (session, option, data) => session.metaContext(option, data)],
  [NBD_OPT_EXTENDED_HEADERS, (session, option, data) => session.extendedHeaders(option, data)],
]);

/** Everything that can be asked about an export. */
function contextsOf({ snapshots }: ExportInfo): MetaContext[] {
  const diffs = snapshots.map((snapshot) => ({ name: DIFF_PREFIX + snapshot, snapshot }));
  return [{ name: BASE_ALLOCATION, snapshot: undefined }, ...diffs];
}

/** LIST: no queries ask for all, and what ends in a colon for everything that begins so. SET takes whole names only. */
function isWanted(name: string, queries: readonly string[], choosing: boolean): boolean {
  if (queries.includes(name)) return true;
  if (choosing) return false;
  return queries.length === 0 || queries.some((query) => query.endsWith(":") && name.startsWith(query));
}

function describe(found: ExportInfo, flags: number, wanted: readonly number[]): Uint8Array[] {
  const size = new Uint8Array(12);
  viewOf(size).setUint16(0, NBD_INFO_EXPORT);
  setUint64(viewOf(size), 2, found.sizeBytes);
  viewOf(size).setUint16(10, flags);
  const blocks = new Uint8Array(14);
  viewOf(blocks).setUint16(0, NBD_INFO_BLOCK_SIZE);
  viewOf(blocks).setUint32(2, 1);
  viewOf(blocks).setUint32(6, 4096);
  viewOf(blocks).setUint32(10, REQUEST_SIZE_BYTES_MAX);
  const infos: Uint8Array[] = [size, blocks];
  if (wanted.includes(NBD_INFO_NAME)) infos.push(infoText(NBD_INFO_NAME, found.name));
  if (wanted.includes(NBD_INFO_DESCRIPTION)) infos.push(infoText(NBD_INFO_DESCRIPTION, found.description));
  return infos;
}

function infoText(type: number, text: string): Uint8Array {
  const encoded = new TextEncoder().encode(text);
  const payload = new Uint8Array(2 + encoded.byteLength);
  viewOf(payload).setUint16(0, type);
  payload.set(encoded, 2);
  return payload;
}

/** u32 name length, name; what follows is for people. */
function encodeServer(name: string, description: string): Uint8Array {
  const [encoded, text] = [new TextEncoder().encode(name), new TextEncoder().encode(description)];
  const payload = new Uint8Array(4 + encoded.byteLength + text.byteLength);
  viewOf(payload).setUint32(0, encoded.byteLength);
  payload.set(encoded, 4);
  payload.set(text, 4 + encoded.byteLength);
  return payload;
}

function encodeContext(id: number, name: string): Uint8Array {
  const encoded = new TextEncoder().encode(name);
  const payload = new Uint8Array(4 + encoded.byteLength);
  viewOf(payload).setUint32(0, id);
  payload.set(encoded, 4);
  return payload;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
