// Flows as people write them: "table=0,priority=100,tcp,nw_dst=10.0.0.1,actions=output:2". Pure.
// Source: ovs-ofctl(8), Flow Syntax.
import {
  type FlowStats,
  type Instruction,
  type Match,
  OFP13_VERSION,
  OFPFF_CHECK_OVERLAP,
  OFPFF_NO_BYT_COUNTS,
  OFPFF_NO_PKT_COUNTS,
  OFPFF_RESET_COUNTS,
  OFPFF_SEND_FLOW_REM,
  OFPTT_ALL,
} from "../../base/openflow/index.js";
import { formatDuration } from "./duration-text.js";
import { flowTextError } from "./errors.js";
import { parsePort } from "./field-text.js";
import { parseInstructions } from "./instruction-text.js";
import { splitKeyValues } from "./key-values.js";
import { MatchReader, type PortNumbers } from "./match-reader.js";
import { matchInVersion, matchParts, type PortNames } from "./match-text.js";
import { tableNumber } from "./number-text.js";
import {
  Carriers,
  P_ANY,
  P_NXM_OF11_UP,
  P_OF12_UP,
  P_OF13_UP,
  P_TABLE_ID,
  type ProtocolSet,
} from "./protocol-set.js";
import { instructionsText } from "./version-text.js";

export { formatMatch } from "./match-text.js";

export interface FlowText {
  readonly tableId: number | undefined;
  readonly priority: number | undefined;
  readonly cookie: bigint;
  readonly cookieMask: bigint;
  readonly idleTimeoutSeconds: number;
  readonly hardTimeoutSeconds: number;
  readonly outPort: number | undefined;
  readonly outGroup: number | undefined;
  /** OFPFF_* bits. */
  readonly flags: number;
  readonly match: Match;
  /** undefined when no actions were asked for. */
  readonly instructions: readonly Instruction[] | undefined;
  /** What had to be left out of the match, to be told. */
  readonly notes: readonly string[];
  /** For OpenFlow 1.4 and up: 0 = the first to go when the table is full. */
  readonly importance: number;
  /** What can carry the flow. */
  readonly protocols: ProtocolSet;
}

/** Parts that a flow may have beside its match. "actions" are then required. */
export type FlowPart = "actions" | "priority" | "timeouts" | "flags" | "out";
/** For add-flow. */
export const FLOW_PARTS: ReadonlySet<FlowPart> = new Set(["actions", "priority", "timeouts", "flags"]);
/** For dump-flows and its like. */
export const FILTER_PARTS: ReadonlySet<FlowPart> = new Set(["out"]);

export interface ParseFlowOptions {
  /** Default: all parts, and actions are optional. */
  readonly parts?: ReadonlySet<FlowPart>;
  readonly ports?: PortNumbers | undefined;
  /** Whose actions are wanted, by the number on the wire; default: 1.3. */
  readonly version?: number;
  /** The flow is to be added: it has one cookie. */
  readonly isNew?: boolean;
}

const FLOW_TEXT_LENGTH_MAX = 64 * 1024;
const U64 = (1n << 64n) - 1n;
const FLAGS: Readonly<Record<string, number>> = {
  send_flow_rem: OFPFF_SEND_FLOW_REM,
  check_overlap: OFPFF_CHECK_OVERLAP,
  reset_counts: OFPFF_RESET_COUNTS,
  no_packet_counts: OFPFF_NO_PKT_COUNTS,
  no_byte_counts: OFPFF_NO_BYT_COUNTS,
};
/** Where a flag is not known to every version. */
const FLAG_PROTOCOLS: Readonly<Record<string, ProtocolSet>> = {
  reset_counts: P_OF12_UP,
  no_packet_counts: P_OF13_UP,
  no_byte_counts: P_OF13_UP,
};
/** Words that change nothing here. */
const UNHEEDED = new Set(["allow_hidden_fields", "no_readonly_table"]);
/** What dump-flows prints beside a flow: its own output can be read back. */
const IGNORED = new Set(["duration", "n_packets", "n_bytes", "idle_age", "hard_age"]);

type Draft = { -readonly [K in keyof FlowText]: FlowText[K] };

/** Parses a flow or, without actions, a selection of flows. Throws FLOW_TEXT_INVALID. */
export function parseFlow(text: string, options: ParseFlowOptions = {}): FlowText {
  if (text.length > FLOW_TEXT_LENGTH_MAX) throw flowTextError("the flow is too long");
  const { parts, ports } = options;
  const withActions = parts === undefined || parts.has("actions");
  const [head, actions] = withActions ? splitActions(text) : [text, undefined];
  if (parts?.has("actions") === true && actions === undefined) throw flowTextError("must specify an action");
  const flow: Draft = {
    tableId: undefined,
    priority: undefined,
    cookie: 0n,
    cookieMask: 0n,
    idleTimeoutSeconds: 0,
    hardTimeoutSeconds: 0,
    outPort: undefined,
    outGroup: undefined,
    flags: 0,
    match: [],
    instructions: undefined,
    notes: [],
    importance: 0,
    protocols: P_ANY,
  };
  const carriers = new Carriers();
  const reader = new MatchReader(ports, carriers);
  const has = (part: FlowPart): boolean => parts === undefined || parts.has(part);
  for (const { key, value } of splitKeyValues(head)) {
    if (reader.takeProtocol(key) || UNHEEDED.has(key)) continue;
    const flag = Object.hasOwn(FLAGS, key) ? FLAGS[key] : undefined;
    if (flag !== undefined && has("flags")) {
      flow.flags |= flag;
      carriers.restrict(FLAG_PROTOCOLS[key] ?? P_ANY);
    } else if (value === "" && (reader.takePresence(key) || reader.takeField(key, "0/0"))) continue;
    else if (value === "") throw flowTextError(`field ${key} missing value`);
    else if (!takePart(flow, key, value, has, ports) && !reader.takeField(key, value)) {
      if (!IGNORED.has(key)) throw flowTextError(`unknown keyword ${key}`);
    }
  }
  const { match, notes } = reader.finish();
  // In a request for flows the table has a place in every version.
  if (flow.tableId !== undefined && parts !== FILTER_PARTS) carriers.restrict(P_TABLE_ID);
  if (flow.cookieMask !== 0n) carriers.restrict(P_NXM_OF11_UP);
  const { tableId } = flow;
  if (options.isNew === true && flow.cookieMask !== 0n)
    throw flowTextError("flow additions cannot use a cookie mask");
  const context = { version: options.version ?? OFP13_VERSION, carriers, ports, flow: { match, tableId } };
  const instructions = actions === undefined ? undefined : parseInstructions(actions, context);
  return { ...flow, match, notes, instructions, protocols: carriers.set };
}

/** Everything before "actions=" or "action=", and everything behind it. */
function splitActions(text: string): [head: string, actions: string | undefined] {
  const at = /(^|[\s,])actions?=/.exec(text);
  return at === null
    ? [text, undefined]
    : [text.slice(0, at.index), text.slice(at.index + at[0].length).trim()];
}

/** Takes what is no match field; false when `key` is none of it. */
function takePart(
  flow: Draft,
  key: string,
  value: string,
  has: (part: FlowPart) => boolean,
  ports: PortNumbers | undefined,
): boolean {
  const u16 = (): number => bounded(value, 0xffffn, `invalid ${key} "${value}"`);
  if (key === "table") {
    const tableId = tableNumber(value, `unknown table "${value}"`);
    // The number of all tables is as none.
    flow.tableId = tableId === OFPTT_ALL ? undefined : tableId;
  } else if (key === "priority" && has("priority")) flow.priority = u16();
  else if (key === "idle_timeout" && has("timeouts")) flow.idleTimeoutSeconds = u16();
  else if (key === "hard_timeout" && has("timeouts")) flow.hardTimeoutSeconds = u16();
  else if (key === "importance" && has("timeouts")) flow.importance = u16();
  else if (key === "out_port" && has("out")) flow.outPort = outPort(value, ports);
  else if (key === "out_group" && has("out"))
    flow.outGroup = bounded(value, 0xffffffffn, `invalid out_group "${value}"`);
  else if (key === "cookie") {
    const [number, mask] = value.split("/", 2) as [string, string?];
    flow.cookie = cookieOf(number);
    flow.cookieMask = mask === undefined ? 0n : mask === "-1" ? U64 : cookieOf(mask);
    // Without a mask a cookie selects nothing; in a selection it counts in full.
    if (mask === undefined && has("out") && !has("actions")) flow.cookieMask = U64;
  } else return false;
  return true;
}

function outPort(value: string, ports: PortNumbers | undefined): number {
  const named = ports?.(value);
  if (named !== undefined) return named;
  try {
    return parsePort(value);
  } catch {
    throw flowTextError(`${value} is not a valid OpenFlow port`);
  }
}

function bounded(text: string, max: bigint, refusal: string): number {
  if (!/^(\d{1,20}|0x[0-9a-fA-F]{1,16})$/.test(text) || BigInt(text) > max) throw flowTextError(refusal);
  return Number(text);
}

function cookieOf(text: string): bigint {
  if (/^(\d{1,20}|0x[0-9a-fA-F]{1,16})$/.test(text) && BigInt(text) <= U64) return BigInt(text);
  if (/^-\d{1,19}$/.test(text)) return BigInt.asUintN(64, BigInt(text));
  throw flowTextError(`invalid numeric format ${text}`);
}

export interface FlowFormat {
  /** false: only what describes the flow, no counters. */
  readonly stats?: boolean;
  readonly names?: PortNames | undefined;
  /** In whose words, by the number on the wire; default: 1.3. */
  readonly version?: number;
}

/** One line of dump-flows. */
export function formatFlow(flow: FlowStats, format: FlowFormat = {}): string {
  const stats = format.stats !== false;
  const head = [
    ...(stats || flow.cookie !== 0n ? [`cookie=0x${flow.cookie.toString(16)}`] : []),
    ...(stats ? [`duration=${formatDuration(flow)}`] : []),
    ...(stats || flow.tableId !== 0 ? [`table=${flow.tableId}`] : []),
    ...(stats ? [`n_packets=${countText(flow.packetCount)}`, `n_bytes=${countText(flow.byteCount)}`] : []),
    ...(flow.idleTimeoutSeconds > 0 ? [`idle_timeout=${flow.idleTimeoutSeconds}`] : []),
    ...(flow.hardTimeoutSeconds > 0 ? [`hard_timeout=${flow.hardTimeoutSeconds}`] : []),
  ].map((part) => `${part}, `);
  const flags = Object.entries(FLAGS).flatMap(([name, bit]) =>
    (flow.flags & bit) === 0 ? [] : [`${name} `],
  );
  const later = [
    ...(flow.importance === undefined ? [] : [`importance=${flow.importance}, `]),
    ...(stats && flow.idleAgeSeconds !== undefined ? [`idle_age=${flow.idleAgeSeconds}, `] : []),
    ...(stats && flow.hardAgeSeconds !== undefined && flow.hardAgeSeconds !== flow.durationSeconds
      ? [`hard_age=${flow.hardAgeSeconds}, `]
      : []),
  ];
  const version = format.version ?? OFP13_VERSION;
  const match = formatPriorityAndMatch(flow.priority, matchInVersion(flow.match, version), format.names);
  return ` ${[...head, ...flags, ...later].join("")}${match === "" ? "" : `${match} `}actions=${instructionsText(flow.instructions, version, format.names)}`;
}

/** All ones is what a switch says that does not count. */
function countText(count: bigint): string {
  return count === U64 ? "?" : String(count);
}

/** "priority=100,tcp,…"; the default priority is not told. */
export function formatPriorityAndMatch(priority: number, match: Match, names?: PortNames): string {
  return [...(priority === 0x8000 ? [] : [`priority=${priority}`]), ...matchParts(match, names)].join(",");
}
