// Networks, ports and functions as the apps see them: checked, allocated, in numbers instead of text.
import type { NamedPort } from "../policy/identity.js";
import type { Labels } from "../policy/selector.js";
import type { Prefix } from "./ipv4.js";

export interface NetworkView {
  readonly key: string;
  /** 1–65535; also the connection-tracking zone. */
  readonly segmentId: number;
  readonly subnets: readonly Prefix[];
  readonly mtu: number;
  readonly gateway: number | undefined;
  readonly dnsServers: readonly number[];
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
