// Frames for the tests of the data plane, built with base/wire.
import {
  type AddressPair,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_VLAN,
  encodeEthernet,
  encodeIcmp,
  encodeIcmpv6,
  encodeIpv4,
  encodeIpv6,
  encodeTcp,
  encodeUdp,
  encodeVlan,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  parseIpv4Address,
  parseIpv6Address,
  parseMac,
  type TcpFields,
} from "../../base/wire/index.js";

export interface Ends {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

const MAC_A = parseMac("52:54:00:00:00:0a");
const MAC_B = parseMac("52:54:00:00:00:0b");

/** IPv6 where the source is written with colons. */
function frame(ends: Ends, protocol: number, make: (pair: AddressPair) => Uint8Array): Uint8Array {
  const macs = { destination: MAC_B, source: MAC_A };
  if (!ends.source.includes(":")) {
    const pair = { source: parseIpv4Address(ends.source), destination: parseIpv4Address(ends.destination) };
    const payload = encodeIpv4({ ...pair, protocol, payload: make(pair) });
    return encodeEthernet({ ...macs, etherType: ETHERTYPE_IPV4, payload });
  }
  const pair = { source: parseIpv6Address(ends.source), destination: parseIpv6Address(ends.destination) };
  const rest = { trafficClass: 0, flowLabel: 0, hopLimit: 64, nextHeader: protocol };
  const payload = encodeIpv6({ ...pair, ...rest, payload: make(pair) });
  return encodeEthernet({ ...macs, etherType: ETHERTYPE_IPV6, payload });
}

export function tcpFrame(
  ends: Ends,
  flags: number,
  payload: Uint8Array = new Uint8Array(0),
  more: Partial<TcpFields> = {},
): Uint8Array {
  const { sourcePort = 40000, destinationPort = 80 } = ends;
  return frame(ends, IPPROTO_TCP, (pair) =>
    encodeTcp({ sourcePort, destinationPort, sequence: 1, flags, payload, ...more }, pair),
  );
}

export function udpFrame(ends: Ends, payload: Uint8Array = new Uint8Array(4)): Uint8Array {
  const { sourcePort = 40000, destinationPort = 53 } = ends;
  return frame(ends, IPPROTO_UDP, (pair) => encodeUdp({ sourcePort, destinationPort, payload }, pair));
}

/** ICMPv6 between IPv6 addresses. */
export function icmpFrame(
  ends: Ends,
  type: number,
  rest: number,
  payload: Uint8Array = new Uint8Array(8),
): Uint8Array {
  const message = { type, code: 0, rest, payload };
  return ends.source.includes(":")
    ? frame(ends, IPPROTO_ICMPV6, (pair) => encodeIcmpv6(message, pair))
    : frame(ends, IPPROTO_ICMP, () => encodeIcmp(message));
}

/** An Ethernet frame with a payload of zeros, tagged when `vid` is given. */
export function plainFrame(source: string, destination: string, vid?: number, priority = 0): Uint8Array {
  const inner = { etherType: 0x88b5, payload: new Uint8Array(46) };
  const ends = { source: parseMac(source), destination: parseMac(destination) };
  if (vid === undefined) return encodeEthernet({ ...ends, ...inner });
  const payload = encodeVlan({ vid, priority, dropEligible: false, ...inner });
  return encodeEthernet({ ...ends, etherType: ETHERTYPE_VLAN, payload });
}

/** A frame of 80 bytes that says which one of many it is. */
export function numberedFrame(n: number): Uint8Array {
  const bytes = udpFrame({ source: "10.0.0.1", destination: "10.0.0.2" }, new Uint8Array(38));
  bytes.set(plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02").subarray(0, 12));
  new DataView(bytes.buffer).setUint32(60, n);
  return bytes;
}

/** The frame with one tag more, of EtherType 0x8100 or 0x88a8. */
export function tagged(frame: Uint8Array, type: number, tci: number): Uint8Array {
  const tag = Uint8Array.of(type >>> 8, type & 255, tci >>> 8, tci & 255);
  return Uint8Array.from([...frame.subarray(0, 12), ...tag, ...frame.subarray(12)]);
}
