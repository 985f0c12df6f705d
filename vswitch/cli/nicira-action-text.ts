// The small Nicira actions as people write them: controller, resubmit, multipath, bundle, conjunction and the like.
// Pure. Source: ovs-actions(7). Invariant: what is formatted parses to the same value.
import {
  type Action,
  type BundleAction,
  type ControllerAction,
  type HashFields,
  type MultipathAction,
  OFPP_CONTROLLER,
  OFPP_IN_PORT,
  OFPR,
  type PacketInReason,
  type ResubmitAction,
  widenPort,
} from "../../base/openflow/index.js";
import { flowTextError } from "./errors.js";
import { formatPort, parseSmall, portOr } from "./field-text.js";
import { splitKeyValues } from "./key-values.js";
import { boundedNumber, leadingNumber, tableNumber, wordOf } from "./number-text.js";
import { formatRange, parseRange, splitArrow } from "./range-text.js";

const U32 = 0xffffffff;
const WHOLE_PACKET = 0xffff;
const REASONS = Object.keys(OFPR) as PacketInReason[];

export function parseController(argument: string): Action {
  if (argument === "" || /^\d+$/.test(argument)) {
    const maxLength = argument === "" ? WHOLE_PACKET : boundedNumber(argument, WHOLE_PACKET, "max_len");
    return { type: "output", port: OFPP_CONTROLLER, maxLength };
  }
  const action: { -readonly [K in keyof ControllerAction]: ControllerAction[K] } = {
    type: "controller",
    maxLength: WHOLE_PACKET,
    controllerId: 0,
    reason: "action",
  };
  for (const { key, value } of splitKeyValues(argument)) {
    if (key === "max_len") action.maxLength = boundedNumber(value, WHOLE_PACKET, "max_len");
    else if (key === "id") action.controllerId = boundedNumber(value, 0xffff, "id");
    else if (key === "reason") action.reason = parseReason(value);
    else if (key === "userdata") action.userdata = parseHex(value, "controller' action `userdata");
    else if (key === "meter_id") action.meterId = wordOf(value);
    else if (key === "pause") action.pause = true;
    else throw flowTextError(`unknown key "${key}" parsing controller action`);
  }
  const { controllerId, reason, userdata, pause, meterId } = action;
  const plain = controllerId === 0 && reason === "action" && pause === undefined;
  return plain && userdata === undefined && meterId === undefined
    ? { type: "output", port: OFPP_CONTROLLER, maxLength: action.maxLength }
    : action;
}

function parseReason(text: string): PacketInReason {
  const reason = REASONS.find((name) => name === text);
  if (reason === undefined) throw flowTextError(`unknown reason "${text.slice(0, 60)}"`);
  return reason;
}

/** "01.02.ff" or "0102ff". */
function parseHex(text: string, what: string): Uint8Array {
  if (!/^([0-9a-fA-F]{2}\.?)*$/.test(text)) throw flowTextError(`bad hex digit in \`${what}'`);
  return Uint8Array.from(text.match(/[0-9a-fA-F]{2}/g) ?? [], (digits) => Number.parseInt(digits, 16));
}

function formatHexBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(".");
}

export function formatController(action: ControllerAction): string {
  const { maxLength, controllerId, reason, userdata, pause, meterId } = action;
  const parts = [
    ...(reason === "action" ? [] : [`reason=${reason}`]),
    ...(maxLength === WHOLE_PACKET ? [] : [`max_len=${maxLength}`]),
    ...(controllerId === 0 ? [] : [`id=${controllerId}`]),
    ...(userdata === undefined || userdata.byteLength === 0 ? [] : [`userdata=${formatHexBytes(userdata)}`]),
    ...(pause === undefined ? [] : ["pause"]),
    // 0 is no meter.
    ...(meterId === undefined || meterId === 0 ? [] : [`meter_id=${meterId}`]),
  ];
  return parts.length === 0 ? `CONTROLLER:${maxLength}` : `controller(${parts.join(",")})`;
}

/** Bytes of a note; what is missing to the size that fits the wire is zero. */
export function parseNote(argument: string): Action {
  if (!/^([0-9a-fA-F]{2}\.?)*$/.test(argument)) throw flowTextError("bad hex digit in `note' argument");
  const bytes = parseHex(argument, "note");
  const data = new Uint8Array(6 + 8 * Math.max(0, Math.ceil((bytes.byteLength - 6) / 8)));
  data.set(bytes);
  return { type: "note", data };
}

export function parseResubmit(
  argument: string,
  ports?: (name: string) => number | undefined,
): ResubmitAction {
  const [port, table, ct] = argument.split(",");
  const parsed = {
    type: "resubmit",
    port:
      port === undefined || port === ""
        ? OFPP_IN_PORT
        : (ports?.(port.replaceAll('"', "")) ?? portOr(port, `${port}: resubmit to unknown port`)),
    tableId:
      table === undefined || table === "" ? 255 : tableNumber(table, `${table}: resubmit to unknown table`),
    withCt: ct === "ct",
  } as const;
  if (ct !== undefined && ct !== "" && ct !== "ct") throw flowTextError(`${ct}: unknown parameter`);
  if (parsed.port === OFPP_IN_PORT && parsed.tableId === 255)
    throw flowTextError('at least one "in_port" or "table" must be specified on resubmit');
  return parsed;
}

export function formatResubmit(
  { port, tableId, withCt }: ResubmitAction,
  portText: (port: number) => string = formatPort,
): string {
  if (port !== OFPP_IN_PORT && tableId === 255 && !withCt) return `resubmit:${portText(port)}`;
  const parts = [port === OFPP_IN_PORT ? "" : portText(port), tableId === 255 ? "" : `${tableId}`];
  return `resubmit(${[...parts, ...(withCt ? ["ct"] : [])].join(",")})`;
}

const HASH_FIELDS: readonly HashFields[] = [
  "eth_src",
  "symmetric_l4",
  "symmetric_l3l4",
  "symmetric_l3l4+udp",
  "symmetric_l3",
  "nw_src",
  "nw_dst",
];
const LINK_ALGORITHMS: readonly MultipathAction["algorithm"][] = [
  "modulo_n",
  "hash_threshold",
  "hrw",
  "iter_hash",
];
const MEMBER_ALGORITHMS: readonly BundleAction["algorithm"][] = ["active_backup", "hrw"];

/** `whole` is what is told when `text` is none of them. */
function oneOf<T extends string>(
  values: readonly T[],
  text: string | undefined,
  whole: string,
  what: string,
): T {
  const value = values.find((one) => one === text?.toLowerCase());
  if (value === undefined) throw flowTextError(`${whole}: unknown ${what} \`${text ?? ""}'`);
  return value;
}

export function parseMultipath(argument: string): MultipathAction {
  const [fields, basis = "", algorithm, links = "", arg = "", target] = argument.split(/[, ]+/);
  if (target === undefined || target === "")
    throw flowTextError(`${argument}: not enough arguments to multipath action`);
  const count = leadingNumber(links);
  const hashed = oneOf(HASH_FIELDS, fields, argument, "fields");
  const chosen = oneOf(LINK_ALGORITHMS, algorithm, argument, "algorithm");
  if (count < 1 || count > 65536)
    throw flowTextError(`${argument}: n_links ${count} is not in valid range 1 to 65536`);
  const destination = parseRange(target);
  const values = 2 ** destination.bits;
  if (destination.bits < 16 && count > values)
    throw flowTextError(
      `${argument}: ${destination.bits}-bit destination field has ${values} possible values, less than specified n_links ${count}`,
    );
  return {
    type: "multipath",
    fields: hashed,
    basis: leadingNumber(basis) & 0xffff,
    algorithm: chosen,
    linkMax: count - 1,
    argument: leadingNumber(arg) >>> 0,
    destination,
  };
}

export function formatMultipath(action: MultipathAction): string {
  const { fields, basis, algorithm, linkMax, argument, destination } = action;
  return `multipath(${[fields, basis, algorithm, linkMax + 1, argument, formatRange(destination)].join(",")})`;
}

export function parseBundle(argument: string, load: boolean): BundleAction {
  const words = argument.split(/[, ]+/);
  const [fields, basis = "", algorithm, memberType] = words;
  const target = load ? words[4] : undefined;
  const rest = words.slice(load ? 5 : 4).join(",");
  const [delimiter = "", ...members] = rest.split(/[:, ]+/).filter((word, i) => word !== "" || i === 0);
  if (delimiter === "") throw flowTextError(`${argument}: not enough arguments to bundle action`);
  if (!/^(members|slaves)$/i.test(delimiter))
    throw flowTextError(`${argument}: missing member delimiter, expected \`members', got \`${delimiter}'`);
  const hashed = oneOf(HASH_FIELDS, fields, argument, "fields");
  const chosen = oneOf(MEMBER_ALGORITHMS, algorithm, argument, "algorithm");
  oneOf(["ofport"], memberType, argument, "member_type");
  return {
    type: "bundle",
    fields: hashed,
    basis: leadingNumber(basis) & 0xffff,
    algorithm: chosen,
    members: members.map((port) => portOr(port, `${port}: bad port number`) & 0xffff),
    ...(target === undefined ? {} : { destination: parseRange(target) }),
  };
}

export function formatBundle(
  { fields, basis, algorithm, members, destination }: BundleAction,
  portText: (port: number) => string = formatPort,
): string {
  const head = [fields, basis, algorithm, "ofport"].join(",");
  const ports = members.map((port) => portText(widenPort(port))).join(",");
  return destination === undefined
    ? `bundle(${head},members:${ports})`
    : `bundle_load(${head},${formatRange(destination)},members:${ports})`;
}

export function parseConjunction(argument: string): Action {
  const match = /^\s*(\w+)\s*,\s*(\d{1,3})\s*\/\s*(\d{1,3})\s*$/.exec(argument);
  if (match === null) throw flowTextError('"conjunction" syntax is "conjunction(id,i/n)"');
  const [, id, clause, count] = match as unknown as [string, string, string, string];
  const clauseCount = parseSmall(count, 255);
  if (clauseCount < 2) throw flowTextError("conjunction must have at least 2 clauses");
  if (clauseCount > 64) throw flowTextError("conjunction must have at most 64 clauses");
  if (Number(clause) < 1) throw flowTextError("clause index must be positive");
  if (Number(clause) > clauseCount)
    throw flowTextError("clause index must be less than or equal to number of clauses");
  return { type: "conjunction", id: parseSmall(id, U32), clause: Number(clause) - 1, clauseCount };
}

export function parseFinTimeout(argument: string): Action {
  const action = { type: "fin_timeout" as const, idleTimeoutSeconds: 0, hardTimeoutSeconds: 0 };
  for (const { key, value } of splitKeyValues(argument)) {
    if (key === "idle_timeout") action.idleTimeoutSeconds = boundedNumber(value, 0xffff, key);
    else if (key === "hard_timeout") action.hardTimeoutSeconds = boundedNumber(value, 0xffff, key);
    else throw flowTextError(`invalid key '${key}' in 'fin_timeout' argument`);
  }
  return action;
}

/** "SIZE)->FIELD[BIT]", as it stands behind the name and its parenthesis. */
export function parseCheckPacketLarger(argument: string): Action {
  const [size, range] = splitArrow(argument);
  // The original has no name for the number.
  const sizeBytes = boundedNumber(size.replace(/\)$/, ""), 0xffff, "(null)");
  const destination = parseRange(range);
  if (destination.bits !== 1) throw flowTextError(`Only 1-bit destination field is allowed`);
  return { type: "check_pkt_larger", sizeBytes, destination };
}

/** Nicira actions that print as their name, or as a name and a few numbers. */
export function formatSmall(action: Action): string | undefined {
  switch (action.type) {
    case "output_reg":
      return `output:${formatRange(action.source)}`;
    case "output_trunc":
      return `output(port=${formatPort(action.port)},max_len=${action.maxLength})`;
    case "note":
      return `note:${formatHexBytes(action.data)}`;
    case "push":
    case "pop":
      return `${action.type}:${formatRange(action.range)}`;
    case "dec_ttl_ids":
      return `dec_ttl(${action.controllerIds.join(",")})`;
    case "conjunction":
      return `conjunction(${action.id},${action.clause + 1}/${action.clauseCount})`;
    case "check_pkt_larger":
      return `check_pkt_larger(${action.sizeBytes})->${formatRange(action.destination)}`;
    case "fin_timeout": {
      const parts = [
        ...(action.idleTimeoutSeconds === 0 ? [] : [`idle_timeout=${action.idleTimeoutSeconds}`]),
        ...(action.hardTimeoutSeconds === 0 ? [] : [`hard_timeout=${action.hardTimeoutSeconds}`]),
      ];
      return `fin_timeout(${parts.join(",")})`;
    }
    case "controller":
      return formatController(action);
    case "resubmit":
      return formatResubmit(action);
    case "multipath":
      return formatMultipath(action);
    case "bundle":
      return formatBundle(action);
    default:
      return undefined;
  }
}
