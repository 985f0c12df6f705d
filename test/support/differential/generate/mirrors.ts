// Random mirrors, as ovs-vsctl is told them (ovs-vswitchd.conf.db(5), Mirror table): SPAN to one of the last ports, which
// are for nothing else then, or RSPAN to a VLAN.
import fc from "fast-check";
import { portNames } from "./vlan-ports.js";

export interface MirrorOptions {
  readonly bridge: string;
  readonly ports: number;
  /** Ports at the end that mirrors may send to. */
  readonly outputs: number;
  readonly vlans: readonly number[];
  /** Ports that a mirror may select for what leaves by them; any number if not given. One at most leaves out select_all. */
  readonly destinationsMax?: number;
}

/**
 * Commands that make one mirror of any kind, or several of ports. What one mirror sends to a port that another selects
 * is left out: Open vSwitch lets chance decide which of two copies the other mirror gets.
 */
export function mirrors(options: MirrorOptions): fc.Arbitrary<string[][]> {
  const one = mirror(options, true).map((columns) => [columns]);
  const several = fc.array(mirror(options, false), { minLength: 2, maxLength: 3 });
  return fc
    .oneof(one, several)
    .map((list) => [
      ...portNames(options.ports).map((name) => [`--id=@${name}`, "get", "Port", name]),
      ...list.map((columns, n) => [`--id=@m${n}`, "create", "Mirror", `name=m${n}`, ...columns]),
      ["set", "Bridge", options.bridge, `mirrors=${list.map((_, n) => `@m${n}`).join(",")}`],
    ]);
}

function mirror(
  { ports, outputs, vlans, destinationsMax = ports }: MirrorOptions,
  alone: boolean,
): fc.Arbitrary<string[]> {
  const names = portNames(ports);
  const selectable = alone ? names : names.slice(0, -outputs);
  const span = fc.constantFrom(...names.slice(-outputs)).map((name) => `output_port=@${name}`);
  const rspan = fc.constantFrom(...vlans.filter((vlan) => vlan !== 0)).map((vlan) => `output_vlan=${vlan}`);
  return fc
    .record({
      all: alone && destinationsMax > 1 ? fc.boolean() : fc.constant(false),
      sources: fc.subarray(selectable),
      destinations: fc.subarray(selectable, { maxLength: Math.min(destinationsMax, selectable.length) }),
      selected: fc.oneof(fc.constant([]), fc.subarray([...vlans])),
      output: alone ? fc.oneof(span, rspan) : span,
      // Of two mirrors with one output chance says whose length counts.
      length: alone ? fc.option(fc.constantFrom(14, 40, 65, 1000)) : fc.constant(null),
    })
    .map(({ all, sources, destinations, selected, output, length }) => [
      `select_all=${all}`,
      ...reference("select_src_port", sources),
      ...reference("select_dst_port", destinations),
      ...(selected.length === 0 ? [] : [`select_vlan=${selected.join(",")}`]),
      output,
      ...(length === null ? [] : [`snaplen=${length}`]),
    ]);
}

function reference(column: string, names: readonly string[]): string[] {
  return names.length === 0 ? [] : [`${column}=${names.map((name) => `@${name}`).join(",")}`];
}
