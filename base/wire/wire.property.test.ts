import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as wire from "./index.js";

const u8 = fc.integer({ min: 0, max: 0xff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const bytes = (maxLength = 64) => fc.uint8Array({ maxLength });
const mac = fc.uint8Array({ minLength: 6, maxLength: 6 });
const ip6 = fc.uint8Array({ minLength: 16, maxLength: 16 });
const options = fc
  .integer({ min: 0, max: 10 })
  .chain((n) => fc.uint8Array({ minLength: 4 * n, maxLength: 4 * n }));
const pair4 = fc.record({ source: u32, destination: u32 });
const pair6 = fc.record({ source: ip6, destination: ip6 });
const pair = fc.oneof<fc.Arbitrary<wire.AddressPair>[]>(pair4, pair6);

function onlyWireErrors(parse: (input: Uint8Array) => unknown): void {
  fc.assert(
    fc.property(bytes(400), (input) => {
      try {
        parse(input);
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(wire.WireError);
      }
    }),
  );
}

const plain = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_, inner) =>
      inner instanceof Uint8Array ? [...inner] : inner instanceof Map ? [...inner] : inner,
    ),
  );

/** A property that returns anything but undefined or true counts as failed; matchers return something. */
function agree(actual: unknown, expected: unknown): void {
  expect(actual).toEqual(expected);
}

describe("parse(encode(x)) = x, and any bytes raise only a WireError", () => {
  it("ethernet", () => {
    fc.assert(
      fc.property(fc.record({ destination: mac, source: mac, etherType: u16, payload: bytes() }), (value) => {
        agree(plain(wire.parseEthernet(wire.encodeEthernet(value))), plain(value));
      }),
    );
    onlyWireErrors(wire.parseEthernet);
  });
  it("vlan", () => {
    const tag = fc.record({
      vid: fc.integer({ min: 0, max: 4095 }),
      priority: fc.integer({ min: 0, max: 7 }),
      dropEligible: fc.boolean(),
      etherType: u16,
      payload: bytes(),
    });
    fc.assert(
      fc.property(tag, (value) => agree(plain(wire.parseVlan(wire.encodeVlan(value))), plain(value))),
    );
    onlyWireErrors(wire.parseVlan);
  });
  it("arp", () => {
    const packet = fc.record({
      operation: u16,
      senderMac: mac,
      senderAddress: u32,
      targetMac: mac,
      targetAddress: u32,
    });
    fc.assert(
      fc.property(packet, (value) => agree(plain(wire.parseArp(wire.encodeArp(value))), plain(value))),
    );
    onlyWireErrors(wire.parseArp);
  });
  it("ipv4", () => {
    const packet = fc.record({
      source: u32,
      destination: u32,
      protocol: u8,
      ttl: u8,
      dscp: fc.integer({ min: 0, max: 63 }),
      ecn: fc.integer({ min: 0, max: 3 }),
      identification: u16,
      dontFragment: fc.boolean(),
      moreFragments: fc.boolean(),
      fragmentOffset: fc.integer({ min: 0, max: 8191 }).map((n) => n * 8),
      options,
      payload: bytes(),
    });
    fc.assert(
      fc.property(packet, (value) => agree(plain(wire.parseIpv4(wire.encodeIpv4(value))), plain(value))),
    );
    onlyWireErrors(wire.parseIpv4);
  });
  it("ipv6", () => {
    const packet = fc.record({
      source: ip6,
      destination: ip6,
      trafficClass: u8,
      flowLabel: fc.integer({ min: 0, max: 0xfffff }),
      hopLimit: u8,
      nextHeader: u8,
      payload: bytes(),
    });
    fc.assert(
      fc.property(packet, (value) => agree(plain(wire.parseIpv6(wire.encodeIpv6(value))), plain(value))),
    );
    onlyWireErrors(wire.parseIpv6);
  });
  it("udp", () => {
    const datagram = fc.record({ sourcePort: u16, destinationPort: u16, payload: bytes() });
    fc.assert(
      fc.property(datagram, pair, (value, between) =>
        agree(plain(wire.parseUdp(wire.encodeUdp(value, between), between)), plain(value)),
      ),
    );
    onlyWireErrors((input) => wire.parseUdp(input, { source: 1, destination: 2 }));
  });
  it("tcp", () => {
    const segment = fc.record({
      sourcePort: u16,
      destinationPort: u16,
      sequence: u32,
      acknowledgment: u32,
      flags: u8,
      window: u16,
      urgent: u16,
      options,
      payload: bytes(),
    });
    fc.assert(
      fc.property(segment, pair, (value, between) =>
        agree(plain(wire.parseTcp(wire.encodeTcp(value, between), between)), plain(value)),
      ),
    );
    onlyWireErrors((input) => wire.parseTcp(input));
  });
  it("sctp", () => {
    const packet = fc.record({
      sourcePort: u16,
      destinationPort: u16,
      verificationTag: u32,
      chunks: bytes(),
    });
    fc.assert(
      fc.property(packet, (value) => agree(plain(wire.parseSctp(wire.encodeSctp(value))), plain(value))),
    );
    onlyWireErrors((input) => wire.parseSctp(input, false));
  });
  it("icmp and icmpv6", () => {
    const message = fc.record({ type: u8, code: u8, rest: u32, payload: bytes() });
    fc.assert(
      fc.property(message, pair6, (value, between) => {
        agree(plain(wire.parseIcmp(wire.encodeIcmp(value))), plain(value));
        agree(plain(wire.parseIcmpv6(wire.encodeIcmpv6(value, between), between)), plain(value));
      }),
    );
    onlyWireErrors(wire.parseIcmp);
  });
  it("dhcp", () => {
    const message = fc.record({
      operation: fc.constantFrom(1, 2),
      messageType: fc.constantFrom(...wire.DHCP_MESSAGE_TYPES),
      transactionId: u32,
      seconds: u16,
      broadcast: fc.boolean(),
      clientAddress: u32,
      yourAddress: u32,
      serverAddress: u32,
      relayAddress: u32,
      clientMac: mac,
      options: fc
        .array(
          fc.tuple(
            fc.integer({ min: 1, max: 254 }).filter((code) => code !== 52 && code !== 53),
            bytes(600),
          ),
        )
        .map((entries) => new Map(entries)),
    });
    fc.assert(
      fc.property(message, (value) => agree(plain(wire.parseDhcp(wire.encodeDhcp(value))), plain(value))),
    );
    const head = wire.encodeDhcp({
      operation: 1,
      messageType: "discover",
      transactionId: 1,
      seconds: 0,
      broadcast: true,
      clientAddress: 0,
      yourAddress: 0,
      serverAddress: 0,
      relayAddress: 0,
      clientMac: new Uint8Array(6),
      options: new Map(),
    });
    onlyWireErrors((input) => wire.parseDhcp(Uint8Array.of(...head.subarray(0, 240), ...input)));
    onlyWireErrors(wire.parseDhcp);
  });
  it("dns", () => {
    const name = fc
      .array(fc.stringMatching(/^[a-z0-9-]{1,20}$/), { maxLength: 8 })
      .map((labels) => labels.join("."));
    const query = fc.record({ id: u16, flags: u16, name, type: u16, class: u16 });
    fc.assert(fc.property(query, (value) => agree(wire.parseDnsQuery(wire.encodeDnsQuery(value)), value)));
    onlyWireErrors(wire.parseDnsQuery);
    onlyWireErrors((input) => wire.parseDnsName(input, 0));
  });
});

describe("addresses", () => {
  it("format and parse are inverse", () => {
    fc.assert(
      fc.property(mac, u32, ip6, (m, v4, v6) => {
        expect(wire.parseMac(wire.formatMac(m))).toEqual(m);
        expect(wire.parseIpv4Address(wire.formatIpv4Address(v4))).toBe(v4);
        expect(wire.parseIpv6Address(wire.formatIpv6Address(v6))).toEqual(v6);
        expect(wire.ipv4FromBytes(wire.ipv4Bytes(v4))).toBe(v4);
      }),
    );
  });
});

describe("updateChecksum16() and updateChecksum32()", () => {
  it("agree with a checksum made anew", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 40 }), u32, (data, value) => {
        const before = wire.checksum(data, 0, data.byteLength);
        const view = new DataView(data.buffer, data.byteOffset);
        const updated32 = wire.updateChecksum32(before, view.getUint32(4), value);
        const updated16 = wire.updateChecksum16(before, view.getUint16(4), value >>> 16);
        view.setUint16(4, value >>> 16);
        // 0x0000 and 0xffff both stand for zero in one's complement; only all-zero data tells them apart.
        const same = (a: number, b: number) => expect(a % 0xffff).toBe(b % 0xffff);
        same(updated16, wire.checksum(data, 0, data.byteLength));
        view.setUint32(4, value);
        same(updated32, wire.checksum(data, 0, data.byteLength));
      }),
    );
  });
});
