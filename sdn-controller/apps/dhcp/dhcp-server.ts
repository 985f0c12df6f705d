// The built-in DHCP server: it knows what each port was given, so it has no state of its own. One frame in, at most one
// frame out. Source: RFC 2131 4.3 (what a server answers to which request), RFC 2132 (options). Pure.
import {
  BOOTREPLY,
  BOOTREQUEST,
  DHCP_CLIENT_PORT,
  DHCP_OPTION,
  DHCP_SERVER_PORT,
  type DhcpMessage,
  type DhcpMessageType,
  dhcpAddresses,
  dhcpText,
  dhcpUint16,
  dhcpUint32,
  ETHERTYPE_IPV4,
  encodeDhcp,
  encodeEthernet,
  encodeIpv4,
  encodeUdp,
  IPPROTO_UDP,
  ipv4FromBytes,
  MAC_BROADCAST,
  parseDhcp,
  parseEthernet,
  parseIpv4,
  parseUdp,
  WireError,
} from "../../../base/wire/index.js";
import { DHCP_LEASE_SECONDS } from "../../limits.js";
import { lastAddressOf, maskOf, prefixContains } from "../../network/ipv4.js";
import type { PortView } from "../../network/views.js";
import { bytesOf } from "../../pipeline/flow.js";

export type DhcpOutcome =
  | { readonly kind: "reply"; readonly type: DhcpMessageType; readonly frame: Uint8Array }
  /** Nothing to send; `reason` is a counter's name. */
  | { readonly kind: "none"; readonly reason: string };

const BROADCAST_ADDRESS = 0xffffffff;
const HOST_NAME_LENGTH_MAX = 63;

/** What to answer to `frame` from `port`. Never throws: a malformed frame is a reason. */
export function answerDhcp(frame: Uint8Array, port: PortView): DhcpOutcome {
  let request: DhcpMessage;
  try {
    request = parseRequest(frame);
  } catch (thrown) {
    if (thrown instanceof WireError) return none("malformed");
    throw thrown;
  }
  if (request.operation !== BOOTREQUEST) return none("not-a-request");
  if (!sameBytes(request.clientMac, bytesOf(port.mac, 6))) return none("foreign-hardware-address");
  const lease = leaseOf(port);
  if (lease === undefined) return none("no-address");
  switch (request.messageType) {
    case "discover":
      return reply(port, request, lease, "offer");
    case "request":
      return answerRequest(port, request, lease);
    case "inform":
      return reply(port, request, lease, "ack");
    case "release":
    case "decline":
      return none(request.messageType);
    default:
      return none("not-a-request");
  }
}

interface Lease {
  readonly address: number;
  readonly mask: number;
  readonly broadcast: number;
  readonly server: number;
}

function leaseOf(port: PortView): Lease | undefined {
  const address = port.addresses[0];
  if (address === undefined) return undefined;
  const index = port.network.subnets.findIndex((subnet) => prefixContains(subnet, address));
  const subnet = port.network.subnets[index];
  const server = port.network.dhcpAddresses[index];
  if (subnet === undefined || server === undefined) return undefined;
  return { address, mask: maskOf(subnet.length), broadcast: lastAddressOf(subnet), server };
}

/** RFC 2131 4.3.2: selecting, init-reboot, renewing and rebinding differ in who names which address. */
function answerRequest(port: PortView, request: DhcpMessage, lease: Lease): DhcpOutcome {
  const server = addressOption(request, DHCP_OPTION.serverIdentifier);
  if (server !== undefined && server !== lease.server) return none("other-server");
  const wanted = addressOption(request, DHCP_OPTION.requestedAddress) ?? (request.clientAddress || undefined);
  return reply(port, request, lease, wanted === lease.address ? "ack" : "nak");
}

function reply(
  port: PortView,
  request: DhcpMessage,
  lease: Lease,
  type: "offer" | "ack" | "nak",
): DhcpOutcome {
  const inform = request.messageType === "inform";
  const message: DhcpMessage = {
    operation: BOOTREPLY,
    messageType: type,
    transactionId: request.transactionId,
    seconds: 0,
    broadcast: request.broadcast || type === "nak",
    clientAddress: type === "ack" ? request.clientAddress : 0,
    yourAddress: type === "nak" || inform ? 0 : lease.address,
    serverAddress: 0,
    relayAddress: 0,
    clientMac: request.clientMac,
    options: optionsOf(port, lease, type, inform),
  };
  return { kind: "reply", type, frame: frameOf(port, lease, message, inform) };
}

function optionsOf(port: PortView, lease: Lease, type: string, inform: boolean): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>();
  options.set(DHCP_OPTION.serverIdentifier, dhcpAddresses(lease.server));
  if (type === "nak") return options;
  if (!inform) {
    options.set(DHCP_OPTION.leaseSeconds, dhcpUint32(DHCP_LEASE_SECONDS));
    options.set(DHCP_OPTION.renewalSeconds, dhcpUint32(DHCP_LEASE_SECONDS / 2));
    options.set(DHCP_OPTION.rebindingSeconds, dhcpUint32((DHCP_LEASE_SECONDS * 7) / 8));
  }
  options.set(DHCP_OPTION.subnetMask, dhcpUint32(lease.mask));
  options.set(DHCP_OPTION.broadcastAddress, dhcpAddresses(lease.broadcast));
  options.set(DHCP_OPTION.interfaceMtu, dhcpUint16(port.network.mtu));
  if (port.network.gateway !== undefined)
    options.set(DHCP_OPTION.router, dhcpAddresses(port.network.gateway));
  if (port.network.dnsServers.length > 0)
    options.set(DHCP_OPTION.dnsServers, dhcpAddresses(...port.network.dnsServers));
  if (port.virtualMachine !== undefined)
    options.set(DHCP_OPTION.hostName, dhcpText(port.virtualMachine.slice(0, HOST_NAME_LENGTH_MAX)));
  return options;
}

/** RFC 2131 4.1: unicast to a client that has an address or can receive without one, broadcast otherwise. */
function frameOf(port: PortView, lease: Lease, message: DhcpMessage, inform: boolean): Uint8Array {
  const known = message.clientAddress || (inform ? lease.address : message.yourAddress);
  const destination = message.broadcast || known === 0 ? BROADCAST_ADDRESS : known;
  const pair = { source: lease.server, destination };
  const udp = encodeUdp(
    { sourcePort: DHCP_SERVER_PORT, destinationPort: DHCP_CLIENT_PORT, payload: encodeDhcp(message) },
    pair,
  );
  return encodeEthernet({
    destination: destination === BROADCAST_ADDRESS ? MAC_BROADCAST : message.clientMac,
    source: bytesOf(port.network.dhcpMac, 6),
    etherType: ETHERTYPE_IPV4,
    payload: encodeIpv4({ ...pair, protocol: IPPROTO_UDP, payload: udp }),
  });
}

function parseRequest(frame: Uint8Array): DhcpMessage {
  const ethernet = parseEthernet(frame);
  if (ethernet.etherType !== ETHERTYPE_IPV4)
    throw new WireError("ethernet", "ethertype", 12, "DHCP travels in IPv4");
  const ip = parseIpv4(ethernet.payload);
  if (ip.protocol !== IPPROTO_UDP || ip.fragmentOffset !== 0 || ip.moreFragments)
    throw new WireError("ipv4", "protocol", 9, "not one whole UDP datagram");
  const udp = parseUdp(ip.payload, ip);
  if (udp.destinationPort !== DHCP_SERVER_PORT)
    throw new WireError("udp", "destination port", 2, "not the DHCP server's");
  return parseDhcp(udp.payload);
}

function addressOption(message: DhcpMessage, option: number): number | undefined {
  const value = message.options.get(option);
  return value?.byteLength === 4 ? ipv4FromBytes(value) : undefined;
}

function none(reason: string): DhcpOutcome {
  return { kind: "none", reason };
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && a.every((byte, i) => byte === b[i]);
}
