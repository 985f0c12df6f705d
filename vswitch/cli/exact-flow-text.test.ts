import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import { parseExactFlow } from "./exact-flow-text.js";
import { formatMatch } from "./match-text.js";

const ports = (name: string): number | undefined => (name === "p1" ? 1 : undefined);
const told = (text: string): string => {
  try {
    return formatMatch(parseExactFlow(text, ports));
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
    return thrown.message;
  }
};

describe("parseExactFlow()", () => {
  it.each([
    ["in_port=p1,udp", "udp,in_port=1"],
    ["udp", "udp,in_port=ANY"],
    ["in_port=0,in_port=2", "in_port=2"],
    ["in_port=1,tcp,tcp_flags=syn|ack", "tcp,in_port=1,tcp_flags=syn|ack"],
    ["in_port=1,ip,nw_proto=6,tp_src=5", "tcp,in_port=1,tp_src=5"],
    ["in_port=1,dl_vlan=5,dl_vlan_pcp=3", "in_port=1,dl_vlan=5,dl_vlan_pcp=3"],
    ["in_port=1,dl_vlan=0xffff", "in_port=1"],
    ["in_port=1,xreg1=5,xxreg2=0x5", "reg2=0,reg3=0x5,reg8=0,reg9=0,reg10=0,reg11=0x5,in_port=1"],
    ["in_port=1,ip,nw_tos=3,nw_tos=4", "ip,in_port=1,nw_tos=4"],
    ["tun_metadata0=1,in_port=1", "tun_metadata0=0x1,in_port=1"],
  ])("takes %s", (text, expected) => expect(told(text)).toBe(expected));

  it.each([
    ["tcp,tcp_flags=+syn", "bad value for tcp_flags (+syn: wildcards not allowed here)"],
    ["ip,nw_src=10.0.0.0/8", "bad value for nw_src (10.0.0.0/8: wildcards not allowed here)"],
    ["ip,nw_proto=6/0xf", "bad value for nw_proto (6/0xf: invalid mask for field nw_proto)"],
    ["ip,nw_frag=yes", "bad value for nw_frag (yes: wildcards not allowed here)"],
    ["in_port=foo", "bad value for in_port (foo: invalid or unknown port for in_port)"],
    ["in_port", "bad value for in_port (: invalid or unknown port for in_port)"],
    ["dl_vlan=70000", "bad value for dl_vlan (70000: value too large for 2-byte field dl_vlan)"],
    ["dl_vlan=5/0xfff", "bad value for dl_vlan (5/0xfff: invalid mask for field dl_vlan)"],
    ["tun_metadata0", "bad value for tun_metadata0 (: bad syntax for tun_metadata0 value)"],
    ["nw_src=1.2.3", "prerequisites not met for setting nw_src"],
    ["vlan_pcp=3", "prerequisites not met for setting vlan_pcp"],
    ["tcp_flags=fin,tcp", "prerequisites not met for setting tcp_flags"],
    ["ip,ipv6", "Ethernet type set multiple times"],
    ["in_port=1,in_port=2", "field in_port set multiple times"],
    ["reg0=1,xreg0=1", "field xreg0 set multiple times"],
    ["vlan_tci=0xffff,dl_vlan=3", "field dl_vlan set multiple times"],
    ["eth", "unknown field eth"],
    ["table=3", "unknown field table"],
  ])("refuses %s", (text, expected) => expect(told(text)).toBe(expected));

  it("gives every field one value, or refuses with words, whatever is written", () => {
    const word = fc.constantFrom(
      ...[
        "tcp",
        "ip",
        "ipv6",
        "in_port",
        "nw_src",
        "tcp_flags",
        "dl_vlan",
        "reg0",
        "xxreg0",
        "tun_metadata3",
      ],
      ...[
        "=",
        "=1",
        "=0x12",
        "/",
        "+syn",
        "1.2.3.4",
        ",",
        ",",
        "(",
        ")",
        "ct_state",
        "=trk|est",
        "vlan_tci",
        "]",
      ],
    );
    const text = fc.oneof(
      fc.array(word, { maxLength: 12 }).map((words) => words.join("")),
      fc.string(),
    );
    let taken = 0;
    fc.assert(
      fc.property(text, (flow) => {
        try {
          const match = parseExactFlow(flow);
          expect(match.every(({ mask }) => mask === undefined)).toBe(true);
          expect(new Set(match.map(({ field }) => field)).size).toBe(match.length);
          taken++;
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(PlinthError);
        }
      }),
      { numRuns: 500 },
    );
    expect(taken).toBeGreaterThan(10);
  });
});
