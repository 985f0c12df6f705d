// The bytes of OpenFlow messages as ovs-ofctl prints them: what kind of message it is, what it says, or where its bytes
// are wrong, with a hexadecimal dump. Pure. Source: ovs-ofctl(8), ofp-print; held against it byte by byte by
// test/conformance/ofp-print.test.ts.
import {
  type AnyDialect,
  encodeMessage,
  kindOf,
  type MessageKind,
  OFP10_VERSION,
  OFP13_VERSION,
  OFPT,
  type OpenFlowMessage,
  parseMessage,
  sizeFits,
  WireError,
} from "../../base/openflow/index.js";
import { printedErrorName } from "./error-names.js";
import { formatHexDump } from "./hex-dump.js";
import { laterBody } from "./later-text.js";
import { firstFault, nameOfFault, parseLeniently } from "./lenient-message.js";
import type { PortNames } from "./match-text.js";
import { faultOfMessage } from "./message-check.js";
import { readableBeginning } from "./message-parts.js";
import { bodyText } from "./message-text.js";
import { unspokenBody } from "./tlv-text.js";

const HEADER_SIZE = 8;
const OFPMPF_MORE = 1;
const NXT_PACKET_IN2 = 30;
/** From this on the whole message follows as bytes. */
const VERBOSITY_DUMP = 5;

export interface PrintOptions {
  /** 0 = no packets, 1 = a line for each packet, 3 = its bytes too, 5 = the bytes of the message too. */
  readonly verbosity?: number;
  readonly names?: PortNames | undefined;
}

/** What is printed of `bytes`, one message or what should be one; always ends with a newline. */
export function printMessage(bytes: Uint8Array, options: PrintOptions = {}): string {
  if (bytes.byteLength === 0) return "OpenFlow message is empty\n";
  if (bytes.byteLength < HEADER_SIZE)
    return `OpenFlow packet too short (only ${bytes.byteLength} bytes):\n${formatHexDump(bytes)}`;
  const kind = kindOf(bytes);
  const length = ((bytes[2] as number) << 8) | (bytes[3] as number);
  if (length < bytes.byteLength)
    return `(***only uses ${length} bytes out of ${bytes.byteLength}***)\n${formatHexDump(bytes)}`;
  if (length > bytes.byteLength) {
    const head = typeof kind === "string" ? "" : `${headOf(kind, bytes)}\n`;
    return `${head}(***truncated to ${bytes.byteLength} bytes from ${length}***)\n${formatHexDump(bytes)}`;
  }
  if (typeof kind === "string") return `${decodeError(kind)}${formatHexDump(bytes)}`;
  if (!sizeFits(kind, length)) return `${decodeError("OFPBRC_BAD_LEN")}${formatHexDump(bytes)}`;
  return printWhole(kind, bytes, options);
}

/** The same of a message that is a value. Throws RangeError when it does not fit one message. */
export function formatMessage(message: OpenFlowMessage, names?: PortNames, dialect?: AnyDialect): string {
  return printMessage(encodeMessage(message, dialect), { verbosity: 1, names });
}

function printWhole(kind: MessageKind, bytes: Uint8Array, options: PrintOptions): string {
  const head = headOf(kind, bytes) + multipartFlags(kind, bytes);
  const verbosity = options.verbosity ?? 2;
  const unspoken = unspokenBody(kind.name, bytes) ?? laterBody(kind.name, bytes, verbosity);
  if (unspoken !== undefined) {
    if ("error" in unspoken)
      return unspoken.before === undefined
        ? refused(head, unspoken.error, bytes)
        : `${ended(head + unspoken.before)}${decodeError(unspoken.error)}${formatHexDump(bytes)}`;
    const line = ended(head + unspoken.text);
    return verbosity < VERBOSITY_DUMP ? line : line + formatHexDump(bytes);
  }
  const read = readMessage(kind, bytes);
  const told = (message: OpenFlowMessage): string =>
    bodyText(message, {
      kind: kind.name,
      version: bytes[0] as number,
      bytes,
      verbosity,
      names: options.names,
    });
  if (typeof read !== "string") {
    try {
      const line = ended(head + told(read));
      return verbosity < VERBOSITY_DUMP ? line : line + formatHexDump(bytes);
    } catch (thrown) {
      if (!(thrown instanceof WireError)) throw thrown;
      return refused(head, thrown.error, bytes);
    }
  }
  const beginning = readableBeginning(kind, bytes, (one) => {
    const element = readMessage(kind, one);
    return typeof element === "string" ? element : undefined;
  });
  const error = beginning?.error ?? read;
  if (beginning?.bytes === undefined) return refused(head, error, bytes);
  const body = told(readMessage(kind, beginning.bytes) as OpenFlowMessage).replace(/\n$/, "");
  return `${ended(head + body + beginning.ending)}${decodeError(error)}${formatHexDump(bytes)}`;
}

/** The message, or the name of the error for which it is refused. */
function readMessage(kind: MessageKind, bytes: Uint8Array): OpenFlowMessage | string {
  try {
    const fault = firstFault(kind, bytes);
    if (fault !== undefined) return fault;
    const message = parseAny(kind, bytes);
    return faultOfMessage(message, bytes[0] as number) ?? message;
  } catch (thrown) {
    if (thrown instanceof WireError) return nameOfFault(kind, bytes, thrown);
    throw thrown;
  }
}

function ended(text: string): string {
  return text.endsWith("\n") ? text : `${text}\n`;
}

/** Flags stand on a line of their own then. */
function refused(head: string, error: string, bytes: Uint8Array): string {
  return `${head}${head.endsWith("]") ? "\n" : " "}${decodeError(error)}${formatHexDump(bytes)}`;
}

/** Messages of 1.0 may name a table beside the command. */
function parseAny(kind: MessageKind, bytes: Uint8Array): OpenFlowMessage {
  const type = bytes[1] as number;
  if (type === OFPT.hello) return { type: "hello", xid: 0, version: bytes[0] as number };
  if (type <= OFPT.echo_reply && (bytes[0] as number) > OFP13_VERSION) {
    // These are the same in every version.
    return parseMessage(Uint8Array.from([OFP13_VERSION, ...bytes.subarray(1)]));
  }
  if (kind.name === "NXT_RESUME")
    return parseAny({ ...kind, name: "NXT_PACKET_IN2" }, withSubtype(bytes, NXT_PACKET_IN2));
  return parseLeniently(kind, bytes);
}

/** A packet that goes on is written as the packet-in that paused it. */
function withSubtype(bytes: Uint8Array, subtype: number): Uint8Array {
  const changed = bytes.slice();
  changed[15] = subtype;
  return changed;
}

function decodeError(name: string): string {
  return `***decode error: ${printedErrorName(name)}***\n`;
}

/** "OFPT_FLOW_MOD (OF1.3) (xid=0x1):" */
function headOf(kind: MessageKind, bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const direction = /request$/.test(kind.place) ? " request" : /reply$/.test(kind.place) ? " reply" : "";
  return `${kind.name}${direction}${versionText(view.getUint8(0))} (xid=0x${view.getUint32(4).toString(16)}):`;
}

/** Of version numbers on the wire; 1.0 goes without saying. */
function versionText(version: number): string {
  if (version === OFP10_VERSION) return "";
  return version <= 6 ? ` (OF1.${version - 1})` : ` (OF 0x${version.toString(16).padStart(2, "0")})`;
}

function multipartFlags({ place }: MessageKind, bytes: Uint8Array): string {
  if (place === "type" || place === "nx" || place === "onf") return "";
  const flags = ((bytes[10] as number) << 8) | (bytes[11] as number);
  // Only from 1.3 on may a request have more parts.
  const known = /request$/.test(place) && (bytes[0] as number) < OFP13_VERSION ? 0 : OFPMPF_MORE;
  const rest = flags & ~known;
  const parts = [
    ...((flags & known) === 0 ? [] : ["[more]"]),
    ...(rest === 0 ? [] : [`[***unknown flags 0x${rest.toString(16).padStart(4, "0")}***]`]),
  ];
  return parts.length === 0 ? "" : ` flags=${parts.join("")}`;
}
