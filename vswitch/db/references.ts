// The strong references of rows, and what a change of a row adds to them and takes away (RFC 7047, 3.2). Pure.
// Large sets (a bridge's ports) are compared, not listed: a change costs what it changes.
import { type Atom, compareAtoms, type Datum, type TableSchema } from "../../base/ovsdb/index.js";
import type { DatabaseRow } from "./database.js";

export interface Reference {
  readonly table: string;
  readonly uuid: string;
  readonly column: string;
}

interface ReferenceColumn {
  readonly column: string;
  /** Tables that the keys or values refer to strongly. */
  readonly keyTable: string | undefined;
  readonly valueTable: string | undefined;
  readonly min: 0 | 1;
}

const NONE: readonly Atom[] = [];
const columnsOf = new WeakMap<TableSchema, readonly ReferenceColumn[]>();

/** The references that `after` has and `before` has not, and the other way round; a row that is not there has none. */
export function referenceChanges(
  before: DatabaseRow | undefined,
  after: DatabaseRow | undefined,
): { readonly added: readonly Reference[]; readonly removed: readonly Reference[] } {
  const added: Reference[] = [];
  const removed: Reference[] = [];
  const schema = (after ?? before)?.schema;
  for (const { column, keyTable, valueTable, min } of schema === undefined ? [] : referenceColumns(schema)) {
    const old = datumOf(before, column, min);
    const now = datumOf(after, column, min);
    if (old === now) continue;
    if (keyTable !== undefined) {
      compareSorted(old?.keys ?? NONE, now?.keys ?? NONE, (atom, isNew) => {
        (isNew ? added : removed).push({ table: keyTable, uuid: atom as string, column });
      });
    }
    if (valueTable !== undefined) {
      for (const atom of now?.values ?? NONE) added.push({ table: valueTable, uuid: atom as string, column });
      for (const atom of old?.values ?? NONE)
        removed.push({ table: valueTable, uuid: atom as string, column });
    }
  }
  return { added, removed };
}

/** The value of a column; undefined for none. A required reference that was never given counts as one to nothing. */
function datumOf(row: DatabaseRow | undefined, column: string, min: 0 | 1): Datum | undefined {
  if (row === undefined) return undefined;
  return row.data.get(column) ?? (min === 0 ? undefined : row.datum(column));
}

function referenceColumns(schema: TableSchema): readonly ReferenceColumn[] {
  let columns = columnsOf.get(schema);
  if (columns === undefined) {
    columns = [...schema.columns].flatMap(([column, { type }]): ReferenceColumn[] => {
      const keyTable = type.key.refType === "weak" ? undefined : type.key.refTable;
      const valueTable = type.value?.refType === "weak" ? undefined : type.value?.refTable;
      if (keyTable === undefined && valueTable === undefined) return [];
      return [{ column, keyTable, valueTable, min: type.min }];
    });
    columnsOf.set(schema, columns);
  }
  return columns;
}

/** Calls `differs` for each atom that only one of two sorted lists has. */
function compareSorted(
  old: readonly Atom[],
  now: readonly Atom[],
  differs: (atom: Atom, isNew: boolean) => void,
): void {
  let i = 0;
  let j = 0;
  while (i < old.length || j < now.length) {
    const a = old[i];
    const b = now[j];
    const order = a === undefined ? 1 : b === undefined ? -1 : a === b ? 0 : compareAtoms(a, b);
    if (order < 0) differs(a as Atom, false);
    if (order > 0) differs(b as Atom, true);
    if (order <= 0) i++;
    if (order >= 0) j++;
  }
}
