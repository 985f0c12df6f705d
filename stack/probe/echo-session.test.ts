import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  encodeIcmp,
  encodeIpv4,
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
  type IcmpMessage,
  IPPROTO_ICMP,
  IPPROTO_UDP,
  parseIcmp,
  parseIpv4Address,
} from "../../base/wire/index.js";
import { EchoSession } from "./echo-session.js";

const payload = new TextEncoder().encode("sixteen bytes ok");
const session = new EchoSession({ address: "10.0.0.9", identifier: 0xbeef, payload });
const FROM = parseIpv4Address("10.0.0.9");
const ROUTER = parseIpv4Address("10.0.0.1");
const US = parseIpv4Address("10.0.0.2");

const packet = (source: number, icmp: Uint8Array, protocol = IPPROTO_ICMP) =>
  encodeIpv4({ source, destination: US, protocol, payload: icmp });
const reply = (change: Partial<IcmpMessage> = {}) =>
  encodeIcmp({ type: ICMP_ECHO_REPLY, code: 0, rest: 0xbeef0007, payload, ...change });
/** What a router quotes of our request: its IP header and the first bytes behind it. */
const quote = (sequence: number, size: number, destination = FROM) =>
  encodeIpv4({
    source: US,
    destination,
    protocol: IPPROTO_ICMP,
    payload: session.request(sequence),
  }).subarray(0, 20 + size);
const refusal = (type: number, code: number, quoted: Uint8Array) =>
  packet(ROUTER, encodeIcmp({ type, code, rest: 0, payload: quoted }));

describe("EchoSession", () => {
  it("asks with its identifier, the sequence number in 16 bits, and its payload", () => {
    expect(parseIcmp(session.request(0x1_0007))).toEqual({
      type: ICMP_ECHO_REQUEST,
      code: 0,
      rest: 0xbeef0007,
      payload,
    });
  });

  it("finds its reply", () => {
    expect(session.receive(packet(FROM, reply()))).toEqual({ sequence: 7, refusal: undefined });
  });

  it.each([
    ["another machine's", packet(ROUTER, reply())],
    ["another asker's", packet(FROM, reply({ rest: 0xbeee0007 }))],
    ["another payload", packet(FROM, reply({ payload: payload.slice(1) }))],
    ["its own request, which loopback delivers", packet(FROM, session.request(7))],
    ["another protocol", packet(FROM, reply(), IPPROTO_UDP)],
    ["a code", packet(FROM, reply({ code: 1 }))],
    ["a refusal of something else", refusal(ICMP_UNREACHABLE, 1, quote(7, 8, US))],
    ["a refusal that quotes too little", refusal(ICMP_UNREACHABLE, 1, quote(7, 7))],
  ])("ignores %s", (_, bytes) => {
    expect(session.receive(bytes)).toBeUndefined();
  });

  it("understands refusals by their quotation", () => {
    expect(session.receive(refusal(ICMP_UNREACHABLE, 1, quote(9, 8)))).toEqual({
      sequence: 9,
      refusal: "10.0.0.1 says: host unreachable",
    });
    expect(session.receive(refusal(ICMP_UNREACHABLE, 77, quote(9, 8)))?.refusal).toMatch(/unreachable/);
    expect(session.receive(refusal(ICMP_TIME_EXCEEDED, 0, quote(9, 24)))?.refusal).toMatch(/time to live/);
  });

  it("takes any bytes", () => {
    const whole = packet(FROM, reply());
    const near = fc
      .tuple(fc.integer({ min: 0, max: whole.length - 1 }), fc.integer({ min: 0, max: 255 }))
      .map(([at, value]) => {
        const copy = whole.slice();
        copy[at] = value;
        return copy;
      });
    const inner = fc.uint8Array({ maxLength: 60 }).map((bytes) => refusal(ICMP_UNREACHABLE, 1, bytes));
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 100 }), near, inner), (bytes) => {
        const answer = session.receive(bytes);
        if (answer !== undefined) expect(answer.sequence).toBeLessThan(0x10000);
      }),
    );
  });
});
