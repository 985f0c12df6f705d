// Who can connect to whom as an SVG picture: ends on a circle, those of one namespace beside each other, an arrow for each
// pair. What may pass is the arrow's title, which browsers show under the pointer. Source: SVG 1.1. Pure.

export interface GraphEdge {
  /** "namespace/name…"; what has no namespace is outside. */
  readonly source: string;
  readonly destination: string;
  readonly label: string;
}

const RADIUS_MIN = 120;
/** Between neighbours on the circle. */
const SPACING = 22;
/** Between namespaces, in places of ends. */
const GAP = 1.5;
const CHARACTER_WIDTH = 7;
const DOT_RADIUS = 5;
const COLORS = ["#2563eb", "#c2410c", "#15803d", "#7e22ce", "#be123c", "#0e7490", "#a16207", "#4d7c0f"];
const OUTSIDE_COLOR = "#52525b";

interface Place {
  readonly text: string;
  readonly color: string;
  readonly angle: number;
}

/** `ends` are drawn even when nothing reaches them. */
export function graphSvg(edges: readonly GraphEdge[], ends: readonly string[], title: string): string {
  const texts = [
    ...new Set([...ends, ...edges.flatMap(({ source, destination }) => [source, destination])]),
  ].sort();
  const namespaces = [...new Set(texts.map(namespaceOf))].sort();
  const slots = texts.length + namespaces.length * GAP;
  const radius = Math.max(RADIUS_MIN, (slots * SPACING) / (2 * Math.PI));
  const longest = Math.max(0, ...texts.map((text) => text.length)) * CHARACTER_WIDTH;
  const middle = Math.ceil(radius + longest + 40);
  const places = placesOf(texts, namespaces, slots);
  const at = (angle: number, distance: number): string =>
    `${round(middle + distance * Math.cos(angle))} ${round(middle + distance * Math.sin(angle))}`;

  const arrows = edges.map(({ source, destination, label }) => {
    const [from, to] = [places.get(source) as Place, places.get(destination) as Place];
    const path = `M ${at(from.angle, radius - DOT_RADIUS)} Q ${middle} ${middle} ${at(to.angle, radius - 2 * DOT_RADIUS)}`;
    return (
      `<path d="${path}" stroke="${from.color}" marker-end="url(#arrow)">` +
      `<title>${escapeXml(`${source} => ${destination} : ${label}`)}</title></path>`
    );
  });
  const nodes = [...places.values()].flatMap(({ text, color, angle }) => {
    const [x, y] = at(angle, radius).split(" ");
    const left = Math.cos(angle) < 0;
    const turn = (angle * 180) / Math.PI + (left ? 180 : 0);
    const [labelX, labelY] = at(angle, radius + 10).split(" ");
    return [
      `<circle cx="${x}" cy="${y}" r="${DOT_RADIUS}" fill="${color}"/>`,
      `<text x="${labelX}" y="${labelY}" fill="${color}" transform="rotate(${round(turn)} ${labelX} ${labelY})" ` +
        `text-anchor="${left ? "end" : "start"}" dominant-baseline="central">${escapeXml(text)}</text>`,
    ];
  });
  const size = 2 * middle;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${size}" height="${size}" viewBox="0 0 ${size} ${size}" role="img">`,
    `<title>${escapeXml(title)}</title>`,
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">' +
      '<path d="M 0 0 L 8 4 L 0 8 z" fill="#71717a" stroke="none"/></marker></defs>',
    `<rect width="${size}" height="${size}" fill="#ffffff"/>`,
    '<g fill="none" stroke-width="1.2" stroke-opacity="0.55">',
    ...arrows,
    "</g>",
    '<g font-family="sans-serif" font-size="12">',
    ...nodes,
    "</g>",
    "</svg>",
  ].join("\n")}\n`;
}

function placesOf(
  texts: readonly string[],
  namespaces: readonly string[],
  slots: number,
): Map<string, Place> {
  const places = new Map<string, Place>();
  let slot = 0;
  for (const [i, namespace] of namespaces.entries()) {
    const color = namespace === "" ? OUTSIDE_COLOR : (COLORS[i % COLORS.length] as string);
    for (const text of texts.filter((one) => namespaceOf(one) === namespace))
      places.set(text, { text, color, angle: (2 * Math.PI * slot++) / slots - Math.PI / 2 });
    slot += GAP;
  }
  return places;
}

function namespaceOf(text: string): string {
  return text.includes("/") ? (text.split("/")[0] as string) : "";
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escapeXml(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
