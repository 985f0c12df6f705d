// Random schemas and transactions for them, from one seed: right ones mostly, and every kind of wrong one.
import { type DatabaseSchema, parseSchema, type TableSchema } from "../../base/ovsdb/index.js";
import type { Random } from "../../base/random/index.js";

type Json = Record<string, unknown>;

const COLUMN_TYPES: readonly ((table: string) => unknown)[] = [
  () => ({ key: { type: "integer", minInteger: 0, maxInteger: 9 } }),
  () => ({ key: { type: "integer", minInteger: 1, maxInteger: 3 } }),
  () => ({ key: { type: "integer", minInteger: -5, maxInteger: 9 }, min: 0 }),
  () => ({ key: { type: "integer", maxInteger: 9 }, min: 0, max: 3 }),
  () => ({ key: "integer", min: 1, max: "unlimited" }),
  () => ({ key: "boolean" }),
  () => ({ key: { type: "string", enum: ["set", ["", "a", "b"]] } }),
  () => ({ key: { type: "string", enum: ["set", ["a", "b"]] }, min: 0, max: "unlimited" }),
  () => ({ key: "string", value: { type: "integer", maxInteger: 9 }, min: 0, max: "unlimited" }),
  (refTable) => ({ key: { type: "uuid", refTable }, min: 0 }),
  (refTable) => ({ key: { type: "uuid", refTable }, min: 0, max: "unlimited" }),
  (refTable) => ({ key: { type: "uuid", refTable, refType: "weak" }, min: 0, max: "unlimited" }),
  (refTable) => ({ key: "integer", value: { type: "uuid", refTable }, min: 0, max: "unlimited" }),
  (refTable) => ({ key: { type: "uuid", refTable } }),
];

/** Strong references: what only an ephemeral one holds is gone with it when the file is read again. */
function holdsRows(type: unknown): boolean {
  const text = JSON.stringify(type);
  return text.includes('"refTable"') && !text.includes('"weak"');
}

export function randomSchema(random: Random): DatabaseSchema {
  const names = ["A", "B", "C", "D"].slice(0, 2 + random.below(3));
  const tables = names.map((name, i): [string, Json] => {
    const columns: Record<string, Json> = {};
    for (let c = 0; c < 2 + random.below(4); c++) {
      const type = random.pick(COLUMN_TYPES)(random.pick(names));
      columns[`c${c}`] = {
        type,
        ...(random.chance(0.1) ? { mutable: false } : {}),
        ...(random.chance(0.1) && !holdsRows(type) ? { ephemeral: true } : {}),
      };
    }
    return [
      name,
      {
        columns,
        isRoot: i === 0 || random.chance(0.4),
        ...(random.chance(0.15) ? { maxRows: 2 } : {}),
        ...(random.chance(0.3) ? { indexes: [random.chance(0.5) ? ["c0"] : ["c0", "c1"]] } : {}),
      },
    ];
  });
  return parseSchema({ name: "Random", version: "1.0.0", tables: Object.fromEntries(tables) });
}

/** What a transaction may point at. */
export interface Known {
  readonly uuids: (table: string) => readonly string[];
}

/** The operations of one transaction; inserts carry the uuids that they are to get. */
export function randomTransaction(random: Random, schema: DatabaseSchema, known: Known): Json[] {
  const tables = [...schema.tables.values()];
  const inserted = new Map<string, string[]>();
  const value = new Values(random, known, inserted);
  const count = 1 + random.below(6);
  return Array.from({ length: count }, (_, i) => {
    const table = random.pick(tables);
    // A name that nobody inserts stands for a uuid that only the engine knows: it cannot be compared.
    const columns = [...table.columns]
      .filter(([, { type }]) => type.key.refTable === undefined && type.value?.refTable === undefined)
      .map(([column]) => column);
    const where = value.where(table);
    switch (random.below(9)) {
      case 0:
        return { op: "select", table: table.name, where, columns: columns.filter(() => random.chance(0.7)) };
      case 1:
        return { op: "update", table: table.name, where, row: value.row(table, 0.4) };
      case 2:
      case 3:
        return { op: "mutate", table: table.name, where, mutations: [value.mutation(table)] };
      case 4:
        return { op: "delete", table: table.name, where };
      case 5:
        if (random.chance(0.2)) return { op: "abort" };
        return {
          op: "mutate",
          table: table.name,
          where,
          mutations: [value.mutation(table), value.mutation(table)],
        };
      default: {
        const name = `n${i}`;
        inserted.set(table.name, [...(inserted.get(table.name) ?? []), name]);
        const row = value.row(table, 0.7);
        return { op: "insert", table: table.name, "uuid-name": name, uuid: uuid(random), row };
      }
    }
  });
}

class Values {
  readonly #random: Random;
  readonly #known: Known;
  readonly #inserted: ReadonlyMap<string, readonly string[]>;

  constructor(random: Random, known: Known, inserted: ReadonlyMap<string, readonly string[]>) {
    this.#random = random;
    this.#known = known;
    this.#inserted = inserted;
  }

  row(table: TableSchema, density: number): Json {
    const row: Json = {};
    for (const [column, { type }] of table.columns) {
      const isNeeded = type.min === 1 && type.key.refTable !== undefined;
      if (isNeeded || this.#random.chance(density)) row[column] = this.value(table, column);
    }
    return row;
  }

  where(table: TableSchema): unknown[] {
    if (this.#random.chance(0.5)) return [];
    const column = this.#random.pick([...table.columns.keys()]);
    return [[column, this.#random.pick(["==", "!=", "includes", "excludes"]), this.value(table, column)]];
  }

  mutation(table: TableSchema): unknown {
    const column = this.#random.pick([...table.columns.keys()]);
    if (this.#random.chance(0.4)) {
      const mutator = this.#random.pick(["+=", "-=", "*=", "/=", "%="]);
      return [column, mutator, this.#random.below(6) - 2];
    }
    return [column, this.#random.pick(["insert", "delete"]), this.value(table, column)];
  }

  /** A value of the column's shape; now and then one that is out of range or has too many elements. */
  value(table: TableSchema, column: string): unknown {
    const type = table.columns.get(column)?.type as NonNullable<
      ReturnType<TableSchema["columns"]["get"]>
    >["type"];
    const isSingle =
      type.value === undefined && type.max === 1 && (type.min === 1 || this.#random.chance(0.7));
    if (isSingle) return this.#atom(type.key);
    const wanted = type.max === 1 ? 0 : this.#random.below(5);
    const atoms = new Map<string, unknown>();
    for (let i = 0; i < wanted; i++) {
      const atom = this.#atom(type.key);
      atoms.set(JSON.stringify(atom), atom);
    }
    const keys = [...atoms.values()];
    const { value } = type;
    if (value !== undefined) return ["map", keys.map((key) => [key, this.#atom(value)])];
    return ["set", keys];
  }

  #atom({
    type,
    enum: words,
    refTable,
  }: TableSchema["columns"] extends ReadonlyMap<string, infer C>
    ? C extends { type: { key: infer B } }
      ? B
      : never
    : never): unknown {
    const random = this.#random;
    if (refTable !== undefined) return this.#reference(refTable);
    if (words !== undefined) return random.chance(0.03) ? "wrong" : random.pick(words);
    if (type === "integer") return random.chance(0.04) ? 10 : random.below(5);
    if (type === "boolean") return random.chance(0.5);
    return random.pick(["a", "b", "c"]);
  }

  #reference(table: string): unknown {
    const names = this.#inserted.get(table) ?? [];
    const uuids = this.#known.uuids(table);
    if (names.length > 0 && (uuids.length === 0 || this.#random.chance(0.6)))
      return ["named-uuid", this.#random.pick(names)];
    if (uuids.length > 0) return ["uuid", this.#random.pick(uuids)];
    // Inserted later perhaps, or by nobody.
    return ["named-uuid", `n${this.#random.below(6)}`];
  }
}

function uuid(random: Random): string {
  const hex = Buffer.from(random.bytes(16)).toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
