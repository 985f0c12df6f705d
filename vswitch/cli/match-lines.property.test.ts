import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import { matchLine } from "./match-lines.js";

describe("matchLine()", () => {
  it.each([
    [
      "00000002(0001), 01020304(1111/1111), NXM_OF_ETH_TYPE(0800)",
      "NXM_OF_IN_PORT(0001), NXM_OF_ETH_TYPE(0800)",
    ],
    ["00010108(00000001/00000011)", "NXM_NX_REG0_W(00000001/00000011)"],
    [
      "NXM_OF_TCP_SRC(0001), NXM_OF_ETH_TYPE(0800), NXM_OF_IP_PROTO(01)",
      "NXM_OF_ETH_TYPE(0800), NXM_OF_IP_PROTO(01), NXM_OF_ICMP_TYPE(01)",
    ],
    [
      "NXM_OF_ETH_TYPE(0800), NXM_OF_IP_SRC(01020304), NXM_OF_ARP_SPA(01020304)",
      "nx_pull_match() returned error OFPBMC_DUP_FIELD",
    ],
    ["OXM_OF_VLAN_PCP(03)", "NXM_OF_VLAN_TCI_W(7000/f000)"],
    ["01020304(1111/2222)", "nx_pull_match() returned error OFPBMC_BAD_WILDCARDS"],
    ["NXM_OF_UDP_SRC(0001)", "OXM_OF_PACKET_TYPE(00000000)"],
  ])("tells what fits together of %s", (line, told) => {
    expect(matchLine(line, "nxm", false)).toBe(told);
  });

  it("raises only named errors whatever is typed", () => {
    const word = fc.constantFrom(
      ...[
        "NXM_OF_ETH_TYPE",
        "NXM_NX_REG0",
        "NXM_NX_REG0_W",
        "OXM_OF_VLAN_VID",
        "(",
        ")",
        "/",
        ", ",
        "0800",
        "00",
        "f",
      ],
      ...[
        "00010108",
        "ffff000800002320",
        "0001feff",
        "ffff0001",
        "12345678",
        "80000104",
        "<any>",
        "_W",
        "0001a504",
      ],
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 12 }), fc.boolean(), fc.boolean(), (words, isOxm, isStrict) => {
        try {
          expect(typeof matchLine(words.join(""), isOxm ? "oxm" : "nxm", isStrict)).toBe("string");
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(PlinthError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
