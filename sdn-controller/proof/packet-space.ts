// Sets of first packets between two given ends: protocols and destination ports, and whether everything else that IP
// carries (ICMP and the like) is in. Policy tables tell no other packets of one pair apart. Port 0 is no port. Pure.
import {
  ALL_CONNECTIONS,
  type ConnectionSet,
  formatConnections,
  intersect,
  isAll,
  isEmpty,
  NO_CONNECTIONS,
  subtract,
  union,
} from "../policy/analysis/connection-set.js";

export interface PacketSpace {
  readonly connections: ConnectionSet;
  /** Protocols other than TCP, UDP and SCTP. */
  readonly others: boolean;
}

export const NO_PACKETS: PacketSpace = { connections: NO_CONNECTIONS, others: false };
export const ALL_PACKETS: PacketSpace = { connections: ALL_CONNECTIONS, others: true };

export function unionOf(a: PacketSpace, b: PacketSpace): PacketSpace {
  return { connections: union(a.connections, b.connections), others: a.others || b.others };
}

export function intersectionOf(a: PacketSpace, b: PacketSpace): PacketSpace {
  return { connections: intersect(a.connections, b.connections), others: a.others && b.others };
}

export function differenceOf(a: PacketSpace, b: PacketSpace): PacketSpace {
  return { connections: subtract(a.connections, b.connections), others: a.others && !b.others };
}

export function isNothing(space: PacketSpace): boolean {
  return !space.others && isEmpty(space.connections);
}

/** As in "TCP 80,443,ICMP and others"; "All Connections" only when nothing is left out. */
export function formatPackets({ connections, others }: PacketSpace): string {
  if (!others) return isAll(connections) ? "TCP,UDP,SCTP" : formatConnections(connections);
  if (isAll(connections)) return formatConnections(connections);
  return isEmpty(connections) ? "ICMP and others" : `${formatConnections(connections)},ICMP and others`;
}
