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
  type PacketInReason,
  type ResubmitAction,
} from "../../base/openflow/index.js";
import { flowTextError } from "./errors.js";
import { formatPort, parsePort, parseSmall, portOr, smallOr } from "./field-text.js";
import { formatRange, parseRange, splitArrow, splitList, splitPair } from "./range-text.js";

const U32 = 0xffffffff;
const WHOLE_PACKET = 0xffff;
const REASONS: readonly PacketInReason[] = ["no_match", "action", "invalid_ttl"];

export function parseController(argument: string): Action {
  if (argument === "" || /^\d+$/.test(argument)) {
    const refusal = `invalid max_len "${argument}"`;
    const maxLength = argument === "" ? WHOLE_PACKET : smallOr(argument, WHOLE_PACKET, refusal);
    return { type: "output", port: OFPP_CONTROLLER, maxLength };
  }
  const action: { -readonly [K in keyof ControllerAction]: ControllerAction[K] } = {
    type: "controller",
    maxLength: WHOLE_PACKET,
    controllerId: 0,
    reason: "action",
  };
  for (const part of splitList(argument)) {
    const [key, value = ""] = splitPair(part);
    if (key === "max_len") action.maxLength = parseSmall(value, WHOLE_PACKET);
    else if (key === "id") action.controllerId = parseSmall(value, 0xffff);
    else if (key === "reason") action.reason = parseReason(value);
    else if (key === "userdata") action.userdata = parseHex(value);
    else if (key === "meter_id") action.meterId = parseSmall(value, U32);
    else if (part === "pause") action.pause = true;
    else throw flowTextError(`unknown key "${key.slice(0, 60)}" parsing controller action`);
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
function parseHex(text: string): Uint8Array {
  if (!/^([0-9a-fA-F]{2}\.?)*$/.test(text)) throw flowTextError(`bad hex digits in "${text.slice(0, 60)}"`);
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
    ...(meterId === undefined ? [] : [`meter_id=${meterId}`]),
  ];
  return parts.length === 0 ? `CONTROLLER:${maxLength}` : `controller(${parts.join(",")})`;
}

/** Bytes of a note; what is missing to the size that fits the wire is zero. */
export function parseNote(argument: string): Action {
  if (!/^([0-9a-fA-F]{2}\.?)*$/.test(argument)) throw flowTextError("bad hex digit in `note' argument");
  const bytes = parseHex(argument);
  const data = new Uint8Array(6 + 8 * Math.max(0, Math.ceil((bytes.byteLength - 6) / 8)));
  data.set(bytes);
  return { type: "note", data };
}

export function parseResubmit(
  argument: string,
  ports?: (name: string) => number | undefined,
): ResubmitAction {
  const [port, table, ct] = argument.split(",").map((part) => part.trim());
  const parsed = {
    type: "resubmit",
    port:
      port === undefined || port === ""
        ? OFPP_IN_PORT
        : (ports?.(port.replaceAll('"', "")) ?? portOr(port, `${port}: resubmit to unknown port`)),
    tableId:
      table === undefined || table === "" ? 255 : smallOr(table, 255, `${table}: resubmit to unknown table`),
    withCt: ct === "ct",
  } as const;
  if (ct !== undefined && ct !== "ct") throw flowTextError(`${ct.slice(0, 60)}: unknown parameter`);
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

function oneOf<T extends string>(values: readonly T[], text: string | undefined, what: string): T {
  const value = values.find((one) => one === text);
  if (value === undefined) throw flowTextError(`unknown ${what} \`${(text ?? "").slice(0, 60)}'`);
  return value;
}

export function parseMultipath(argument: string): MultipathAction {
  const [fields, basis, algorithm, links, arg, destination, more] = argument.split(",");
  if (destination === undefined || more !== undefined)
    throw flowTextError(`${argument.slice(0, 60)}: multipath takes six arguments`);
  const known = (name: string | undefined, names: readonly string[], what: string): void => {
    if (!names.includes(name ?? "")) throw flowTextError(`${argument}: unknown ${what} \`${name}'`);
  };
  known(fields, HASH_FIELDS, "fields");
  known(algorithm, LINK_ALGORITHMS, "algorithm");
  const linkMax = parseSmall(links as string, 65536) - 1;
  if (linkMax < 0)
    throw flowTextError(`${argument.slice(0, 60)}: n_links 0 is not in valid range 1 to 65536`);
  return {
    type: "multipath",
    fields: oneOf(HASH_FIELDS, fields, "fields"),
    basis: parseSmall(basis as string, 0xffff),
    algorithm: oneOf(LINK_ALGORITHMS, algorithm, "algorithm"),
    linkMax,
    argument: parseSmall(arg as string, U32),
    destination: parseRange(destination),
  };
}

export function formatMultipath(action: MultipathAction): string {
  const { fields, basis, algorithm, linkMax, argument, destination } = action;
  return `multipath(${[fields, basis, algorithm, linkMax + 1, argument, formatRange(destination)].join(",")})`;
}

export function parseBundle(argument: string, load: boolean): BundleAction {
  const match = /^(.*?),?(?:members|slaves):(.*)$/.exec(argument);
  const [fields, basis, algorithm, type, destination] = (match?.[1] ?? "").split(",");
  if (match === null || type !== "ofport" || load !== (destination !== undefined))
    throw flowTextError(`${argument.slice(0, 60)}: not enough arguments to bundle action`);
  const members = splitList(match[2] as string).map((port) => parsePort(port) & 0xffff);
  return {
    type: "bundle",
    fields: oneOf(HASH_FIELDS, fields, "fields"),
    basis: parseSmall(basis as string, 0xffff),
    algorithm: oneOf(MEMBER_ALGORITHMS, algorithm, "algorithm"),
    members,
    ...(destination === undefined ? {} : { destination: parseRange(destination) }),
  };
}

export function formatBundle({ fields, basis, algorithm, members, destination }: BundleAction): string {
  const head = [fields, basis, algorithm, "ofport"].join(",");
  const ports = members.map((port) => formatPort(port >= 0xff00 ? port + 0xffff0000 : port)).join(",");
  return destination === undefined
    ? `bundle(${head},members:${ports})`
    : `bundle_load(${head},${formatRange(destination)},members:${ports})`;
}

export function parseConjunction(argument: string): Action {
  const match = /^\s*(\w+)\s*,\s*(\d{1,3})\s*\/\s*(\d{1,3})\s*$/.exec(argument);
  if (match === null) throw flowTextError(`"${argument.slice(0, 60)}": conjunction syntax is ID,K/N`);
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
  for (const part of splitList(argument)) {
    const [key, value = ""] = splitPair(part);
    if (key === "idle_timeout") action.idleTimeoutSeconds = parseSmall(value, 0xffff);
    else if (key === "hard_timeout") action.hardTimeoutSeconds = parseSmall(value, 0xffff);
    else throw flowTextError(`invalid key '${key.slice(0, 60)}' in 'fin_timeout' argument`);
  }
  return action;
}

/** "(SIZE)->FIELD[BIT]", as it stands behind the name. */
export function parseCheckPacketLarger(argument: string): Action {
  const [size, range] = splitArrow(argument);
  const match = /^\((\d{1,5})\)$/.exec(size);
  const destination = parseRange(range);
  if (match === null || destination.bits !== 1)
    throw flowTextError(`${argument.slice(0, 60)}: check_pkt_larger takes (SIZE)->FIELD[BIT]`);
  return { type: "check_pkt_larger", sizeBytes: parseSmall(match[1] as string, 0xffff), destination };
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
