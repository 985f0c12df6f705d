// Random packets with every header that a flow can match, of few addresses and ports, so that random flows meet them.
import fc from "fast-check";
import { concatBytes } from "../../../../base/bytes/index.js";
import {
  type AddressPair,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_VLAN,
  encodeArp,
  encodeEthernet,
  encodeIcmp,
  encodeIcmpv6,
  encodeIpv4,
  encodeIpv6,
  encodeSctp,
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
} from "../../../../base/wire/index.js";
import type { FrameIn } from "../compare.js";
import { IPV4_ADDRESSES, IPV6_ADDRESSES, L4_PORTS, MACS, MPLS_LABELS, VLANS } from "./values.js";

const ETHERTYPE_IPV6 = 0x86dd;
const ETHERTYPE_SERVICE = 0x88a8;
const ETHERTYPE_MPLS = 0x8847;
const ETHERTYPE_TEST = 0x88b5;
const IPPROTO_SCTP = 132;
const IPPROTO_OTHER = 253;
const ND_SOLICITATION = 135;

/** What an Ethernet header or a VLAN tag announces. */
interface Content {
  readonly etherType: number;
  readonly payload: Uint8Array;
}

const mac = fc.constantFrom(...MACS.map(parseMac));
const ipv4 = fc.constantFrom(...IPV4_ADDRESSES.map(parseIpv4Address));
const ipv6 = fc.constantFrom(...IPV6_ADDRESSES.map(parseIpv6Address));
const port = fc.constantFrom(...L4_PORTS);
/** Of its data: in longer ones Open vSwitch takes some for a checksum (docs/differences-from-ovs.md). */
const LATER_FRAGMENT_SIZE = 7;
/** None ends on its way: what then becomes of a packet is another question (docs/differences-from-ovs.md). */
const ttl = fc.constantFrom(9, 64, 255);
const data = fc.uint8Array({ maxLength: 40 });

const arp: fc.Arbitrary<Content> = fc
  .record({
    operation: fc.constantFrom(1, 2, 3),
    senderMac: mac,
    senderAddress: ipv4,
    targetMac: mac,
    targetAddress: ipv4,
  })
  .map((packet) => ({ etherType: ETHERTYPE_ARP, payload: encodeArp(packet) }));

interface Segment {
  readonly protocol: number;
  readonly bytes: Uint8Array;
}

/** TCP, UDP, SCTP or a protocol that nobody knows, between these ends. */
function segment(pair: AddressPair): fc.Arbitrary<Segment> {
  const ports = fc.record({ sourcePort: port, destinationPort: port, payload: data });
  const flags = fc.constantFrom(0x02, 0x12, 0x10, 0x18, 0x11, 0x04);
  return fc.oneof(
    fc.tuple(ports, flags).map(([ends, flags]) => ({
      protocol: IPPROTO_TCP,
      bytes: encodeTcp({ ...ends, sequence: 7, flags }, pair),
    })),
    ports.map((ends) => ({ protocol: IPPROTO_UDP, bytes: encodeUdp(ends, pair) })),
    ports.map(({ payload, ...ends }) => ({
      protocol: IPPROTO_SCTP,
      bytes: encodeSctp({ ...ends, verificationTag: 9, chunks: payload }),
    })),
    data.map((bytes) => ({ protocol: IPPROTO_OTHER, bytes })),
  );
}

const icmp: fc.Arbitrary<Segment> = fc
  .record({
    type: fc.constantFrom(0, 3, 8, 11),
    code: fc.constantFrom(0, 1),
    rest: fc.nat(255),
    payload: data,
  })
  .map((message) => ({ protocol: IPPROTO_ICMP, bytes: encodeIcmp(message) }));

function icmpv6(pair: AddressPair): fc.Arbitrary<Segment> {
  const echo = fc.record({
    type: fc.constantFrom(128, 129, 1),
    code: fc.constantFrom(0, 1),
    rest: fc.nat(255),
    payload: data,
  });
  const neighbour = fc
    .record({ type: fc.constantFrom(ND_SOLICITATION, 136), target: ipv6, linkLayer: fc.option(mac) })
    .map(({ type, target, linkLayer }) => {
      const option =
        linkLayer === null
          ? new Uint8Array(0)
          : concatBytes([Uint8Array.of(type === ND_SOLICITATION ? 1 : 2, 1), linkLayer]);
      return { type, code: 0, rest: 0, payload: concatBytes([target, option]) };
    });
  return fc
    .oneof(echo, neighbour)
    .map((message) => ({ protocol: IPPROTO_ICMPV6, bytes: encodeIcmpv6(message, pair) }));
}

/** Neighbour discovery is only that with a hop limit of 255 (RFC 4861 7.1), so other messages get others. */
const ip4: fc.Arbitrary<Content> = fc
  .record({ source: ipv4, destination: ipv4 })
  .chain((pair) =>
    fc.record({
      pair: fc.constant(pair),
      inner: fc.oneof({ weight: 4, arbitrary: segment(pair) }, { weight: 1, arbitrary: icmp }),
      ttl,
      dscp: fc.constantFrom(0, 10, 46),
      ecn: fc.constantFrom(0, 0, 1),
      fragment: fc.oneof(
        { weight: 8, arbitrary: fc.constant({}) },
        { weight: 1, arbitrary: fc.constant({ moreFragments: true }) },
        { weight: 1, arbitrary: fc.constant({ fragmentOffset: 64 }) },
      ),
    }),
  )
  .map(({ pair, inner, ttl, dscp, ecn, fragment }) => ({
    etherType: ETHERTYPE_IPV4,
    payload: encodeIpv4({
      ...pair,
      ...fragment,
      ...{ ttl, dscp, ecn, protocol: inner.protocol },
      payload: "fragmentOffset" in fragment ? inner.bytes.subarray(0, LATER_FRAGMENT_SIZE) : inner.bytes,
    }),
  }));

const ip6: fc.Arbitrary<Content> = fc
  .record({ source: ipv6, destination: ipv6 })
  .chain((pair) =>
    fc.record({
      pair: fc.constant(pair),
      inner: fc.oneof({ weight: 3, arbitrary: segment(pair) }, { weight: 2, arbitrary: icmpv6(pair) }),
      hopLimit: ttl,
      trafficClass: fc.constantFrom(0, 0x28, 0xb8),
      flowLabel: fc.constantFrom(0, 5),
    }),
  )
  .map(({ pair, inner, hopLimit, ...rest }) => ({
    etherType: ETHERTYPE_IPV6,
    payload: encodeIpv6({
      ...pair,
      ...rest,
      hopLimit: inner.protocol === IPPROTO_ICMPV6 ? 255 : hopLimit,
      nextHeader: inner.protocol,
      payload: inner.bytes,
    }),
  }));

const mpls: fc.Arbitrary<Content> = fc
  .record({
    stack: fc.array(fc.tuple(fc.constantFrom(...MPLS_LABELS), fc.nat(7), ttl), {
      minLength: 1,
      maxLength: 4,
    }),
    inner: ip4,
  })
  .map(({ stack, inner }) => {
    const entries = new DataView(new ArrayBuffer(4 * stack.length));
    for (const [index, [label, trafficClass, ttl]] of stack.entries()) {
      const bottom = index === stack.length - 1 ? 0x100 : 0;
      entries.setUint32(4 * index, ((label << 12) | (trafficClass << 9) | bottom | ttl) >>> 0);
    }
    const payload = concatBytes([new Uint8Array(entries.buffer), inner.payload]);
    return { etherType: ETHERTYPE_MPLS, payload };
  });

const unknown: fc.Arbitrary<Content> = data.map((payload) => ({ etherType: ETHERTYPE_TEST, payload }));

const content = fc.oneof(
  { weight: 2, arbitrary: arp },
  { weight: 8, arbitrary: ip4 },
  { weight: 4, arbitrary: ip6 },
  { weight: 2, arbitrary: mpls },
  { weight: 1, arbitrary: unknown },
);

interface Tag {
  readonly etherType: number;
  readonly vid: number;
  readonly priority: number;
}

function tag(...etherTypes: number[]): fc.Arbitrary<Tag> {
  return fc.record({
    etherType: fc.constantFrom(...etherTypes),
    vid: fc.constantFrom(...VLANS),
    priority: fc.nat(7),
  });
}

function inTag({ etherType, vid, priority }: Tag, content: Content): Content {
  return { etherType, payload: encodeVlan({ vid, priority, dropEligible: false, ...content }) };
}

const taggedOnce: fc.Arbitrary<Content> = fc
  .tuple(tag(ETHERTYPE_VLAN), content)
  .map(([outer, inside]) => inTag(outer, inside));

const taggedTwice: fc.Arbitrary<Content> = fc
  .tuple(tag(ETHERTYPE_VLAN, ETHERTYPE_SERVICE), tag(ETHERTYPE_VLAN), content)
  .map(([outer, inner, inside]) => inTag(outer, inTag(inner, inside)));

export interface PacketOptions {
  readonly ports: number;
  readonly tagsMax: 1 | 2;
}

/** A packet into one of the ports 1 … `ports`. */
export function packetIn({ ports, tagsMax }: PacketOptions): fc.Arbitrary<FrameIn> {
  return fc
    .record({
      port: fc.integer({ min: 1, max: ports }),
      destination: mac,
      source: mac,
      content: fc.oneof(
        { weight: 4, arbitrary: content },
        { weight: 2, arbitrary: taggedOnce },
        ...(tagsMax === 2 ? [{ weight: 2, arbitrary: taggedTwice }] : []),
      ),
    })
    .map(({ port, destination, source, content }) => ({
      port,
      frame: padded(encodeEthernet({ destination, source, ...content })),
    }));
}

/** Each is for tables that know how many tags there can be. */
export const tagsMax = fc.constantFrom(1, 2) as fc.Arbitrary<1 | 2>;

const FRAME_MIN = 60;

/** Shorter frames do not exist on Ethernet, and switches differ in who pads them. */
function padded(frame: Uint8Array): Uint8Array {
  if (frame.byteLength >= FRAME_MIN) return frame;
  return concatBytes([frame, new Uint8Array(FRAME_MIN - frame.byteLength)]);
}
