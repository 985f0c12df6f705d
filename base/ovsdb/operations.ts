// Builders for the operations of a transaction (RFC 7047, 5.2) and for the values in them. Pure.
import { parseExactJson } from "../json/index.js";
import { OvsdbError, show } from "./errors.js";

/** A value in OVSDB's JSON notation. */
export type OvsdbValue = string | number | bigint | boolean | readonly unknown[];
export type OvsdbRowJson = Readonly<Record<string, OvsdbValue>>;
export type Condition = readonly [column: string, operator: ConditionOperator, value: OvsdbValue];
export type ConditionOperator = "<" | "<=" | "==" | "!=" | ">=" | ">" | "includes" | "excludes";
export type Mutation = readonly [column: string, mutator: string, value: OvsdbValue];
export type Operation = Readonly<Record<string, unknown>> & { readonly op: string };

export const uuidValue = (uuid: string): OvsdbValue => ["uuid", uuid];
/** Refers to a row that an insert of the same transaction makes under `uuid-name`. */
export const namedUuid = (name: string): OvsdbValue => ["named-uuid", name];
export const setValue = (atoms: readonly OvsdbValue[]): OvsdbValue => ["set", atoms];
export const mapValue = (object: Readonly<Record<string, string | number>>): OvsdbValue => [
  "map",
  Object.entries(object),
];

/** The condition that picks one row. */
export const byUuid = (uuid: string): readonly Condition[] => [["_uuid", "==", uuidValue(uuid)]];

export const insertOp = (table: string, row: OvsdbRowJson, uuidName?: string): Operation => ({
  op: "insert",
  table,
  row,
  ...(uuidName === undefined ? {} : { "uuid-name": uuidName }),
});
export const selectOp = (
  table: string,
  where: readonly Condition[],
  columns?: readonly string[],
): Operation => ({
  op: "select",
  table,
  where,
  ...(columns === undefined ? {} : { columns }),
});
export const updateOp = (table: string, where: readonly Condition[], row: OvsdbRowJson): Operation => ({
  op: "update",
  table,
  where,
  row,
});
export const mutateOp = (
  table: string,
  where: readonly Condition[],
  mutations: readonly Mutation[],
): Operation => ({
  op: "mutate",
  table,
  where,
  mutations,
});
export const deleteOp = (table: string, where: readonly Condition[]): Operation => ({
  op: "delete",
  table,
  where,
});
/** Holds the transaction back until the rows are (not) as given; "timed out" after `timeoutMs`. */
export const waitOp = (
  table: string,
  where: readonly Condition[],
  columns: readonly string[],
  until: "==" | "!=",
  rows: readonly OvsdbRowJson[],
  timeoutMs: number,
): Operation => ({ op: "wait", table, where, columns, until, rows, timeout: timeoutMs });
export const assertOp = (lock: string): Operation => ({ op: "assert", lock });

export interface OperationResult {
  readonly uuid?: string;
  readonly count?: number;
  readonly rows?: readonly Readonly<Record<string, unknown>>[];
}

/** The results of a `transact` reply, one per operation. Throws the OvsdbError of the first failure, with its operation's index. */
export function parseTransactReply(reply: unknown, operations: readonly Operation[]): OperationResult[] {
  if (!Array.isArray(reply))
    throw new OvsdbError("syntax error", `a transact reply is no array: ${show(reply)}`);
  for (let i = 0; i < reply.length; i++) {
    const result = reply[i] as { error?: unknown; details?: unknown; syntax?: unknown } | null;
    if (result === null || typeof result !== "object" || typeof result.error !== "string") continue;
    const op = operations[i];
    const where = op === undefined ? "commit" : `operation ${i} (${op.op} ${String(op["table"] ?? "")})`;
    const details = typeof result.details === "string" ? result.details : "";
    throw new OvsdbError(result.error, `${details} [${where}]`, parsed(result.syntax));
  }
  return reply.map((result) => {
    const { uuid, count, rows } = (result ?? {}) as Record<string, unknown>;
    return {
      ...(Array.isArray(uuid) && typeof uuid[1] === "string" ? { uuid: uuid[1] } : {}),
      ...(typeof count === "number" ? { count } : {}),
      ...(Array.isArray(rows) ? { rows } : {}),
    };
  });
}

/** What the server shows of a request, which is JSON as text. */
function parsed(syntax: unknown): unknown {
  if (typeof syntax !== "string") return undefined;
  try {
    return parseExactJson(syntax);
  } catch {
    return syntax;
  }
}
