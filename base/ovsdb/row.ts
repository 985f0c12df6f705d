// One row as its readers see it: immutable, typed access by column name; columns nobody sent hold their default.
import { defaultDatum, EMPTY_SET, pairsOf } from "./datum.js";
import type { Datum, TableSchema } from "./types.js";

export class OvsdbRow {
  readonly uuid: string;
  readonly schema: TableSchema;
  readonly data: ReadonlyMap<string, Datum>;

  constructor(uuid: string, schema: TableSchema, data: ReadonlyMap<string, Datum>) {
    this.uuid = uuid;
    this.schema = schema;
    this.data = data;
  }

  get table(): string {
    return this.schema.name;
  }

  datum(column: string): Datum {
    const datum = this.data.get(column);
    if (datum !== undefined) return datum;
    const schema = this.schema.columns.get(column);
    return schema === undefined ? EMPTY_SET : defaultDatum(schema.type);
  }

  /** A string or uuid; "" when the column is empty. */
  string(column: string): string {
    return this.optionalString(column) ?? "";
  }

  optionalString(column: string): string | undefined {
    const [atom] = this.datum(column).keys;
    return typeof atom === "string" ? atom : undefined;
  }

  /** An integer, rounded beyond ±(2⁵³ − 1), or real; undefined when the column is empty. */
  number(column: string): number | undefined {
    const [atom] = this.datum(column).keys;
    return typeof atom === "number" || typeof atom === "bigint" ? Number(atom) : undefined;
  }

  /** An integer with all of its 64 bits. */
  integer(column: string): number | bigint | undefined {
    const [atom] = this.datum(column).keys;
    return typeof atom === "number" || typeof atom === "bigint" ? atom : undefined;
  }

  boolean(column: string): boolean {
    return this.datum(column).keys[0] === true;
  }

  /** The elements of a set of strings or uuids. */
  strings(column: string): string[] {
    return this.datum(column).keys.map(String);
  }

  numbers(column: string): number[] {
    return this.datum(column).keys.map(Number);
  }

  /** A map with string keys; values of any kind are given as text. */
  map(column: string): Map<string, string> {
    return new Map(pairsOf(this.datum(column)).map(([key, value]) => [String(key), String(value)]));
  }
}
