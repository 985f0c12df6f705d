// The frames that machines of the pipeline's tests send.
import {
  ARP_REQUEST,
  BOOTREQUEST,
  type DhcpMessage,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  encodeArp,
  encodeDhcp,
  encodeEthernet,
  encodeIcmp,
  encodeIpv4,
  encodeTcp,
  encodeUdp,
  formatIpv4Address,
  IPPROTO_ICMP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  MAC_BROADCAST,
  MAC_ZERO,
  parseArp,
  parseEthernet,
} from "../../base/wire/index.js";

/** A machine: its switch port and addresses. */
export interface End {
  readonly ofport: number;
  readonly mac: Uint8Array;
  readonly address: number;
}

export function arpSender(frame: Uint8Array): number | undefined {
  const { etherType, payload } = parseEthernet(frame);
  return etherType === ETHERTYPE_ARP ? parseArp(payload).senderAddress : undefined;
}

export function arpFrame(from: End, targetAddress: number): Uint8Array {
  const payload = encodeArp({
    operation: ARP_REQUEST,
    senderMac: from.mac,
    senderAddress: from.address,
    targetMac: MAC_ZERO,
    targetAddress,
  });
  return encodeEthernet({ destination: MAC_BROADCAST, source: from.mac, etherType: ETHERTYPE_ARP, payload });
}

export function ipFrame(from: End, to: End, protocol: number, payload: Uint8Array): Uint8Array {
  return encodeEthernet({
    destination: to.mac,
    source: from.mac,
    etherType: ETHERTYPE_IPV4,
    payload: encodeIpv4({ source: from.address, destination: to.address, protocol, payload }),
  });
}

export function tcpFrame(
  from: End,
  to: End,
  port: { readonly source: number; readonly destination: number },
  flags: number,
  sequence: number,
  acknowledgment: number,
): Uint8Array {
  const segment = encodeTcp(
    { sourcePort: port.source, destinationPort: port.destination, sequence, acknowledgment, flags },
    { source: from.address, destination: to.address },
  );
  return ipFrame(from, to, IPPROTO_TCP, segment);
}

export function udpFrame(from: End, to: End, sourcePort: number, destinationPort: number): Uint8Array {
  const pair = { source: from.address, destination: to.address };
  const payload = new TextEncoder().encode(formatIpv4Address(from.address));
  return ipFrame(from, to, IPPROTO_UDP, encodeUdp({ sourcePort, destinationPort, payload }, pair));
}

export function icmpFrame(from: End, to: End, type: number, identifier = 7): Uint8Array {
  const rest = identifier * 0x10000 + 1;
  return ipFrame(from, to, IPPROTO_ICMP, encodeIcmp({ type, code: 0, rest, payload: new Uint8Array(8) }));
}

export function dhcpFrame(
  mac: Uint8Array,
  messageType: DhcpMessage["messageType"],
  options: ReadonlyMap<number, Uint8Array>,
): Uint8Array {
  const payload = encodeDhcp({
    operation: BOOTREQUEST,
    messageType,
    transactionId: 0x1234,
    seconds: 0,
    broadcast: false,
    clientAddress: 0,
    yourAddress: 0,
    serverAddress: 0,
    relayAddress: 0,
    clientMac: mac,
    options,
  });
  const pair = { source: 0, destination: 0xffffffff };
  const udp = encodeUdp({ sourcePort: 68, destinationPort: 67, payload }, pair);
  return encodeEthernet({
    destination: MAC_BROADCAST,
    source: mac,
    etherType: ETHERTYPE_IPV4,
    payload: encodeIpv4({ ...pair, protocol: IPPROTO_UDP, payload: udp }),
  });
}
