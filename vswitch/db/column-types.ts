// Short words for column types, so that a schema reads as a table. Pure data.
import type { BaseType, ColumnSchema, ColumnType, TableSchema } from "../../base/ovsdb/index.js";

const UNLIMITED = Number.POSITIVE_INFINITY;
const STRING: BaseType = { type: "string" };
const INTEGER: BaseType = { type: "integer" };
const BOOLEAN: BaseType = { type: "boolean" };

export const range = (minInteger: number, maxInteger?: number): BaseType => ({
  type: "integer",
  minInteger,
  ...(maxInteger === undefined ? {} : { maxInteger }),
});
export const oneOf = (...words: string[]): BaseType => ({ type: "string", enum: words.toSorted() });
export const reference = (refTable: string, refType?: "weak"): BaseType => ({
  type: "uuid",
  refTable,
  ...(refType === undefined ? {} : { refType }),
});

export const one = (key: BaseType): ColumnType => ({ key, min: 1, max: 1 });
export const optional = (key: BaseType): ColumnType => ({ key, min: 0, max: 1 });
export const many = (key: BaseType, max = UNLIMITED): ColumnType => ({ key, min: 0, max });
export const some = (key: BaseType): ColumnType => ({ key, min: 1, max: UNLIMITED });
export const map = (key: BaseType, value: BaseType): ColumnType => ({ key, value, min: 0, max: UNLIMITED });

export const text = one(STRING);
export const optionalText = optional(STRING);
export const texts = many(STRING);
export const integer = one(INTEGER);
export const optionalInteger = optional(INTEGER);
export const integers = many(INTEGER);
export const boolean = one(BOOLEAN);
export const optionalBoolean = optional(BOOLEAN);
export const textMap = map(STRING, STRING);
export const counterMap = map(STRING, INTEGER);

/** Not kept in the file: the switch writes it anew after each start. */
export const ephemeral = (type: ColumnType): ColumnSchema => ({ type, ephemeral: true, mutable: true });
/** Fixed once the row is there. */
export const immutable = (type: ColumnType): ColumnSchema => ({ type, ephemeral: false, mutable: false });

export interface TableOptions {
  readonly isRoot?: boolean;
  readonly maxRows?: number;
  readonly indexes?: readonly (readonly string[])[];
}

export function table(
  name: string,
  columns: Readonly<Record<string, ColumnType | ColumnSchema>>,
  options: TableOptions = {},
): TableSchema {
  const schemas = Object.entries(columns).map(([column, type]): [string, ColumnSchema] => [
    column,
    "ephemeral" in type ? type : { type, ephemeral: false, mutable: true },
  ]);
  return {
    name,
    columns: new Map(schemas),
    isRoot: options.isRoot ?? false,
    maxRows: options.maxRows ?? UNLIMITED,
    indexes: options.indexes ?? [],
  };
}
