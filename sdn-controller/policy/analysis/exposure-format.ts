// Exposure in the forms of connectivity: below its lines as text, Markdown and CSV, beside them as JSON, DOT and SVG. Pure.
import type { Connectivity } from "./connectivity.js";
import type { Exposure, ExposureLine } from "./exposure.js";
import {
  type ConnectivityFormat,
  connectivitySvg,
  formatConnectivity,
  formatCsv,
  formatMarkdown,
  quote,
} from "./format.js";
import type { GraphEdge } from "./graph-svg.js";

const TITLE = "Exposure Analysis Result:";
const EGRESS_TITLE = "Egress Exposure:";
const INGRESS_TITLE = "Ingress Exposure:";
const UNPROTECTED_TITLE = "Workloads not protected by network policies:";

export function formatExposure(
  { lines, workloads }: Connectivity,
  exposure: Exposure,
  format: ConnectivityFormat,
): string {
  const connectivity = formatConnectivity(lines, workloads, format);
  switch (format) {
    case "txt":
      return `${connectivity}${connectivity === "" ? "" : "\n"}${TITLE}\n${textSections(exposure).join("\n")}`;
    case "json":
      return `${JSON.stringify(jsonOf(connectivity, exposure), null, 2)}\n`;
    case "csv":
      return `${connectivity}${formatCsv([[TITLE, "", ""], ...csvRows(exposure)])}`;
    case "md":
      return `${connectivity}## ${TITLE}\n${markdownSections(exposure).join("\n")}`;
    case "dot":
      return `${connectivity.slice(0, connectivity.lastIndexOf("}"))}${dotLines(exposure).join("")}}\n`;
    case "svg":
      return connectivitySvg(lines, workloads, unknownEdges(exposure));
  }
}

function textSections({ egress, ingress, unprotected }: Exposure): string[] {
  const width = Math.max(0, ...[...egress, ...ingress].map(({ workload }) => workload.length));
  const section = (title: string, lines: readonly ExposureLine[], arrow: string): string[] => {
    const texts = lines.map(
      ({ workload, peer, connections }) =>
        `${workload.padEnd(width)} \t${arrow} \t${peer} : ${connections}\n`,
    );
    return lines.length === 0 ? [] : [`${title}\n${texts.join("")}`];
  };
  const open = unprotected.map(({ workload, direction }) => `${workload} is not protected on ${direction}\n`);
  return [
    ...section(EGRESS_TITLE, egress, "=>"),
    ...section(INGRESS_TITLE, ingress, "<="),
    ...(open.length === 0 ? [] : [`${UNPROTECTED_TITLE}\n${open.join("")}`]),
  ];
}

function ownFirst({ workload, peer, connections }: ExposureLine): [string, string, string] {
  return [workload, peer, connections];
}

function csvRows({ egress, ingress }: Exposure): string[][] {
  const section = (title: string, header: string[], lines: readonly ExposureLine[]): string[][] =>
    lines.length === 0 ? [] : [[title, "", ""], header, ...lines.map(ownFirst)];
  return [
    ...section(EGRESS_TITLE, ["src", "dst", "conn"], egress),
    ...section(INGRESS_TITLE, ["dst", "src", "conn"], ingress),
  ];
}

function markdownSections({ egress, ingress }: Exposure): string[] {
  const section = (title: string, header: string[], lines: readonly ExposureLine[]): string[] =>
    lines.length === 0 ? [] : [`### ${title}\n${formatMarkdown(header, lines.map(ownFirst))}`];
  return [
    ...section(EGRESS_TITLE, ["src", "dst", "conn"], egress),
    ...section(INGRESS_TITLE, ["dst", "src", "conn"], ingress),
  ];
}

function jsonOf(connectivity: string, { egress, ingress, unprotected }: Exposure): unknown {
  return {
    connlist_results: JSON.parse(connectivity),
    exposure_results: {
      egress_exposure: egress.map(({ workload, peer, connections }) => ({
        src: workload,
        dst: peer,
        conn: connections,
      })),
      ingress_exposure: ingress.map(({ workload, peer, connections }) => ({
        src: peer,
        dst: workload,
        conn: connections,
      })),
    },
    unprotected,
  };
}

/** Addresses are drawn by the connectivity already. */
function unknownEdges({ egress, ingress }: Exposure): GraphEdge[] {
  const unknown = ({ isAddress }: ExposureLine): boolean => !isAddress;
  return [
    ...egress.filter(unknown).map(({ workload, peer, connections }) => ({
      source: workload,
      destination: peer,
      label: connections,
    })),
    ...ingress.filter(unknown).map(({ workload, peer, connections }) => ({
      source: peer,
      destination: workload,
      label: connections,
    })),
  ];
}

/** Pods that are not there as diamonds. */
function dotLines(exposure: Exposure): string[] {
  const edges = unknownEdges(exposure);
  const own = new Set([...exposure.egress, ...exposure.ingress].map(({ workload }) => workload));
  const peers = new Set(edges.flatMap(({ source, destination }) => [source, destination]));
  return [
    ...[...peers]
      .filter((peer) => !own.has(peer))
      .sort()
      .map((peer) => `\t${quote(peer)} [label=${quote(peer)} color="red2" fontcolor="red2" shape=diamond]\n`),
    ...edges.map(
      ({ source, destination, label }) =>
        `\t${quote(source)} -> ${quote(destination)} ` +
        `[label=${quote(label)} color="gold2" fontcolor="darkgreen" weight=${own.has(source) ? 0.5 : 1}]\n`,
    ),
  ];
}
