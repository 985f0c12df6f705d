// Table guard: a port sends as itself or not at all. Everything that is not passed is dropped by a flow of its own, so
// that each reason is counted per port. Source: RFC 826 and RFC 5227 (ARP), RFC 2131 4.1 (DHCP ports). Pure.
import type { Prefix } from "../../network/ipv4.js";
import { maskOf } from "../../network/ipv4.js";
import type { LoadBalancerView, PortView } from "../../network/views.js";
import { buildFlow, type Flow, type FlowSpec, type MatchSpec } from "../../pipeline/flow.js";
import type { DropReason } from "../../pipeline/tables.js";
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPPROTO_UDP } from "../ethertypes.js";
import { guard6BaseFlows, guard6PortFlows } from "./guard6-flows.js";

const TABLE = "guard";
const DHCP_SERVER_PORT = 67;
const DHCP_CLIENT_PORT = 68;
const BROADCAST_ADDRESS = 0xffffffff;
const ARP_REQUEST = 1;
const DHCP_ANSWER = {
  eth_type: ETHERTYPE_IPV4,
  ip_proto: IPPROTO_UDP,
  udp_src: DHCP_SERVER_PORT,
  udp_dst: DHCP_CLIENT_PORT,
} as const;

export function guardBaseFlows(): Flow[] {
  return [
    buildFlow({
      table: TABLE,
      priority: 110,
      match: DHCP_ANSWER,
      origin: { resource: "Pipeline", reason: "dhcp-server-on-access-port" },
    }),
    buildFlow({
      table: TABLE,
      priority: 0,
      match: {},
      origin: { resource: "Pipeline", reason: "unknown-port" },
    }),
    ...guard6BaseFlows(),
  ];
}

/** A machine's port: DHCP requests, ARP and IPv4 with its own MAC and addresses. */
export function guardPortFlows(port: PortView, ofport: number): Flow[] {
  const own = { in_port: ofport, eth_src: port.mac };
  const resource = `Port/${port.key}`;
  const pass = passer(resource);
  const dhcp = {
    ...own,
    eth_type: ETHERTYPE_IPV4,
    ip_proto: IPPROTO_UDP,
    udp_src: DHCP_CLIENT_PORT,
    udp_dst: DHCP_SERVER_PORT,
  };
  return [
    pass(100, { ...dhcp, ipv4_src: 0, ipv4_dst: BROADCAST_ADDRESS }, "dhcp"),
    ...port.addresses.flatMap((address) => [
      ...[BROADCAST_ADDRESS, ...port.network.dhcpAddresses].map((server) =>
        pass(100, { ...dhcp, ipv4_src: address, ipv4_dst: server }, "dhcp"),
      ),
      pass(90, { ...own, eth_type: ETHERTYPE_ARP, arp_sha: port.mac, arp_spa: address }, "arp"),
      pass(80, { ...own, eth_type: ETHERTYPE_IPV4, ipv4_src: address }, "steer"),
    ]),
    // An address probe has no sender address yet (RFC 5227, 2.1.1).
    pass(90, { ...own, eth_type: ETHERTYPE_ARP, arp_sha: port.mac, arp_spa: 0, arp_op: ARP_REQUEST }, "arp"),
    ...guard6PortFlows(port, ofport),
    ...refusals(resource, ofport, port.mac),
  ];
}

/** A load balancer's port: its virtual and probe address, and its clients' addresses. */
export function guardFunctionFlows(balancer: LoadBalancerView, ofport: number): Flow[] {
  const own = { in_port: ofport, eth_src: balancer.mac };
  const resource = `NetworkFunction/${balancer.key}`;
  const pass = passer(resource);
  return [
    ...[balancer.address, balancer.probeAddress].map((address) =>
      pass(90, { ...own, eth_type: ETHERTYPE_ARP, arp_sha: balancer.mac, arp_spa: address }, "arp"),
    ),
    ...balancer.network.subnets.map((subnet) =>
      pass(80, { ...own, eth_type: ETHERTYPE_IPV4, ipv4_src: masked(subnet) }, "steer"),
    ),
    buildFlow({
      table: TABLE,
      priority: 50,
      match: { ...own, eth_type: ETHERTYPE_IPV6 },
      origin: { resource, reason: "ipv6-not-enabled" },
    }),
    ...refusals(resource, ofport, balancer.mac),
  ];
}

function masked(prefix: Prefix): { value: number; mask: number } {
  return { value: prefix.address, mask: maskOf(prefix.length) };
}

function passer(resource: string) {
  return (priority: number, match: MatchSpec, next: NonNullable<FlowSpec["next"]>): Flow =>
    buildFlow({ table: TABLE, priority, match, next, origin: { resource } });
}

function refusals(resource: string, ofport: number, mac: number): Flow[] {
  const drop = (priority: number, match: MatchSpec, reason: DropReason): Flow =>
    buildFlow({ table: TABLE, priority, match, origin: { resource, reason } });
  const own = { in_port: ofport, eth_src: mac };
  return [
    drop(50, { ...own, eth_type: ETHERTYPE_IPV4 }, "spoofed-ip"),
    drop(50, { ...own, eth_type: ETHERTYPE_ARP }, "spoofed-arp"),
    drop(40, own, "unsupported-ethertype"),
    drop(30, { in_port: ofport }, "spoofed-mac"),
    // Whatever the MAC, and ahead of what is said of all ports, so that who sends it is named.
    drop(120, { in_port: ofport, ...DHCP_ANSWER }, "dhcp-server-on-access-port"),
  ];
}
