// Verbs of `plinth ofctl` about bytes: actions, instructions and matches in hexadecimal, errors, hello, packets.
// Source: ovs-ofctl(8) and what ovs-ofctl does with them; these are its verbs for people who write OpenFlow programs.
import { PlinthError } from "../../base/errors/index.js";
import {
  type AnyDialect,
  encodeMessage,
  type FlowMod,
  type Instruction,
  isErrorName,
  type Match,
  OFP10_VERSION,
  OFP15_VERSION,
  parseMessage,
  WireError,
} from "../../base/openflow/index.js";
import { parsePcap } from "../../base/packet/index.js";
import { instructionsFault, listFault } from "./action-check.js";
import { badActionLines } from "./bad-action-text.js";
import type { CommandIo } from "./command-io.js";
import { printedErrorName } from "./error-names.js";
import { checkErrorName, describeError, encodeErrorReply } from "./error-text.js";
import { commandError, flowTextError } from "./errors.js";
import { parseExactFlow } from "./exact-flow-text.js";
import { bytesToNumber } from "./field-text.js";
import { readBytes, readFile } from "./flow-file.js";
import { formatPlainHexDump } from "./hex-dump.js";
import { readHex } from "./hex-input.js";
import { inOrder } from "./instruction-text.js";
import { splitKeyValues } from "./key-values.js";
import { frameOfMatch } from "./match-frame.js";
import { READER_CHECKS } from "./message-check.js";
import { printMessage } from "./message-print.js";
import { type OfctlFlags, warner } from "./ofctl-context.js";
import { formatRecordedFrame } from "./recorded-frame-text.js";
import { TcpStreams } from "./tcp-streams.js";
import { actionsText, instructionsText } from "./version-text.js";

type Words = readonly string[];

/** As ovs-ofctl prints when nothing asks for more. */
const VERBOSITY = 2;
const HEADER_SIZE = 8;
/** This verb ends with the numbers of the system's errors. */
const ENOENT = 2;
const EPROTO = 71;
/** Request and reply: the original writes addresses into no other packet of ARP. */
const ADDRESSED_ARP: readonly number[] = [1, 2];
const ARP_ADDRESS = /^arp_[st](ha|pa)$/;
/** Of OpenFlow, new and old. */
const OPENFLOW_PORTS: readonly number[] = [6653, 6633];

export async function printHex(io: CommandIo, [text = "", verbosity]: Words): Promise<number> {
  const given = text === "-" ? ((await readFile(io, "-")).split("\n", 1)[0] as string) : text;
  const { bytes, rest } = readHex(given);
  if (rest !== "") throw commandError("trailing garbage following hex bytes");
  io.out(
    printMessage(bytes, {
      verbosity: verbosity === undefined ? VERBOSITY : Number.parseInt(verbosity, 10) || 0,
    }),
  );
  return 0;
}

/** Messages of a file, one behind the other, as a recording of a connection has them. */
export async function printFile(io: CommandIo, [path = "-"]: Words, flags: OfctlFlags): Promise<number> {
  const bytes = await readBytes(io, path);
  for (let at = 0; at < bytes.byteLength; ) {
    const left = bytes.byteLength - at;
    if (left < HEADER_SIZE) throw commandError(`${path}: unexpected end of file mid-message`);
    const size = ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
    if (size < HEADER_SIZE) throw commandError(`${path}: ${size}-byte message is too short for OpenFlow`);
    if (size > left) throw commandError(`${path}: unexpected end of file mid-message`);
    io.out(printMessage(bytes.slice(at, at + size), { verbosity: VERBOSITY + flags.more }));
    at += size;
  }
  return 0;
}

/** The messages in the TCP connections of a recording, of the ports named or of OpenFlow's. */
export async function printPcap(io: CommandIo, words: Words, flags: OfctlFlags): Promise<number> {
  const [path = "-", ...names] = words;
  const ports = names.length === 0 ? OPENFLOW_PORTS : names.map(Number);
  const streams = new TcpStreams();
  let before = "";
  for (const { timeMs, frame } of await recorded(io, path)) {
    const segment = streams.add(frame);
    if (segment === undefined) continue;
    if (!ports.includes(segment.sourcePort) && !ports.includes(segment.destinationPort)) continue;
    const { stream } = segment;
    while (stream.bytes.byteLength >= HEADER_SIZE) {
      const size = Math.max(HEADER_SIZE, ((stream.bytes[2] as number) << 8) | (stream.bytes[3] as number));
      if (stream.bytes.byteLength < size) break;
      const stamp = flags.timestamp ? `${new Date(timeMs).toISOString().slice(11, 23)} ` : "";
      const text = printMessage(stream.take(size), { verbosity: VERBOSITY - 1 + flags.more });
      io.out(`${before}${stamp}${segment.name}:\n${text}`);
      before = "\n";
    }
  }
  return 0;
}

/** The packets of recordings, a line for each. */
export async function printPackets(io: CommandIo, paths: Words): Promise<number> {
  for (const path of paths) {
    try {
      for (const { frame } of await recorded(io, path)) io.out(`${flowOf(frame)}\n`);
    } catch (thrown) {
      if (!(thrown instanceof PlinthError)) throw thrown;
      io.err(`plinth ofctl: ${thrown.message}\n`);
      return thrown.message.endsWith("(Protocol error)") ? EPROTO : ENOENT;
    }
  }
  return 0;
}

/** With the port, which no recording tells, and without the checksum. */
function flowOf(frame: Uint8Array): string {
  const text = formatRecordedFrame(frame).replace(/ \w+_csum:[0-9a-f]+$/, "");
  return text.replace(/^((?:\w+,)?)/, "$1in_port=ANY,");
}

async function recorded(
  io: CommandIo,
  path: string,
): Promise<readonly { timeMs: number; frame: Uint8Array }[]> {
  const records = parsePcap(await readBytes(io, path, "open failed"));
  if (records === undefined) throw commandError(`${path}: open failed (Protocol error)`);
  return records;
}

/** One packet, as bytes on standard input. */
export async function printPacket(io: CommandIo): Promise<number> {
  io.out(`${formatRecordedFrame(await readBytes(io, "-"))}\n`);
  return 0;
}

export async function composePacket(io: CommandIo, [text = ""]: Words): Promise<number> {
  const flow = exactFlow(text);
  const operation = flow.find(({ field }) => field === "arp_op");
  const saysWho = operation !== undefined && ADDRESSED_ARP.includes(Number(bytesToNumber(operation.value)));
  const match = saysWho ? flow : flow.filter(({ field }) => !ARP_ADDRESS.test(field));
  io.out(dump(frameOfMatch(match, { payloadSize: 64 })));
  return 0;
}

function exactFlow(text: string): Match {
  try {
    return parseExactFlow(text);
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
    throw flowTextError(`${text}: ${thrown.message}`);
  }
}

/** Without the sign that joins the halves of a line where there is no second. */
function dump(bytes: Uint8Array): string {
  return formatPlainHexDump(bytes).replaceAll(/-$/gm, "");
}

// --- Lines of hexadecimal on standard input

function versionOf(text: string): number {
  if (!/^OpenFlow1[0-5]$/i.test(text)) throw commandError(`${text}: not a valid OpenFlow version`);
  return Number(text.slice(-1)) + 1;
}

/** Lines without comments, and without those that say nothing. */
export async function eachHexLine(io: CommandIo, use: (bytes: Uint8Array) => void): Promise<number> {
  for (const line of (await readFile(io, "-")).split("\n")) {
    const { bytes, rest } = readHex(line.replace(/#.*/, "").trim());
    if (rest !== "") throw commandError("Trailing garbage in hex data");
    if (bytes.byteLength > 0) use(bytes);
  }
  return 0;
}

export async function parseActionsVerb(io: CommandIo, [name = ""]: Words): Promise<number> {
  const version = versionOf(name);
  return eachHexLine(io, (bytes) =>
    tell(io, { refusal: `bad ${name} actions`, version: name }, bytes, () => {
      if (bytes.byteLength % 8 !== 0) throw new WireError("OFPBRC_BAD_LEN", "actions", 0, "no multiple of 8");
      const message = parseMessage(packetOut(version, bytes), dialectOf(version), READER_CHECKS);
      const actions = message.type === "packet_out" ? message.actions : [];
      if (actions.some(({ type }) => type === "experimenter"))
        throw new WireError("OFPBAC_BAD_EXPERIMENTER", "actions", 0, "of an unknown experimenter");
      const fault = listFault(actions, version);
      if (fault !== undefined && isErrorName(fault))
        throw new WireError(fault, "actions", packetOut(version, EMPTY).byteLength, "are refused");
      const again = flowModOf(version, actions.length === 0 ? [] : [{ type: "apply_actions", actions }]);
      const list = again.subarray(version === OFP10_VERSION || again.byteLength === 0 ? 0 : INSTRUCTION_SIZE);
      return `actions=${actionsText(actions, version)}${differences(bytes, list)}`;
    }),
  );
}

export async function parseInstructionsVerb(io: CommandIo, [name = ""]: Words): Promise<number> {
  const version = versionOf(name);
  if (version === OFP10_VERSION) throw commandError(`${name}: has no instructions`);
  return eachHexLine(io, (bytes) =>
    tell(io, { refusal: `bad ${name} instructions`, version: name }, undefined, () => {
      const message = parseMessage(flowMod(version, bytes), dialectOf(version), READER_CHECKS);
      const instructions = message.type === "flow_mod" ? message.instructions : [];
      if (instructions.some(({ type }) => type === "experimenter"))
        throw new WireError("OFPBIC_BAD_EXPERIMENTER", "instructions", 0, "of an unknown experimenter");
      // As those of a flow that matches everything.
      const fault = instructionsFault(instructions, [], undefined, version);
      if (fault !== undefined) throw new WireError(fault, "instructions", 0, "are refused");
      const again = flowModOf(version, inOrder(instructions));
      return `actions=${instructionsText(instructions, version)}${differences(bytes, again)}`;
    }),
  );
}

/** Without what does nothing. */
const isIdle = (one: Instruction): boolean => one.type === "apply_actions" && one.actions.length === 0;

/** The bytes of a flow-mod's instructions, or in 1.0 of its actions. */
function flowModOf(version: number, instructions: readonly Instruction[]): Uint8Array {
  const mod = { ...EMPTY_FLOW_MOD, instructions: instructions.filter((one) => !isIdle(one)) };
  const head = encodeMessage(EMPTY_FLOW_MOD, dialectOf(version)).byteLength;
  return encodeMessage(mod, dialectOf(version)).subarray(head);
}

/** A line for each byte that is another in `after`. */
export function differences(before: Uint8Array, after: Uint8Array, head = ""): string {
  const lines: string[] = [];
  const told = (byte: number | undefined): string =>
    byte === undefined ? "(none)" : byte.toString(16).padStart(2, "0");
  for (let i = 0; i < Math.max(before.byteLength, after.byteLength); i++)
    if (before[i] !== after[i])
      lines.push(`\n${head}${String(i).padStart(2)}: ${told(before[i])} -> ${told(after[i])}`);
  return lines.join("");
}

/** With `bytes`, what is refused is shown. */
function tell(
  io: CommandIo,
  { refusal, version }: { readonly refusal: string; readonly version: string },
  bytes: Uint8Array | undefined,
  read: () => string,
): void {
  try {
    io.out(`${read()}\n\n`);
  } catch (thrown) {
    if (!(thrown instanceof WireError)) throw thrown;
    io.out(`${refusal}: ${printedErrorName(thrown.error)}\n\n`);
    if (bytes !== undefined) tellBadActions(io, bytes, thrown, version);
  }
}

/** `actions` are told with where in them the fault lies. */
function tellBadActions(io: CommandIo, actions: Uint8Array, thrown: WireError, version: string): void {
  const warn = warner(io);
  if (actions.byteLength % 8 !== 0) {
    warn("ofp_actions", `OpenFlow message actions length ${actions.byteLength} is not a multiple of 8`);
    return;
  }
  const head = packetOut(versionOf(version), EMPTY).byteLength;
  const fault = { error: thrown.error, at: Math.max(0, thrown.offset - head) };
  for (const line of badActionLines(actions, fault, version)) warn("ofp_actions", line);
}

function dialectOf(version: number): AnyDialect {
  return { version, flowModTableId: true } as AnyDialect;
}

/** A packet-out that has these actions and nothing else. */
function packetOut(version: number, actions: Uint8Array): Uint8Array {
  const message = {
    type: "packet_out",
    xid: 0,
    bufferId: 1,
    inPort: 1,
    actions: [],
    data: new Uint8Array(0),
  } as const;
  // 1.5 has a match there, the others a port.
  if (version === OFP15_VERSION) return withTail(EMPTY_PACKET_OUT_15, actions, 12);
  const empty = encodeMessage(message, dialectOf(version));
  return withTail(empty, actions, version === OFP10_VERSION ? 14 : 16);
}

/** Buffer 1, no actions, a match of nothing. */
const EMPTY_PACKET_OUT_15 = Uint8Array.of(
  ...[OFP15_VERSION, 13, 0, 24, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
  ...[0, 1, 0, 4, 0, 0, 0, 0],
);

const EMPTY = new Uint8Array(0);
const INSTRUCTION_SIZE = 8;
const EMPTY_FLOW_MOD: FlowMod = {
  ...({ type: "flow_mod", xid: 0, command: "add", tableId: 0, cookie: 0n, cookieMask: 0n } as const),
  ...{ idleTimeoutSeconds: 0, hardTimeoutSeconds: 0, priority: 0, bufferId: 0, outPort: 0, outGroup: 0 },
  ...{ flags: 0, match: [], instructions: [] },
};

/** A flow-mod that has these instructions and matches everything. */
function flowMod(version: number, instructions: Uint8Array): Uint8Array {
  return withTail(encodeMessage(EMPTY_FLOW_MOD, dialectOf(version)), instructions, undefined);
}

function withTail(message: Uint8Array, tail: Uint8Array, lengthAt: number | undefined): Uint8Array {
  const whole = Uint8Array.from([...message, ...tail]);
  const view = new DataView(whole.buffer);
  view.setUint16(2, whole.byteLength);
  if (lengthAt !== undefined) view.setUint16(lengthAt, tail.byteLength);
  return whole;
}

// --- Errors and hello

export async function printErrorVerb(io: CommandIo, [name = ""]: Words): Promise<number> {
  io.out(describeError(name));
  return 0;
}

export async function encodeErrorVerb(io: CommandIo, [name = "", hex = ""]: Words): Promise<number> {
  checkErrorName(name);
  const { bytes, rest } = readHex(hex);
  if (rest !== "") throw commandError("Trailing garbage in hex data");
  if (bytes.byteLength < HEADER_SIZE) throw commandError("Request too short");
  if ((((bytes[2] as number) << 8) | (bytes[3] as number)) !== bytes.byteLength)
    throw commandError("Request size inconsistent");
  if ((bytes[0] as number) < OFP10_VERSION || (bytes[0] as number) > OFP15_VERSION) {
    const version = (bytes[0] as number).toString(16).padStart(2, "0");
    warner(io)("ofp_errors", `cannot encode error for unknown OpenFlow version 0x${version}`, "err");
  }
  io.out(dump(encodeErrorReply(name, bytes)));
  return 0;
}

export async function encodeHelloVerb(io: CommandIo, [text = ""]: Words): Promise<number> {
  const bits = /^(0x[0-9a-fA-F]{1,8}|\d{1,10})$/.test(text) ? Number(text) : 0;
  const versions = Array.from({ length: 31 }, (_, i) => i + 1).filter((one) => ((bits >>> one) & 1) === 1);
  const highest = versions.at(-1);
  if (highest === undefined) throw commandError(`${text}: names no version of OpenFlow`);
  // Who speaks everything up to its version need not say so.
  const isPlain = versions.length === highest;
  const hello = encodeMessage({ type: "hello", xid: 1, version: highest, ...(isPlain ? {} : { versions }) });
  io.out(dump(hello) + printMessage(hello, { verbosity: 0 }));
  return 0;
}

/** How a text falls apart into keys and values. */
export async function parseKeyValueVerb(io: CommandIo, texts: Words): Promise<number> {
  for (const text of texts) {
    const pairs = splitKeyValues(text).map(({ key, value }) => (value === "" ? key : `${key}=${value}`));
    io.out(`${pairs.join(", ")}\n`);
  }
  return 0;
}
