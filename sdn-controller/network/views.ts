// Networks, ports and functions as the apps see them: checked, allocated, in numbers instead of text.
import type { NamedPort } from "../policy/identity.js";
import type { Labels } from "../policy/selector.js";
import { type IpAddress, type IpPrefix, ipv4, ipv6, linkLocalOf } from "./ip-address.js";
import type { Prefix } from "./ipv4.js";

export interface NetworkView {
  readonly key: string;
  /** 1–65535; also the connection-tracking zone. */
  readonly segmentId: number;
  readonly subnets: readonly Prefix[];
  /** Prefixes of IPv6, length 64; machines speak IPv6 where there is one. */
  readonly subnets6: readonly IpPrefix[];
  readonly mtu: number;
  readonly gateway: number | undefined;
  readonly dnsServers: readonly number[];
  readonly dnsServers6: readonly bigint[];
  /** Address of the built-in DHCP server, one per subnet. */
  readonly dhcpAddresses: readonly number[];
  readonly dhcpMac: number;
}

export interface PortView {
  readonly key: string;
  readonly namespace: string;
  readonly virtualMachine: string | undefined;
  readonly network: NetworkView;
  readonly mac: number;
  readonly addresses: readonly number[];
  /** Of IPv6, without the link-local one. */
  readonly addresses6: readonly bigint[];
  readonly labels: Labels;
  readonly namedPorts: readonly NamedPort[];
}

export interface EndpointView {
  readonly port: string;
  readonly name: string;
  readonly address: number;
  readonly mac: number;
  readonly draining: boolean;
}

export interface LoadBalancerView {
  readonly key: string;
  /** 1–0xffffff: names the function in the mark of the connections that it made. */
  readonly number: number;
  readonly network: NetworkView;
  readonly address: number;
  readonly mac: number;
  readonly probeAddress: number;
  /** TCP ports on which the endpoints serve. */
  readonly targetPorts: readonly number[];
  readonly endpoints: readonly EndpointView[];
}

/** The iface-id by which the switch names the function's port. */
export function functionInterfaceId(key: string): string {
  return `nf:${key}`;
}

/** The function whose port has this iface-id; undefined for a port of a machine. */
export function functionKeyOf(interfaceId: string): string | undefined {
  return interfaceId.startsWith("nf:") ? interfaceId.slice("nf:".length) : undefined;
}

/** Whether machines on the network may speak IPv6. */
export function hasIpv6(network: NetworkView): boolean {
  return network.subnets6.length > 0;
}

/** Every address of IPv6 that the port may use, its link-local one first; none where the network has no IPv6. */
export function ipv6AddressesOf(port: Pick<PortView, "network" | "mac" | "addresses6">): bigint[] {
  return hasIpv6(port.network) ? [linkLocalOf(port.mac), ...port.addresses6] : [];
}

/** Every address that the port may use, of both families. */
export function addressesOf(port: PortView): IpAddress[] {
  return [...port.addresses.map(ipv4), ...ipv6AddressesOf(port).map(ipv6)];
}
