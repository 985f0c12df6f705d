// The instructions of a flow as people write them: actions, and beside them "goto_table:5", "meter:1",
// "write_metadata:1", "clear_actions", "write_actions(…)". Pure. Source: ovs-actions(7).

import {
  type Action,
  type Instruction,
  type Match,
  OFPM_MAX,
  OFPP_ANY,
  OFPP_MAX,
  OXM_FIELDS,
  type OxmFieldName,
} from "../../base/openflow/index.js";
import { Prerequisites } from "../flow/index.js";
import { fieldsOf, hasNoMember, isLearnable, listFault, setsTracked } from "./action-check.js";
import {
  type ActionContext,
  type ActionOptions,
  actionContext,
  formatAction,
  listText,
  parseAction,
  parseActions,
} from "./action-text.js";
import { flowTextError } from "./errors.js";
import { formatHex } from "./field-text.js";
import { type KeyValue, splitKeyValues } from "./key-values.js";
import { longWordOf, tableNumber, wordOf } from "./number-text.js";
import { Carriers, P_NXM_OF11_UP, P_OF10, P_OF13_UP } from "./protocol-set.js";

const U64 = (1n << 64n) - 1n;
const TABLE_ANY = 255;
/** As a packet meets them (OpenFlow 1.3.5, 5.9), whatever the order of the wire. */
const ORDER: readonly Instruction["type"][] = [
  "meter",
  "apply_actions",
  "clear_actions",
  "write_actions",
  "write_metadata",
  "goto_table",
];

export interface InstructionOptions extends ActionOptions {
  /** Of the flow: with it the instructions are held against its match and its table, as a switch would. */
  readonly flow?: { readonly match: Match; readonly tableId: number | undefined };
}

/** The instructions of a flow; plain actions become one apply_actions. "drop" gives none. */
export function parseInstructions(text: string, options: InstructionOptions = {}): Instruction[] {
  const match = options.flow?.match ?? [];
  const applied: Action[] = [];
  const instructions: Instruction[] = [];
  const context = actionContext(match, options);
  const written = { ...actionContext(match, options), faults: context.faults };
  const parts = splitKeyValues(text);
  const turns: Instruction["type"][] = [];
  for (const part of parts) {
    const instruction = parseInstruction(part, context, written);
    if (instruction !== undefined) instructions.push(instruction);
    else if (!isDrop(part)) applied.push(...parseAction(part, context));
    turns.push(instruction?.type ?? "apply_actions");
  }
  if (parts.some(isDrop) && applied.length + instructions.length > 0)
    throw flowTextError('"drop" must not be accompanied by any other action or instruction');
  if (options.flow !== undefined) checkTurns(applied, context, instructions);
  let last: Instruction["type"] | undefined;
  for (const turn of turns) last = inTurn(turn, last);
  if (applied.length > 0) instructions.push({ type: "apply_actions", actions: applied });
  if (options.flow !== undefined) checkFlow({ applied, instructions, context, written }, options.flow);
  return inOrder(instructions);
}

function meterOf(text: string, faults: string[]): number {
  const meterId = wordOf(text);
  if (meterId === 0 || meterId > OFPM_MAX) faults.push("OFPMMFC_INVALID_METER");
  return meterId;
}

const isDrop = ({ key }: KeyValue): boolean => /^drop$/i.test(key);

/** Throws when `next` may not follow `last`. */
function inTurn(next: Instruction["type"], last: Instruction["type"] | undefined): Instruction["type"] {
  if (last === undefined) return next;
  const [before, after] = [ORDER.indexOf(last), ORDER.indexOf(next)];
  if (next === last && next !== "apply_actions")
    throw flowTextError(`duplicate ${next} instruction not allowed, for OpenFlow 1.1+ compatibility`);
  if (after < before)
    throw flowTextError(
      `invalid instruction ordering: ${next} must appear before ${last}, for OpenFlow 1.1+ compatibility`,
    );
  return next;
}

export function inOrder(instructions: readonly Instruction[]): Instruction[] {
  return [...instructions].sort((a, b) => ORDER.indexOf(a.type) - ORDER.indexOf(b.type));
}

function parseInstruction(
  { key: name, value: argument }: KeyValue,
  { carriers, faults }: ActionContext,
  written: ActionContext,
): Instruction | undefined {
  switch (name) {
    case "goto_table":
      return { type: "goto_table", tableId: tableNumber(argument, `unknown table "${argument}"`) };
    case "meter":
      carriers.restrict(P_OF13_UP);
      return { type: "meter", meterId: meterOf(argument, faults) };
    case "clear_actions":
      return { type: "clear_actions" };
    case "apply_actions":
      throw flowTextError("apply_actions is the default instruction");
    case "write_actions":
      return { type: "write_actions", actions: parseActions(argument, written) };
    case "write_metadata": {
      carriers.restrict(P_NXM_OF11_UP);
      const slash = argument.indexOf("/");
      const mask = slash < 0 ? U64 : longWordOf(argument.slice(slash + 1));
      return {
        type: "write_metadata",
        metadata: longWordOf(slash < 0 ? argument : argument.slice(0, slash)),
        mask,
      };
    }
    default:
      return undefined;
  }
}

interface ReadInstructions {
  readonly applied: readonly Action[];
  /** Those beside the actions. */
  readonly instructions: readonly Instruction[];
  /** Of the actions that are applied, and of those that are written. */
  readonly context: ActionContext;
  readonly written: ActionContext;
}

/** Whether a packet that the flow matches can be done that to. */
function checkFlow(
  { applied, instructions, context, written }: ReadInstructions,
  { match, tableId }: { readonly match: Match; readonly tableId: number | undefined },
): void {
  const set = instructions.flatMap((one) => (one.type === "write_actions" ? one.actions : []));
  const actions = [...applied, ...set];
  if (actions.some(setsTracked)) throw flowTextError("cannot set CT fields outside of ct action");
  if (actions.some(({ type }) => type === "nat"))
    throw flowTextError('Cannot have NAT action outside of "ct" action');
  const isNowhere = (one: Action): boolean =>
    hasNoMember(one) || ((one.type === "output" || one.type === "output_trunc") && isNoPort(one.port));
  if (actions.some(isNowhere)) throw inconsistent("OFPBAC_BAD_OUT_PORT");
  const fault = context.faults[0] ?? listFault(applied) ?? listFault(set);
  if (fault !== undefined) throw inconsistent(fault);
  const known = new Prerequisites(match, true);
  checkFields(applied, known, context);
  if (context.carriers.set === 0) throw inconsistent("OFPBAC_MATCH_INCONSISTENT");
  // What can carry an action set does not follow from it: the packet may be another when it is executed.
  checkFields(set, known, { ...written, carriers: new Carriers() });
  const jump = instructions.find((one) => one.type === "goto_table");
  if (jump !== undefined && tableId !== undefined && tableId !== TABLE_ANY && jump.tableId <= tableId)
    throw inconsistent("OFPBIC_BAD_TABLE_ID");
}

/** Between ordinary ports and the reserved ones, or none at all. */
function isNoPort(port: number): boolean {
  return port === OFPP_ANY || (port >= 0xff00 && port < OFPP_MAX);
}

function inconsistent(code: string): Error {
  return flowTextError(`actions are invalid with specified match (${code})`);
}

/** `instructions` are those beside the actions. */
function checkTurns(
  actions: readonly Action[],
  { words }: Pick<ActionContext, "words">,
  instructions: readonly Instruction[] = [],
): void {
  for (const action of actions) if (action.type === "clone") checkTurns(action.actions, { words });
  if (!actions.some(({ type }) => type === "conjunction")) return;
  const told = (action: Action): string => words.get(action) ?? action.type;
  const other = [
    ...instructions.filter(({ type }) => type === "meter").map(({ type }) => type),
    ...actions.filter(({ type }) => type !== "conjunction" && type !== "note").map(told),
    ...instructions.map(({ type }) => type),
  ][0];
  if (other !== undefined)
    throw flowTextError(
      `"conjunction" actions may be used along with "note" but not any other kind of action (such as the "${other}" action used here)`,
    );
}

/** Fields that older words set, whatever the packet begins with. */
const isOldWord = (word: string | undefined): boolean => word !== undefined && /^(mod|set_vlan)_/.test(word);

function checkFields(actions: readonly Action[], known: Prerequisites, context: ActionContext): void {
  for (const action of actions) {
    const isFree = isOldWord(context.words.get(action));
    const isAllowed = (field: OxmFieldName): boolean =>
      known.allows(prerequisiteOf(field)) && (isFree || known.allowsFrame(field));
    if (!fieldsOf(action).every(isAllowed)) {
      if (!context.lenient.has(action)) throw inconsistent("OFPBAC_MATCH_INCONSISTENT");
      context.carriers.restrict(P_OF10);
    }
    if (action.type === "learn" && !isLearnable(action)) throw inconsistent("OFPBAC_MATCH_INCONSISTENT");
    if (action.type === "ct" && !action.actions.every((inner) => fitsFamily(inner, known)))
      throw inconsistent("OFPBAC_MATCH_INCONSISTENT");
    if (action.type === "clone") checkFields(action.actions, known.fork(), context);
    known.after(action);
  }
}

/** Whether a translation is to addresses that the packet can have. */
function fitsFamily(action: Action, known: Prerequisites): boolean {
  if (action.type !== "nat" || action.addressMin === undefined) return true;
  return known.allows(action.addressMin.byteLength === 4 ? "ipv4" : "ipv6");
}

function prerequisiteOf(field: OxmFieldName) {
  return OXM_FIELDS[field].prerequisite;
}

export function formatInstructions(
  instructions: readonly Instruction[],
  format: (action: Action) => string = formatAction,
): string {
  const parts = inOrder(instructions).flatMap((instruction): string[] => {
    switch (instruction.type) {
      case "apply_actions":
        return instruction.actions.map(format);
      case "write_actions":
        return [`write_actions(${listText(instruction.actions, format)})`];
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
