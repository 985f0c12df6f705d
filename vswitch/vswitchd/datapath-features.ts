// What the datapath can do, in the lines of dpif/show-dp-features, which scripts look for. Pure.
// Source: ovs-vswitchd(8). A feature is told as there when what it is for works, whichever way.
import { TAGS_READ_MAX } from "../learn/index.js";

const FEATURES: readonly (readonly [name: string, has: boolean | number])[] = [
  ["Masked set action", true],
  // There are no ports that put tunnels around packets.
  ["Tunnel push pop", false],
  ["Ufid", false],
  ["Truncate action", true],
  ["Clone action", true],
  // Sampled packets have no collector.
  ["Sample nesting", 0],
  // Changes of connections are told to nobody.
  ["Conntrack eventmask", false],
  ["Conntrack clear", true],
  ["Max dp_hash algorithm", 0],
  ["Check pkt length action", true],
  ["Conntrack timeout policy", true],
  ["Explicit Drop action", true],
  // There are no bonds.
  ["Optimized Balance TCP mode", false],
  ["Conntrack all-zero IP SNAT", true],
  // encap(mpls) is refused; push_mpls is there.
  ["MPLS Label add", false],
  ["Max VLAN headers", TAGS_READ_MAX],
  // Matches look at the outermost label.
  ["Max MPLS depth", 1],
  ["Recirc", true],
  ["CT state", true],
  ["CT zone", true],
  ["CT mark", true],
  ["CT label", true],
  ["CT state NAT", true],
  ["CT orig tuple", true],
  ["CT orig tuple for IPv6", true],
  ["IPv6 ND Extension", true],
];

export function datapathFeatures(): {
  readonly text: string;
  readonly data: Record<string, boolean | number>;
} {
  const told = (has: boolean | number): string => (has === true ? "Yes" : has === false ? "No" : String(has));
  return {
    text: FEATURES.map(([name, has]) => `${name}: ${told(has)}\n`).join(""),
    data: Object.fromEntries(FEATURES),
  };
}
