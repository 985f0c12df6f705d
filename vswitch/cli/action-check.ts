// What Open vSwitch refuses of actions and instructions already when it reads them. Pure.

import { PlinthError } from "../../base/errors/index.js";
import type {
  Action,
  Instruction,
  Match,
  OfpErrorName,
  OxmEntry,
  OxmFieldName,
} from "../../base/openflow/index.js";
import {
  isLoadable,
  OFP10_VERSION,
  OFP11_VERSION,
  OFP15_VERSION,
  OFPP_IN_PORT,
  OFPP_LOCAL,
  OFPP_MAX,
  OFPTT_ALL,
  OXM_FIELDS,
  prerequisiteHolds,
} from "../../base/openflow/index.js";
import { Prerequisites } from "../flow/index.js";

/**
 * `match` and `tableId` are those of the flow, where they matter. Of a flow that a switch has (`isTold`), the actions
 * are not held against the match. Returns the name of the error.
 */
export function instructionsFault(
  instructions: readonly Instruction[],
  match: Match | undefined,
  tableId: number | undefined,
  version: number,
  isTold = false,
): OfpErrorName | undefined {
  if (instructions.some(({ type }) => type === "experimenter")) return "OFPBIC_BAD_EXPERIMENTER";
  const listsOf = (type: Instruction["type"]): (readonly Action[])[] =>
    instructions.flatMap((one) => (one.type === type && "actions" in one ? [one.actions] : []));
  const lists = [...listsOf("apply_actions"), ...listsOf("write_actions")];
  for (const actions of lists) {
    const fault = eachFault(actions) ?? (version === OFP10_VERSION ? enqueueFault(actions) : undefined);
    if (fault !== undefined) return fault;
  }
  const set = instructions.find(({ type }) => type === "write_actions");
  if (set !== undefined && "actions" in set && set.actions.some(({ type }) => !IN_ACTION_SET.has(type)))
    return "OFPBAC_BAD_TYPE";
  const others = instructions.some(({ type }) => type !== "apply_actions");
  for (const actions of lists) {
    if (others && actions.some(({ type }) => type === "conjunction")) return "NXBAC_BAD_CONJUNCTION";
    const fault = conjunctionFault(actions);
    if (fault !== undefined) return fault;
  }
  if (isTold) return undefined;
  // An action set meets what the actions before it have made of the packet.
  const known = new Prerequisites(match, true);
  for (const actions of lists) {
    const told = version === OFP11_VERSION ? actions.map((one) => withProtocol(one, match)) : actions;
    const isInSet = set !== undefined && "actions" in set && set.actions === actions;
    const counts = isInSet ? isStrictInSet(version) : version === OFP10_VERSION ? isStrictIn10 : isAny;
    const fault = consistencyFault(told, known, counts);
    if (fault !== undefined) return fault;
  }
  const jump = instructions.find((one) => one.type === "goto_table");
  return jump !== undefined && tableId !== undefined && tableId !== OFPTT_ALL && jump.tableId <= tableId
    ? "OFPBIC_BAD_TABLE_ID"
    : undefined;
}

/** What Open vSwitch holds against the match in an action set too; the others would but need an older version. */
function isStrictInSet(version: number): (action: Action) => boolean {
  return (action) =>
    !LENIENT_IN_SET.has(action.type) &&
    !(version === OFP11_VERSION && action.type === "set_field" && isLoadable(action.field));
}

const LENIENT_IN_SET: ReadonlySet<Action["type"]> = new Set<Action["type"]>([
  ...(["dec_mpls_ttl", "dec_nw_ttl", "dec_ttl_ids", "set_mpls_ttl", "set_nw_ttl"] as const),
  ...(["push_mpls", "pop_mpls", "pop_vlan"] as const),
]);

/** 1.1 sets the port of whatever transport protocol the packet has. */
function withProtocol(action: Action, match: Match | undefined): Action {
  if (action.type !== "set_field" || !/^tcp_(src|dst)$/.test(action.field)) return action;
  const protocol = match?.find(({ field }) => field === "ip_proto")?.value[0];
  const prefix = protocol === 17 ? "udp" : protocol === 132 ? "sctp" : "tcp";
  return { ...action, field: `${prefix}_${action.field.endsWith("src") ? "src" : "dst"}` };
}

/** Of a list that stands alone. */
export function listFault(actions: readonly Action[], version?: number): OfpErrorName | undefined {
  const queued = version === OFP10_VERSION ? enqueueFault(actions) : undefined;
  return eachFault(actions) ?? queued ?? conjunctionFault(actions);
}

const IN_ACTION_SET: ReadonlySet<Action["type"]> = new Set<Action["type"]>([
  ...(["output", "group", "set_queue", "push_vlan", "push_mpls", "pop_mpls", "pop_vlan"] as const),
  ...(["dec_mpls_ttl", "dec_nw_ttl", "dec_ttl_ids", "set_mpls_ttl", "set_nw_ttl", "set_field"] as const),
  ...(["load", "move", "resubmit", "ct", "ct_clear"] as const),
]);

function eachFault(actions: readonly Action[]): OfpErrorName | undefined {
  for (const action of actions) {
    const fault = action.type === "clone" ? listFault(action.actions) : actionFault(action);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/** What one action on the wire means, held against what Open vSwitch refuses of it as soon as it has read it. */
export function readFault(actions: readonly Action[], version: number): OfpErrorName | undefined {
  // The port that a packet came from is set by its older number alone.
  if (actions.some((one) => one.type === "set_field" && one.field === "in_port"))
    return "OFPBAC_BAD_SET_ARGUMENT";
  // From 1.5 on it is said that a tag is there, whatever of it is set.
  if (version === OFP15_VERSION && actions.some(setsNoTag)) return "OFPBAC_BAD_SET_ARGUMENT";
  return (version === OFP10_VERSION ? enqueueFault(actions) : undefined) ?? eachFault(actions);
}

function setsNoTag(action: Action): boolean {
  if (action.type !== "set_field" || action.field !== "vlan_vid") return false;
  return [action.value, action.mask].some((part) => part !== undefined && ((part[0] as number) & 0x10) === 0);
}

/** A queue is one of an ordinary port, or of one that stands for such. */
function enqueueFault(actions: readonly Action[]): OfpErrorName | undefined {
  const bad = actions.some((action, i) => {
    const before = actions[i - 1];
    const after = actions[i + 1];
    if (action.type !== "output" || before?.type !== "set_queue") return false;
    if (after?.type !== "set_queue" || after.queueId !== 0) return false;
    return action.port >= 0xff00 && action.port !== OFPP_IN_PORT && action.port !== OFPP_LOCAL;
  });
  return bad ? "OFPBAC_BAD_OUT_PORT" : undefined;
}

function conjunctionFault(actions: readonly Action[]): OfpErrorName | undefined {
  const isConjunctive = actions.some(({ type }) => type === "conjunction");
  const others = actions.some(({ type }) => type !== "conjunction" && type !== "note");
  if (isConjunctive && others) return "NXBAC_BAD_CONJUNCTION";
  // These stand only inside ct.
  return actions.some((action) => action.type === "nat" || setsTracked(action))
    ? "OFPBAC_BAD_SET_ARGUMENT"
    : undefined;
}

/** Not even actions may change these there. */
const READ_ONLY: ReadonlySet<string> = new Set<OxmFieldName>(["eth_type", "ip_proto", "mpls_bos"]);
/** What ct alone changes, inside its parentheses. */
const TRACKED: ReadonlySet<string> = new Set<OxmFieldName>(["ct_mark", "ct_label"]);

function actionFault(action: Action): OfpErrorName | undefined {
  switch (action.type) {
    case "experimenter":
      return "OFPBAC_BAD_EXPERIMENTER";
    case "set_field":
      // The two bits of ECN are a field of their own.
      if (action.field === "ip_tos" && ((action.value[0] as number) & 3) !== 0)
        return "OFPBAC_BAD_SET_ARGUMENT";
      // Whatever has a mask is looked at before the rest of the list.
      if (action.mask !== undefined && TRACKED.has(action.field)) return "OFPBAC_BAD_SET_ARGUMENT";
      if (!fitsThere(action.field, action.value)) return "OFPBAC_BAD_SET_ARGUMENT";
      return writeFault(action.field);
    case "load":
    case "move":
      return writeFault(action.destination.field);
    case "pop":
      return writeFault(action.range.field);
    case "multipath":
    case "check_pkt_larger":
      return writeFault(action.destination.field);
    case "bundle":
      return action.destination && writeFault(action.destination.field);
    case "learn":
      return action.result && writeFault(action.result.field);
    default:
      return undefined;
  }
}

function writeFault(field: string): OfpErrorName | undefined {
  return READ_ONLY.has(field) ? "OFPBAC_BAD_SET_ARGUMENT" : undefined;
}

/** There the operation of ARP has 8 bits, a port 16. */
export function fitsThere(field: OxmFieldName, value: Uint8Array): boolean {
  const number = Number(value.reduce((sum, byte) => sum * 256 + byte, 0));
  if (field === "arp_op") return number <= 0xff;
  return (field !== "in_port" && field !== "actset_output") || number < 0xff00 || number >= OFPP_MAX;
}

export function setsTracked(action: Action): boolean {
  if (action.type === "set_field") return TRACKED.has(action.field);
  return (action.type === "load" || action.type === "move") && TRACKED.has(action.destination.field);
}

/** Whether what learn matches and sets is in the packets that its flows match. */
export function isLearnable({ specs }: Action & { type: "learn" }): boolean {
  const learned: OxmEntry[] = [];
  return specs.every((spec) => {
    if (spec.kind === "output") return true;
    const { source, destination } = spec;
    const field = OXM_FIELDS[destination.field];
    if (!prerequisiteHolds(field.prerequisite, learned)) return false;
    if (spec.kind === "match" && typeof source === "bigint" && destination.bits === field.bits)
      learned.push({ field: field.name, value: bigintBytes(source, field.size) });
    return true;
  });
}

function bigintBytes(number: bigint, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Number((number >> BigInt(8 * (size - 1 - i))) & 0xffn));
}

const isAny = (_action: Action): boolean => true;
/** 1.0 lets its own actions do nothing where a packet lacks the field, but not those of Nicira. */
const STRICT_IN_10: ReadonlySet<Action["type"]> = new Set<Action["type"]>([
  ...(["ct", "load", "move", "push", "pop", "output_reg", "multipath", "bundle", "learn"] as const),
]);
const isStrictIn10 = (action: Action): boolean => STRICT_IN_10.has(action.type) && !isTagAction(action);

/** What the actions of 1.0 that set a VLAN are read as. */
function isTagAction(action: Action): boolean {
  if (action.type !== "load" || action.destination.field !== "vlan_tci") return false;
  const { offset, bits } = action.destination;
  return (offset === 0 && bits === 13) || (offset === 12 && bits === 4);
}

/** A member of a bundle that is neither a port nor a word for some. */
export function hasNoMember(action: Action): boolean {
  return action.type === "bundle" && action.members.some((port) => port >= 0xff00 && port < 0xfff8);
}

/** Follows what the packet must be by then, for the actions that `counts` tells. */
export function consistencyFault(
  actions: readonly Action[],
  prerequisites: Prerequisites,
  counts: (action: Action) => boolean = isAny,
): OfpErrorName | undefined {
  for (const action of actions) {
    if (hasNoMember(action)) return "OFPBAC_BAD_OUT_PORT";
    const isChecked = counts(action);
    try {
      for (const field of isChecked ? fieldsOf(action) : [])
        prerequisites.check(field, "OFPBAC_MATCH_INCONSISTENT");
    } catch (thrown) {
      if (thrown instanceof PlinthError) return "OFPBAC_MATCH_INCONSISTENT";
      throw thrown;
    }
    if (isChecked && action.type === "learn") {
      if (!isLearnable(action)) return "OFPBAC_MATCH_INCONSISTENT";
      if (action.specs.some((spec) => spec.kind === "load" && READ_ONLY.has(spec.destination.field)))
        return "OFPBAC_BAD_SET_ARGUMENT";
    }
    const inner =
      action.type === "clone" ? consistencyFault(action.actions, prerequisites.fork(), counts) : undefined;
    if (inner !== undefined) return inner;
    prerequisites.after(action);
  }
  return undefined;
}

/** What connections are made of that a helper looks into, by its port: FTP, TFTP. */
const HELPED: Readonly<Record<number, readonly OxmFieldName[]>> = { 21: ["tcp_flags"], 69: ["udp_src"] };

/** The fields that a packet must have for the action; one that stands for its like where the action names none. */
export function fieldsOf(action: Action): readonly OxmFieldName[] {
  switch (action.type) {
    case "set_field":
      return action.field === "vlan_vid" ? ["vlan_pcp"] : [action.field];
    case "load":
      return [action.destination.field === "vlan_vid" ? "vlan_pcp" : action.destination.field];
    case "multipath":
      return [action.destination.field];
    case "push_mpls":
      return ["eth_src"];
    case "bundle":
      return action.destination === undefined ? [] : [action.destination.field];
    case "move":
      return [action.source.field, action.destination.field];
    case "push":
    case "pop":
      return [action.range.field];
    case "output_reg":
      return [action.source.field];
    case "learn":
      return action.specs.flatMap(({ source }) => (typeof source === "bigint" ? [] : [source.field]));
    case "dec_nw_ttl":
    case "dec_ttl_ids":
    case "set_nw_ttl":
      return ["nw_ttl"];
    case "ct":
      return ["nw_ttl", ...(HELPED[action.alg] ?? [])];
    case "dec_mpls_ttl":
    case "set_mpls_ttl":
      return ["mpls_label"];
    case "pop_mpls":
      return ["mpls_label", "eth_src"];
    case "pop_vlan":
      return ["vlan_pcp"];
    case "fin_timeout":
      return ["tcp_flags"];
    case "dec_nsh_ttl":
      return ["nsh_ttl"];
    case "resubmit":
      return action.withCt ? ["ct_nw_proto"] : [];
    default:
      return [];
  }
}
