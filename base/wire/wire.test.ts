import { describe, expect, it } from "vitest";
import { fromHex } from "../bytes/index.js";
import * as wire from "./index.js";

describe("checksums against known values", () => {
  it("checksum() of the IPv4 header in RFC 1071's spirit (Wikipedia's worked example)", () => {
    const header = fromHex("45000073000040004011 0000 c0a80001c0a800c7");
    expect(wire.checksum(header, 0, 20)).toBe(0xb861);
  });
  it("crc32c() of RFC 3720 B.4", () => {
    expect(wire.crc32c(new Uint8Array(32), 0, 32)).toBe(0x8a9136aa);
    expect(wire.crc32c(new TextEncoder().encode("123456789"), 0, 9)).toBe(0xe3069283);
  });
});

describe("tryParseIpv4Address()", () => {
  it("takes four decimal octets and nothing that another reader might take for octal", () => {
    expect(wire.tryParseIpv4Address("10.0.0.255")).toBe(0x0a0000ff);
    for (const text of ["10.0.0.256", "10.0.0", "10.0.0.010", "10.0.0.1.", "", "0x0a.0.0.1", "1e1.0.0.0"])
      expect(wire.tryParseIpv4Address(text), text).toBeUndefined();
    expect(() => wire.parseIpv4Address("10.0.0.010")).toThrow(wire.WireError);
  });
});

describe("formatIpv6Address()", () => {
  it("shortens as RFC 5952 asks", () => {
    const through = (text: string) => wire.formatIpv6Address(wire.parseIpv6Address(text));
    expect(through("2001:0DB8:0:0:0:0:0:1")).toBe("2001:db8::1");
    expect(through("::")).toBe("::");
    expect(through("2001:db8:0:1:1:1:1:1")).toBe("2001:db8:0:1:1:1:1:1");
    expect(through("::ffff:10.0.0.1")).toBe("::ffff:a00:1");
    expect(() => wire.parseIpv6Address("1::2::3")).toThrow(wire.WireError);
    expect(() => wire.parseIpv6Address("1:2:3")).toThrow(wire.WireError);
  });
});

describe("parseDhcp()", () => {
  it("joins a repeated option and reads overloaded fields", () => {
    const bytes = wire.encodeDhcp({
      operation: 1,
      messageType: "request",
      transactionId: 5,
      seconds: 0,
      broadcast: false,
      clientAddress: 0,
      yourAddress: 0,
      serverAddress: 0,
      relayAddress: 0,
      clientMac: wire.parseMac("52:54:00:00:00:01"),
      options: new Map([[wire.DHCP_OPTION.overload, Uint8Array.of(1)]]),
    });
    bytes.set([12, 2, 65, 66, 12, 1, 67, 255], 108);
    expect(wire.parseDhcp(bytes).options.get(12)).toEqual(Uint8Array.of(65, 66, 67));
  });
});

describe("parseDnsName()", () => {
  it("follows a pointer back and refuses one that does not", () => {
    const message = Uint8Array.of(3, 119, 119, 119, 0, 1, 97, 0xc0, 0);
    expect(wire.parseDnsName(message, 5)).toEqual({ name: "a.www", next: 9 });
    expect(() => wire.parseDnsName(Uint8Array.of(0xc0, 0), 0)).toThrow("does not point back");
  });
});
