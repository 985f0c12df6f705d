// Connectivity as text: lines for people, CSV, Markdown, JSON, DOT for graphviz, and SVG. Pure.

import type { Workload } from "./cluster.js";
import { formatConnections } from "./connection-set.js";
import { type ConnectivityLine, endText } from "./connectivity.js";
import type { End } from "./evaluator.js";
import { type GraphEdge, graphSvg } from "./graph-svg.js";
import { INGRESS_CONTROLLER } from "./ingress-controller.js";

export const CONNECTIVITY_FORMATS = ["txt", "json", "csv", "md", "dot", "svg"] as const;
export type ConnectivityFormat = (typeof CONNECTIVITY_FORMATS)[number];

/** Ends with a line end, except that nothing at all is the empty text. */
export function formatConnectivity(
  lines: readonly ConnectivityLine[],
  workloads: readonly Workload[],
  format: ConnectivityFormat,
): string {
  const rows = lines.map(
    (line) => [line.source, line.destination, formatConnections(line.connections)] as const,
  );
  switch (format) {
    case "txt":
      return rows.map(([source, destination, text]) => `${source} => ${destination} : ${text}\n`).join("");
    case "json":
      return `${JSON.stringify(
        rows.map(([src, dst, conn]) => ({ src, dst, conn })),
        null,
        2,
      )}\n`;
    case "csv":
      return formatCsv([["src", "dst", "conn"], ...rows]);
    case "md":
      return formatMarkdown(["src", "dst", "conn"], rows);
    case "dot":
      return formatDot(lines, workloads);
    case "svg":
      return connectivitySvg(lines, workloads);
  }
}

/** `more` are drawn beside what may connect. */
export function connectivitySvg(
  lines: readonly ConnectivityLine[],
  workloads: readonly Workload[],
  more: readonly GraphEdge[] = [],
): string {
  const edges = lines.map(({ source, destination, connections }) => ({
    source,
    destination,
    label: formatConnections(connections),
  }));
  const ends = workloads.map(({ text }) => text);
  return graphSvg([...edges, ...more], ends, "Who can connect to whom");
}

/** RFC 4180, with line ends as on Unix. */
export function formatCsv(rows: readonly (readonly string[])[]): string {
  const cell = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => `${row.map(cell).join(",")}\n`).join("");
}

export function formatMarkdown(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const rule = `|${header.map((name) => "-".repeat(name.length + 2)).join("|")}|`;
  const all = [`| ${header.join(" | ")} |`, rule, ...rows.map((row) => `| ${row.join(" | ")} |`)];
  return `${all.join("\n")}\n`;
}

export interface DotEdge {
  readonly source: End;
  readonly destination: End;
  readonly label: string;
  readonly color: string;
  readonly fontColor: string;
}

function formatDot(lines: readonly ConnectivityLine[], workloads: readonly Workload[]): string {
  const edges = lines.map((line) => ({
    source: line.sourceEnd,
    destination: line.destinationEnd,
    label: formatConnections(line.connections),
    color: "gold2",
    fontColor: "darkgreen",
  }));
  return formatGraph(edges, workloads, () => undefined);
}

/** A graph with a frame for each namespace. `colorOf` may give ends a colour of their own. */
export function formatGraph(
  edges: readonly DotEdge[],
  workloads: readonly Workload[],
  colorOf: (end: End) => string | undefined,
): string {
  const namespaces = new Map<string, Set<string>>();
  const external = new Set<string>();
  const ends: End[] = [
    ...workloads.map((workload) => ({ workload })),
    ...edges.flatMap(({ source, destination }) => [source, destination]),
  ];
  for (const end of ends) {
    if (!("workload" in end) || end.workload === INGRESS_CONTROLLER) {
      external.add(nodeLine(end, endText(end), colorOf(end) ?? ("workload" in end ? "blue" : "red2")));
      continue;
    }
    const { namespace, name, kind } = end.workload;
    const nodes = namespaces.get(namespace) ?? new Set();
    namespaces.set(namespace, nodes);
    nodes.add(`\t${nodeLine(end, `${name}[${kind}]`, colorOf(end) ?? "blue")}`);
  }
  const frames = [...namespaces]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([namespace, nodes]) => [
      `\tsubgraph ${quote(`cluster_${namespace.replaceAll("-", "_")}`)} {`,
      '\t\tcolor="black"',
      '\t\tfontcolor="black"',
      ...[...nodes].sort(),
      `\t\tlabel=${quote(namespace)}`,
      "\t}",
    ]);
  const arrows = edges
    .map(
      ({ source, destination, label, color, fontColor }) =>
        `\t${quote(endText(source))} -> ${quote(endText(destination))} ` +
        `[label=${quote(label)} color=${quote(color)} fontcolor=${quote(fontColor)}]`,
    )
    .sort();
  return `${["digraph {", ...frames, ...[...external].sort(), ...arrows, "}"].join("\n")}\n`;
}

function nodeLine(end: End, label: string, color: string): string {
  return `\t${quote(endText(end))} [label=${quote(label)} color=${quote(color)} fontcolor=${quote(color)}]`;
}

export function quote(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
