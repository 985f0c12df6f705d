// Actions and instructions as people write them: "ct(commit,zone=1),output:2,goto_table:5". Pure.
// Source: ovs-actions(7). Invariant: what is formatted parses to the same value, but that a masked set_field parses to
// the loads that stand for it in OpenFlow 1.3.
import {
  type Action,
  type Instruction,
  type Match,
  OFPP_CONTROLLER,
  OXM_FIELDS,
  OXM_NAMES,
  type OxmFieldName,
} from "../../base/openflow/index.js";
import { formatCt, formatNat, parseCt, parseNat } from "./ct-text.js";
import { flowTextError } from "./errors.js";
import {
  actionFieldNamed,
  bytesToNumber,
  type FieldValue,
  formatFieldValue,
  formatHex,
  formatPort,
  numberToBytes,
  parseFieldValue,
  parseNumber,
  parsePort,
  parseSmall,
} from "./field-text.js";
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
import { formatRange, parseRange, splitArrow, splitList, splitPair } from "./range-text.js";

export { splitList } from "./range-text.js";

const U32 = 0xffffffff;
const U64 = (1n << 64n) - 1n;
const WHOLE_PACKET = 0xffff;
const NESTING_MAX = 4;
const LOAD_BITS_MAX = 64;
const ORDER = ["meter", "apply_actions", "clear_actions", "write_actions", "write_metadata", "goto_table"];

/** What the words before in a list of actions, and the flow's match, make of the packet. */
interface Context {
  readonly depth: number;
  hasVlan: boolean;
  readonly protocol: number | undefined;
}

/** The instructions of a flow that matches `match`; plain actions become one apply_actions. "drop" gives none. */
export function parseInstructions(text: string, match: Match = []): Instruction[] {
  const applied: Action[] = [];
  const instructions: Instruction[] = [];
  const context = contextOf(match);
  const parts = splitList(text);
  if (parts.includes("drop") && parts.length > 1)
    throw flowTextError('"drop" must not be accompanied by any other action or instruction');
  for (const part of parts) {
    const instruction = parseInstruction(part, match);
    if (instruction !== undefined) instructions.push(instruction);
    else if (part !== "drop") applied.push(...parseAction(part, context));
  }
  if (applied.length > 0) instructions.push({ type: "apply_actions", actions: applied });
  return inOrder(instructions);
}

/** As a packet meets them (OpenFlow 1.3.5, 5.9), whatever the order of the wire. */
function inOrder(instructions: readonly Instruction[]): Instruction[] {
  return [...instructions].sort((a, b) => ORDER.indexOf(a.type) - ORDER.indexOf(b.type));
}

function contextOf(match: Match): Context {
  const entry = (name: OxmFieldName) => match.find(({ field }) => field === name);
  const vlan = entry("vlan_vid") ?? entry("vlan_tci");
  const protocol = entry("ip_proto");
  return {
    depth: 0,
    hasVlan: vlan !== undefined && ((vlan.value[0] as number) & 0x10) !== 0,
    protocol: protocol && Number(bytesToNumber(protocol.value)),
  };
}

function parseInstruction(text: string, match: Match): Instruction | undefined {
  const [name, argument] = splitName(text);
  switch (name) {
    case "goto_table":
      return { type: "goto_table", tableId: parseSmall(argument, 254) };
    case "meter":
      return { type: "meter", meterId: parseSmall(argument, U32) };
    case "clear_actions":
      return { type: "clear_actions" };
    case "write_actions":
      return { type: "write_actions", actions: parseActions(argument, contextOf(match)) };
    case "write_metadata": {
      const { value, mask } = parseFieldValue(OXM_FIELDS.metadata, argument);
      return {
        type: "write_metadata",
        metadata: bytesToNumber(value),
        mask: mask === undefined ? U64 : bytesToNumber(mask),
      };
    }
    default:
      return undefined;
  }
}

/** "name:argument", "name(argument)", "name=argument", "name" or "name(argument)->argument". */
function splitName(text: string): [name: string, argument: string] {
  const match = /^([A-Za-z_0-9]+)(?:[:=]([\s\S]*)|\(([\s\S]*)\)|(\([\s\S]*\)\s*->[\s\S]*))?$/.exec(text);
  if (match === null) throw flowTextError(`"${text.slice(0, 60)}" is no action`);
  return [match[1] as string, match[2] ?? match[3] ?? match[4] ?? ""];
}

function parseActions(text: string, context: Context): Action[] {
  return splitList(text).flatMap((part) => (part === "drop" ? [] : parseAction(part, context)));
}

/** Usually one action; some words of OpenFlow 1.0 are several in 1.3. */
function parseAction(text: string, context: Context): Action[] {
  const [name, argument] = splitName(text);
  if (/^\d+$/.test(name) || /^(IN_PORT|NORMAL|FLOOD|ALL|LOCAL|TABLE)$/i.test(name))
    return [outputTo(parsePort(name))];
  const build = ACTIONS[name.toLowerCase()];
  if (build === undefined) throw flowTextError(`unknown action ${name.slice(0, 60)}`);
  const built = build(argument, context);
  const actions = Array.isArray(built) ? built : [built];
  for (const { type } of actions) {
    if (type === "push_vlan") context.hasVlan = true;
    else if (type === "pop_vlan") context.hasVlan = false;
  }
  return actions;
}

/** Actions inside actions. */
function parseNested(argument: string, context: Context): Action[] {
  if (context.depth + 1 >= NESTING_MAX) throw flowTextError("the actions are nested too deeply");
  return parseActions(argument, { ...context, depth: context.depth + 1 });
}

const outputTo = (port: number): Action => ({
  type: "output",
  port,
  maxLength: port === OFPP_CONTROLLER ? WHOLE_PACKET : 0,
});

function parseOutput(argument: string): Action {
  if (/^(port|max_len)=/.test(argument)) {
    const options = new Map(splitList(argument).map(splitPair));
    const port = parsePort(options.get("port") ?? "");
    const maxLength = parseSmall(options.get("max_len") ?? "", U32);
    return { type: "output_trunc", port, maxLength };
  }
  if (!argument.includes("[")) return outputTo(parsePort(argument));
  return { type: "output_reg", source: parseRange(argument), maxLength: WHOLE_PACKET };
}

function setField(name: string, argument: string): Action[] {
  const field = actionFieldNamed(name);
  const parsed = parseFieldValue(field, argument);
  return parsed.mask === undefined
    ? [{ type: "set_field", field: field.name, value: parsed.value }]
    : loadsOf(field.name, parsed);
}

/** Masked bits as OpenFlow 1.3 sets them: a load for every run, the lowest first. */
function loadsOf(name: OxmFieldName, { value, mask }: FieldValue): Action[] {
  const bits = bytesToNumber(mask as Uint8Array);
  const number = bytesToNumber(value);
  const loads: Action[] = [];
  const set = (bit: number): boolean => ((bits >> BigInt(bit)) & 1n) !== 0n;
  for (let offset = 0; offset < OXM_FIELDS[name].bits; offset++) {
    if (!set(offset)) continue;
    let end = offset;
    while (end < OXM_FIELDS[name].bits && end - offset < LOAD_BITS_MAX && set(end)) end++;
    const width = end - offset;
    loads.push({
      type: "load",
      destination: { field: name, offset, bits: width },
      value: (number >> BigInt(offset)) & ((1n << BigInt(width)) - 1n),
    });
    offset = end - 1;
  }
  return loads;
}

/** Sets a VLAN field, pushing a tag first where the packet is not known to have one. */
function setVlan(field: "vlan_vid" | "vlan_pcp", value: number, context: Context): Action[] {
  const bytes = field === "vlan_vid" ? numberToBytes(BigInt(value | 0x1000), 2) : Uint8Array.of(value);
  const push: Action[] = context.hasVlan ? [] : [{ type: "push_vlan", etherType: 0x8100 }];
  return [...push, { type: "set_field", field, value: bytes }];
}

function setTransport(end: "src" | "dst", argument: string, { protocol }: Context): Action[] {
  const prefix = { 6: "tcp", 17: "udp", 132: "sctp" }[protocol ?? -1];
  if (prefix === undefined) throw flowTextError(`mod_tp_${end} needs a match of tcp, udp or sctp`);
  return setField(`${prefix}_${end}`, argument);
}

function setDscp(argument: string): Action {
  const tos = parseSmall(argument, 255);
  if ((tos & 3) !== 0) throw flowTextError(`${tos}: not a valid TOS`);
  return { type: "set_field", field: "ip_dscp", value: Uint8Array.of(tos >> 2) };
}

type Build = (argument: string, context: Context) => Action | Action[];

const etherType = (text: string): number => parseSmall(text, 0xffff);

const ACTIONS: Readonly<Record<string, Build>> = Object.assign(Object.create(null), {
  output: parseOutput,
  controller: parseController,
  group: (argument) => ({ type: "group", groupId: parseSmall(argument, U32) }),
  set_queue: (argument) => ({ type: "set_queue", queueId: parseSmall(argument, U32) }),
  pop_queue: () => ({ type: "pop_queue" }),
  enqueue: (argument) => {
    const [port, queue] = argument.split(/[:,]/, 2) as [string, string?];
    const queueId = parseSmall(queue ?? "", U32);
    const output: Action = { type: "output", port: parsePort(port), maxLength: WHOLE_PACKET };
    return [{ type: "set_queue", queueId }, output, { type: "pop_queue" }];
  },
  push_vlan: (argument) => ({ type: "push_vlan", etherType: etherType(argument || "0x8100") }),
  push_mpls: (argument) => ({ type: "push_mpls", etherType: etherType(argument) }),
  pop_mpls: (argument) => ({ type: "pop_mpls", etherType: etherType(argument) }),
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
  mod_nw_ttl: (argument) => ({ type: "set_nw_ttl", ttl: parseSmall(argument, 255) }),
  set_mpls_ttl: (argument) => ({ type: "set_mpls_ttl", ttl: parseSmall(argument, 255) }),
  set_mpls_label: (argument) => setField("mpls_label", argument),
  set_mpls_tc: (argument) => setField("mpls_tc", argument),
  mod_dl_src: (argument) => setField("eth_src", argument),
  mod_dl_dst: (argument) => setField("eth_dst", argument),
  mod_nw_src: (argument) => setField("ipv4_src", argument),
  mod_nw_dst: (argument) => setField("ipv4_dst", argument),
  mod_nw_tos: setDscp,
  mod_nw_ecn: (argument) => setField("ip_ecn", argument),
  mod_tp_src: (argument, context) => setTransport("src", argument, context),
  mod_tp_dst: (argument, context) => setTransport("dst", argument, context),
  mod_vlan_vid: (argument, context) => setVlan("vlan_vid", parseSmall(argument, 4095), context),
  mod_vlan_pcp: (argument, context) => setVlan("vlan_pcp", parseSmall(argument, 7), context),
  set_tunnel: (argument) => setField("tun_id", argument),
  set_tunnel64: (argument) => setField("tun_id", argument),
  set_field: (argument) => {
    const [value, field] = splitArrow(argument);
    return setField(field, value);
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
    return { type: "load", destination, value: number };
  },
  move: (argument) => {
    const [from, to] = splitArrow(argument);
    const [source, destination] = [parseRange(from), parseRange(to)];
    if (source.bits !== destination.bits)
      throw flowTextError(
        `${argument}: source field is ${source.bits} bits wide but destination is ${destination.bits} bits wide`,
      );
    return { type: "move", source, destination };
  },
  push: (argument) => ({ type: "push", range: parseRange(argument) }),
  pop: (argument) => ({ type: "pop", range: parseRange(argument) }),
  exit: () => ({ type: "exit" }),
  note: parseNote,
  resubmit: parseResubmit,
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

export function formatInstructions(instructions: readonly Instruction[]): string {
  const parts = inOrder(instructions).flatMap((instruction): string[] => {
    switch (instruction.type) {
      case "apply_actions":
        return instruction.actions.map(formatAction);
      case "write_actions":
        return [`write_actions(${listText(instruction.actions)})`];
      case "goto_table":
        return [`goto_table:${instruction.tableId}`];
      case "meter":
        return [`meter:${instruction.meterId}`];
      case "write_metadata": {
        const mask = instruction.mask === U64 ? "" : `/${formatHex(instruction.mask)}`;
        return [`write_metadata:${formatHex(instruction.metadata)}${mask}`];
      }
      case "clear_actions":
        return ["clear_actions"];
      default:
        return [`experimenter(${instruction.experimenter.toString(16)})`];
    }
  });
  return parts.length === 0 ? "drop" : parts.join(",");
}

/** Actions in parentheses. */
function listText(actions: readonly Action[]): string {
  return actions.length === 0 ? "drop" : actions.map(formatAction).join(",");
}

export function formatAction(action: Action): string {
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
      return formatSetField(action.field, action);
    case "load":
      return `load:${formatHex(action.value)}->${formatRange(action.destination)}`;
    case "move":
      return `move:${formatRange(action.source)}->${formatRange(action.destination)}`;
    case "ct":
      return formatCt(action, formatAction);
    case "nat":
      return formatNat(action);
    case "learn":
      return formatLearn(action);
    case "clone":
      return `clone(${listText(action.actions)})`;
    case "experimenter":
      return `experimenter(${action.experimenter.toString(16)})`;
    default:
      return formatSmall(action) ?? action.type;
  }
}

function formatSetField(name: OxmFieldName, value: FieldValue): string {
  // What a match shows with leading zeros is an ordinary number here.
  const padded = name === "ipv6_flabel" || name === "vlan_tci";
  const text = padded ? formatHex(bytesToNumber(value.value)) : formatFieldValue(OXM_FIELDS[name], value);
  return `set_field:${text}->${OXM_NAMES[name].manual}`;
}
