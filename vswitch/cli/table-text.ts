// Tables as ovs-vsctl prints them: --format=table|list|html|csv|json, --data=string|bare|json. Pure.
import { type ColumnType, type Datum, encodeDatum, formatDatum, isMap } from "../../base/ovsdb/index.js";
import { commandError } from "./errors.js";

export interface TableStyle {
  readonly format: "table" | "list" | "html" | "csv" | "json";
  readonly data: "string" | "bare" | "json";
  readonly headings: boolean;
  /** JSON over several lines. */
  readonly pretty: boolean;
}

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
      return style.pretty ? prettyJson({ data, headings }) : JSON.stringify({ data, headings });
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
  if (data === "json" || format === "json") return JSON.stringify(encodeDatum(datum, type));
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
  if (members === undefined) return JSON.stringify(value);
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
  const line = (cells: readonly string[], tag: string): string =>
    `  <tr>\n${cells.map((cell) => `    <${tag}>${escaped(cell)}</${tag}>\n`).join("")}  </tr>\n`;
  const head = style.headings ? line(headings, "th") : "";
  return `<table border=1>\n${head}${rows.map((row) => line(row, "td")).join("")}</table>`;
}

function columns(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  style: TableStyle,
): string {
  const all = style.headings ? [headings, ...rows] : rows;
  const widths = headings.map((_, i) => Math.max(0, ...all.map((row) => (row[i] as string).length)));
  const line = (row: readonly string[]): string =>
    row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] as number))).join(" ");
  const rule = widths.map((width) => "-".repeat(width)).join(" ");
  const lines = all.map(line);
  if (style.headings) lines.splice(1, 0, rule);
  return lines.join("\n");
}
