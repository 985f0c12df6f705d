// What the network answers to a router solicitation: the prefixes in which machines form their addresses, MTU and name
// servers. It is no router: its lifetime is 0. Addresses and prefixes never expire, so a machine asks once.
// Source: RFC 4861, 4.1, 4.2 and 6.2.3; RFC 8106 (name servers). Pure.
import {
  ETHERTYPE_IPV6,
  encodeEthernet,
  encodeIcmpv6,
  encodeIpv6,
  IPPROTO_ICMPV6,
  parseEthernet,
  parseIcmpv6,
  parseIpv6,
  WireError,
} from "../../../base/wire/index.js";
import { ipv6Bytes, linkLocalOf } from "../../network/ip-address.js";
import { hasIpv6, ipv6AddressesOf, type PortView } from "../../network/views.js";
import { bytesOf } from "../../pipeline/flow.js";

export type RouterOutcome =
  | { readonly kind: "reply"; readonly frame: Uint8Array }
  /** Nothing to send; `reason` is a counter's name. */
  | { readonly kind: "none"; readonly reason: string };

const ROUTER_SOLICITATION = 133;
const ROUTER_ADVERTISEMENT = 134;
const HOP_LIMIT = 255;
const ALL_NODES = (0xff02n << 112n) | 1n;
const MAC_ALL_NODES = 0x333300000001;
const FOREVER = 0xffffffff;
const OPTION_SOURCE_LINK_LAYER = 1;
const OPTION_PREFIX = 3;
const OPTION_MTU = 5;
const OPTION_DNS = 25;
const PREFIX_ON_LINK = 0x80;
const PREFIX_AUTONOMOUS = 0x40;

/** What to answer to `frame` from `port`. Never throws: a malformed frame is a reason. */
export function answerRouterSolicitation(frame: Uint8Array, port: PortView): RouterOutcome {
  if (!hasIpv6(port.network)) return { kind: "none", reason: "no-ipv6" };
  try {
    const ethernet = parseEthernet(frame);
    if (ethernet.etherType !== ETHERTYPE_IPV6) return { kind: "none", reason: "malformed" };
    const ip = parseIpv6(ethernet.payload);
    if (ip.nextHeader !== IPPROTO_ICMPV6 || ip.hopLimit !== HOP_LIMIT)
      return { kind: "none", reason: "malformed" };
    const { type, code } = parseIcmpv6(ip.payload, ip);
    if (type !== ROUTER_SOLICITATION || code !== 0) return { kind: "none", reason: "malformed" };
    const asker = ip.source.reduce((value, byte) => value * 256n + BigInt(byte), 0n);
    const known = ipv6AddressesOf(port).includes(asker);
    return { kind: "reply", frame: advertisement(port, known ? asker : undefined) };
  } catch (thrown) {
    if (thrown instanceof WireError) return { kind: "none", reason: "malformed" };
    throw thrown;
  }
}

/** To all machines on the port's link, which is the port's own machine, unless the asker has an address. */
function advertisement({ network, mac }: PortView, asker: bigint | undefined): Uint8Array {
  const pair = {
    source: ipv6Bytes(linkLocalOf(network.dhcpMac)),
    destination: ipv6Bytes(asker ?? ALL_NODES),
  };
  const options = [
    Uint8Array.of(OPTION_SOURCE_LINK_LAYER, 1, ...bytesOf(network.dhcpMac, 6)),
    Uint8Array.of(OPTION_MTU, 1, 0, 0, ...bytesOf(network.mtu, 4)),
    ...network.subnets6.map(({ address, length }) => {
      const flags = PREFIX_ON_LINK | PREFIX_AUTONOMOUS;
      const lifetimes = [...bytesOf(FOREVER, 4), ...bytesOf(FOREVER, 4)];
      return Uint8Array.of(OPTION_PREFIX, 4, length, flags, ...lifetimes, 0, 0, 0, 0, ...ipv6Bytes(address));
    }),
    ...dnsOption(network.dnsServers6),
  ];
  // After the router's lifetime, in `rest`: reachable and retransmission times, which are left to the machine.
  const payload = Uint8Array.of(...new Uint8Array(8), ...options.flatMap((option) => [...option]));
  const rest = 64 * 2 ** 24;
  const message = encodeIcmpv6({ type: ROUTER_ADVERTISEMENT, code: 0, rest, payload }, pair);
  return encodeEthernet({
    destination: bytesOf(asker === undefined ? MAC_ALL_NODES : mac, 6),
    source: bytesOf(network.dhcpMac, 6),
    etherType: ETHERTYPE_IPV6,
    payload: encodeIpv6({
      ...pair,
      trafficClass: 0,
      flowLabel: 0,
      hopLimit: HOP_LIMIT,
      nextHeader: IPPROTO_ICMPV6,
      payload: message,
    }),
  });
}

function dnsOption(servers: readonly bigint[]): Uint8Array[] {
  if (servers.length === 0) return [];
  const addresses = servers.flatMap((server) => [...ipv6Bytes(server)]);
  const length = 1 + 2 * servers.length;
  return [Uint8Array.of(OPTION_DNS, length, 0, 0, ...bytesOf(FOREVER, 4), ...addresses)];
}
