// Actions and instructions in the words of the version that they came in. Pure.
import { type Action, type Instruction, OFP10_VERSION } from "../../base/openflow/index.js";
import { formatAction, formatInstructions } from "./action-text.js";
import { formatActions10 } from "./action-text-10.js";

export function actionsText(actions: readonly Action[], version: number): string {
  if (version === OFP10_VERSION) return formatActions10(actions);
  return actions.length === 0 ? "drop" : actions.map(formatAction).join(",");
}

export function instructionsText(instructions: readonly Instruction[], version: number): string {
  if (version !== OFP10_VERSION) return formatInstructions(instructions);
  return formatActions10(instructions.flatMap((one) => (one.type === "apply_actions" ? one.actions : [])));
}
