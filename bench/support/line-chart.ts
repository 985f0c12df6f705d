// A picture of figures that grow with something: lines over two logarithmic axes, as SVG. Pure.

export interface Series {
  readonly name: string;
  /** x and y, both above 0. */
  readonly points: readonly (readonly [number, number])[];
  /** Drawn thin and dashed: what is wanted, not what was measured. */
  readonly isTarget?: boolean;
}

export interface LineChart {
  readonly title: string;
  readonly xTitle: string;
  readonly yTitle: string;
  readonly series: readonly Series[];
}

const WIDTH = 460;
const HEIGHT = 300;
const MARGIN = { left: 70, right: 20, top: 34, bottom: 90 };
const COLORS = ["#15803d", "#b45309", "#1d4ed8", "#7e22ce"];

/** The charts side by side in one picture. */
export function lineCharts(charts: readonly LineChart[]): string {
  const width = charts.length * WIDTH;
  const parts = charts.map((chart, i) => `<g transform="translate(${i * WIDTH} 0)">${draw(chart)}</g>`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${HEIGHT}" font-family="sans-serif" font-size="12"><title>${charts.map(({ title }) => title).join("; ")}</title><rect width="100%" height="100%" fill="#fff"/>${parts.join("")}</svg>\n`;
}

function draw({ title, xTitle, yTitle, series }: LineChart): string {
  const all = series.flatMap(({ points }) => points);
  const x = axisOf(
    all.map(([value]) => value),
    MARGIN.left,
    WIDTH - MARGIN.right,
  );
  const y = axisOf(
    all.map(([, value]) => value),
    HEIGHT - MARGIN.bottom,
    MARGIN.top,
  );
  const parts = [
    `<text x="${WIDTH / 2}" y="20" text-anchor="middle" font-weight="bold">${escaped(title)}</text>`,
    `<text x="${WIDTH / 2}" y="${HEIGHT - MARGIN.bottom + 34}" text-anchor="middle">${escaped(xTitle)}</text>`,
    `<text transform="translate(16 ${(HEIGHT - MARGIN.bottom + MARGIN.top) / 2}) rotate(-90)" text-anchor="middle">${escaped(yTitle)}</text>`,
  ];
  for (const power of x.powers)
    parts.push(
      `<line x1="${x.at(power)}" x2="${x.at(power)}" y1="${MARGIN.top}" y2="${HEIGHT - MARGIN.bottom}" stroke="#ddd"/>`,
      `<text x="${x.at(power)}" y="${HEIGHT - MARGIN.bottom + 16}" text-anchor="middle">${power}</text>`,
    );
  for (const power of y.powers)
    parts.push(
      `<line y1="${y.at(power)}" y2="${y.at(power)}" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" stroke="#ddd"/>`,
      `<text x="${MARGIN.left - 6}" y="${Number(y.at(power)) + 4}" text-anchor="end">${power}</text>`,
    );
  for (const [i, { name, points, isTarget }] of series.entries()) {
    const color = isTarget === true ? "#6b7280" : COLORS[i % COLORS.length];
    const path = points.map(([px, py]) => `${x.at(px)},${y.at(py)}`).join(" ");
    const dashes = isTarget === true ? ' stroke-dasharray="4 4"' : ' stroke-width="2"';
    parts.push(`<polyline points="${path}" fill="none" stroke="${color}"${dashes}/>`);
    if (isTarget !== true)
      for (const [px, py] of points)
        parts.push(
          `<circle cx="${x.at(px)}" cy="${y.at(py)}" r="3" fill="${color}"><title>${escaped(name)}: ${py}</title></circle>`,
        );
    const legendY = HEIGHT - 36 + Math.floor(i / 2) * 16;
    const legendX = MARGIN.left + (i % 2) * 180;
    parts.push(
      `<line x1="${legendX}" x2="${legendX + 20}" y1="${legendY - 4}" y2="${legendY - 4}" stroke="${color}"${dashes}/>`,
      `<text x="${legendX + 26}" y="${legendY}">${escaped(name)}</text>`,
    );
  }
  return parts.join("");
}

interface Axis {
  /** Powers of ten, that below the least and that above the greatest value included. */
  readonly powers: readonly number[];
  at(value: number): string;
}

function axisOf(values: readonly number[], from: number, to: number): Axis {
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
  const powers = Array.from({ length: high - low + 1 }, (_, i) => Number(`1e${low + i}`));
  return {
    powers,
    at: (value) => (from + ((Math.log10(value) - low) / (high - low)) * (to - from)).toFixed(1),
  };
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
