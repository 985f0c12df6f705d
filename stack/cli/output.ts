// How answers are printed: tables, JSON, YAML, names.
import { InvalidArgumentError } from "commander";
import { stringify } from "yaml";
import type { Table, TableColumn } from "../api/index.js";
import { displayName } from "../apply/apply.js";
import type { ApiObject, ResourceKind } from "../resources/index.js";

export type OutputForm = "table" | "wide" | "json" | "yaml" | "name";
export const OUTPUT_HELP = "json, yaml, wide or name";

export function parseOutputForm(text: string): OutputForm {
  if (text === "json" || text === "yaml" || text === "wide" || text === "name") return text;
  throw new InvalidArgumentError(`expected ${OUTPUT_HELP}`);
}

export function print(text: string): void {
  process.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
}

/** Objects as JSON, YAML or names; a single one stands alone, several as a List. */
export function formatObjects(
  found: readonly { readonly kind: ResourceKind; readonly object: ApiObject }[],
  form: "json" | "yaml" | "name",
  single: boolean,
): string {
  if (form === "name")
    return found.map(({ kind, object }) => displayName(kind, object.metadata.name)).join("\n");
  const objects = found.map(({ object }) => object);
  const document =
    single && objects.length === 1
      ? objects[0]
      : { apiVersion: "v1", kind: "List", metadata: {}, items: objects };
  return form === "json" ? JSON.stringify(document, null, 2) : stringify(document, { lineWidth: 0 });
}

/** Columns as wide as their widest cell, three spaces apart. */
export function formatRows(
  header: readonly string[] | undefined,
  rows: readonly (readonly string[])[],
): string {
  const all = header === undefined ? rows : [header, ...rows];
  const widths: number[] = [];
  for (const row of all)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  return all
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] as number))
        .join("   ")
        .trimEnd(),
    )
    .join("\n");
}

/** Cells of the columns that are shown, with the namespace first when asked for. */
export function tableCells(
  table: Pick<Table, "rows">,
  columns: readonly TableColumn[],
  options: { readonly wide: boolean; readonly withNamespace: boolean },
): { header: string[]; rows: string[][] } {
  const shown = columns
    .map((column, i) => ({ column, i }))
    .filter(({ column }) => options.wide || column.priority === 0);
  const header = shown.map(({ column }) => column.name.toUpperCase());
  const rows = table.rows.map((row) => {
    const cells = shown.map(({ i }) => String(row.cells[i] ?? ""));
    const { namespace } = (row.object as ApiObject | undefined)?.metadata ?? {};
    return options.withNamespace ? [namespace ?? "", ...cells] : cells;
  });
  return { header: options.withNamespace ? ["NAMESPACE", ...header] : header, rows };
}
