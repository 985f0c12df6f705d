// Action lists compiled to programs, with every refusal that an action can deserve.
// Source: OpenFlow 1.3.5, 7.2.5 for meaning and errors, ovs-actions(7) for Nicira actions. Thread: any.
import {
  type Action,
  type BundleAction,
  type ControllerAction,
  type LearnAction,
  type Match,
  type MultipathAction,
  OFPP_ALL,
  OFPP_CONTROLLER,
  OFPP_FLOOD,
  OFPP_NORMAL,
  OFPP_TABLE,
  OFPQ_ALL,
  type OxmFieldName,
  type SetFieldAction,
} from "../../base/openflow/index.js";
import { compileMove, compileRead, compileSet, compileWrite, rangeStart, wholeOf } from "./compile-fields.js";
import { compileHeaderAction } from "./compile-headers.js";
import { type CtProgram, checkConnectionPrerequisites, compileCt } from "./ct-program.js";
import { flowError, openFlowErrorOf } from "./errors.js";
import { keyField, ones, toBigInt, unknownField } from "./fields.js";
import { HASH_FIELDS, LINK_ALGORITHMS, MEMBER_ALGORITHMS } from "./hash-fields.js";
import { compileLearn, type LearnProgram } from "./learn-program.js";
import { ACTIONS_MAX, NESTED_ACTIONS_MAX } from "./limits.js";
import { optionNumber } from "./option-number.js";
import { Prerequisites } from "./prerequisites.js";
import * as P from "./program.js";
import { optionsIn, type TunnelOptions } from "./tunnel-options.js";

/** What actions may refer to. */
export interface ActionContext {
  readonly groupExists: (groupId: number) => boolean;
  /** Those of tunnels that are mapped; absent: none is. */
  readonly options?: TunnelOptions;
  /** What names options that are not mapped, or not that long, does nothing instead of being refused. */
  readonly passesUnmapped?: boolean;
}

/** A program in the making. */
class Assembly {
  readonly code: number[] = [];
  readonly ct: CtProgram[] = [];
  readonly nested: P.Program[] = [];
  readonly learns: LearnProgram[] = [];
  readonly members: Int32Array[] = [];
  readonly userdata: Uint8Array[] = [];
  readonly offsets: number[] = [];
  readonly context: ActionContext;
  readonly prerequisites: Prerequisites;
  /** Actions around this list. */
  readonly depth: number;

  constructor(context: ActionContext, prerequisites: Prerequisites, depth: number) {
    this.context = context;
    this.prerequisites = prerequisites;
    this.depth = depth;
  }
}

/** Compiles an action list. `match` is the flow's, for prerequisites; undefined in groups and packet-outs. */
export function compileActions(
  actions: readonly Action[],
  context: ActionContext,
  match: Match | undefined,
): P.Program {
  return compileList(actions, context, new Prerequisites(match), 0);
}

function compileList(
  actions: readonly Action[],
  context: ActionContext,
  prerequisites: Prerequisites,
  depth: number,
): P.Program {
  if (actions.length > ACTIONS_MAX)
    throw flowError("OFPBAC_TOO_MANY", `${actions.length} actions; at most ${ACTIONS_MAX}`);
  if (depth > NESTED_ACTIONS_MAX)
    throw flowError("OFPBAC_TOO_MANY", `actions within actions, more than ${NESTED_ACTIONS_MAX} deep`);
  const assembly = new Assembly(context, prerequisites, depth);
  for (const action of actions) {
    assembly.offsets.push(assembly.code.length);
    if (context.passesUnmapped === true && optionsIn(action).size > 0) tryAction(action, assembly);
    else compileAction(action, assembly);
    prerequisites.after(action);
  }
  const { code, ct, nested, learns, members, userdata, offsets } = assembly;
  return {
    ...{ code: Int32Array.from(code), actions, offsets },
    // Most have none of these, and there may be a million flows.
    ...{ ct: orNone(ct), nested: orNone(nested), learns: orNone(learns) },
    ...{ members: orNone(members), userdata: orNone(userdata) },
  };
}

const NONE: readonly never[] = [];

function orNone<Item>(list: readonly Item[]): readonly Item[] {
  return list.length === 0 ? NONE : list;
}

function tryAction(action: Action, assembly: Assembly): void {
  const { length } = assembly.code;
  try {
    compileAction(action, assembly);
  } catch (thrown) {
    if (openFlowErrorOf(thrown) === undefined) throw thrown;
    assembly.code.length = length;
  }
}

function compileAction(action: Action, assembly: Assembly): void {
  const { code, context, prerequisites } = assembly;
  switch (action.type) {
    case "output":
      if (action.port === OFPP_CONTROLLER) code.push(P.OP_CONTROLLER, action.maxLength, 1, 0, -1, 0, 0);
      else {
        requirePort(action.port);
        code.push(P.OP_OUTPUT, action.port, action.maxLength);
      }
      return;
    case "group":
      if (!context.groupExists(action.groupId))
        throw flowError("OFPBAC_BAD_OUT_GROUP", `there is no group ${action.groupId}`);
      code.push(P.OP_GROUP, action.groupId);
      return;
    case "set_queue":
      // Which queues a port has is known when the packet leaves: they may come later than the flow.
      if (action.queueId === OFPQ_ALL) throw flowError("OFPBAC_BAD_QUEUE", "all queues are not one");
      code.push(P.OP_SET_QUEUE, action.queueId);
      return;
    case "set_field":
      if (action.field === "in_port") throw flowError("OFPBAC_BAD_SET_TYPE", "in_port is no header field");
      prerequisites.check(action.field, "OFPBAC_MATCH_INCONSISTENT");
      compileSetField(action, assembly);
      return;
    case "experimenter":
      throw flowError("OFPBAC_BAD_EXPERIMENTER", "unknown experimenter action");
    case "meter":
      throw flowError("OFPBAC_BAD_TYPE", "meters are instructions");
    case "delete_field":
      compileDelete(action.field, assembly);
      return;
    case "encap":
    case "decap":
    case "dec_nsh_ttl":
      throw flowError("OFPBAC_BAD_EXP_TYPE", `${action.type} is not known to this switch`);
    case "pop_vlan":
    case "pop_mpls":
    case "pop_pbb":
    case "dec_mpls_ttl":
    case "dec_nw_ttl":
    case "set_mpls_ttl":
    case "set_nw_ttl":
      prerequisites.checkHeader(action.type);
      compileHeaderAction(action, code);
      return;
    case "push_vlan":
    case "push_mpls":
    case "push_pbb":
    case "copy_ttl_out":
    case "copy_ttl_in":
      compileHeaderAction(action, code);
      return;
    default:
      compileNicira(action, assembly);
  }
}

function requirePort(port: number): void {
  // Messages may name port 0, which no switch has.
  if (port === 0) throw flowError("OFPBAC_BAD_OUT_PORT", `port ${port} cannot be output to`);
}

function compileSetField(action: SetFieldAction, { code, context: { options } }: Assembly): void {
  const { field, value, mask } = options?.fit(action) ?? action;
  const range = wholeOf(field, options);
  compileSet(range, toBigInt(value), mask === undefined ? ones(range.bits) : toBigInt(mask), code, options);
}

/** Only an option of tunnels can be deleted. */
function compileDelete(field: OxmFieldName, { code, context: { options } }: Assembly): void {
  const place = optionNumber(field) < 0 ? undefined : keyField(field, options);
  if (place === undefined)
    throw flowError(unknownField(field, "OFPBAC_BAD_ARGUMENT"), `${field} cannot be deleted`);
  code.push(P.OP_DELETE_OPTION, optionNumber(field), place.start >>> 5, place.bits >>> 5);
}

type NiciraAction = Exclude<
  Extract<Action, { readonly type: string }>,
  {
    readonly type:
      | ("output" | "group" | "set_queue" | "set_field" | "experimenter")
      | ("meter" | "encap" | "decap" | "delete_field" | "dec_nsh_ttl");
  }
>;

function compileNicira(action: NiciraAction, assembly: Assembly): void {
  const { code, context, prerequisites } = assembly;
  switch (action.type) {
    case "load":
      prerequisites.check(action.destination.field, "OFPBAC_MATCH_INCONSISTENT");
      compileSet(action.destination, action.value, ones(action.destination.bits), code, context.options);
      return;
    case "move":
      prerequisites.check(action.source.field, "OFPBAC_MATCH_INCONSISTENT");
      prerequisites.check(action.destination.field, "OFPBAC_MATCH_INCONSISTENT");
      compileMove(action.source, action.destination, code, context.options);
      return;
    case "push":
      prerequisites.check(action.range.field, "OFPBAC_MATCH_INCONSISTENT");
      code.push(P.OP_PUSH);
      compileRead(action.range, code, context.options);
      return;
    case "pop":
      prerequisites.check(action.range.field, "OFPBAC_MATCH_INCONSISTENT");
      code.push(P.OP_POP);
      compileWrite(action.range, code, context.options);
      return;
    case "check_pkt_larger":
      prerequisites.check(action.destination.field, "OFPBAC_MATCH_INCONSISTENT");
      code.push(P.OP_CHECK_LARGER, action.sizeBytes);
      compileWrite(action.destination, code, context.options);
      return;
    case "output_reg":
      prerequisites.check(action.source.field, "OFPBAC_MATCH_INCONSISTENT");
      code.push(P.OP_OUTPUT_REG, action.maxLength);
      compileRead(action.source, code, context.options);
      return;
    case "output_trunc":
      if (WITHOUT_TRUNCATION.includes(action.port))
        throw flowError("OFPBAC_BAD_OUT_PORT", "output to this port cannot be truncated");
      requirePort(action.port);
      code.push(P.OP_OUTPUT_TRUNC, action.port, action.maxLength);
      return;
    case "resubmit":
      code.push(P.OP_RESUBMIT, action.port, action.tableId, action.withCt ? 1 : 0);
      return;
    case "controller":
      compileController(action, assembly);
      return;
    case "ct":
      code.push(P.OP_CT, assembly.ct.length);
      checkConnectionPrerequisites(action, assembly.prerequisites);
      assembly.ct.push(
        compileCt(
          action,
          (range) => rangeStart(range, context.options),
          (inner) => compileActions(inner, context, undefined),
        ),
      );
      return;
    case "nat":
      throw flowError("OFPBAC_BAD_ARGUMENT", "nat stands only inside ct");
    case "clone":
      code.push(P.OP_CLONE, assembly.nested.length);
      assembly.nested.push(compileList(action.actions, context, prerequisites.fork(), assembly.depth + 1));
      return;
    case "learn":
      compileLearnAction(action, assembly);
      return;
    case "multipath":
      compileMultipath(action, assembly);
      return;
    case "bundle":
      compileBundle(action, assembly);
      return;
    default:
      compileSmall(action as SmallAction, assembly);
  }
}

const WITHOUT_TRUNCATION: readonly number[] = [
  OFPP_ALL,
  OFPP_FLOOD,
  OFPP_NORMAL,
  OFPP_TABLE,
  OFPP_CONTROLLER,
];

type SmallAction = Extract<
  Action,
  {
    readonly type:
      | ("ct_clear" | "exit" | "pop_queue" | "note" | "sample" | "conjunction")
      | ("dec_ttl_ids" | "fin_timeout");
  }
>;

function compileSmall(action: SmallAction, { code, prerequisites }: Assembly): void {
  switch (action.type) {
    case "ct_clear":
      code.push(P.OP_CT_CLEAR);
      return;
    case "exit":
      code.push(P.OP_EXIT);
      return;
    case "pop_queue":
      code.push(P.OP_POP_QUEUE);
      return;
    case "dec_ttl_ids":
      prerequisites.checkHeader(action.type);
      code.push(P.OP_DEC_TTL_IDS, action.controllerIds.length, ...action.controllerIds);
      return;
    case "fin_timeout":
      prerequisites.check("tcp_flags", "OFPBAC_MATCH_INCONSISTENT");
      code.push(P.OP_FIN_TIMEOUT, action.idleTimeoutSeconds, action.hardTimeoutSeconds);
      return;
    case "note":
    case "sample":
    case "conjunction":
      // They do nothing to a packet: what a conjunction means is the classifier's, and samples have no collector.
      return;
  }
}

function compileController(action: ControllerAction, { code, userdata }: Assembly): void {
  const { maxLength, reason, controllerId, meterId = 0 } = action;
  code.push(P.OP_CONTROLLER, maxLength, P.REASONS.indexOf(reason), controllerId);
  // A meter that is not there limits nothing, as ovs-actions(7) has it.
  code.push(action.userdata === undefined ? -1 : userdata.length, meterId, action.pause === true ? 1 : 0);
  if (action.userdata !== undefined) userdata.push(action.userdata);
}

function compileLearnAction(
  action: LearnAction,
  { code, learns, prerequisites, context: { options } }: Assembly,
): void {
  for (const { source } of action.specs) {
    if (typeof source !== "bigint") prerequisites.check(source.field, "OFPBAC_MATCH_INCONSISTENT");
  }
  code.push(P.OP_LEARN, learns.length);
  if (action.result === undefined) code.push(P.W_NONE, 0);
  else {
    prerequisites.check(action.result.field, "OFPBAC_MATCH_INCONSISTENT");
    compileWrite(action.result, code, options);
  }
  learns.push(compileLearn(action, options));
}

function compileMultipath(action: MultipathAction, { code, prerequisites, context }: Assembly): void {
  prerequisites.check(action.destination.field, "OFPBAC_MATCH_INCONSISTENT");
  code.push(P.OP_MULTIPATH, HASH_FIELDS.indexOf(action.fields), action.basis);
  code.push(LINK_ALGORITHMS.indexOf(action.algorithm), action.linkMax + 1, action.argument);
  compileWrite(action.destination, code, context.options);
}

function compileBundle(action: BundleAction, assembly: Assembly): void {
  const { code, members, prerequisites, context } = assembly;
  const { destination } = action;
  if (destination !== undefined) prerequisites.check(destination.field, "OFPBAC_MATCH_INCONSISTENT");
  code.push(destination === undefined ? P.OP_BUNDLE : P.OP_BUNDLE_LOAD);
  code.push(HASH_FIELDS.indexOf(action.fields), action.basis, MEMBER_ALGORITHMS.indexOf(action.algorithm));
  code.push(members.length);
  if (destination !== undefined) compileWrite(destination, code, context.options);
  members.push(Int32Array.from(action.members));
}
