// A flow as the apps write it, and the builder that checks it against the tables' declaration. A refused flow is a bug
// of ours, so it asserts. Pure.
import { assert } from "../../base/assert/index.js";
import {
  type Action,
  type Instruction,
  type Match,
  OFPFF_SEND_FLOW_REM,
  OFPP_CONTROLLER,
  OXM_FIELDS,
  type OxmEntry,
  type OxmFieldName,
} from "../../base/openflow/index.js";
import { canonicalEntry, canonicalInstructions, canonicalMatch, joinEntries } from "./canonical.js";
import { cookieOf, type Origin } from "./cookie.js";
import { TABLE_NAMES, TABLES, type TableName } from "./tables.js";

export type ConjunctionAction = Extract<Action, { type: "conjunction" }>;

/** Fields to match, as numbers; what does not fit 48 bits is a bigint. */
export type MatchSpec = { readonly [Field in OxmFieldName]?: number | bigint | MaskedValue };

export type MaskedValue =
  | { readonly value: number; readonly mask: number }
  | { readonly value: bigint; readonly mask: bigint };

export interface FlowSpec {
  readonly table: TableName;
  readonly priority: number;
  readonly match: MatchSpec;
  readonly actions?: readonly Action[];
  readonly next?: TableName;
  readonly origin: Origin;
}

/** A checked flow, ready to install. */
export interface Flow {
  /** Table, priority and match: what makes two flows the same flow. */
  readonly key: string;
  /** Cookie and instructions: what may differ between versions of one flow. */
  readonly body: string;
  readonly table: TableName;
  readonly tableId: number;
  readonly priority: number;
  readonly match: Match;
  readonly instructions: readonly Instruction[];
  readonly cookie: bigint;
  /** OFPFF_* bits. A flow that drops is reported when it goes, so that its count is not lost. */
  readonly flags: number;
  readonly origin: Origin;
  /** Of a flow that is a clause of conjunctions and does nothing else. */
  readonly clauses?: readonly ConjunctionAction[];
}

/** Prerequisites stand before what needs them, in this order; other fields may stand anywhere after. */
const FIELD_ORDER: readonly OxmFieldName[] = [
  "in_port",
  "vlan_vid",
  "eth_dst",
  "eth_src",
  "eth_type",
  "ip_proto",
  "icmpv6_type",
];

/** The entry of a match, and its text. */
interface KnownEntry {
  readonly entry: OxmEntry;
  readonly text: string;
}

/**
 * Entries that were made lately: neighbouring flows match the same port, segment and EtherType, and share one object for
 * each. Bounded: forgetting one costs memory, nothing else.
 */
const KNOWN_ENTRIES_MAX = 4096;
/** By field and value, those without a mask; those with one by field, value and mask. */
const exactEntries = new Map<OxmFieldName, Map<number | bigint, KnownEntry>>();
const maskedEntries = new Map<string, KnownEntry>();
/** By size and value: a port's MAC and addresses stand in several fields. */
const knownBytes = new Map<number, Map<number | bigint, Uint8Array>>();

const NOWHERE: readonly Instruction[] = [];
const GO_TO: ReadonlyMap<TableName, readonly Instruction[]> = new Map(
  TABLE_NAMES.map((name) => [name, [{ type: "goto_table", tableId: TABLES[name].id }]]),
);

export function buildFlow(spec: FlowSpec): Flow {
  const declaration = TABLES[spec.table];
  const actions = spec.actions ?? [];
  const drops = actions.length === 0 && spec.next === undefined;
  assert(!drops || spec.origin.reason !== undefined, `a drop in ${spec.table} has no reason`);
  for (const action of actions) {
    const permission = permissionOf(action);
    assert(
      (declaration.actions as readonly string[]).includes(permission),
      `${permission} is not allowed in table ${spec.table}`,
    );
    if (action.type === "ct" && action.tableId !== undefined) {
      const target = action.tableId;
      assert(
        declaration.next.some((name) => TABLES[name].id === target),
        `table ${target} does not follow ${spec.table}`,
      );
    }
  }
  assert(
    spec.next === undefined || declaration.next.includes(spec.next),
    `table ${spec.next} does not follow ${spec.table}`,
  );
  const entries = entriesOf(spec.match, spec.table);
  const goTo = spec.next === undefined ? NOWHERE : (GO_TO.get(spec.next) as readonly Instruction[]);
  const instructions: readonly Instruction[] =
    actions.length === 0 ? goTo : [{ type: "apply_actions", actions }, ...goTo];
  const clauses = actions.some(isClause) ? actions.filter(isClause) : NO_CLAUSES;
  assert(
    clauses.length === 0 || (clauses.length === actions.length && spec.next === undefined),
    `a clause of a conjunction in ${spec.table} does something else`,
  );
  const cookie = cookieOf(spec.table, spec.origin);
  const flags = spec.origin.reason === undefined ? 0 : OFPFF_SEND_FLOW_REM;
  const flow: Flow = {
    key: keyText(declaration.id, spec.priority, joinEntries(entries.map(({ text }) => text))),
    body: flowBody(cookie, flags, instructions),
    table: spec.table,
    tableId: declaration.id,
    priority: spec.priority,
    match: entries.map(({ entry }) => entry),
    instructions,
    cookie,
    flags,
    origin: spec.origin,
  };
  return clauses.length === 0 ? flow : { ...flow, clauses };
}

const NO_CLAUSES: readonly ConjunctionAction[] = [];

function isClause(action: Action): action is ConjunctionAction {
  return action.type === "conjunction";
}

/** Owners may want clauses of different conjunctions in one place: one flow that is all of them. */
export function mergeClauses(first: Flow, others: readonly Flow[]): Flow {
  const byText = new Map<string, ConjunctionAction>();
  for (const { clauses } of [first, ...others])
    for (const clause of clauses ?? []) byText.set(`${clause.id} ${clause.clause}`, clause);
  const clauses = [...byText.values()].sort((a, b) => a.id - b.id || a.clause - b.clause);
  const instructions: readonly Instruction[] = [{ type: "apply_actions", actions: clauses }];
  return { ...first, clauses, instructions, body: flowBody(first.cookie, first.flags, instructions) };
}

export function flowKey(tableId: number, priority: number, match: Match): string {
  return keyText(tableId, priority, canonicalMatch(match));
}

/** Joined, not added up: one text in memory, without the parts that it was made of. */
function keyText(tableId: number, priority: number, match: string): string {
  return [tableId, priority, match].join(" ");
}

export function flowBody(cookie: bigint, flags: number, instructions: readonly Instruction[]): string {
  return [cookie.toString(16), flags, canonicalInstructions(instructions)].join(" ");
}

function permissionOf(action: Action): string {
  switch (action.type) {
    case "load":
    case "move":
      return `${action.type}:${action.destination.field}`;
    case "set_field":
      return `set:${action.field}`;
    case "output":
      return action.port === OFPP_CONTROLLER ? "controller" : "output";
    case "ct":
      return action.commit ? "ct_commit" : "ct";
    default:
      return action.type;
  }
}

function entriesOf(spec: MatchSpec, table: TableName): KnownEntry[] {
  const names = Object.keys(spec) as OxmFieldName[];
  const declared = TABLES[table].matches;
  for (const name of names) assert(declared.includes(name), `${name} is not matched in table ${table}`);
  if (names.length > 1) names.sort((a, b) => rankOf(a) - rankOf(b) || (a < b ? -1 : 1));
  const entries: KnownEntry[] = [];
  for (const name of names) {
    const known = entryOf(name, spec[name] as number | bigint | MaskedValue);
    if (known !== undefined) entries.push(known);
  }
  return entries;
}

function rankOf(name: OxmFieldName): number {
  const index = FIELD_ORDER.indexOf(name);
  return index < 0 ? FIELD_ORDER.length : index;
}

/** Undefined where nothing of the field is matched. */
function entryOf(field: OxmFieldName, wanted: number | bigint | MaskedValue): KnownEntry | undefined {
  const { size, bits } = OXM_FIELDS[field];
  const masked = typeof wanted === "object";
  const value = masked ? wanted.value : wanted;
  if (!masked) {
    const ofField = exactEntries.get(field) ?? new Map<number | bigint, KnownEntry>();
    if (ofField.size === 0) exactEntries.set(field, ofField);
    return remembered(ofField, wanted, () => madeEntry({ field, value: sharedBytes(wanted, size) }));
  }
  const mask = BigInt(wanted.mask);
  if (mask === 0n) return undefined;
  return remembered(maskedEntries, `${field} ${value} ${mask}`, () => {
    const exact = mask === (1n << BigInt(bits)) - 1n;
    return madeEntry({
      field,
      value: sharedBytes(value, size),
      ...(exact ? {} : { mask: sharedBytes(mask, size) }),
    });
  });
}

function madeEntry(entry: OxmEntry): KnownEntry {
  return { entry, text: canonicalEntry(entry) };
}

/** bytesOf, one array for all that are equal, which nobody may change. */
export function sharedBytes(value: number | bigint, size: number): Uint8Array {
  const ofSize = knownBytes.get(size) ?? new Map<number | bigint, Uint8Array>();
  if (ofSize.size === 0) knownBytes.set(size, ofSize);
  return remembered(ofSize, value, () => bytesOf(value, size));
}

function remembered<K, V>(known: Map<K, V>, key: K, make: () => V): V {
  const there = known.get(key);
  if (there !== undefined) return there;
  const made = make();
  if (known.size >= KNOWN_ENTRIES_MAX) known.clear();
  known.set(key, made);
  return made;
}

/** `value` (a number of at most 53 bits) in `size` bytes, big-endian. */
export function bytesOf(value: number | bigint, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  if (typeof value === "bigint") {
    let left = value;
    for (let i = size - 1; i >= 0; i--, left >>= 8n) bytes[i] = Number(left & 0xffn);
    assert(left === 0n, `${value} does not fit ${size} bytes`);
    return bytes;
  }
  let rest = value;
  for (let i = size - 1; i >= 0; i--) {
    bytes[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  assert(rest === 0, `${value} does not fit ${size} bytes`);
  return bytes;
}
