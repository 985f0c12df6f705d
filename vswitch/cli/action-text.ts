// Actions and instructions as people write them: "ct(commit,zone=1),output:2,goto_table:5". Pure.
// Source: ovs-actions(7). Invariant: what is formatted parses to the same value, but that a masked set_field parses to
// the loads that stand for it in OpenFlow 1.3.
import { PlinthError } from "../../base/errors/index.js";
import {
  type Action,
  type BitRange,
  isLoadable,
  loadsOf,
  type Match,
  OFP10_VERSION,
  OFP11_VERSION,
  OFP13_VERSION,
  OFP15_VERSION,
  OFPP_CONTROLLER,
  OFPP_IN_PORT,
  OFPP_LOCAL,
  OXM_FIELDS,
  OXM_NAMES,
  type OxmFieldName,
  onesMask,
  type SetFieldAction,
  type SetFieldForm,
  setFieldOf,
} from "../../base/openflow/index.js";
import { formatCt, formatNat, parseCt, parseNat } from "./ct-text.js";
import { flowTextError } from "./errors.js";
import { exactProtocols } from "./field-protocols.js";
import { type PortNumbers, readFieldText } from "./field-reader.js";
import {
  actionFieldNamed,
  bytesToNumber,
  type FieldValue,
  formatFieldValue,
  formatHex,
  formatPort,
  isFieldName,
  numberToBytes,
  parseFieldValue,
  parseNumber,
  parsePort,
  parseSmall,
  portOr,
  smallOr,
} from "./field-text.js";
import {
  formatHeaderAction,
  parseDecap,
  parseDeleteField,
  parseEncap,
  parseSample,
} from "./header-action-text.js";
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
import { Carriers, P_OF11_UP, P_OF13_UP } from "./protocol-set.js";
import { formatRange, parseRange, splitArrow, splitList, splitPair } from "./range-text.js";

export { splitList } from "./range-text.js";

const U32 = 0xffffffff;
const WHOLE_PACKET = 0xffff;
const NESTING_MAX = 4;
const VLAN_PRESENT = 0x1000;
const TRUNCATED_MIN = 14;
const NEVER_SET: ReadonlySet<OxmFieldName> = new Set<OxmFieldName>(["eth_type", "ip_proto", "mpls_bos"]);
const LOAD_BITS_MAX = 64;

/** What the words before in a list of actions, and the flow's match, make of the packet. */
export interface ActionContext {
  readonly depth: number;
  hasVlan: boolean;
  readonly protocol: number | undefined;
  /** Of OpenFlow, whose actions are wanted where there are several ways to say a thing. */
  readonly version: number;
  readonly carriers: Carriers;
  /** Actions that OpenFlow 1.0 lets do nothing where a packet lacks the field. */
  readonly lenient: Set<Action>;
  readonly ports: PortNumbers | undefined;
}

/** For the actions of a flow that matches `match`. */
export function actionContext(match: Match, options: ActionOptions = {}): ActionContext {
  const entry = (name: OxmFieldName) => match.find(({ field }) => field === name);
  const vlan = entry("vlan_vid") ?? entry("vlan_tci");
  const protocol = entry("ip_proto");
  return {
    depth: 0,
    hasVlan: vlan !== undefined && ((vlan.value[0] as number) & 0x10) !== 0,
    protocol: protocol && Number(bytesToNumber(protocol.value)),
    version: options.version ?? OFP13_VERSION,
    carriers: options.carriers ?? new Carriers(),
    lenient: new Set(),
    ports: options.ports,
  };
}

export interface ActionOptions {
  /** Default: OpenFlow 1.3. */
  readonly version?: number;
  /** Learns what can carry the actions. */
  readonly carriers?: Carriers;
  readonly ports?: PortNumbers | undefined;
}

/** "name:argument", "name(argument)", "name=argument", "name" or "name(argument)->argument". */
export function splitName(text: string): [name: string, argument: string] {
  const match = /^([A-Za-z_0-9]+)(?:[:=]([\s\S]*)|\(([\s\S]*)\)|(\([\s\S]*\)\s*->[\s\S]*))?$/.exec(text);
  if (match === null) throw flowTextError(`"${text.slice(0, 60)}" is no action`);
  return [match[1] as string, match[2] ?? match[3] ?? match[4] ?? ""];
}

export function parseActions(text: string, context: ActionContext): Action[] {
  return splitList(text).flatMap((part) => (part === "drop" ? [] : parseAction(part, context)));
}

/** Words that are older than the rule that a packet must have what an action changes. */
const LENIENT: ReadonlySet<string> = new Set([
  ...["pop_vlan", "strip_vlan", "mod_vlan_vid", "mod_vlan_pcp", "set_vlan_vid", "set_vlan_pcp"],
  ...["mod_nw_src", "mod_nw_dst", "mod_nw_tos", "mod_nw_ecn", "mod_nw_ttl", "dec_ttl"],
  ...["mod_tp_src", "mod_tp_dst", "set_mpls_ttl", "dec_mpls_ttl", "set_mpls_label", "set_mpls_tc"],
  ...["pop_mpls", "fin_timeout", "dec_nsh_ttl"],
]);

/** Usually one action; some words of OpenFlow 1.0 are several in 1.3. */
export function parseAction(text: string, context: ActionContext): Action[] {
  const [name, argument] = splitName(text);
  if (/^\d+$/.test(name) || /^(IN_PORT|NORMAL|FLOOD|ALL|LOCAL|TABLE|ANY|NONE)$/i.test(name))
    return [outputTo(parsePort(name))];
  const build = ACTIONS[name.toLowerCase()];
  // A port's name alone is output to it, as its number is.
  const named = build === undefined && argument === "" ? context.ports?.(name) : undefined;
  if (named !== undefined) return [outputTo(named)];
  if (build === undefined) throw flowTextError(`unknown action ${name.slice(0, 60)}`);
  const built = build(argument, context);
  const actions = Array.isArray(built) ? built : [built];
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
  return parseActions(argument, { ...context, depth: context.depth + 1 });
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
    const options = new Map(splitList(argument).map(splitPair));
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
  if (port > 0xffffff00 && port !== OFPP_LOCAL && port !== OFPP_IN_PORT)
    throw flowTextError(`output to unsupported truncate port: ${portText}`);
  const maxLength = smallOr(lengthText, U32, `invalid numeric format ${lengthText}`);
  if (maxLength < TRUNCATED_MIN)
    throw flowTextError(`max_len ${maxLength} is less than the minimum value ${TRUNCATED_MIN}`);
  return { type: "output_trunc", port, maxLength };
}

/** Older names of what set_field sets. */
const SET_WORDS: Readonly<Partial<Record<string, string>>> = { tp_src: "tcp_src", tp_dst: "tcp_dst" };

/** `context` is given where the word is set_field itself. */
function setField(given: string, argument: string, context?: ActionContext): Action[] {
  const name = SET_WORDS[given] ?? given;
  if (!isFieldName(name)) throw flowTextError(`${name} is not a valid OXM field name`);
  const field = actionFieldNamed(name);
  // What may be matched but not set.
  if (context !== undefined && (!field.writable || NEVER_SET.has(field.name)))
    throw flowTextError(`${name} is read-only`);
  const { value, mask: told } =
    context === undefined ? parseFieldValue(field, argument) : readFieldText(field, argument);
  const ones = onesMask(field, value.byteLength);
  // An option's mask tells how much of it there is.
  const isWhole = !field.isVariable && told?.every((byte, i) => byte === ones[i]);
  const mask = isWhole ? undefined : told;
  context?.carriers.restrict(exactProtocols(field.name));
  if (mask === undefined) {
    const action = { type: "set_field", field: field.name, value } as const;
    return context === undefined || context.version > OFP11_VERSION ? [action] : oldForm(action, context);
  }
  const action = { type: "set_field", field: field.name, value, mask } as const;
  return !isLoadable(field.name) || context?.version === OFP15_VERSION ? [action] : loadsOf(action);
}

/** Before 1.2 a field is set by an action of its own, or by loads. */
function oldForm(action: SetFieldAction, context: ActionContext): Action[] {
  const { field, value } = action;
  const number = Number(bytesToNumber(value.subarray(0, 6)));
  if (field === "mpls_label" || field === "mpls_tc") return loadsOf(action);
  if (field === "ip_tos") return [{ type: "set_field", field: "ip_dscp", value: Uint8Array.of(number >> 2) }];
  if (field !== "vlan_tci") return [action];
  if ((number & VLAN_PRESENT) === 0) return [{ type: "pop_vlan" }];
  const set = [
    ...setVlan("vlan_vid", number & 0xfff, context, true),
    ...setVlan("vlan_pcp", number >> 13, context, true),
  ];
  for (const one of set) context.lenient.add(one);
  return set;
}

/** Sets a VLAN field, pushing a tag first where the packet is not known to have one. */
function setVlan(
  field: "vlan_vid" | "vlan_pcp",
  value: number,
  context: ActionContext,
  pushes: boolean,
): Action[] {
  const bytes = field === "vlan_vid" ? numberToBytes(BigInt(value | 0x1000), 2) : Uint8Array.of(value);
  // 1.0 pushes a tag by itself where there is none.
  if (context.version === OFP10_VERSION || context.hasVlan || !pushes)
    return [{ type: "set_field", field, value: bytes }];
  context.hasVlan = true;
  return [
    { type: "push_vlan", etherType: 0x8100 },
    { type: "set_field", field, value: bytes },
  ];
}

function setTransport(end: "src" | "dst", argument: string, { protocol }: ActionContext): Action[] {
  const prefix = { 6: "tcp", 17: "udp", 132: "sctp" }[protocol ?? -1] ?? "tcp";
  const name = end === "src" ? "source" : "destination";
  smallOr(argument, 0xffff, `invalid ${name} port "${argument}"`);
  return setField(`${prefix}_${end}`, argument);
}

/** A number that no 8 bits hold is another fault than one that is no priority. */
function pcpRefusal(argument: string): string {
  return Number(argument) <= 255 ? `${argument}: not a valid VLAN PCP` : `invalid VLAN PCP "${argument}"`;
}

function setTunnel(argument: string, form: "set_tunnel" | "set_tunnel64"): Action {
  const { value } = parseFieldValue(OXM_FIELDS.tunnel_id, argument);
  const isLong = value.subarray(0, 4).some((byte) => byte !== 0);
  return { type: "set_field", field: "tunnel_id", value, form: isLong ? "set_tunnel64" : form };
}

function setDscp(argument: string): Action {
  const tos = smallOr(argument, 255, `invalid TOS "${argument}"`);
  if ((tos & 3) !== 0) throw flowTextError(`${tos}: not a valid TOS`);
  return { type: "set_field", field: "ip_dscp", value: Uint8Array.of(tos >> 2) };
}

type Build = (argument: string, context: ActionContext) => Action | Action[];

const etherType = (text: string): number => parseSmall(text, 0xffff);

const ACTIONS: Readonly<Record<string, Build>> = Object.assign(Object.create(null), {
  output: parseOutput,
  controller: parseController,
  group: (argument) => ({ type: "group", groupId: parseSmall(argument, U32) }),
  set_queue: (argument) => ({
    type: "set_queue",
    queueId: smallOr(argument, U32, `invalid numeric format ${argument}`),
  }),
  pop_queue: () => ({ type: "pop_queue" }),
  enqueue: (argument, context) => {
    const [portText, queue = ""] = argument.split(/[:,]/, 2) as [string, string?];
    const port = portNamed(portText, context.ports, `${portText}: enqueue to unknown port`);
    const queueId = smallOr(queue, U32, `invalid numeric format ${queue}`);
    const output: Action = { type: "output", port, maxLength: WHOLE_PACKET };
    const end: Action =
      context.version === OFP10_VERSION ? { type: "set_queue", queueId: 0 } : { type: "pop_queue" };
    return [{ type: "set_queue", queueId }, output, end];
  },
  push_vlan: (argument, { carriers }) => {
    carriers.restrict(P_OF11_UP);
    const type = smallOr(argument || "0x8100", 0xffff, `invalid ethertype "${argument}"`);
    if (type !== 0x8100 && type !== 0x88a8) throw flowTextError(`${argument}: not a valid VLAN ethertype`);
    return { type: "push_vlan", etherType: type };
  },
  push_mpls: (argument) => ({ type: "push_mpls", etherType: etherType(argument) }),
  pop_mpls: (argument) => ({
    type: "pop_mpls",
    etherType: smallOr(argument, 0xffff, `invalid pop_mpls "${argument}"`),
  }),
  push_pbb: (argument) => ({ type: "push_pbb", etherType: etherType(argument) }),
  pop_vlan: () => ({ type: "pop_vlan" }),
  strip_vlan: () => ({ type: "pop_vlan" }),
  pop_pbb: () => ({ type: "pop_pbb" }),
  dec_ttl: (argument) =>
    argument === ""
      ? { type: "dec_nw_ttl" }
      : { type: "dec_ttl_ids", controllerIds: splitList(argument).map((id) => parseSmall(id, 0xffff)) },
  dec_mpls_ttl: () => ({ type: "dec_mpls_ttl" }),
  copy_ttl_out: () => ({ type: "copy_ttl_out" }),
  copy_ttl_in: () => ({ type: "copy_ttl_in" }),
  mod_nw_ttl: (argument) => ({
    type: "set_nw_ttl",
    ttl: smallOr(argument, 255, `invalid TTL "${argument}"`),
  }),
  set_mpls_ttl: (argument) => ({
    type: "set_mpls_ttl",
    ttl: smallOr(argument, 255, `invalid MPLS TTL "${argument}"`),
  }),
  set_mpls_label: (argument) => setField("mpls_label", argument),
  set_mpls_tc: (argument) => {
    const refusal =
      Number(argument) <= 255 ? `${argument}: not a valid MPLS TC` : `invalid MPLS TC "${argument}"`;
    return { type: "set_field", field: "mpls_tc", value: Uint8Array.of(smallOr(argument, 7, refusal)) };
  },
  mod_dl_src: (argument) => setField("eth_src", argument),
  mod_dl_dst: (argument) => setField("eth_dst", argument),
  mod_nw_src: (argument) => setField("ipv4_src", argument),
  mod_nw_dst: (argument) => setField("ipv4_dst", argument),
  mod_nw_tos: setDscp,
  mod_nw_ecn: (argument) => {
    const refusal = Number(argument) <= 255 ? `${argument}: not a valid ECN` : `invalid ECN "${argument}"`;
    return { type: "set_field", field: "ip_ecn", value: Uint8Array.of(smallOr(argument, 3, refusal)) };
  },
  mod_tp_src: (argument, context) => setTransport("src", argument, context),
  mod_tp_dst: (argument, context) => setTransport("dst", argument, context),
  mod_vlan_vid: (argument, context) =>
    setVlan("vlan_vid", smallOr(argument, 4095, `${argument}: not a valid VLAN VID`), context, true),
  mod_vlan_pcp: (argument, context) =>
    setVlan("vlan_pcp", smallOr(argument, 7, pcpRefusal(argument)), context, true),
  set_vlan_vid: (argument, context) =>
    setVlan("vlan_vid", smallOr(argument, 4095, `${argument}: not a valid VLAN VID`), context, false),
  set_vlan_pcp: (argument, context) =>
    setVlan("vlan_pcp", smallOr(argument, 7, pcpRefusal(argument)), context, false),
  set_tunnel: (argument) => setTunnel(argument, "set_tunnel"),
  set_tunnel64: (argument) => setTunnel(argument, "set_tunnel64"),
  set_field: (argument, context) => {
    const [value, field] = splitArrow(argument);
    return setField(field, value, context);
  },
  load: (argument) => {
    const [value, range] = splitArrow(argument);
    const destination = parseRange(range);
    if (destination.bits > LOAD_BITS_MAX) throw flowTextError(`load sets at most ${LOAD_BITS_MAX} bits`);
    const number = parseNumber(value);
    if (number >> BigInt(destination.bits) !== 0n)
      throw flowTextError(
        `${argument}: value ${formatHex(number)} does not fit into ${destination.bits} bits`,
      );
    const load = { type: "load", destination, value: number } as const;
    return isLoadable(destination.field) ? load : setFieldOf(load);
  },
  move: (argument) => {
    const [from, to] = splitArrow(argument);
    const [source, destination] = [parseRange(from, argument), parseRange(to)];
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
