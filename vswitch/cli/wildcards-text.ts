// The fields of OpenFlow 1.0's match by the bits that leave them out. Pure.
// Source: OpenFlow Switch Specification 1.0.0, 5.2.3.

/** Bits of a field and its name, in the order in which they are told. */
const FIELDS: readonly (readonly [bits: number, name: string])[] = [
  [1 << 0, "in_port"],
  [1 << 2, "eth_src"],
  [1 << 3, "eth_dst"],
  [1 << 4, "eth_type"],
  [1 << 1, "vlan_vid"],
  [1 << 20, "vlan_pcp"],
  [0x3f << 8, "ip_src"],
  [0x3f << 14, "ip_dst"],
  [1 << 5, "nw_proto"],
  [1 << 21, "nw_tos"],
  [1 << 6, "tcp_src"],
  [1 << 7, "tcp_dst"],
];

/** The names of the fields that may be left out; `wildcards` undefined = every field. */
export function fieldNames10(wildcards = 0xffffffff): string[] {
  return FIELDS.filter(([bits]) => (wildcards & bits) !== 0).map(([, name]) => name);
}
