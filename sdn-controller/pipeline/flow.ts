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
const knownEntries = new Map<string, KnownEntry>();

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
  const clauses = actions.filter((action) => action.type === "conjunction");
  assert(
    clauses.length === 0 || (clauses.length === actions.length && spec.next === undefined),
    `a clause of a conjunction in ${spec.table} does something else`,
  );
  const cookie = cookieOf(spec.table, spec.origin);
  const flags = spec.origin.reason === undefined ? 0 : OFPFF_SEND_FLOW_REM;
  return {
    key: `${declaration.id} ${spec.priority} ${joinEntries(entries.map(({ text }) => text))}`,
    body: flowBody(cookie, flags, instructions),
    table: spec.table,
    tableId: declaration.id,
    priority: spec.priority,
    match: entries.map(({ entry }) => entry),
    instructions,
    cookie,
    flags,
    origin: spec.origin,
    ...(clauses.length === 0 ? {} : { clauses }),
  };
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
  return `${tableId} ${priority} ${canonicalMatch(match)}`;
}

export function flowBody(cookie: bigint, flags: number, instructions: readonly Instruction[]): string {
  return `${cookie.toString(16)} ${flags} ${canonicalInstructions(instructions)}`;
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
  const mask = masked ? BigInt(wanted.mask) : undefined;
  if (mask === 0n) return undefined;
  const key = `${field} ${value} ${mask ?? ""}`;
  const known = knownEntries.get(key);
  if (known !== undefined) return known;
  const exact = mask === undefined || mask === (1n << BigInt(bits)) - 1n;
  const entry = {
    field,
    value: bytesOf(value, size),
    ...(exact ? {} : { mask: bytesOf(mask as bigint, size) }),
  };
  const made = { entry, text: canonicalEntry(entry) };
  if (knownEntries.size >= KNOWN_ENTRIES_MAX) knownEntries.clear();
  knownEntries.set(key, made);
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
