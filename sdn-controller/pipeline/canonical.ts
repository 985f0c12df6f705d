// One text for all values that mean the same, so that flows we want and flows a switch reports compare as strings. Pure.
import { toHex } from "../../base/bytes/index.js";
import type { Action, Instruction, Match, OxmEntry } from "../../base/openflow/index.js";

/** Fields in alphabetical order: a switch may report them in another order than they were sent. */
export function canonicalMatch(match: Match): string {
  return joinEntries(match.map(canonicalEntry));
}

export function canonicalEntry(entry: OxmEntry): string {
  return `${entry.field}=${toHex(entry.value)}${entry.mask ? `/${toHex(entry.mask)}` : ""}`;
}

/** The match whose entries these are; sorts `texts`. */
export function joinEntries(texts: string[]): string {
  return texts.sort().join(",");
}

/** Instructions in the order in which they are executed, whatever their order on the wire (5.9 of OpenFlow 1.3.5). */
export function canonicalInstructions(instructions: readonly Instruction[]): string {
  const only = instructions.length === 1 ? instructions[0] : undefined;
  if (only?.type === "goto_table") return canonicalGoto(only.tableId);
  return instructions
    .filter((instruction) => instruction.type !== "apply_actions" || instruction.actions.length > 0)
    .map((instruction) =>
      instruction.type === "apply_actions" || instruction.type === "write_actions"
        ? `${instruction.type}(${instruction.actions.map(canonicalAction).join(",")})`
        : instruction.type === "goto_table"
          ? canonicalGoto(instruction.tableId)
          : textOf(instruction),
    )
    .sort()
    .join(";");
}

function canonicalGoto(tableId: number): string {
  return `goto(${tableId})`;
}

function canonicalAction(action: Action): string {
  // The length only matters towards the controller; switches report 0 or what was sent.
  if (action.type === "output" && action.port < 0xffffff00) return `output(${action.port})`;
  // Most actions of most flows; all others are rare enough for JSON.
  if (action.type === "load") return `load(${action.value}->${subfield(action.destination)})`;
  if (action.type === "move") return `move(${subfield(action.source)}->${subfield(action.destination)})`;
  if (action.type === "set_field" && action.mask === undefined)
    return `set(${action.field}=${toHex(action.value)})`;
  if (action.type === "conjunction")
    return `conjunction(${action.id},${action.clause}/${action.clauseCount})`;
  if (action.type === "ct")
    return `ct(${textOf({ ...action, actions: action.actions.map(canonicalAction) })})`;
  return textOf(action);
}

function subfield({ field, offset, bits }: { field: string; offset: number; bits: number }): string {
  return `${field}[${offset}+${bits}]`;
}

/** JSON with sorted keys, byte arrays as hex and bigints as decimal text. */
function textOf(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === "bigint") return item.toString();
    if (item instanceof Uint8Array) return toHex(item);
    if (item !== null && typeof item === "object" && !Array.isArray(item)) {
      return Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)));
    }
    return item;
  });
}
