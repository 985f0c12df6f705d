// The fields of OpenFlow 1.0's match by the bits that leave them out, with names that begin alike taken together. Pure.
// Source: OpenFlow Switch Specification 1.0.0, 5.2.3.

/** Bits of a field, what its name begins with, and the rest of it; in the order in which they are told. */
const FIELDS: readonly (readonly [bits: number, head: string, rest: string])[] = [
  [1 << 0, "in_port", ""],
  [1 << 2, "eth_", "src"],
  [1 << 3, "eth_", "dst"],
  [1 << 4, "eth_", "type"],
  [1 << 1, "vlan_", "vid"],
  [1 << 20, "vlan_", "pcp"],
  [0x3f << 8, "ip_", "src"],
  [0x3f << 14, "ip_", "dst"],
  [1 << 5, "nw_", "proto"],
  [1 << 21, "nw_", "tos"],
  [1 << 6, "tcp_", "src"],
  [1 << 7, "tcp_", "dst"],
];

/** "in_port eth_{src,dst} vlan_vid"; `wildcards` undefined = every field. */
export function formatWildcards10(wildcards = 0xffffffff): string {
  const words = new Map<string, string[]>();
  for (const [bits, head, rest] of FIELDS) {
    if ((wildcards & bits) !== 0) words.set(head, [...(words.get(head) ?? []), rest]);
  }
  return [...words]
    .map(([head, rests]) => (rests.length === 1 ? head + rests[0] : `${head}{${rests.join(",")}}`))
    .join(" ");
}
