// What the datapath can do, in the lines of dpif/show-dp-features and in Datapath.capabilities, which scripts look for.
// Pure. Source: ovs-vswitchd(8); ovs-vswitchd.conf.db(5), Datapath table, Capabilities. A feature is told as there when what it is for works, whichever way.
import { TAGS_READ_MAX } from "../learn/index.js";

const FEATURES: readonly (readonly [name: string, key: string, has: boolean | number])[] = [
  ["Masked set action", "masked_set_action", true],
  // There are no ports that put tunnels around packets.
  ["Tunnel push pop", "tnl_push_pop", false],
  ["Ufid", "ufid", false],
  ["Truncate action", "trunc", true],
  ["Clone action", "clone", true],
  // Sampled packets have no collector.
  ["Sample nesting", "sample_nesting", 0],
  // Changes of connections are told to nobody.
  ["Conntrack eventmask", "ct_eventmask", false],
  ["Conntrack clear", "ct_clear", true],
  ["Max dp_hash algorithm", "max_hash_alg", 0],
  ["Check pkt length action", "check_pkt_len", true],
  ["Conntrack timeout policy", "ct_timeout", true],
  ["Explicit Drop action", "explicit_drop_action", true],
  // There are no bonds.
  ["Optimized Balance TCP mode", "lb_output_action", false],
  ["Conntrack all-zero IP SNAT", "ct_zero_snat", true],
  // encap(mpls) is refused; push_mpls is there.
  ["MPLS Label add", "add_mpls", false],
  ["Max VLAN headers", "max_vlan_headers", TAGS_READ_MAX],
  // Matches look at the outermost label.
  ["Max MPLS depth", "max_mpls_depth", 1],
  ["Recirc", "recirc", true],
  ["CT state", "ct_state", true],
  ["CT zone", "ct_zone", true],
  ["CT mark", "ct_mark", true],
  ["CT label", "ct_label", true],
  ["CT state NAT", "ct_state_nat", true],
  ["CT orig tuple", "ct_orig_tuple", true],
  ["CT orig tuple for IPv6", "ct_orig_tuple6", true],
  ["IPv6 ND Extension", "nd_ext", true],
];

export function datapathFeatures(): {
  readonly text: string;
  readonly data: Record<string, boolean | number>;
} {
  const told = (has: boolean | number): string => (has === true ? "Yes" : has === false ? "No" : String(has));
  return {
    text: FEATURES.map(([name, , has]) => `${name}: ${told(has)}\n`).join(""),
    data: Object.fromEntries(FEATURES.map(([name, , has]) => [name, has])),
  };
}

/** The same by the keys of the column; flushing connections by OpenFlow has no line above. */
export function datapathCapabilities(): Record<string, string> {
  return {
    ...Object.fromEntries(FEATURES.map(([, key, has]) => [key, String(has)])),
    ct_flush: "true",
  };
}
