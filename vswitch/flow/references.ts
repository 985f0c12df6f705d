// Which ports, groups and meters a flow's instructions name. Thread: any.
import { type Action, type Instruction, OFPG_ANY, OFPP_ANY } from "../../base/openflow/index.js";

export function refersToPort(instructions: readonly Instruction[], port: number): boolean {
  return anyAction(
    instructions,
    (action) => (action.type === "output" || action.type === "output_trunc") && action.port === port,
  );
}

export function refersToGroup(instructions: readonly Instruction[], groupId: number): boolean {
  return anyAction(instructions, (action) => action.type === "group" && action.groupId === groupId);
}

/** As the filters of flow-mods and statistics say; OFPP_ANY and OFPG_ANY filter nothing. */
export function isSentTo(instructions: readonly Instruction[], outPort: number, outGroup: number): boolean {
  return (
    (outPort === OFPP_ANY || refersToPort(instructions, outPort)) &&
    (outGroup === OFPG_ANY || refersToGroup(instructions, outGroup))
  );
}

export function groupsIn(instructions: readonly Instruction[]): ReadonlySet<number> {
  const groups = new Set<number>();
  anyAction(instructions, (action) => {
    if (action.type === "group") groups.add(action.groupId);
    return false;
  });
  return groups;
}

export function metersIn(instructions: readonly Instruction[]): ReadonlySet<number> {
  return new Set(
    instructions.flatMap((instruction) => (instruction.type === "meter" ? [instruction.meterId] : [])),
  );
}

/** How many flows name each group or meter. */
export function countReferences(
  flows: readonly { readonly instructions: readonly Instruction[] }[],
  namedBy: (instructions: readonly Instruction[]) => ReadonlySet<number>,
): Map<number, number> {
  const counts = new Map<number, number>();
  for (const flow of flows)
    for (const id of namedBy(flow.instructions)) counts.set(id, (counts.get(id) ?? 0) + 1);
  return counts;
}

function anyAction(instructions: readonly Instruction[], test: (action: Action) => boolean): boolean {
  return instructions.some(
    (instruction) =>
      (instruction.type === "apply_actions" || instruction.type === "write_actions") &&
      someAction(instruction.actions, test),
  );
}

/** Looks into what is inside other actions too. */
export function someAction(actions: readonly Action[], test: (action: Action) => boolean): boolean {
  return actions.some(
    (action) => test(action) || (action.type === "clone" && someAction(action.actions, test)),
  );
}
