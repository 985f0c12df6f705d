// Measuring side by side: alternating runs of ours and each peer, medians, spread, ratio; written to RESULTS.md.
// A shared machine changes its speed from minute to minute, so a single figure says little and a ratio says most.
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { ROOT } from "../../test/support/run.js";

export interface Contender {
  readonly name: string;
  /** One measurement, in the comparison's unit. */
  measure(): Promise<number>;
}

export interface Comparison {
  /** The claim in a few words; the heading in RESULTS.md. */
  readonly title: string;
  readonly unit: string;
  /** "higher" when more is better. */
  readonly better: "higher" | "lower";
  readonly ours: Contender;
  readonly peers: readonly Contender[];
  readonly runs: number;
}

export interface Measured {
  readonly name: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface Outcome {
  readonly title: string;
  readonly unit: string;
  readonly better: "higher" | "lower";
  readonly ours: Measured;
  /** `ratio` above 1 means that ours is better by that factor. */
  readonly peers: readonly (Measured & { readonly ratio: number })[];
}

/** Runs every contender once per round, in turn, so that a slow minute hits all of them. */
export async function compare(comparison: Comparison): Promise<Outcome> {
  const all = [comparison.ours, ...comparison.peers];
  const samples = all.map((): number[] => []);
  for (let round = 0; round < comparison.runs; round++) {
    for (const [index, contender] of all.entries()) {
      const value = await measureOf(contender, comparison.title);
      samples[index]?.push(value);
      process.stdout.write(`${comparison.title}: ${contender.name}: ${format(value)} ${comparison.unit}\n`);
    }
  }
  const [ours, ...peers] = all.map(({ name }, index) => summarize(name, samples[index] ?? []));
  if (ours === undefined) throw new Error("nothing was measured");
  return {
    title: comparison.title,
    unit: comparison.unit,
    better: comparison.better,
    ours,
    peers: peers.map((peer) => ({
      ...peer,
      ratio: comparison.better === "higher" ? ours.median / peer.median : peer.median / ours.median,
    })),
  };
}

/** A run that fails is said and made once more: one that did not come up in time must not cost all others of its row. */
async function measureOf(contender: Contender, title: string): Promise<number> {
  try {
    return await contender.measure();
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    process.stdout.write(`${title}: ${contender.name} failed, once more: ${why}\n`);
    return contender.measure();
  }
}

function summarize(name: string, samples: readonly number[]): Measured {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  return { name, median: middle, min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN };
}

export function format(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString("en-US");
  return value.toPrecision(3);
}

/** Replaces the section `name` of bench/RESULTS.md with these outcomes. */
export function writeResults(
  name: string,
  command: string,
  outcomes: readonly Outcome[],
  notes: readonly string[] = [],
): void {
  writeSection(name, command, renderOutcomes(outcomes), notes);
}

/** The same with lines of Markdown. */
export function writeSection(
  name: string,
  command: string,
  lines: readonly string[],
  notes: readonly string[] = [],
): void {
  const path = join(ROOT, "bench", "RESULTS.md");
  const text = readFileSync(path, "utf8");
  const begin = `<!-- begin ${name} -->`;
  const end = `<!-- end ${name} -->`;
  const section = `${begin}\n${render(name, command, lines, notes)}\n${end}`;
  const at = text.indexOf(begin);
  const next =
    at < 0
      ? `${text.trimEnd()}\n\n${section}\n`
      : text.slice(0, at) + section + text.slice(text.indexOf(end) + end.length);
  writeFileSync(path, next);
}

function render(name: string, command: string, body: readonly string[], notes: readonly string[]): string {
  const lines = [
    `## ${name}`,
    "",
    `\`${command}\`, ${new Date().toISOString().slice(0, 10)}, ${machine()}`,
    "",
    ...body,
  ];
  if (notes.length > 0) lines.push("", ...notes.map((note) => `- ${note}`));
  return lines.join("\n");
}

/** The table of a section. */
export function renderOutcomes(outcomes: readonly Outcome[]): string[] {
  const lines = ["| work | who | median | min – max | ours ÷ peer |", "|---|---|---|---|---|"];
  for (const { title, unit, better, ours, peers } of outcomes) {
    const what = `${title} (${unit}, ${better} is better)`;
    lines.push(
      `| ${what} | **${ours.name}** | ${format(ours.median)} | ${format(ours.min)} – ${format(ours.max)} | |`,
    );
    for (const peer of peers) {
      lines.push(
        `| | ${peer.name} | ${format(peer.median)} | ${format(peer.min)} – ${format(peer.max)} | **${peer.ratio.toFixed(2)}** |`,
      );
    }
  }
  return lines;
}

function machine(): string {
  const first = cpus()[0]?.model ?? "unknown CPU";
  return `${cpus().length} × ${first}, Linux ${release()}, Node ${process.versions.node}`;
}
