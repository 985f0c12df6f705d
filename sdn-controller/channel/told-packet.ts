// A packet that the switch told of, in the words of policy: who to whom, which protocol and port, and what the pipeline
// had found out about it. The bytes are a machine's; what cannot be read is left out. Pure.
import type { OxmFieldName, PacketIn } from "../../base/openflow/index.js";
import {
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  formatIpv4Address,
  formatIpv6Address,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  parseEthernet,
  parseIpv4,
  parseIpv6,
  WireError,
} from "../../base/wire/index.js";

export interface ToldPacket {
  readonly source?: string;
  readonly destination?: string;
  /** "TCP", or the protocol's number. */
  readonly protocol?: string;
  /** Of the destination. */
  readonly port?: number;
}

const PROTOCOL_NAMES: Readonly<Record<number, string>> = {
  1: "ICMP",
  [IPPROTO_TCP]: "TCP",
  [IPPROTO_UDP]: "UDP",
  58: "ICMPv6",
  [IPPROTO_SCTP]: "SCTP",
};
const WITH_PORTS = new Set<number>([IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP]);

/** Never throws. */
export function readPacket(frame: Uint8Array): ToldPacket {
  try {
    const { etherType, payload } = parseEthernet(frame);
    if (etherType === ETHERTYPE_IPV4) {
      const ip = parseIpv4(payload);
      const ends = { source: formatIpv4Address(ip.source), destination: formatIpv4Address(ip.destination) };
      return { ...ends, ...transport(ip.protocol, ip.fragmentOffset === 0 ? ip.payload : new Uint8Array()) };
    }
    if (etherType === ETHERTYPE_IPV6) {
      const ip = parseIpv6(payload);
      const ends = { source: formatIpv6Address(ip.source), destination: formatIpv6Address(ip.destination) };
      return { ...ends, ...transport(ip.nextHeader, ip.payload) };
    }
    return {};
  } catch (thrown) {
    if (thrown instanceof WireError) return {};
    throw thrown;
  }
}

function transport(protocol: number, payload: Uint8Array): Pick<ToldPacket, "protocol" | "port"> {
  const name = PROTOCOL_NAMES[protocol] ?? String(protocol);
  if (!WITH_PORTS.has(protocol) || payload.byteLength < 4) return { protocol: name };
  return { protocol: name, port: ((payload[2] as number) << 8) | (payload[3] as number) };
}

/** A field of the pipeline that came with the packet; 0 when it did not. */
export function pipelineField(message: PacketIn, field: OxmFieldName): number {
  const entry = message.match.find((each) => each.field === field);
  return entry === undefined ? 0 : Buffer.from(entry.value).readUIntBE(0, entry.value.byteLength);
}
