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
import { canonicalInstructions, canonicalMatch } from "./canonical.js";
import { cookieOf, type Origin } from "./cookie.js";
import { TABLES, type TableName } from "./tables.js";

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
  const match = matchOf(spec.match, spec.table);
  const instructions: Instruction[] = [];
  if (actions.length > 0) instructions.push({ type: "apply_actions", actions });
  if (spec.next !== undefined) instructions.push({ type: "goto_table", tableId: TABLES[spec.next].id });
  const cookie = cookieOf(spec.table, spec.origin);
  const flags = spec.origin.reason === undefined ? 0 : OFPFF_SEND_FLOW_REM;
  return {
    key: flowKey(declaration.id, spec.priority, match),
    body: flowBody(cookie, flags, instructions),
    table: spec.table,
    tableId: declaration.id,
    priority: spec.priority,
    match,
    instructions,
    cookie,
    flags,
    origin: spec.origin,
  };
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

function matchOf(spec: MatchSpec, table: TableName): Match {
  const names = Object.keys(spec) as OxmFieldName[];
  for (const name of names) {
    assert(TABLES[table].matches.includes(name), `${name} is not matched in table ${table}`);
  }
  const rank = (name: OxmFieldName): number => {
    const index = FIELD_ORDER.indexOf(name);
    return index < 0 ? FIELD_ORDER.length : index;
  };
  return names
    .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))
    .flatMap((name) => entryOf(name, spec[name] as number | bigint | MaskedValue));
}

function entryOf(field: OxmFieldName, wanted: number | bigint | MaskedValue): OxmEntry[] {
  const { size, bits } = OXM_FIELDS[field];
  if (typeof wanted !== "object") return [{ field, value: bytesOf(wanted, size) }];
  const mask = BigInt(wanted.mask);
  if (mask === 0n) return [];
  if (mask === (1n << BigInt(bits)) - 1n) return [{ field, value: bytesOf(wanted.value, size) }];
  return [{ field, value: bytesOf(wanted.value, size), mask: bytesOf(wanted.mask, size) }];
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
