// Draws bench/RESULTS.md: one bar for each peer of each work, as long as ours is better or worse, on a logarithmic axis.
//   node dist/bench/chart.js [--results FILE] [--out FILE]
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../test/support/run.js";
import { benchOptions } from "./support/options.js";

interface Bar {
  readonly section: string;
  readonly work: string;
  readonly peer: string;
  /** Above 1: ours is better. */
  readonly ratio: number;
}

const ROW_HEIGHT = 22;
const HEADING_HEIGHT = 34;
const TEXT_WIDTH = 640;
const AXIS_WIDTH = 360;
/** The axis goes from a sixteenth to sixteen. */
const DECADES = 4;

const values = benchOptions("usage: node dist/bench/chart.js [--results FILE] [--out FILE]", {
  results: { type: "string", default: join(ROOT, "bench", "RESULTS.md") },
  out: { type: "string", default: join(ROOT, "bench", "results.svg") },
});
const bars = readBars(readFileSync(values.results, "utf8"));
if (bars.length === 0) throw new Error(`${values.results} has no table with a ratio in it`);
writeFileSync(values.out, draw(bars));
process.stdout.write(`${bars.length} bars in ${values.out}\n`);

function readBars(text: string): Bar[] {
  const bars: Bar[] = [];
  let section = "";
  let work = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("## ")) section = line.slice(3);
    const cells = line.split("|").map((cell) => cell.trim());
    const [, title = "", peer = "", , , ratio = ""] = cells;
    if (cells.length !== 7) continue;
    if (title !== "") work = title.replace(/ \([^()]*, (higher|lower) is better\)$/, "");
    const found = /^\*\*(\d+(?:\.\d+)?)\*\*$/.exec(ratio);
    if (found !== null) bars.push({ section, work, peer, ratio: Number(found[1]) });
  }
  return bars;
}

function draw(bars: readonly Bar[]): string {
  const parts: string[] = [];
  const width = TEXT_WIDTH + AXIS_WIDTH + 80;
  const middle = TEXT_WIDTH + AXIS_WIDTH / 2;
  let y = 10;
  let section = "";
  for (const bar of bars) {
    if (bar.section !== section) {
      section = bar.section;
      y += HEADING_HEIGHT;
      parts.push(`<text x="10" y="${y - 10}" font-weight="bold" font-size="15">${escaped(section)}</text>`);
    }
    const reach = Math.max(-DECADES, Math.min(DECADES, Math.log2(Math.max(bar.ratio, 2 ** -DECADES))));
    const length = (Math.abs(reach) / DECADES) * (AXIS_WIDTH / 2);
    const left = reach < 0 ? middle - length : middle;
    const label = escaped(`${bar.work} ÷ ${bar.peer}`);
    parts.push(
      `<text x="${TEXT_WIDTH - 10}" y="${y + 14}" text-anchor="end">${label}</text>`,
      `<rect x="${left.toFixed(1)}" y="${y + 3}" width="${Math.max(1, length).toFixed(1)}" height="${ROW_HEIGHT - 6}" fill="${reach < 0 ? "#b45309" : "#15803d"}"><title>${label}: ${bar.ratio}</title></rect>`,
      `<text x="${TEXT_WIDTH + AXIS_WIDTH + 10}" y="${y + 14}">${bar.ratio.toFixed(2)}</text>`,
    );
    y += ROW_HEIGHT;
  }
  const axis = Array.from({ length: 2 * DECADES + 1 }, (_, i) => {
    const x = TEXT_WIDTH + (i / (2 * DECADES)) * AXIS_WIDTH;
    const exponent = i - DECADES;
    const name = exponent < 0 ? `1/${2 ** -exponent}` : String(2 ** exponent);
    return `<line x1="${x}" y1="20" x2="${x}" y2="${y}" stroke="${exponent === 0 ? "#111" : "#ddd"}"/><text x="${x}" y="${y + 16}" text-anchor="middle">${name}</text>`;
  });
  const height = y + 30;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12"><title>How much better or worse than each peer</title><rect width="100%" height="100%" fill="#fff"/>${axis.join("")}${parts.join("")}</svg>\n`;
}

function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
