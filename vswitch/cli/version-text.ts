// Actions and instructions in the words of the version that they came in. Pure.
import { type Action, type Instruction, OFP10_VERSION, OFP11_VERSION } from "../../base/openflow/index.js";
import { formatAction } from "./action-text.js";
import { formatAction11, formatActions10 } from "./action-text-10.js";
import { formatInstructions } from "./instruction-text.js";

export function actionsText(actions: readonly Action[], version: number): string {
  if (version === OFP10_VERSION) return formatActions10(actions);
  const format = version === OFP11_VERSION ? formatAction11 : formatAction;
  return actions.length === 0 ? "drop" : actions.map(format).join(",");
}

export function instructionsText(instructions: readonly Instruction[], version: number): string {
  if (version === OFP11_VERSION) return formatInstructions(instructions, formatAction11);
  if (version !== OFP10_VERSION) return formatInstructions(instructions);
  return formatActions10(instructions.flatMap((one) => (one.type === "apply_actions" ? one.actions : [])));
}
