// Which protocols and ports a connection may have, as a value: disjoint sorted port ranges per protocol. Pure.

/** In the order in which they are printed. */
export const PROTOCOLS = ["SCTP", "TCP", "UDP"] as const;
export type Protocol = (typeof PROTOCOLS)[number];

export const PORT_MIN = 1;
export const PORT_MAX = 65535;

/** Inclusive. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Ranges are sorted, do not touch and are not empty. */
export type ConnectionSet = Readonly<Record<Protocol, readonly PortRange[]>>;

const ALL_PORTS: readonly PortRange[] = [{ first: PORT_MIN, last: PORT_MAX }];

export const NO_CONNECTIONS: ConnectionSet = { SCTP: [], TCP: [], UDP: [] };
export const ALL_CONNECTIONS: ConnectionSet = { SCTP: ALL_PORTS, TCP: ALL_PORTS, UDP: ALL_PORTS };

/** Ports of one protocol; all of them without `range`. Parts outside 1–65535 are cut off. */
export function connections(protocol: Protocol, range?: PortRange): ConnectionSet {
  const ports = range === undefined ? ALL_PORTS : merged([range], []);
  return { ...NO_CONNECTIONS, [protocol]: ports };
}

export function isProtocol(text: string): text is Protocol {
  return (PROTOCOLS as readonly string[]).includes(text);
}

export function union(a: ConnectionSet, b: ConnectionSet): ConnectionSet {
  if (isEmpty(b)) return a;
  if (isEmpty(a)) return b;
  return each((protocol) => merged(a[protocol], b[protocol]));
}

export function intersect(a: ConnectionSet, b: ConnectionSet): ConnectionSet {
  if (isAll(b)) return a;
  if (isAll(a)) return b;
  return subtract(a, subtract(ALL_CONNECTIONS, b));
}

export function subtract(a: ConnectionSet, b: ConnectionSet): ConnectionSet {
  if (isEmpty(b)) return a;
  return each((protocol) => without(a[protocol], b[protocol]));
}

export function isEmpty(set: ConnectionSet): boolean {
  return PROTOCOLS.every((protocol) => set[protocol].length === 0);
}

export function isAll(set: ConnectionSet): boolean {
  return PROTOCOLS.every(
    (protocol) => set[protocol][0]?.first === PORT_MIN && set[protocol][0]?.last === PORT_MAX,
  );
}

export function contains(outer: ConnectionSet, inner: ConnectionSet): boolean {
  return isEmpty(subtract(inner, outer));
}

/** "All Connections", "No Connections", or as in "TCP 80,443,8000-8080,UDP 53". Equal sets have equal texts. */
export function formatConnections(set: ConnectionSet): string {
  if (isAll(set)) return "All Connections";
  if (isEmpty(set)) return "No Connections";
  return PROTOCOLS.filter((protocol) => set[protocol].length > 0)
    .map((protocol) => `${protocol} ${set[protocol].map(formatRange).join(",")}`)
    .join(",");
}

function formatRange({ first, last }: PortRange): string {
  return first === last ? String(first) : `${first}-${last}`;
}

function each(ports: (protocol: Protocol) => readonly PortRange[]): ConnectionSet {
  return { SCTP: ports("SCTP"), TCP: ports("TCP"), UDP: ports("UDP") };
}

function merged(a: readonly PortRange[], b: readonly PortRange[]): PortRange[] {
  const sorted = [...a, ...b]
    .map(({ first, last }) => ({ first: Math.max(first, PORT_MIN), last: Math.min(last, PORT_MAX) }))
    .filter(({ first, last }) => first <= last)
    .sort((x, y) => x.first - y.first);
  const result: { first: number; last: number }[] = [];
  for (const range of sorted) {
    const before = result.at(-1);
    if (before !== undefined && range.first <= before.last + 1)
      before.last = Math.max(before.last, range.last);
    else result.push({ ...range });
  }
  return result;
}

function without(a: readonly PortRange[], b: readonly PortRange[]): readonly PortRange[] {
  let left = a;
  for (const hole of b) {
    left = left.flatMap((range) => {
      if (hole.last < range.first || hole.first > range.last) return [range];
      const pieces: PortRange[] = [];
      if (range.first < hole.first) pieces.push({ first: range.first, last: hole.first - 1 });
      if (range.last > hole.last) pieces.push({ first: hole.last + 1, last: range.last });
      return pieces;
    });
  }
  return left;
}
