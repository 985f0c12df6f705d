// Tables as ovs-vsctl prints them: --format=table|list|html|csv|json, --data=string|bare|json. Pure.
import { stringifyExactJson } from "../../base/json/index.js";
import { type ColumnType, type Datum, encodeDatum, formatDatum, isMap } from "../../base/ovsdb/index.js";
import { commandError } from "./errors.js";

export interface TableStyle {
  readonly format: "table" | "list" | "html" | "csv" | "json";
  readonly data: "string" | "bare" | "json";
  readonly headings: boolean;
  /** JSON over several lines. */
  readonly pretty: boolean;
  /** Columns of the format "table" are cut to that many bytes; 0: never. */
  readonly columnMax: number;
}

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi;

export interface Cell {
  readonly datum: Datum;
  readonly type: ColumnType;
}

/** Throws COMMAND_FAILED. */
export function parseFormat(text: string): TableStyle["format"] {
  if (text === "table" || text === "list" || text === "html" || text === "csv" || text === "json")
    return text;
  throw commandError(`unknown output format "${text}"`);
}

export function parseData(text: string): TableStyle["data"] {
  if (text === "string" || text === "bare" || text === "json") return text;
  throw commandError(`unknown data format "${text}"`);
}

/** Without a newline at the end. */
export function formatTable(
  headings: readonly string[],
  rows: readonly (readonly Cell[])[],
  style: TableStyle,
): string {
  const text = rows.map((row) => row.map((cell) => formatCell(cell, style)));
  switch (style.format) {
    case "json": {
      const data = rows.map((row) => row.map(({ datum, type }) => encodeDatum(datum, type)));
      return style.pretty ? prettyJson({ data, headings }) : stringifyExactJson({ data, headings });
    }
    case "csv":
      return [...(style.headings ? [headings] : []), ...text]
        .map((row) => row.map(csvCell).join(","))
        .join("\n");
    case "html":
      return html(headings, text, style);
    case "table":
      return columns(headings, text, style);
    case "list":
      return text
        .map((row) =>
          row
            .map((cell, i) => (style.headings ? `${(headings[i] as string).padEnd(20)}: ${cell}` : cell))
            .join("\n"),
        )
        .join("\n\n");
  }
}

function formatCell({ datum, type }: Cell, { data, format }: TableStyle): string {
  if (data === "json" || format === "json") return stringifyExactJson(encodeDatum(datum, type));
  if (data === "string") return formatDatum(datum, type);
  const pairs = datum.keys.map((key, i) => (isMap(type) ? `${key}=${datum.values?.[i]}` : String(key)));
  return pairs.join(" ");
}

/** As the original lays it out: what closes stands behind the last member. */
function prettyJson(value: unknown, indent = ""): string {
  const deeper = `${indent}  `;
  const members = Array.isArray(value)
    ? value.map((one) => prettyJson(one, deeper))
    : typeof value === "object" && value !== null
      ? Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${prettyJson(one, deeper)}`)
      : undefined;
  if (members === undefined) return stringifyExactJson(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return members.length === 0
    ? `${open}${close}`
    : `${open}\n${deeper}${members.join(`,\n${deeper}`)}${close}`;
}

function csvCell(text: string): string {
  return /[\n",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function html(headings: readonly string[], rows: readonly (readonly string[])[], style: TableStyle): string {
  const escaped = (text: string): string =>
    text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
  // A row's own uuid is where those lead that refer to it.
  const content = (cell: string, heading: string | undefined): string =>
    heading === "_uuid"
      ? `<a name="${escaped(cell)}">${escaped(cell.slice(0, 8))}</a>`
      : escaped(cell).replaceAll(UUID, (uuid) => `<a href="#${uuid}">${uuid.slice(0, 8)}</a>`);
  const line = (cells: readonly string[], tag: "th" | "td"): string => {
    const shown = cells.map((cell, i) => content(cell, tag === "td" ? headings[i] : undefined));
    return `  <tr>\n${shown.map((cell) => `    <${tag}>${cell}</${tag}>\n`).join("")}  </tr>\n`;
  };
  const head = style.headings ? line(headings, "th") : "";
  return `<table border=1>\n${head}${rows.map((row) => line(row, "td")).join("")}</table>`;
}

function columns(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  style: TableStyle,
): string {
  // The original counts bytes, and cuts no column shorter than its heading.
  const width = (cell: string): number => Buffer.byteLength(cell);
  const cut = (cell: string, i: number): string => {
    if (style.columnMax === 0) return cell;
    const most = Math.max(style.columnMax, style.headings ? width(headings[i] as string) : 0);
    return Buffer.from(cell).subarray(0, most).toString();
  };
  const cells = rows.map((row) => row.map(cut));
  const all = style.headings ? [headings, ...cells] : cells;
  const widths = headings.map((_, i) => Math.max(0, ...all.map((row) => width(row[i] as string))));
  const padded = (cell: string, i: number): string =>
    cell + " ".repeat(Math.max(0, (widths[i] as number) - width(cell)));
  const line = (row: readonly string[]): string =>
    row.map((cell, i) => (i === row.length - 1 ? cell : padded(cell, i))).join(" ");
  const rule = widths.map((one) => "-".repeat(one)).join(" ");
  const lines = all.map(line);
  if (style.headings) lines.splice(1, 0, rule);
  return lines.join("\n");
}
