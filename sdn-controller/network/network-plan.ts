// Checks one network's configuration and works out what follows from it: subnets, the DHCP server's address, reserves.
// Pure.

import { tryParseIpv4Address } from "../../base/wire/index.js";
import type { SdnReason } from "../errors.js";
import type { NetworkInput } from "../inputs.js";
import { type IpPrefix, ipPrefixesOverlap, parseIpPrefix, tryParseIpv6Address } from "./ip-address.js";
import { type Prefix, parsePrefix, prefixesOverlap } from "./ipv4.js";

export interface NetworkPlan {
  readonly subnets: readonly Prefix[];
  readonly subnets6: readonly IpPrefix[];
  readonly gateway: number | undefined;
  readonly dnsServers: readonly number[];
  readonly dnsServers6: readonly bigint[];
  readonly dhcpAddresses: readonly number[];
  readonly mtu: number;
}

export interface Refusal {
  readonly reason: SdnReason;
  readonly message: string;
}

const SUBNET_LENGTH_MIN = 8;
const SUBNET_LENGTH_MAX = 30;
/** Machines form their own addresses in it (RFC 4862). */
const SUBNET_LENGTH_IPV6 = 64;
const MTU_MIN = 576;
const MTU_MAX = 9216;

export function planNetwork(input: NetworkInput): NetworkPlan | Refusal {
  const subnets: Prefix[] = [];
  const subnets6: IpPrefix[] = [];
  for (const text of input.subnets) {
    if (text.includes(":")) {
      const refusal = addSubnet6(text, subnets6);
      if (refusal !== undefined) return refusal;
      continue;
    }
    const subnet = parsePrefix(text);
    if (subnet === undefined || subnet.length < SUBNET_LENGTH_MIN || subnet.length > SUBNET_LENGTH_MAX) {
      return {
        reason: "InvalidSubnet",
        message: `"${text}" is not an IPv4 prefix with a length from ${SUBNET_LENGTH_MIN} to ${SUBNET_LENGTH_MAX}`,
      };
    }
    if (subnets.some((other) => prefixesOverlap(other, subnet)))
      return { reason: "OverlappingSubnets", message: `"${text}" overlaps another subnet of the network` };
    subnets.push(subnet);
  }
  if (subnets.length === 0) return { reason: "InvalidSubnet", message: "the network has no IPv4 subnet" };
  const gateway = input.gateway === undefined ? undefined : tryParseIpv4Address(input.gateway);
  return {
    subnets,
    subnets6,
    gateway,
    dnsServers: (input.dnsServers ?? []).flatMap((text) => tryParseIpv4Address(text) ?? []),
    dnsServers6: (input.dnsServers ?? []).flatMap((text) => tryParseIpv6Address(text) ?? []),
    dhcpAddresses: subnets.map((subnet) => firstHostExcept(subnet, gateway)),
    mtu: Math.min(MTU_MAX, Math.max(MTU_MIN, input.mtu ?? 1500)),
  };
}

/** Only global and unique local unicast: fe80::/64 and groups are everywhere anyway. */
function addSubnet6(text: string, subnets: IpPrefix[]): Refusal | undefined {
  const subnet = parseIpPrefix(text);
  const top = subnet === undefined ? 0n : subnet.address >> 118n;
  if (subnet === undefined || subnet.length !== SUBNET_LENGTH_IPV6 || top >= 0x3fan || top < 4n) {
    return {
      reason: "InvalidSubnet",
      message: `"${text}" is not an IPv6 prefix of global or unique local addresses with the length ${SUBNET_LENGTH_IPV6}`,
    };
  }
  if (subnets.some((other) => ipPrefixesOverlap(other, subnet)))
    return { reason: "OverlappingSubnets", message: `"${text}" overlaps another subnet of the network` };
  subnets.push(subnet);
  return undefined;
}

export function isRefusal(plan: object): plan is Refusal {
  return "reason" in plan;
}

/** The gateway may be a machine of the user's, so the DHCP server takes the first address beside it. */
function firstHostExcept(subnet: Prefix, gateway: number | undefined): number {
  const first = subnet.address + 1;
  return first === gateway ? first + 1 : first;
}
