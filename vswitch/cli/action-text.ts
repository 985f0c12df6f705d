// Actions and instructions as people write them: "ct(commit,zone=1),output:2,goto_table:5". Pure.
// Source: ovs-actions(7). Invariant: what is formatted parses to the same value, but that a masked set_field parses to
// the loads that stand for it in OpenFlow 1.3.
import { PlinthError } from "../../base/errors/index.js";
import {
  type Action,
  type BitRange,
  isLoadable,
  OFP10_VERSION,
  OFPP_CONTROLLER,
  OFPP_IN_PORT,
  OFPP_LOCAL,
  OXM_FIELDS,
  OXM_NAMES,
  type OxmFieldName,
  type SetFieldForm,
  setFieldOf,
} from "../../base/openflow/index.js";
import type { ActionContext } from "./action-context.js";
import { formatCt, formatNat, parseCt, parseNat } from "./ct-text.js";
import { flowTextError } from "./errors.js";
import type { PortNumbers } from "./field-reader.js";
import {
  bytesToNumber,
  type FieldValue,
  formatFieldValue,
  formatHex,
  formatPort,
  isFieldName,
  numberToBytes,
  portOr,
} from "./field-text.js";
import {
  formatHeaderAction,
  parseDecap,
  parseDeleteField,
  parseEncap,
  parseSample,
} from "./header-action-text.js";
import { type KeyValue, splitKeyValues } from "./key-values.js";
import { formatLearn, parseLearn } from "./learn-text.js";
import {
  formatSmall,
  parseBundle,
  parseCheckPacketLarger,
  parseConjunction,
  parseController,
  parseFinTimeout,
  parseMultipath,
  parseNote,
  parseResubmit,
} from "./nicira-action-text.js";
import { boundedNumber, cNumber, leadingNumber, wordOf } from "./number-text.js";
import { P_OF11_UP, P_OF13_UP } from "./protocol-set.js";
import { formatRange, parseRange, splitArrow, takeRange } from "./range-text.js";
import {
  fitting,
  setDscp,
  setField,
  setIpv4,
  setMac,
  setTransport,
  setTunnel,
  setVlan,
} from "./set-action-text.js";

export { type ActionContext, type ActionOptions, actionContext } from "./action-context.js";
export { splitList } from "./range-text.js";

const U32 = 0xffffffff;
const WHOLE_PACKET = 0xffff;
const NESTING_MAX = 4;
const TRUNCATED_MIN = 14;
/** Above it, of 16 bits, are only words for ports. */
const LAST_PORT = 0xff00;
const LOAD_BITS_MAX = 64;

export function parseActions(text: string, context: ActionContext): Action[] {
  const parts = splitKeyValues(text);
  refuseInstructions(parts);
  return parts.flatMap((part) => (isDrop(part) ? [] : parseAction(part, context)));
}

/** Words that are older than the rule that a packet must have what an action changes. */
const LENIENT: ReadonlySet<string> = new Set([
  ...["pop_vlan", "strip_vlan", "mod_vlan_vid", "mod_vlan_pcp", "set_vlan_vid", "set_vlan_pcp"],
  ...["mod_nw_src", "mod_nw_dst", "mod_nw_tos", "mod_nw_ecn", "mod_nw_ttl", "dec_ttl"],
  ...["mod_tp_src", "mod_tp_dst", "set_mpls_ttl", "dec_mpls_ttl", "set_mpls_label", "set_mpls_tc"],
  ...["push_mpls", "pop_mpls", "fin_timeout", "dec_nsh_ttl"],
]);

/** The names of actions that are others here: some have several words. */
const TOLD_NAMES: Readonly<Record<string, string>> = Object.assign(Object.create(null), {
  ...Object.fromEntries(
    [
      ...["mod_dl_src", "mod_dl_dst", "mod_nw_src", "mod_nw_dst", "mod_nw_tos", "mod_nw_ecn", "mod_nw_ttl"],
      ...["mod_tp_src", "mod_tp_dst", "set_vlan_vid", "set_vlan_pcp", "set_tunnel", "set_field", "enqueue"],
      ...["set_mpls_label", "set_mpls_tc", "dec_ttl", "strip_vlan"],
    ].map((name) => [name, name]),
  ),
  load: "set_field",
  pop_vlan: "strip_vlan",
  mod_vlan_vid: "set_vlan_vid",
  mod_vlan_pcp: "set_vlan_pcp",
  set_tunnel64: "set_tunnel",
});

/** Usually one action; some words of OpenFlow 1.0 are several in 1.3. */
export function parseAction({ key: name, value: argument }: KeyValue, context: ActionContext): Action[] {
  if (/^\d+$/.test(name) || /^(IN_PORT|NORMAL|FLOOD|ALL|LOCAL|TABLE|ANY|NONE)$/i.test(name))
    return [outputTo(portOr(name, `unknown action ${name}`))];
  const build = ACTIONS[name.toLowerCase()];
  // A port's name alone is output to it, as its number is.
  const named = build === undefined && argument === "" ? context.ports?.(name) : undefined;
  if (named !== undefined) return [outputTo(named)];
  if (name === "unroll_xlate")
    throw flowTextError("UNROLL is an internal action that shouldn't be used via OpenFlow");
  if (build === undefined) throw flowTextError(`unknown action ${name}`);
  const built = build(argument, context);
  const actions = Array.isArray(built) ? built : [built];
  const told = TOLD_NAMES[name.toLowerCase()];
  if (told !== undefined) for (const action of actions) context.words.set(action, told);
  if (LENIENT.has(name.toLowerCase())) for (const action of actions) context.lenient.add(action);
  for (const { type } of actions) {
    if (type === "push_vlan") context.hasVlan = true;
    else if (type === "pop_vlan") context.hasVlan = false;
  }
  return actions;
}

/** Actions inside actions. */
function parseNested(argument: string, context: ActionContext): Action[] {
  if (context.depth + 1 >= NESTING_MAX) throw flowTextError("the actions are nested too deeply");
  const inner = { ...context, depth: context.depth + 1 };
  const parts = splitKeyValues(argument);
  const actions = parts.flatMap((part) =>
    isInstruction(part) || isDrop(part) ? [] : parseAction(part, inner),
  );
  refuseInstructions(parts);
  return actions;
}

const INSTRUCTIONS: ReadonlySet<string> = new Set([
  ...["goto_table", "clear_actions", "write_actions", "write_metadata", "meter"],
]);
const isInstruction = ({ key }: KeyValue): boolean => INSTRUCTIONS.has(key);
const isDrop = ({ key }: KeyValue): boolean => /^drop$/i.test(key);

/** In a list of actions. */
function refuseInstructions(parts: readonly KeyValue[]): void {
  const name = parts.find(isInstruction)?.key;
  if (name === "meter") throw flowTextError("clone action doesn't support nested action meter");
  if (name !== undefined) throw flowTextError(`${name} instruction not allowed here`);
}

const outputTo = (port: number): Action => ({
  type: "output",
  port,
  maxLength: port === OFPP_CONTROLLER ? WHOLE_PACKET : 0,
});

/** A port by its number, by a word for it, or by its name in quotes or without. */
function portNamed(text: string, ports: PortNumbers | undefined, refusal: string): number {
  return ports?.(text.replaceAll('"', "")) ?? portOr(text, refusal);
}

function parseOutput(argument: string, { ports }: ActionContext): Action {
  if (/^(port|max_len)=/.test(argument)) {
    const options = new Map(splitKeyValues(argument).map(({ key, value }) => [key, value]));
    return parseTruncated(options.get("port") ?? "", options.get("max_len") ?? "", ports);
  }
  const isRange = isFieldName(argument.split("[")[0] as string) && !/^in_port$/i.test(argument);
  if (!isRange) return outputTo(portNamed(argument, ports, `${argument}: output to unknown port`));
  return { type: "output_reg", source: outputRange(argument), maxLength: WHOLE_PACKET };
}

function outputRange(text: string): BitRange {
  try {
    return parseRange(text);
  } catch (thrown) {
    if (thrown instanceof PlinthError) throw flowTextError(`${text}: output to unknown port`);
    throw thrown;
  }
}

function parseTruncated(portText: string, lengthText: string, ports: PortNumbers | undefined): Action {
  const port = portNamed(portText, ports, `output to unknown truncate port: ${portText}`);
  if (port > LAST_PORT && port !== OFPP_LOCAL && port !== OFPP_IN_PORT)
    throw flowTextError(`output to unsupported truncate port: ${portText}`);
  const maxLength = wordOf(lengthText);
  if (maxLength < TRUNCATED_MIN)
    throw flowTextError(`max_len ${maxLength} is less than the minimum value ${TRUNCATED_MIN}`);
  return { type: "output_trunc", port, maxLength };
}

function parseLoad(argument: string): Action {
  const [value, target] = splitArrow(argument);
  if (target === "") throw flowTextError(`${argument}: missing field name following \`->'`);
  const destination = parseRange(target);
  if (destination.bits > LOAD_BITS_MAX) throw flowTextError(`load sets at most ${LOAD_BITS_MAX} bits`);
  const number = cNumber(value);
  if (number === undefined || number < 0n || number >> BigInt(8 * OXM_FIELDS[destination.field].size) !== 0n)
    throw flowTextError(`${argument}: cannot parse integer value`);
  if (number >> BigInt(destination.bits) !== 0n)
    throw flowTextError(`${argument}: value ${formatHex(number)} does not fit into ${destination.bits} bits`);
  const load = { type: "load", destination, value: number } as const;
  return isLoadable(destination.field) ? load : setFieldOf(load);
}

function controllerIds(argument: string): number[] {
  const ids = argument.split(/[, ]+/).filter((id) => id !== "");
  if (ids.length === 0) throw flowTextError("dec_ttl_cnt_ids: expected at least one controller id.");
  return ids.map((id) => leadingNumber(id) & 0xffff);
}

type Build = (argument: string, context: ActionContext) => Action | Action[];

const etherType = (text: string, what: string): number => boundedNumber(text, 0xffff, what);

const ACTIONS: Readonly<Record<string, Build>> = Object.assign(Object.create(null), {
  output: parseOutput,
  controller: parseController,
  group: (argument) => ({ type: "group", groupId: wordOf(argument) }),
  set_queue: (argument) => ({
    type: "set_queue",
    queueId: wordOf(argument),
  }),
  pop_queue: () => ({ type: "pop_queue" }),
  enqueue: (argument, context) => {
    const [, portText = "", queue = ""] = /^[:,q]*([^:,q]+)[:,q](.+)$/.exec(argument) ?? [];
    if (queue === "")
      throw flowTextError('"enqueue" syntax is "enqueue:PORT:QUEUE" or "enqueue(PORT,QUEUE)"');
    const port = portNamed(portText, context.ports, `${portText}: enqueue to unknown port`);
    const queueId = wordOf(queue);
    if (port >= 0xff00 && port !== OFPP_IN_PORT && port !== OFPP_LOCAL)
      context.faults.push("OFPBAC_BAD_OUT_PORT");
    const output: Action = { type: "output", port, maxLength: WHOLE_PACKET };
    const end: Action =
      context.version === OFP10_VERSION ? { type: "set_queue", queueId: 0 } : { type: "pop_queue" };
    return [{ type: "set_queue", queueId }, output, end];
  },
  push_vlan: (argument, { carriers }) => {
    carriers.restrict(P_OF11_UP);
    const type = boundedNumber(argument, 0xffff, "ethertype");
    if (type !== 0x8100 && type !== 0x88a8) throw flowTextError(`${argument}: not a valid VLAN ethertype`);
    return { type: "push_vlan", etherType: type };
  },
  push_mpls: (argument) => ({ type: "push_mpls", etherType: etherType(argument, "push_mpls") }),
  pop_mpls: (argument) => ({
    type: "pop_mpls",
    etherType: etherType(argument, "pop_mpls"),
  }),
  push_pbb: (argument) => ({ type: "push_pbb", etherType: etherType(argument, "push_pbb") }),
  pop_vlan: () => ({ type: "pop_vlan" }),
  strip_vlan: () => ({ type: "pop_vlan" }),
  pop_pbb: () => ({ type: "pop_pbb" }),
  dec_ttl: (argument) =>
    argument === ""
      ? { type: "dec_nw_ttl" }
      : { type: "dec_ttl_ids", controllerIds: controllerIds(argument) },
  dec_mpls_ttl: () => ({ type: "dec_mpls_ttl" }),
  copy_ttl_out: () => ({ type: "copy_ttl_out" }),
  copy_ttl_in: () => ({ type: "copy_ttl_in" }),
  mod_nw_ttl: (argument) => ({
    type: "set_nw_ttl",
    ttl: boundedNumber(argument, 255, "TTL"),
  }),
  set_mpls_ttl: (argument) => ({
    type: "set_mpls_ttl",
    ttl: boundedNumber(argument, 255, "MPLS TTL"),
  }),
  set_mpls_label: (argument) => ({
    type: "set_field",
    field: "mpls_label",
    value: numberToBytes(BigInt(fitting(argument, [U32, 0xfffff], "MPLS label")), 4),
  }),
  set_mpls_tc: (argument) => ({
    type: "set_field",
    field: "mpls_tc",
    value: Uint8Array.of(fitting(argument, [0xff, 7], "MPLS TC")),
  }),
  mod_dl_src: (argument) => setMac("eth_src", argument),
  mod_dl_dst: (argument) => setMac("eth_dst", argument),
  mod_nw_src: (argument) => setIpv4("ipv4_src", argument),
  mod_nw_dst: (argument) => setIpv4("ipv4_dst", argument),
  mod_nw_tos: setDscp,
  mod_nw_ecn: (argument) => ({
    type: "set_field",
    field: "ip_ecn",
    value: Uint8Array.of(fitting(argument, [0xff, 3], "ECN")),
  }),
  mod_tp_src: (argument, context) => setTransport("src", argument, context),
  mod_tp_dst: (argument, context) => setTransport("dst", argument, context),
  mod_vlan_vid: (argument, context) =>
    setVlan("vlan_vid", fitting(argument, [0xffff, 4095], "VLAN VID"), context, true),
  mod_vlan_pcp: (argument, context) =>
    setVlan("vlan_pcp", fitting(argument, [0xff, 7], "VLAN PCP"), context, true),
  set_vlan_vid: (argument, context) =>
    setVlan("vlan_vid", fitting(argument, [0xffff, 4095], "VLAN VID"), context, false),
  set_vlan_pcp: (argument, context) =>
    setVlan("vlan_pcp", fitting(argument, [0xff, 7], "VLAN PCP"), context, false),
  set_tunnel: (argument) => setTunnel(argument, "set_tunnel"),
  set_tunnel64: (argument) => setTunnel(argument, "set_tunnel64"),
  set_field: (argument, context) => {
    const [value, field] = splitArrow(argument);
    if (field === "") throw flowTextError(`${argument}: missing field name following \`->'`);
    return setField(field, value, context);
  },
  load: parseLoad,
  move: (argument) => {
    const { range: source, rest } = takeRange(argument);
    if (!rest.startsWith("->")) throw flowTextError(`${argument}: missing \`->' following source`);
    const destination = parseRange(rest.slice(2));
    if (source.bits !== destination.bits)
      throw flowTextError(
        `${argument}: source field is ${source.bits} bits wide but destination is ${destination.bits} bits wide`,
      );
    return { type: "move", source, destination };
  },
  push: (argument) => ({ type: "push", range: parseRange(argument) }),
  pop: (argument) => ({ type: "pop", range: parseRange(argument) }),
  exit: () => ({ type: "exit" }),
  encap: (argument, { carriers }) => {
    carriers.restrict(P_OF13_UP);
    return parseEncap(argument);
  },
  decap: parseDecap,
  delete_field: parseDeleteField,
  sample: parseSample,
  dec_nsh_ttl: () => ({ type: "dec_nsh_ttl" }),
  note: parseNote,
  resubmit: (argument, { ports }) => parseResubmit(argument, ports),
  multipath: parseMultipath,
  bundle: (argument) => parseBundle(argument, false),
  bundle_load: (argument) => parseBundle(argument, true),
  learn: parseLearn,
  fin_timeout: parseFinTimeout,
  conjunction: parseConjunction,
  check_pkt_larger: parseCheckPacketLarger,
  clone: (argument, context) => ({ type: "clone", actions: parseNested(argument, context) }),
  ct: (argument, context) => parseCt(argument, (text) => parseNested(text, context)),
  nat: parseNat,
  ct_clear: () => ({ type: "ct_clear" }),
} satisfies Record<string, Build>);

/** Actions in parentheses. */
export function listText(
  actions: readonly Action[],
  format: (action: Action) => string = formatAction,
): string {
  return actions.length === 0 ? "drop" : actions.map(format).join(",");
}

export function formatAction(action: Action): string {
  return formatOuter(action, formatAction);
}

/** `format` is for the actions inside. */
export function formatOuter(action: Action, format: (inner: Action) => string): string {
  switch (action.type) {
    case "output":
      if (action.port === OFPP_CONTROLLER) return `CONTROLLER:${action.maxLength}`;
      return action.port > 0xffffff00 ? formatPort(action.port) : `output:${action.port}`;
    case "group":
      return `group:${action.groupId}`;
    case "set_queue":
      return `set_queue:${action.queueId}`;
    case "push_vlan":
    case "push_mpls":
    case "push_pbb":
    case "pop_mpls":
      return `${action.type}:0x${action.etherType.toString(16).padStart(4, "0")}`;
    case "dec_nw_ttl":
      return "dec_ttl";
    case "set_nw_ttl":
      return `mod_nw_ttl:${action.ttl}`;
    case "set_mpls_ttl":
      return `set_mpls_ttl(${action.ttl})`;
    case "set_field":
      return action.form === undefined
        ? formatSetField(action.field, action)
        : formatForm(action.form, action);
    case "meter":
      return `meter:${action.meterId}`;
    case "load":
      return `load:${formatHex(action.value)}->${formatRange(action.destination)}`;
    case "move":
      return `move:${formatRange(action.source)}->${formatRange(action.destination)}`;
    case "ct":
      return formatCt(action, format);
    case "nat":
      return formatNat(action);
    case "learn":
      return formatLearn(action);
    case "clone":
      return `clone(${listText(action.actions, format)})`;
    case "experimenter":
      return `experimenter(${action.experimenter.toString(16)})`;
    default:
      return formatSmall(action) ?? formatHeaderAction(action) ?? action.type;
  }
}

function formatForm(form: SetFieldForm, { value, mask }: FieldValue): string {
  const text = mask === undefined ? "" : `/${formatHex(bytesToNumber(mask))}`;
  return `${form}:${formatHex(bytesToNumber(value))}${text}`;
}

function formatSetField(name: OxmFieldName, value: FieldValue): string {
  // What a match shows with leading zeros is an ordinary number here.
  const padded = name === "ipv6_flabel" || name === "vlan_tci";
  const text = padded ? formatHex(bytesToNumber(value.value)) : formatFieldValue(OXM_FIELDS[name], value);
  return `set_field:${text}->${OXM_NAMES[name].manual}`;
}
