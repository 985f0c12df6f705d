// Table guard for IPv6: a port sends from its own addresses, asks for neighbours and routers in its own name, and is
// neither a router nor a server of DHCPv6. Source: RFC 4861 (neighbour discovery), RFC 4862, 5.4 (duplicate address
// detection), RFC 6105 (guard against router advertisements), RFC 8415, 7.2 (DHCPv6 ports). Pure.
import { hasIpv6, ipv6AddressesOf, type PortView } from "../../network/views.js";
import { buildFlow, type Flow, type FlowSpec, type MatchSpec } from "../../pipeline/flow.js";
import type { DropReason } from "../../pipeline/tables.js";
import { ND_ADVERTISEMENT, ND_SOLICITATION } from "../arp/nd-flows.js";
import { ETHERTYPE_IPV6, IPPROTO_ICMPV6, IPPROTO_UDP } from "../ethertypes.js";

const TABLE = "guard";
const ROUTER_SOLICITATION = 133;
const ROUTER_ADVERTISEMENT = 134;
const REDIRECT = 137;
const DHCPV6_CLIENT_PORT = 546;
const DHCPV6_SERVER_PORT = 547;
const GROUP = { value: 0xffn << 120n, mask: 0xffn << 120n };
const ICMPV6 = { eth_type: ETHERTYPE_IPV6, ip_proto: IPPROTO_ICMPV6 } as const;
const UDP = { eth_type: ETHERTYPE_IPV6, ip_proto: IPPROTO_UDP } as const;

/** What only routers and servers send. */
const SERVERS_ONLY: readonly (readonly [MatchSpec, DropReason])[] = [
  [{ ...ICMPV6, icmpv6_type: ROUTER_ADVERTISEMENT }, "router-advertisement-on-access-port"],
  [{ ...ICMPV6, icmpv6_type: REDIRECT }, "router-advertisement-on-access-port"],
  [{ ...UDP, udp_src: DHCPV6_SERVER_PORT, udp_dst: DHCPV6_CLIENT_PORT }, "dhcp-server-on-access-port"],
];

export function guard6BaseFlows(): Flow[] {
  return SERVERS_ONLY.map(([match, reason]) =>
    buildFlow({ table: TABLE, priority: 110, match, origin: { resource: "Pipeline", reason } }),
  );
}

/** What a machine's port may send of IPv6; where its network has none, that it may not. */
export function guard6PortFlows(port: PortView, ofport: number): Flow[] {
  const resource = `Port/${port.key}`;
  const own = { in_port: ofport, eth_src: port.mac };
  const pass = (priority: number, match: MatchSpec, next: NonNullable<FlowSpec["next"]>): Flow =>
    buildFlow({ table: TABLE, priority, match: { ...own, ...match }, next, origin: { resource } });
  const drop = (priority: number, match: MatchSpec, reason: DropReason): Flow =>
    buildFlow({ table: TABLE, priority, match: { ...own, ...match }, origin: { resource, reason } });
  if (!hasIpv6(port.network)) return [drop(120, { eth_type: ETHERTYPE_IPV6 }, "ipv6-not-enabled")];
  return [
    ...ipv6AddressesOf(port).flatMap((address) => [
      pass(100, { ...ICMPV6, icmpv6_type: ROUTER_SOLICITATION, ipv6_src: address }, "dhcp"),
      pass(90, { ...ICMPV6, icmpv6_type: ND_SOLICITATION, ipv6_src: address, ipv6_nd_sll: port.mac }, "arp"),
      drop(
        90,
        { ...ICMPV6, icmpv6_type: ND_ADVERTISEMENT, ipv6_src: address, ipv6_nd_target: address },
        "nd-announcement",
      ),
      drop(90, { ...UDP, ipv6_src: address, udp_dst: DHCPV6_SERVER_PORT }, "dhcpv6-not-served"),
      pass(80, { eth_type: ETHERTYPE_IPV6, ipv6_src: address }, "steer"),
    ]),
    pass(100, { ...ICMPV6, icmpv6_type: ROUTER_SOLICITATION, ipv6_src: 0n }, "dhcp"),
    // Before a machine has an address it asks whether somebody else does; nobody may, so silence is the answer.
    drop(90, { ...ICMPV6, icmpv6_type: ND_SOLICITATION, ipv6_src: 0n }, "nd-announcement"),
    drop(85, { ...ICMPV6, icmpv6_type: ND_SOLICITATION }, "spoofed-nd"),
    drop(85, { ...ICMPV6, icmpv6_type: ND_ADVERTISEMENT }, "spoofed-nd"),
    // Reports of group membership, too, which go out before there is an address (RFC 3590).
    drop(82, { eth_type: ETHERTYPE_IPV6, ipv6_dst: GROUP }, "multicast-not-enabled"),
    drop(50, { eth_type: ETHERTYPE_IPV6 }, "spoofed-ip"),
    // Whatever the MAC, and ahead of what is said of all ports, so that who sends it is named.
    ...SERVERS_ONLY.map(([match, reason]) =>
      buildFlow({
        table: TABLE,
        priority: 120,
        match: { in_port: ofport, ...match },
        origin: { resource, reason },
      }),
    ),
  ];
}
