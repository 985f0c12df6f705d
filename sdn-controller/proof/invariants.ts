// Promises about who reaches whom, held against the compiled tables. What breaks one is shown by a packet. Pure.
import type { Compiler } from "../compiler.js";
import { formatIpAddress, type IpAddress, ipv4 } from "../network/ip-address.js";
import type { PortView } from "../network/views.js";
import { connections, isProtocol, PROTOCOLS } from "../policy/analysis/connection-set.js";
import { NAMESPACE_NAME_LABEL, selectsEndpoint } from "../policy/policy-model.js";
import type { LabelSelector } from "../policy/selector.js";
import { explain } from "./explain.js";
import {
  ALL_PACKETS,
  differenceOf,
  intersectionOf,
  isNothing,
  NO_PACKETS,
  type PacketSpace,
  unionOf,
} from "./packet-space.js";
import { machineOf } from "./plan.js";
import { Reachability } from "./reachability.js";

export interface InvariantEnds {
  readonly namespaceSelector?: LabelSelector;
  readonly podSelector?: LabelSelector;
}

export interface Invariant {
  readonly name: string;
  readonly assert: "Never" | "Always";
  readonly from: InvariantEnds;
  readonly to: InvariantEnds;
  /** Every protocol and port when absent. */
  readonly ports?: readonly {
    readonly protocol?: string;
    readonly port?: number;
    readonly endPort?: number;
  }[];
}

/** A packet that arrives and must not, or does not and must. */
export interface Breach {
  readonly invariant: string;
  readonly source: string;
  readonly destination: string;
  readonly packet: {
    readonly sourceAddress: string;
    readonly destinationAddress: string;
    /** "TCP", "UDP", "SCTP" or "ICMP". */
    readonly protocol: string;
    readonly port?: number;
  };
  /** Why it is so: a sentence for each direction. */
  readonly reasons: readonly string[];
}

/** One breach for each pair of machines and invariant, as many as `max` in all; `known` ones are left out. */
export function breachesOf(
  compiler: Compiler,
  invariants: Iterable<Invariant>,
  max: number,
  known: ReadonlySet<string> = new Set(),
): Breach[] {
  const breaches: Breach[] = [];
  for (const { invariant, source, destination, packets, arrives } of brokenPairs(compiler, invariants)) {
    if (breaches.length >= max) break;
    const ends = { source: machineOf(source), destination: machineOf(destination) };
    if (known.has(breachKey(invariant, source, destination))) continue;
    const packet = packetIn(packets);
    const addresses = addressesOfBreach(new Reachability(compiler), { source, destination, packet, arrives });
    breaches.push({
      invariant,
      ...ends,
      packet: {
        sourceAddress: formatIpAddress(addresses.source),
        destinationAddress: formatIpAddress(addresses.destination),
        ...packet,
      },
      reasons: explain(compiler, {
        source: source.key,
        destination: destination.key,
        addresses,
        ...packet,
      }).text,
    });
  }
  return breaches;
}

/** What `breachesOf` takes for known. */
export function breachKeys(compiler: Compiler, invariants: Iterable<Invariant>): Set<string> {
  const keys = new Set<string>();
  for (const { invariant, source, destination } of brokenPairs(compiler, invariants))
    keys.add(breachKey(invariant, source, destination));
  return keys;
}

function breachKey(invariant: string, source: PortView, destination: PortView): string {
  return `${invariant} ${machineOf(source)} ${machineOf(destination)}`;
}

interface WrongPair {
  readonly source: PortView;
  readonly destination: PortView;
  readonly packets: PacketSpace;
  /** Whether the packets arrive and must not; else they must and do not. */
  readonly arrives: boolean;
}

/** Each pair of machines once for an invariant. */
function* brokenPairs(
  compiler: Compiler,
  invariants: Iterable<Invariant>,
): Generator<WrongPair & { readonly invariant: string }> {
  let reach: Reachability | undefined;
  const told = new Set<string>();
  for (const { name, assert, from, to, ports } of invariants) {
    reach ??= new Reachability(compiler);
    const search = assert === "Never" ? arriving : missing;
    const ends = [selectedPorts(compiler, from), selectedPorts(compiler, to)] as const;
    for (const pair of search(reach, ...ends, askedPackets(ports))) {
      const key = breachKey(name, pair.source, pair.destination);
      if (!told.has(key)) yield { ...pair, invariant: name };
      told.add(key);
    }
  }
}

/** Pairs with some of `asked`. Ports of one class are judged once. */
function* arriving(
  reach: Reachability,
  from: readonly PortView[],
  to: readonly PortView[],
  asked: PacketSpace,
): Generator<WrongPair> {
  // Ports of one class are on one network, and no others than those of the same reach each other.
  const byNetwork = new Map<string, PortView[][]>();
  for (const group of grouped(to, (port) => reach.classOf(port))) {
    const network = group[0]?.network.key ?? "";
    const groups = byNetwork.get(network);
    if (groups === undefined) byNetwork.set(network, [group]);
    else groups.push(group);
  }
  for (const sources of grouped(from, (port) => reach.classOf(port))) {
    for (const destinations of byNetwork.get(sources[0]?.network.key ?? "") ?? []) {
      let packets: PacketSpace | undefined;
      for (const source of sources) {
        for (const destination of destinations) {
          if (machineOf(source) === machineOf(destination)) continue;
          packets ??= intersectionOf(reach.between(source, destination), asked);
          if (isNothing(packets)) break;
          yield { source, destination, packets, arrives: true };
        }
        if (packets !== undefined && isNothing(packets)) break;
      }
    }
  }
}

/** Pairs of machines that lack some of `asked`, on whatever networks they share. */
function* missing(
  reach: Reachability,
  from: readonly PortView[],
  to: readonly PortView[],
  asked: PacketSpace,
): Generator<WrongPair> {
  const destinations = grouped(to, machineOf);
  for (const some of grouped(from, machineOf)) {
    for (const others of destinations) {
      const pairs = some.flatMap((source) => others.map((destination) => ({ source, destination })));
      const common = pairs.find(({ source, destination }) => source.network.key === destination.network.key);
      const shown = common ?? pairs[0];
      if (shown === undefined || machineOf(shown.source) === machineOf(shown.destination)) continue;
      const arrives = pairs.map(({ source, destination }) => reach.betweenAll(source, destination));
      const packets = differenceOf(asked, arrives.reduce(unionOf, NO_PACKETS));
      if (!isNothing(packets)) yield { ...shown, packets, arrives: false };
    }
  }
}

/** Addresses with which the packet does what it must not; those that the machines have first when no network joins them. */
function addressesOfBreach(
  reach: Reachability,
  breach: {
    readonly source: PortView;
    readonly destination: PortView;
    readonly packet: ReturnType<typeof packetIn>;
    readonly arrives: boolean;
  },
): { readonly source: IpAddress; readonly destination: IpAddress } {
  const { source, destination, packet, arrives } = breach;
  const asked = packet.port === undefined ? OTHER_PACKETS : portPackets(packet.protocol, packet.port);
  const pair = reach
    .pairsBetween(source, destination)
    .find(({ space }) => isNothing(intersectionOf(space, asked)) !== arrives);
  return pair ?? { source: ipv4(source.addresses[0] ?? 0), destination: ipv4(destination.addresses[0] ?? 0) };
}

const OTHER_PACKETS: PacketSpace = { connections: NO_PACKETS.connections, others: true };

function portPackets(protocol: string, port: number): PacketSpace {
  return isProtocol(protocol)
    ? { connections: connections(protocol, { first: port, last: port }), others: false }
    : OTHER_PACKETS;
}

function grouped(ports: readonly PortView[], keyOf: (port: PortView) => string): PortView[][] {
  const groups = new Map<string, PortView[]>();
  for (const port of ports) {
    const group = groups.get(keyOf(port));
    if (group === undefined) groups.set(keyOf(port), [port]);
    else group.push(port);
  }
  return [...groups.values()];
}

function selectedPorts(compiler: Compiler, ends: InvariantEnds): PortView[] {
  return [...compiler.inventory.ports()].filter(({ namespace, labels }) => {
    const namespaceLabels = {
      ...compiler.policies.namespaceLabels(namespace),
      [NAMESPACE_NAME_LABEL]: namespace,
    };
    return selectsEndpoint(ends, { namespace, labels, namespaceLabels });
  });
}

function askedPackets(ports: Invariant["ports"]): PacketSpace {
  if (ports === undefined) return ALL_PACKETS;
  return ports.reduce<PacketSpace>((sum, { protocol = "TCP", port, endPort }) => {
    if (!isProtocol(protocol)) return sum;
    const range = port === undefined ? undefined : { first: port, last: endPort ?? port };
    return unionOf(sum, { connections: connections(protocol, range), others: false });
  }, NO_PACKETS);
}

/** Some packet of the space, TCP before others. */
function packetIn(space: PacketSpace): { protocol: "TCP" | "UDP" | "SCTP" | "ICMP"; port?: number } {
  for (const protocol of ["TCP", ...PROTOCOLS] as const) {
    const [range] = space.connections[protocol];
    if (range !== undefined) return { protocol, port: range.first };
  }
  return { protocol: "ICMP" };
}

/** One line for people. */
export function formatBreach({ invariant, source, destination, packet, reasons }: Breach): string {
  const { sourceAddress, destinationAddress, protocol, port } = packet;
  const ports = port === undefined ? protocol : `${protocol} ${port}`;
  return `invariant ${invariant} would be broken: ${source} (${sourceAddress}) to ${destination} (${destinationAddress}) on ${ports}: ${reasons.join("; ")}`;
}
