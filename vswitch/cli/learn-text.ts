// The learn action as people write it. Pure. Source: ovs-actions(7).
// Invariant: what is formatted parses to the same value.
import {
  type BitRange,
  type LearnAction,
  type LearnSpec,
  OXM_FIELDS,
  OXM_NAMES,
  type OxmFieldName,
  widenPort,
} from "../../base/openflow/index.js";
import { flowTextError } from "./errors.js";
import {
  bytesToNumber,
  formatFieldValue,
  formatHex,
  isFieldName,
  numberToBytes,
  parseFieldValue,
  parseNumber,
} from "./field-text.js";
import { splitKeyValues } from "./key-values.js";
import { cNumber, leadingNumber, tableNumber } from "./number-text.js";
import { formatRange, parseRange, splitArrow, splitPair } from "./range-text.js";

const TABLE = 1;
const PRIORITY = 0x8000;

type Writable<T> = { -readonly [K in keyof T]: T[K] };

const NUMBERS: Readonly<
  Record<
    string,
    readonly [
      (
        | "tableId"
        | "idleTimeoutSeconds"
        | "hardTimeoutSeconds"
        | "finIdleTimeoutSeconds"
        | "finHardTimeoutSeconds"
        | "priority"
        | "limit"
      ),
      max: number,
    ]
  >
> = {
  table: ["tableId", 254],
  idle_timeout: ["idleTimeoutSeconds", 0xffff],
  hard_timeout: ["hardTimeoutSeconds", 0xffff],
  fin_idle_timeout: ["finIdleTimeoutSeconds", 0xffff],
  fin_hard_timeout: ["finHardTimeoutSeconds", 0xffff],
  priority: ["priority", 0xffff],
  limit: ["limit", 0xffffffff],
};

/** Throws FLOW_TEXT_INVALID. */
export function parseLearn(argument: string): LearnAction {
  const specs: LearnSpec[] = [];
  const action: Writable<LearnAction> = {
    type: "learn",
    idleTimeoutSeconds: 0,
    hardTimeoutSeconds: 0,
    priority: PRIORITY,
    cookie: 0n,
    tableId: TABLE,
    finIdleTimeoutSeconds: 0,
    finHardTimeoutSeconds: 0,
    sendFlowRemoved: false,
    deleteLearned: false,
    limit: 0,
    specs,
  };
  for (const { key, value, delimiter } of splitKeyValues(argument)) {
    const number = Object.hasOwn(NUMBERS, key) ? NUMBERS[key] : undefined;
    if (key === "table") action.tableId = learnTable(value, argument);
    else if (number !== undefined) action[number[0]] = (leadingNumber(value) & number[1]) >>> 0;
    else if (key === "cookie") action.cookie = BigInt.asUintN(64, cNumber(value) ?? 0n);
    else if (key === "result_dst") action.result = oneBit(parseRange(value));
    else if (key === "send_flow_rem") action.sendFlowRemoved = true;
    else if (key === "delete_learned") action.deleteLearned = true;
    else specs.push(parseSpec(`${key}${delimiter}${value}`, argument));
  }
  return action;
}

function learnTable(text: string, whole: string): number {
  const table = tableNumber(text, `unknown table "${text}"`);
  if (table === 255) throw flowTextError(`${whole}: table id 255 not valid for \`learn' action`);
  return table;
}

function oneBit(range: BitRange): BitRange {
  if (range.bits !== 1) throw flowTextError("result_dst in 'learn' action must be a single bit");
  return range;
}

/** `whole` is all of the argument, to be told. */
function parseSpec(text: string, whole: string): LearnSpec {
  if (text.startsWith("output:")) return { kind: "output", source: parseRange(text.slice(7)) };
  if (text.startsWith("load:")) {
    const [from, to] = splitArrow(text.slice(5));
    const destination = parseRange(to);
    return { kind: "load", source: parseSource(from, destination), destination };
  }
  const [key, value] = splitPair(text);
  if (!isFieldName(key.split("[")[0] as string)) throw flowTextError(`${whole}: unknown keyword ${key}`);
  const destination = parseRange(key);
  if (value === undefined) return { kind: "match", source: destination, destination };
  return { kind: "match", source: parseSource(value, destination), destination };
}

/** A part of a field as wide as `destination`, or a value for it. */
function parseSource(text: string, destination: BitRange): BitRange | bigint {
  const field = OXM_FIELDS[destination.field];
  if (/^[A-Za-z]\w*(\[.*\])?$/.test(text) && !/^(LOCAL|IN_PORT|CONTROLLER)$/i.test(text)) {
    const source = parseRange(text);
    if (source.bits !== destination.bits)
      throw flowTextError(
        `bit widths of source (${source.bits}) and destination (${destination.bits}) differ`,
      );
    return source;
  }
  if (destination.bits === field.bits) {
    const { value, mask } = parseFieldValue(field, text);
    if (mask !== undefined) throw flowTextError(`${text.slice(0, 60)}: learn matches no masks`);
    return bytesToNumber(value);
  }
  return parseNumber(text, (1n << BigInt(destination.bits)) - 1n);
}

/** `portText` is for the ports of matches. */
export function formatLearn(action: LearnAction, portText?: (port: number) => string): string {
  const { cookie, result } = action;
  const parts = [
    `table=${action.tableId}`,
    ...ifSet("idle_timeout", action.idleTimeoutSeconds),
    ...ifSet("hard_timeout", action.hardTimeoutSeconds),
    ...ifSet("fin_idle_timeout", action.finIdleTimeoutSeconds),
    ...ifSet("fin_hard_timeout", action.finHardTimeoutSeconds),
    ...(action.priority === PRIORITY ? [] : [`priority=${action.priority}`]),
    ...(action.sendFlowRemoved ? ["send_flow_rem"] : []),
    ...(action.deleteLearned ? ["delete_learned"] : []),
    ...(cookie === 0n ? [] : [`cookie=0x${cookie.toString(16)}`]),
    ...ifSet("limit", action.limit),
    ...(result === undefined ? [] : [`result_dst=${formatRange(result)}`]),
    ...action.specs.map((spec) => formatSpec(spec, portText)),
  ];
  return `learn(${parts.join(",")})`;
}

function ifSet(name: string, value: number): string[] {
  return value === 0 ? [] : [`${name}=${value}`];
}

/** Elsewhere they have all of their digits. */
const UNPADDED: ReadonlySet<OxmFieldName> = new Set<OxmFieldName>(["ipv6_flabel", "vlan_tci"]);

function formatSpec(spec: LearnSpec, portText: ((port: number) => string) | undefined): string {
  const { source } = spec;
  if (spec.kind === "output") return `output:${formatRange(spec.source)}`;
  const { destination } = spec;
  if (spec.kind === "load")
    return `load:${typeof source === "bigint" ? formatHex(source) : formatRange(source)}->${formatRange(destination)}`;
  if (typeof source !== "bigint") {
    const [from, to] = [formatRange(source), formatRange(destination)];
    return from === to ? to : `${to}=${from}`;
  }
  const field = OXM_FIELDS[destination.field];
  if (destination.bits !== field.bits) return `${formatRange(destination)}=${formatHex(source)}`;
  if (portText !== undefined && OXM_NAMES[field.name].manual === "in_port")
    return `in_port=${portText(widenPort(Number(source)))}`;
  if (UNPADDED.has(field.name)) return `${OXM_NAMES[field.name].manual}=${formatHex(source)}`;
  return `${OXM_NAMES[field.name].manual}=${formatFieldValue(field, { value: numberToBytes(source, field.size) })}`;
}
