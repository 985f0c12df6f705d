// Instructions, action sets and buckets compiled: what a flow or a bucket does, in the order in which it is done.
// Source: OpenFlow 1.3.5, 5.9 to 5.12. Thread: any.
import type { Action, Instruction, Match } from "../../base/openflow/index.js";
import { bySlot, effective, slotOf } from "./action-set-order.js";
import { type ActionContext, compileActions } from "./compile-actions.js";
import { flowError } from "./errors.js";
import { putBits } from "./fields.js";
import { type ActionSetEntry, type Clause, type FlowProgram, type Program, SLOTS } from "./program.js";

/** Compiles actions in the order of an action set: for write-actions. Those that others replace are checked too. */
function compileActionSet(actions: readonly Action[], context: ActionContext): ActionSetEntry[] {
  compileActions(
    [...actions].sort((a, b) => slotOf(a) - slotOf(b)),
    context,
    undefined,
  );
  return bySlot(actions).map(([slot, inSlot]) => ({
    slot,
    program: compileActions(inSlot, context, undefined),
  }));
}

/**
 * A bucket: its actions as one program in the order of an action set; those without effect are checked too. With an
 * action that has no place in a set they are a list.
 */
export function compileBucket(actions: readonly Action[], context: ActionContext): Program {
  const program = compileActions(actions, context, undefined);
  const isList = actions.some((action) => SLOTS[action.type] === undefined);
  return isList ? program : compileActions(effective(actions), context, undefined);
}

/** What a flow may refer to. */
export interface FlowContext extends ActionContext {
  readonly meterExists: (meterId: number) => boolean;
}

/** Compiles and checks the instructions of a flow in `tableId`. */
export function compileInstructions(
  instructions: readonly Instruction[],
  tableId: number,
  tableIdMax: number,
  context: FlowContext,
  match: Match | undefined,
): FlowProgram {
  let meterId = 0;
  let apply: Program | null = null;
  let clear = false;
  let write: ActionSetEntry[] = [];
  let metadata: Int32Array | null = null;
  let gotoTable = -1;
  for (const instruction of instructions) {
    switch (instruction.type) {
      case "meter":
        if (!context.meterExists(instruction.meterId))
          throw flowError("OFPMMFC_UNKNOWN_METER", `there is no meter ${instruction.meterId}`);
        meterId = instruction.meterId;
        break;
      case "apply_actions":
        apply = compileActions(instruction.actions, context, match);
        break;
      case "clear_actions":
        clear = true;
        break;
      case "write_actions":
        write = compileActionSet(instruction.actions, context);
        break;
      case "write_metadata":
        metadata = new Int32Array(4);
        putBits(metadata, 0, 64, instruction.mask);
        putBits(metadata, 64, 64, instruction.metadata & instruction.mask);
        break;
      case "goto_table":
        if (instruction.tableId <= tableId || instruction.tableId > tableIdMax)
          throw flowError("OFPBIC_BAD_TABLE_ID", `table ${tableId} cannot go to ${instruction.tableId}`);
        gotoTable = instruction.tableId;
        break;
      case "experimenter":
        throw flowError("OFPBIC_BAD_EXPERIMENTER", "experimenter instructions are not supported");
    }
  }
  return { meterId, apply, clear, write, metadata, gotoTable, clauses: clausesOf(instructions) };
}

function mayHoldConjunction(one: Instruction): boolean {
  const isList = one.type === "apply_actions" || one.type === "write_actions";
  return isList && one.actions.some(({ type }) => type === "conjunction");
}

/** A flow with a conjunction may have notes beside, and nothing else. */
function clausesOf(instructions: readonly Instruction[]): readonly Clause[] | null {
  if (!instructions.some(mayHoldConjunction)) return null;
  const actions = instructions.flatMap((one) =>
    one.type === "apply_actions" || one.type === "write_actions" ? one.actions : [],
  );
  const clauses = actions.filter((action) => action.type === "conjunction");
  if (clauses.length === 0) return null;
  const [only] = instructions;
  const alone = instructions.length === 1 && only?.type === "apply_actions";
  if (!alone || actions.some(({ type }) => type !== "conjunction" && type !== "note"))
    throw flowError("NXBAC_BAD_CONJUNCTION", "a conjunction stands alone, or with notes");
  return clauses;
}
