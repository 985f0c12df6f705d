// What options of tunnels are to the flow tables: changes of which are mapped, and flow-mods whose values are made as long
// as the mappings say. Thread: datapath worker.
import type { Action, FlowMod, Instruction, OfpErrorName } from "../../base/openflow/index.js";
import { OFPTT_ALL } from "../../base/openflow/index.js";
import type { FlowTables } from "./flow-tables.js";
import { optionsIn, type TunnelOptions } from "./tunnel-options.js";

/** Carries out the body of a NXT_TLV_TABLE_MOD; the error that it deserves, if any. */
export function changeOptions(tables: FlowTables, body: Uint8Array): OfpErrorName | undefined {
  const isUsed = (numbers: ReadonlySet<number>): boolean => {
    const names = (one: unknown): boolean => [...optionsIn(one)].some((number) => numbers.has(number));
    return tables.flowsOf(OFPTT_ALL).some(({ match, instructions }) => names(match) || names(instructions));
  };
  const error = tables.options.change(body, isUsed);
  if (error !== undefined) return error;
  tables.groups.renew();
  tables.invalidate();
  return undefined;
}

/** Values of options in the flow-mod as long as they are; a mod that names none is as it was. */
export function fitFlowMod(mod: FlowMod, options: TunnelOptions): FlowMod {
  if (options.size === 0) return mod;
  return {
    ...mod,
    match: mod.match.map((entry) => options.fit(entry)),
    instructions: mod.instructions.map((one) => fitInstruction(one, options)),
  };
}

function fitInstruction(instruction: Instruction, options: TunnelOptions): Instruction {
  if (instruction.type !== "apply_actions" && instruction.type !== "write_actions") return instruction;
  return { ...instruction, actions: instruction.actions.map((action) => fitAction(action, options)) };
}

function fitAction(action: Action, options: TunnelOptions): Action {
  if (action.type === "set_field") return options.fit(action);
  if (action.type !== "clone") return action;
  return { ...action, actions: action.actions.map((inner) => fitAction(inner, options)) };
}
