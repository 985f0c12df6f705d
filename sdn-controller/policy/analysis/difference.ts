// How the connectivity of a second cluster differs from that of a first, pair by pair. External addresses of both are cut
// at all borders, then joined again where both sides say the same of neighbours. Pure.
import { type AddressRange, cutSpace, mergeRanges, rangeContains } from "./address-range.js";
import type { Workload } from "./cluster.js";
import { type ConnectionSet, formatConnections, NO_CONNECTIONS } from "./connection-set.js";
import { type Connectivity, type ConnectivityLine, endText } from "./connectivity.js";
import type { End } from "./evaluator.js";
import { formatCsv, formatGraph, formatMarkdown } from "./format.js";
import { INGRESS_CONTROLLER } from "./ingress-controller.js";

export type DifferenceKind = "changed" | "added" | "removed" | "unchanged";

export interface Difference {
  readonly kind: DifferenceKind;
  readonly source: End;
  readonly destination: End;
  readonly first: ConnectionSet;
  readonly second: ConnectionSet;
  /** Ends that are in one of the clusters only. */
  readonly news: readonly End[];
}

interface Pair {
  readonly source: End;
  readonly destination: End;
  first: ConnectionSet;
  second: ConnectionSet;
}

/** All pairs with something allowed in either, unchanged ones included. */
export function differenceOf(first: Connectivity, second: Connectivity): Difference[] {
  const pairs = new Map<string, Pair>();
  const cut = cutterOf([...first.lines, ...second.lines]);
  const collect = (lines: readonly ConnectivityLine[], side: "first" | "second"): void => {
    for (const line of lines) {
      for (const [source, destination] of cut(line)) {
        const key = `${endText(source)} ${endText(destination)}`;
        const pair = pairs.get(key) ?? { source, destination, first: NO_CONNECTIONS, second: NO_CONNECTIONS };
        pair[side] = line.connections;
        pairs.set(key, pair);
      }
    }
  };
  collect(first.lines, "first");
  collect(second.lines, "second");
  const names = {
    first: new Set(first.workloads.map(({ text }) => text)),
    second: new Set(second.workloads.map(({ text }) => text)),
  };
  return joined([...pairs.values()]).map((pair) => {
    const kind = kindOf(pair);
    const others = kind === "added" ? names.first : names.second;
    const changed = kind === "added" || kind === "removed";
    const news = [pair.source, pair.destination].filter(
      (end) =>
        changed && "workload" in end && end.workload !== INGRESS_CONTROLLER && !others.has(end.workload.text),
    );
    return { ...pair, kind, news };
  });
}

function kindOf({ first, second }: Pair): DifferenceKind {
  const [before, after] = [formatConnections(first), formatConnections(second)];
  if (before === after) return "unchanged";
  const none = formatConnections(NO_CONNECTIONS);
  return before === none ? "added" : after === none ? "removed" : "changed";
}

/** Cuts the external end of a line at the borders of all lines. */
function cutterOf(lines: readonly ConnectivityLine[]): (line: ConnectivityLine) => (readonly [End, End])[] {
  const ranges = lines.flatMap(({ sourceEnd, destinationEnd }) =>
    [sourceEnd, destinationEnd].flatMap((end) => ("range" in end ? [end.range] : [])),
  );
  const pieces = [...cutSpace(4, ranges), ...cutSpace(6, ranges)];
  const memory = new Map<string, AddressRange[]>();
  const piecesOf = (end: End): End[] => {
    if ("workload" in end) return [end];
    const key = endText(end);
    let inside = memory.get(key);
    if (inside === undefined) {
      inside = pieces.filter((piece) => rangeContains(end.range, piece));
      memory.set(key, inside);
    }
    return inside.map((range) => ({ range }));
  };
  return ({ sourceEnd, destinationEnd }) =>
    piecesOf(sourceEnd).flatMap((source) =>
      piecesOf(destinationEnd).map((destination) => [source, destination] as const),
    );
}

function joined(pairs: readonly Pair[]): Pair[] {
  const groups = new Map<string, Pair[]>();
  const result: Pair[] = [];
  for (const pair of pairs) {
    if ("workload" in pair.source && "workload" in pair.destination) result.push(pair);
    else {
      const ends = "range" in pair.source ? `< ${endText(pair.destination)}` : `> ${endText(pair.source)}`;
      const key = `${ends} ${formatConnections(pair.first)};${formatConnections(pair.second)}`;
      groups.set(key, [...(groups.get(key) ?? []), pair]);
    }
  }
  for (const group of groups.values()) {
    const [one] = group as [Pair];
    const ranges = group.flatMap(({ source, destination }) =>
      [source, destination].flatMap((end) => ("range" in end ? [end.range] : [])),
    );
    for (const range of mergeRanges(ranges))
      result.push("range" in one.source ? { ...one, source: { range } } : { ...one, destination: { range } });
  }
  return result;
}

export const DIFFERENCE_FORMATS = ["txt", "json", "csv", "md", "dot"] as const;
export type DifferenceFormat = (typeof DIFFERENCE_FORMATS)[number];

/** The empty text when nothing differs; an empty list as JSON. */
export function formatDifference(
  differences: readonly Difference[],
  workloads: readonly Workload[],
  format: DifferenceFormat,
): string {
  if (differences.every(({ kind }) => kind === "unchanged")) return format === "json" ? "[]\n" : "";
  const header = ["diff-type", "source", "destination", "dir1", "dir2", "workloads-diff-info"];
  const rows = sortedRows(differences);
  switch (format) {
    case "txt":
      return ["Connectivity diff:", ...rows.map(sentence)].map((line) => `${line}\n`).join("");
    case "json": {
      const objects = rows.map((row) => Object.fromEntries(header.map((name, i) => [name, row[i]])));
      return `${JSON.stringify(objects, null, 2)}\n`;
    }
    case "csv":
      return formatCsv([header, ...rows]);
    case "md":
      return formatMarkdown(header, rows);
    case "dot":
      return formatDifferenceGraph(differences, workloads);
  }
}

type Row = readonly [string, string, string, string, string, string];

/** What policies changed first, then what reaches through the ingress controller; in each: changed, added, removed. */
function sortedRows(differences: readonly Difference[]): Row[] {
  return [false, true].flatMap((entrance) =>
    (["changed", "added", "removed"] as const).flatMap((kind) =>
      differences
        .filter((one) => one.kind === kind && isEntrance(one.source) === entrance)
        .map(
          (one): Row => [
            one.kind,
            endText(one.source),
            endText(one.destination),
            formatConnections(one.first),
            formatConnections(one.second),
            noteOf(one),
          ],
        )
        .sort((a, b) => (sentence(a) < sentence(b) ? -1 : 1)),
    ),
  );
}

/** "workload A added", or nothing. */
function noteOf({ kind, news }: Difference): string {
  return news.length === 0 ? "" : `workload ${news.map(endText).join(" and ")} ${kind}`;
}

function isEntrance(end: End): boolean {
  return "workload" in end && end.workload === INGRESS_CONTROLLER;
}

function sentence([kind, source, destination, first, second, note]: Row): string {
  const text = `diff-type: ${kind}, source: ${source}, destination: ${destination}, dir1:  ${first}, dir2: ${second}`;
  return note === "" ? text : `${text}, workloads-diff-info: ${note}`;
}

const COLORS = { changed: "magenta", added: "#008000", removed: "red2", unchanged: "grey" } as const;

function formatDifferenceGraph(differences: readonly Difference[], workloads: readonly Workload[]): string {
  const edges = differences.map(({ kind, source, destination, first, second }) => {
    const [before, after] = [formatConnections(first), formatConnections(second)];
    const label = kind === "changed" ? `${after} (dir1: ${before})` : kind === "removed" ? before : after;
    return { source, destination, label, color: COLORS[kind], fontColor: COLORS[kind] };
  });
  const colors = new Map<string, string>();
  for (const { kind, news } of differences) for (const end of news) colors.set(endText(end), COLORS[kind]);
  return formatGraph(edges, workloads, (end) => colors.get(endText(end)) ?? "blue");
}
