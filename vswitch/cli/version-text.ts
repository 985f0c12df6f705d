// Actions and instructions in the words of the version that they came in. Pure.
import { type Action, type Instruction, OFP10_VERSION, OFP11_VERSION } from "../../base/openflow/index.js";
import { formatOuter } from "./action-text.js";
import { formatAction10, formatAction11, formatActions10 } from "./action-text-10.js";
import { formatInstructions } from "./instruction-text.js";
import type { PortNames } from "./match-text.js";
import { formatWithNames } from "./named-port-text.js";

type Format = (action: Action) => string;

/** How single actions are told in a version, also those inside others. */
function formatIn(version: number, names: PortNames | undefined): Format {
  const own =
    version === OFP10_VERSION ? formatAction10 : version === OFP11_VERSION ? formatAction11 : formatOuter;
  const format: Format = (action) =>
    (names === undefined ? undefined : formatWithNames(action, names)) ?? own(action, format, names);
  return format;
}

export function actionsText(actions: readonly Action[], version: number, names?: PortNames): string {
  const format = formatIn(version, names);
  if (version === OFP10_VERSION) return formatActions10(actions, format, names);
  return actions.length === 0 ? "drop" : actions.map(format).join(",");
}

export function instructionsText(
  instructions: readonly Instruction[],
  version: number,
  names?: PortNames,
): string {
  if (version !== OFP10_VERSION) return formatInstructions(instructions, formatIn(version, names));
  return actionsText(
    instructions.flatMap((one) => (one.type === "apply_actions" ? one.actions : [])),
    version,
    names,
  );
}
