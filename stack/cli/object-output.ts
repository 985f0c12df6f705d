// How `plinth get` prints objects: the server's table, JSON, YAML, names.
import { InvalidArgumentError } from "commander";
import type { Table, TableColumn } from "../api/index.js";
import { displayName } from "../apply/apply.js";
import type { ApiObject, ResourceKind } from "../resources/index.js";
import { type DataForm, formatData } from "./output.js";

export type ObjectForm = "table" | "wide" | "name" | DataForm;
export const OBJECT_FORM_HELP = "json, yaml, wide or name";

export function parseObjectForm(text: string): ObjectForm {
  if (text === "json" || text === "yaml" || text === "wide" || text === "name") return text;
  throw new InvalidArgumentError(`expected ${OBJECT_FORM_HELP}`);
}

/** Objects as JSON, YAML or names; a single one stands alone, several as a List. */
export function formatObjects(
  found: readonly { readonly kind: ResourceKind; readonly object: ApiObject }[],
  form: DataForm | "name",
  single: boolean,
): string {
  if (form === "name")
    return found.map(({ kind, object }) => displayName(kind, object.metadata.name)).join("\n");
  const objects = found.map(({ object }) => withoutManagers(object));
  const document =
    single && objects.length === 1
      ? objects[0]
      : { apiVersion: "v1", kind: "List", metadata: {}, items: objects };
  return formatData(document, form);
}

/** Who set which field is long, and of use to programs, which ask for the object themselves. */
function withoutManagers(object: ApiObject): ApiObject {
  const { managedFields: _managers, ...metadata } = object.metadata;
  return { ...object, metadata };
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
