// The words that stand for a pair of EtherType and IP protocol: "tcp", "icmp6", "arp" … Pure.
// Source: ovs-fields(7), "Matching Ethernet Types" and the shorthand table of ovs-ofctl(8).
import type { OxmEntry, OxmFieldName } from "../../base/openflow/index.js";
import { bytesToNumber } from "./field-text.js";

export const PROTOCOLS: Readonly<Record<string, readonly [etherType: number, protocol?: number]>> = {
  ip: [0x0800],
  ipv4: [0x0800],
  icmp: [0x0800, 1],
  tcp: [0x0800, 6],
  udp: [0x0800, 17],
  sctp: [0x0800, 132],
  arp: [0x0806],
  rarp: [0x8035],
  ipv6: [0x86dd],
  ip6: [0x86dd],
  icmp6: [0x86dd, 58],
  tcp6: [0x86dd, 6],
  udp6: [0x86dd, 17],
  sctp6: [0x86dd, 132],
  mpls: [0x8847],
  mplsm: [0x8848],
};

export interface ProtocolWord {
  readonly name: string;
  /** The fields that need not be printed beside it. */
  readonly covers: readonly OxmFieldName[];
}

/** The most telling word for the match; undefined when its EtherType has none. */
export function protocolOf(entries: ReadonlyMap<OxmFieldName, OxmEntry>): ProtocolWord | undefined {
  const number = (field: OxmFieldName): number | undefined => {
    const entry = entries.get(field);
    return entry && Number(bytesToNumber(entry.value));
  };
  const [type, protocol] = [number("eth_type"), number("ip_proto")];
  if (type === undefined) return undefined;
  const found = (wanted: number | undefined): string | undefined =>
    Object.entries(PROTOCOLS).find(([, [one, two]]) => one === type && two === wanted)?.[0];
  const both = protocol === undefined ? undefined : found(protocol);
  if (both !== undefined) return { name: both, covers: ["eth_type", "ip_proto"] };
  const name = found(undefined);
  return name === undefined ? undefined : { name, covers: ["eth_type"] };
}
