// An OVSDB database written to be obviously right and nothing else: a transaction works on a copy of everything, and
// its end is checked by looking at every row. What the real one is held to.
// Source: RFC 7047, 3.2, 4.1.3, 5.1 and 5.2; error names as ovsdb-server gives them.
import type { BaseType, ColumnType, DatabaseSchema, TableSchema } from "../../base/ovsdb/index.js";

type Atom = string | number | boolean;
/** Pairs of a map; of a set, each element with `true`. */
type Value = Map<Atom, Atom>;
type Row = Map<string, Value>;
type Tables = Map<string, Map<string, Row>>;
type Json = Readonly<Record<string, unknown>>;

/** Thrown with the error text of the protocol. */
class Failure {
  readonly error: string;
  constructor(error: string) {
    this.error = error;
  }
}

export class NaiveDatabase {
  readonly #schema: DatabaseSchema;
  #tables: Tables;

  constructor(schema: DatabaseSchema) {
    this.#schema = schema;
    this.#tables = new Map([...schema.tables.keys()].map((name) => [name, new Map()]));
  }

  /** Every row: table, uuid, then its columns as JSON text. */
  dump(): Record<string, Record<string, Record<string, string>>> {
    return Object.fromEntries(
      [...this.#tables].map(([name, rows]) => [
        name,
        Object.fromEntries(
          [...rows].map(([uuid, row]) => [
            uuid,
            Object.fromEntries([...row].map(([column, value]) => [column, printValue(value)])),
          ]),
        ),
      ]),
    );
  }

  uuids(table: string): string[] {
    return [...(this.#tables.get(table) as Map<string, Row>).keys()];
  }

  /** The results of a transaction; inserts must name their "uuid". */
  transact(operations: readonly Json[]): unknown[] {
    const before = this.#tables;
    this.#tables = new Map(
      [...before].map(([name, rows]) => [
        name,
        new Map([...rows].map(([uuid, row]) => [uuid, new Map(row)])),
      ]),
    );
    const results: unknown[] = [];
    try {
      const names = new Map(
        operations
          .filter(({ op }) => op === "insert")
          .map((operation) => [operation["uuid-name"], operation["uuid"] as string]),
      );
      for (const operation of operations) results.push(this.#execute(operation, names));
      this.#finish();
      return results;
    } catch (thrown) {
      if (!(thrown instanceof Failure)) throw thrown;
      this.#tables = before;
      results.push({ error: thrown.error });
      while (results.length < operations.length) results.push(null);
      return results;
    }
  }

  #execute(operation: Json, names: ReadonlyMap<unknown, string>): unknown {
    if (operation["op"] === "abort") throw new Failure("aborted");
    const schema = this.#schema.tables.get(operation["table"] as string) as TableSchema;
    const rows = this.#tables.get(schema.name) as Map<string, Row>;
    if (operation["op"] === "insert") return insert(schema, rows, operation, names);
    const find = (): (() => [string, Row][]) => {
      const where = operation["where"] as [string, string, unknown][];
      const conditions = where.map((one) => parseCondition(schema, one, names));
      return () => [...rows].filter(([, row]) => conditions.every((condition) => condition(row)));
    };
    switch (operation["op"]) {
      case "select": {
        const columns = operation["columns"] as string[];
        const seen = find()().map(([, row]) =>
          JSON.stringify(columns.map((column) => printValue(row.get(column) as Value))),
        );
        return { rows: [...new Set(seen)].sort() };
      }
      case "delete": {
        const gone = find()();
        for (const [uuid] of gone) rows.delete(uuid);
        return { count: gone.length };
      }
      case "update": {
        const data = parseRow(schema, operation["row"] as Json, names);
        for (const column of data.keys())
          if (!schema.columns.get(column)?.mutable) throw new Failure("constraint violation");
        const changed = find()();
        for (const [, row] of changed) for (const [column, value] of data) row.set(column, value);
        return { count: changed.length };
      }
      default:
        return mutate(schema, find, operation["mutations"] as [string, string, unknown][], names);
    }
  }

  #finish(): void {
    for (const [, row] of this.#everyRow())
      for (const { table, uuid } of referencesOf(row, "strong"))
        if (!this.#tables.get(table)?.has(uuid)) throw new Failure("referential integrity violation");
    while (this.#collectOne()) {}
    this.#dropWeak();
    for (const schema of this.#schema.tables.values()) {
      if ((this.#tables.get(schema.name)?.size ?? 0) > schema.maxRows)
        throw new Failure("constraint violation");
    }
    for (const schema of this.#schema.tables.values()) {
      for (const index of schema.indexes) {
        const keys = [...(this.#tables.get(schema.name) as Map<string, Row>).values()].map((row) =>
          JSON.stringify(index.map((column) => printValue(row.get(column) as Value))),
        );
        if (new Set(keys).size < keys.length) throw new Failure("constraint violation");
      }
    }
  }

  /** Removes a row that must be referred to and is not; false when there is none. */
  #collectOne(): boolean {
    const referred = new Set<string>();
    for (const [uuid, row] of this.#everyRow())
      for (const target of referencesOf(row, "strong")) if (target.uuid !== uuid) referred.add(target.uuid);
    for (const schema of this.#schema.tables.values()) {
      if (schema.isRoot) continue;
      const rows = this.#tables.get(schema.name) as Map<string, Row>;
      for (const uuid of rows.keys()) if (!referred.has(uuid)) return rows.delete(uuid);
    }
    return false;
  }

  #dropWeak(): void {
    for (const [, { schema, row }] of this.#everyRow()) {
      for (const [column, { type }] of schema.columns) {
        const value = row.get(column) as Value;
        const alive = [...value].filter(
          ([key, other]) => this.#isAlive(type.key, key) && (!type.value || this.#isAlive(type.value, other)),
        );
        row.set(column, new Map(alive));
      }
    }
  }

  #isAlive(base: BaseType, atom: Atom): boolean {
    return base.refTable === undefined || this.#tables.get(base.refTable)?.has(atom as string) === true;
  }

  *#everyRow(): Generator<[string, { readonly schema: TableSchema; readonly row: Row }]> {
    for (const schema of this.#schema.tables.values())
      for (const [uuid, row] of this.#tables.get(schema.name) as Map<string, Row>)
        yield [uuid, { schema, row }];
  }
}

function* referencesOf(
  { schema, row }: { readonly schema: TableSchema; readonly row: Row },
  kind: "strong" | "weak",
): Generator<{ readonly table: string; readonly uuid: string }> {
  for (const [column, { type }] of schema.columns) {
    for (const pair of row.get(column) as Value) {
      for (const [i, base] of [type.key, type.value].entries()) {
        if (base?.refTable === undefined || (base.refType ?? "strong") !== kind) continue;
        yield { table: base.refTable, uuid: pair[i as 0 | 1] as string };
      }
    }
  }
}

function insert(
  schema: TableSchema,
  rows: Map<string, Row>,
  operation: Json,
  names: ReadonlyMap<unknown, string>,
): unknown {
  const data = parseRow(schema, operation["row"] as Json, names);
  const row: Row = new Map();
  for (const [column, { type }] of schema.columns) {
    const given = data.get(column);
    const value = given ?? defaultValue(type);
    if (given === undefined) for (const [key, other] of value) checkPair(type, key, other);
    row.set(column, value);
  }
  rows.set(operation["uuid"] as string, row);
  return { uuid: operation["uuid"] };
}

function mutate(
  schema: TableSchema,
  find: () => () => [string, Row][],
  mutations: readonly [string, string, unknown][],
  names: ReadonlyMap<unknown, string>,
): unknown {
  const parsed = mutations.map(([column, mutator, json]) => {
    const { type, mutable } = schema.columns.get(column) as { type: ColumnType; mutable: boolean };
    if (!mutable) throw new Failure("constraint violation");
    const isScalar = type.min === 1 && type.max === 1;
    if (mutator === "insert" || mutator === "delete") {
      if (isScalar) throw new Failure("syntax error");
      const max = mutator === "insert" ? type.max : Number.POSITIVE_INFINITY;
      const argument = parseValue(
        json,
        { ...type, min: 0, max },
        names,
        type.value !== undefined && mutator === "delete",
      );
      return { column, change: mutator === "insert" ? insertInto(argument) : deleteFrom(argument) };
    }
    if (type.value !== undefined || type.key.type !== "integer") throw new Failure("syntax error");
    return { column, change: compute(mutator, json as number, type) };
  });
  const rows = find()();
  for (const [, row] of rows) {
    for (const { column, change } of parsed) {
      row.set(column, change(row.get(column) as Value));
      const { type } = schema.columns.get(column) as { type: ColumnType };
      const { size } = row.get(column) as Value;
      if (size < type.min || size > type.max) throw new Failure("constraint violation");
    }
  }
  return { count: rows.length };
}

const insertInto = (argument: Value) => (value: Value) => new Map([...argument, ...value]);

const deleteFrom = (argument: Value) => (value: Value) =>
  new Map([...value].filter(([key, other]) => argument.get(key) !== other));

const compute = (mutator: string, operand: number, type: ColumnType) => (value: Value) => {
  const results = [...value.keys()].map((atom) => {
    if (operand === 0 && (mutator === "/=" || mutator === "%=")) throw new Failure("domain error");
    const number = atom as number;
    const result = {
      "+=": number + operand,
      "-=": number - operand,
      "*=": number * operand,
      "/=": Math.trunc(number / operand),
      "%=": number % operand,
    }[mutator] as number;
    checkPair(type, result + 0, true);
    return result + 0;
  });
  if (new Set(results).size < results.length) throw new Failure("constraint violation");
  return new Map(results.map((atom): [Atom, Atom] => [atom, true]));
};

function parseCondition(
  schema: TableSchema,
  [column, operator, json]: readonly [string, string, unknown],
  names: ReadonlyMap<unknown, string>,
): (row: Row) => boolean {
  const { type } = schema.columns.get(column) as { type: ColumnType };
  const isScalar = type.min === 1 && type.max === 1;
  const partial = (operator === "includes" || operator === "excludes") && !isScalar;
  const max = partial && operator === "excludes" ? Number.POSITIVE_INFINITY : type.max;
  const argument = parseValue(json, { ...type, min: partial ? 0 : type.min, max }, names);
  const has = (value: Value, [key, other]: readonly [Atom, Atom]) => value.get(key) === other;
  return (row) => {
    const value = row.get(column) as Value;
    const equal = value.size === argument.size && [...argument].every((pair) => has(value, pair));
    if (operator === "==") return equal;
    if (operator === "!=") return !equal;
    if (operator === "includes") return [...argument].every((pair) => has(value, pair));
    return ![...argument].some((pair) => has(value, pair));
  };
}

function parseRow(schema: TableSchema, json: Json, names: ReadonlyMap<unknown, string>): Row {
  return new Map(
    Object.entries(json).map(([column, value]) => [
      column,
      parseValue(value, schema.columns.get(column)?.type as ColumnType, names),
    ]),
  );
}

function parseValue(
  json: unknown,
  type: ColumnType,
  names: ReadonlyMap<unknown, string>,
  isPairs = false,
): Value {
  const atom = (one: unknown): Atom => {
    if (!Array.isArray(one)) return one as Atom;
    return one[0] === "named-uuid" ? (names.get(one[1]) ?? `nobody ${one[1]}`) : (one[1] as string);
  };
  const [tag, list] = Array.isArray(json) ? (json as [string, unknown[]]) : [];
  const isList = tag === "set" || tag === "map";
  const pairs = isList
    ? (list as unknown[]).map((one): [Atom, Atom] =>
        tag === "map" ? [atom((one as unknown[])[0]), atom((one as unknown[])[1])] : [atom(one), true],
      )
    : ([[atom(json), true]] as [Atom, Atom][]);
  if (pairs.length < type.min || pairs.length > type.max) throw new Failure("syntax error");
  for (const [key, value] of pairs) checkPair(type, key, value, isPairs);
  return new Map(pairs);
}

/** Pairs to be deleted that break a constraint are taken for keys, which they are not. */
function checkPair({ key, value }: ColumnType, first: Atom, second: Atom, deleted = false): void {
  const error = deleted ? "syntax error" : "constraint violation";
  checkAtom(key, first, error);
  if (value !== undefined) checkAtom(value, second, error);
}

function checkAtom({ enum: words, minInteger, maxInteger }: BaseType, atom: Atom, error: string): void {
  const outside =
    (minInteger !== undefined && (atom as number) < minInteger) ||
    (maxInteger !== undefined && (atom as number) > maxInteger);
  if (outside || (words !== undefined && !words.includes(atom))) throw new Failure(error);
}

function defaultValue({ key, min }: ColumnType): Value {
  if (min === 0) return new Map();
  const atoms: Record<string, Atom> = { integer: 0, real: 0, boolean: false, string: "", uuid: "nobody" };
  return new Map([[atoms[key.type] as Atom, true]]);
}

function printValue(value: Value): string {
  return JSON.stringify([...value].sort(([a], [b]) => (a < b ? -1 : 1)));
}
