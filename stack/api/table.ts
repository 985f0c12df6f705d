// Objects as rows: what `kubectl get` and `plinth get` print. Source: meta.k8s.io/v1 Table.
import type { ApiObject, Column, ResourceKind } from "../resources/index.js";

export interface TableColumn {
  readonly name: string;
  readonly type: string;
  readonly format: string;
  readonly description: string;
  /** 0 is always shown, 1 only by -o wide. */
  readonly priority: number;
}

export interface TableRow {
  readonly cells: readonly (string | number | boolean | null)[];
  readonly object?: unknown;
}

export interface Table {
  readonly kind: "Table";
  readonly apiVersion: "meta.k8s.io/v1";
  readonly metadata: object;
  readonly columnDefinitions: readonly TableColumn[];
  readonly rows: readonly TableRow[];
}

export type IncludeObject = "None" | "Metadata" | "Object";

function tableColumns(kind: ResourceKind): TableColumn[] {
  const own = (columns: readonly Column<ApiObject>[]): TableColumn[] =>
    columns.map((column) => ({
      name: column.name,
      type: column.type === "integer" ? "integer" : column.type === "boolean" ? "boolean" : "string",
      format: "",
      description: column.description,
      priority: column.wide ? 1 : 0,
    }));
  const name = {
    name: "Name",
    type: "string",
    format: "name",
    description: "Name of the object",
    priority: 0,
  };
  const age = { name: "Age", type: "string", format: "", description: "Time since it was made", priority: 0 };
  if (kind.kind === "Event") return own(kind.columns);
  const wideAt = kind.columns.findIndex((column) => column.wide);
  const split = wideAt < 0 ? kind.columns.length : wideAt;
  return [name, ...own(kind.columns.slice(0, split)), age, ...own(kind.columns.slice(split))];
}

export function toTable(
  kind: ResourceKind,
  objects: readonly ApiObject[],
  options: { readonly wallMs: number; readonly includeObject: IncludeObject; readonly metadata: object },
): Table {
  return {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    metadata: options.metadata,
    columnDefinitions: tableColumns(kind),
    rows: objects.map((object) => tableRow(kind, object, options.wallMs, options.includeObject)),
  };
}

function tableRow(
  kind: ResourceKind,
  object: ApiObject,
  wallMs: number,
  includeObject: IncludeObject,
): TableRow {
  const cell = (column: Column<ApiObject>): string | number | boolean | null => {
    const value = column.value(object);
    if (kind.kind === "Event" && column.name === "Last Seen") return age(String(value ?? ""), wallMs);
    if (value !== undefined && value !== "") return value;
    return column.type === "integer" ? null : "<none>";
  };
  const cells = kind.columns.map(cell);
  const wideAt = kind.columns.findIndex((column) => column.wide);
  if (kind.kind !== "Event") {
    cells.splice(wideAt < 0 ? cells.length : wideAt, 0, age(object.metadata.creationTimestamp, wallMs));
    cells.unshift(object.metadata.name);
  }
  if (includeObject === "None") return { cells };
  if (includeObject === "Object") return { cells, object };
  const partial = { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: object.metadata };
  return { cells, object: partial };
}

function age(time: string, wallMs: number): string {
  const sinceMs = wallMs - Date.parse(time);
  return Number.isNaN(sinceMs) ? "<unknown>" : formatDuration(Math.max(0, sinceMs));
}

/** "5s", "3m20s", "2h", "4d": as Kubernetes prints ages. */
export function formatDuration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`;
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (days < 8) return hours % 24 === 0 ? `${days}d` : `${days}d${hours % 24}h`;
  if (days < 730) return `${days}d`;
  return `${Math.floor(days / 365)}y`;
}
