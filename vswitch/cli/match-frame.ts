// Makes a frame that has exactly the fields of a match, everything else zero: what ofproto/trace does with a flow.
// Pure. Lengths and checksums are right, so that the switch parses what it would parse of a real packet.
import type { Match, OxmFieldName } from "../../base/openflow/index.js";
import { checksum, transportChecksum } from "../../base/wire/index.js";
import { bytesToNumber, numberToBytes } from "./field-text.js";

type Bytes = readonly number[] | Uint8Array;
const TCP_DATA_OFFSET = 0x50;
/** FIN, SYN and RST. */
const TCP_BOUNDS = 7;
const PAYLOAD_SIZE_MIN = 46;
/** ICMP types whose messages carry data of their own. */
const ECHOES: ReadonlySet<number> = new Set([0, 8]);
const ECHOES6: ReadonlySet<number> = new Set([128, 129]);

/**
 * The frame. Fields that no frame carries (registers, metadata) do not show in it. `payloadSize` bytes that count up
 * follow the transport header where data follows one (TCP, UDP, ICMP echoes); without them the frame is padded to the least size that Ethernet has. With `frameSize`
 * it has so many bytes instead, those that follow its headers being zero.
 */
export function frameOfMatch(match: Match, size: FrameSize = {}): Uint8Array {
  if (size.frameSize === undefined) return compose(match, size.payloadSize, undefined);
  const room = size.frameSize - compose(match, 0, undefined).byteLength;
  const frame = compose(match, 0, new Uint8Array(Math.max(0, room)));
  if (frame.byteLength >= size.frameSize) return frame;
  const padded = new Uint8Array(size.frameSize);
  padded.set(frame);
  return padded;
}

export interface FrameSize {
  readonly payloadSize?: number;
  readonly frameSize?: number;
}

function compose(match: Match, payloadSize: number | undefined, given: Uint8Array | undefined): Uint8Array {
  const fields = new Map(match.map((entry) => [entry.field, entry.value]));
  const value = (field: OxmFieldName, size: number): Uint8Array => fields.get(field) ?? new Uint8Array(size);
  const number = (field: OxmFieldName): number => Number(bytesToNumber(value(field, 1)));
  const type = number("eth_type");
  const tag = number("vlan_vid") & 0x1000;
  const tci = (number("vlan_pcp") << 13) | (number("vlan_vid") & 0xfff);
  const data = given ?? Uint8Array.from({ length: payloadSize ?? 0 }, (_, i) => i & 0xff);
  const payload = payloadOf(type, value, number, data);
  const head = [
    ...value("eth_dst", 6),
    ...value("eth_src", 6),
    ...(tag === 0 ? [] : [0x81, 0x00, tci >> 8, tci & 0xff]),
    ...u16(type),
  ];
  const padding = payloadSize === undefined ? Math.max(0, PAYLOAD_SIZE_MIN - payload.length) : 0;
  return Uint8Array.from([...head, ...payload, ...new Uint8Array(padding)]);
}

type Value = (field: OxmFieldName, size: number) => Uint8Array;
type NumberOf = (field: OxmFieldName) => number;

function payloadOf(type: number, value: Value, number: NumberOf, data: Uint8Array): Bytes {
  switch (type) {
    case 0x0800:
      return ipv4Packet(value, number, data);
    case 0x86dd:
      return ipv6Packet(value, number, data);
    case 0x0806:
    case 0x8035:
      return [
        ...[0, 1, 8, 0, 6, 4],
        ...value("arp_op", 2),
        ...value("arp_sha", 6),
        ...value("arp_spa", 4),
        ...value("arp_tha", 6),
        ...value("arp_tpa", 4),
      ];
    case 0x8847:
    case 0x8848:
      return numberToBytes(
        (BigInt(number("mpls_label")) << 12n) |
          (BigInt(number("mpls_tc")) << 9n) |
          (BigInt(number("mpls_bos")) << 8n) |
          BigInt(number("mpls_ttl")),
        4,
      );
    case 0x88e7:
      return [0, ...value("pbb_isid", 3), ...new Uint8Array(14)];
    default:
      return [];
  }
}

function ipv4Packet(value: Value, number: NumberOf, data: Uint8Array): Bytes {
  const fragment = number("ip_frag");
  const protocol = number("ip_proto");
  const source = value("ipv4_src", 4);
  const destination = value("ipv4_dst", 4);
  const inner = fragment > 1 ? [] : transport(protocol, value, number, { source, destination, data }, false);
  const header = Uint8Array.from([
    0x45,
    (number("ip_dscp") << 2) | number("ip_ecn"),
    ...u16(20 + inner.length),
    0,
    0,
    // First of several: more follow; a later one: at offset 8.
    fragment === 1 ? 0x20 : 0,
    fragment > 1 ? 1 : 0,
    number("nw_ttl"),
    protocol,
    0,
    0,
    ...source,
    ...destination,
  ]);
  header.set(u16(checksum(header, 0, 20)), 10);
  return [...header, ...inner];
}

function ipv6Packet(value: Value, number: NumberOf, data: Uint8Array): Bytes {
  const source = value("ipv6_src", 16);
  const destination = value("ipv6_dst", 16);
  const protocol = number("ip_proto");
  const fragment = number("ip_frag");
  const inner = fragment > 1 ? [] : transport(protocol, value, number, { source, destination, data }, true);
  const first =
    (6n << 28n) |
    (BigInt((number("ip_dscp") << 2) | number("ip_ecn")) << 20n) |
    BigInt(number("ipv6_flabel"));
  const extension = fragment === 0 ? [] : [protocol, 0, 0, fragment === 1 ? 1 : 9, 0, 0, 0, 0];
  return [
    ...numberToBytes(first, 4),
    ...u16(extension.length + inner.length),
    fragment === 0 ? protocol : 44,
    number("nw_ttl"),
    ...source,
    ...destination,
    ...extension,
    ...inner,
  ];
}

interface Pair {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** What the transport carries. */
  readonly data: Uint8Array;
}

function transport(protocol: number, value: Value, number: NumberOf, pair: Pair, isIpv6: boolean): Bytes {
  switch (protocol) {
    case 6: {
      const flags = number("tcp_flags");
      const ports = [...value("tcp_src", 2), ...value("tcp_dst", 2)];
      const rest = [...new Uint8Array(8), TCP_DATA_OFFSET | (flags >> 8), flags & 0xff, 0, 0, 0, 0, 0, 0];
      // What opens or ends a connection carries nothing.
      const data = (flags & TCP_BOUNDS) === 0 ? pair.data : [];
      return summed(Uint8Array.from([...ports, ...rest, ...data]), 16, protocol, pair);
    }
    case 17:
      return summed(
        Uint8Array.from([
          ...value("udp_src", 2),
          ...value("udp_dst", 2),
          ...u16(8 + pair.data.byteLength),
          ...[0, 0],
          ...pair.data,
        ]),
        6,
        protocol,
        pair,
      );
    case 132:
      return [...value("sctp_src", 2), ...value("sctp_dst", 2), ...new Uint8Array(8)];
    case 2:
      // No field of a match is in it; the sum of zeros.
      return [0, 0, 0xff, 0xff, 0, 0, 0, 0];
    case 1: {
      if (isIpv6) return [];
      const head = [number("icmpv4_type"), number("icmpv4_code"), 0, 0, 0, 0, 0, 0];
      const isEcho = ECHOES.has(head[0] as number) && head[1] === 0;
      const message = Uint8Array.from([...head, ...(isEcho ? pair.data : [])]);
      message.set(u16(checksum(message, 0, message.byteLength)), 2);
      return message;
    }
    case 58:
      return isIpv6 ? summed(Uint8Array.from(icmpv6(value, number, pair.data)), 2, protocol, pair) : [];
    default:
      return [];
  }
}

function icmpv6(value: Value, number: NumberOf, data: Uint8Array): number[] {
  const type = number("icmpv6_type");
  const code = number("icmpv6_code");
  const head = [type, code, 0, 0, 0, 0, 0, 0];
  if (ECHOES6.has(type) && code === 0) return [...head, ...data];
  if (type !== 135 && type !== 136) return head;
  const address = type === 135 ? value("ipv6_nd_sll", 6) : value("ipv6_nd_tll", 6);
  const option = address.some((byte) => byte !== 0) ? [type === 135 ? 1 : 2, 1, ...address] : [];
  return [...head, ...value("ipv6_nd_target", 16), ...option];
}

function summed(segment: Uint8Array, at: number, protocol: number, pair: Pair): Uint8Array {
  segment.set(u16(transportChecksum(segment, protocol, pair)), at);
  return segment;
}

function u16(number: number): number[] {
  return [(number >> 8) & 0xff, number & 0xff];
}
