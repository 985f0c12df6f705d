// Types of OVSDB columns and the values they hold (RFC 7047, 3.2 and 5.1). Pure data.

export type AtomicType = "integer" | "real" | "boolean" | "string" | "uuid";

/**
 * One atom. A uuid is its lower-case text; only the column's type tells it from a string. An integer is a bigint exactly
 * where a number could not hold it, beyond ±(2⁵³ − 1): equal atoms are equal by ===.
 */
export type Atom = string | number | bigint | boolean;

export interface BaseType {
  readonly type: AtomicType;
  /** The only values allowed. */
  readonly enum?: readonly Atom[];
  readonly minInteger?: number | bigint;
  readonly maxInteger?: number | bigint;
  readonly minReal?: number;
  readonly maxReal?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  /** The table that a uuid refers to. */
  readonly refTable?: string;
  /** A strong reference keeps its row alive; a weak one vanishes with it. "strong" when absent. */
  readonly refType?: "strong" | "weak";
}

export interface ColumnType {
  readonly key: BaseType;
  /** Present for maps only. */
  readonly value?: BaseType;
  readonly min: 0 | 1;
  /** Infinity for "unlimited". */
  readonly max: number;
}

export interface ColumnSchema {
  readonly type: ColumnType;
  /** Not kept in the file. */
  readonly ephemeral: boolean;
  readonly mutable: boolean;
}

export interface TableSchema {
  readonly name: string;
  readonly columns: ReadonlyMap<string, ColumnSchema>;
  /** Infinity when unlimited. */
  readonly maxRows: number;
  /** Rows of other tables live only while something refers to them strongly. */
  readonly isRoot: boolean;
  readonly indexes: readonly (readonly string[])[];
}

export interface DatabaseSchema {
  /** Of the published file that says the same, so that ovsdb-client finds no conversion needed; "" or absent for none. */
  readonly cksum?: string;
  readonly name: string;
  readonly version: string;
  readonly tables: ReadonlyMap<string, TableSchema>;
}

/**
 * The value of one column: a scalar is a set of one, a map has `values` beside its `keys`.
 * Invariant: keys are sorted and distinct; `values` is there exactly for maps and as long as `keys`.
 */
export interface Datum {
  readonly keys: readonly Atom[];
  readonly values: readonly Atom[] | undefined;
}

export const UUID_TYPE: ColumnType = { key: { type: "uuid" }, min: 1, max: 1 };
export const ZERO_UUID = "00000000-0000-0000-0000-000000000000";

export function isMap(type: ColumnType): boolean {
  return type.value !== undefined;
}

/** More than one element is possible: such columns change by differences. */
export function isComposite(type: ColumnType): boolean {
  return type.max > 1;
}
