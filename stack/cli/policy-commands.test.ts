import { describe, expect, it } from "vitest";

import { explanationLines, formatDropReport } from "./policy-commands.js";

describe("explanationLines()", () => {
  const ends = { network: "shop/front", source: "shop/a", destination: "shop/b" };
  const denied = {
    ...ends,
    allowed: false,
    text: ["may leave shop/a: no policy isolates it for egress", "may not reach shop/b: no rule allows it"],
    remedies: ["policy shop/b needs an ingress rule that allows TCP 80 from shop/a"],
    path: [
      { table: "ingress", priority: 0, cookie: "0x2a", resource: "NetworkPolicy shop/b", reason: "policy" },
      { table: "denied", priority: 0, cookie: "0x0", resource: "pipeline" },
    ],
  };

  it("gives the verdict, its reasons and what would have to change", () => {
    expect(explanationLines(denied, false)).toEqual([
      "shop/front: denied",
      "  may leave shop/a: no policy isolates it for egress",
      "  may not reach shop/b: no rule allows it",
      "  to allow it: policy shop/b needs an ingress rule that allows TCP 80 from shop/a",
    ]);
  });

  it("says by which load balancer, and to which machine behind it", () => {
    const through = "shop/web[NetworkFunction] to shop/web1 TCP 8080";
    expect(explanationLines({ ...denied, through }, false)[0]).toBe(`shop/front, through ${through}: denied`);
  });

  it("adds the flows that the first packet meets", () => {
    expect(explanationLines(denied, true).slice(4)).toEqual([
      "  table ingress: priority 0, cookie 0x2a, of NetworkPolicy shop/b (policy)",
      "  table denied: priority 0, cookie 0x0, of pipeline",
    ]);
    const lost = { ...denied, allowed: true, undelivered: "nobody has it" };
    expect(explanationLines(lost, false)[0]).toBe("shop/front: allowed by policies, and not delivered");
    expect(explanationLines(lost, false)).toContain("  nobody has it");
    const apart = { ...ends, network: "outside", allowed: true, text: [], remedies: [], path: [] };
    expect(explanationLines(apart, true)).toEqual([
      "outside: allowed",
      "  no flows: not both ends are machines that are plugged in",
    ]);
  });
});

describe("formatDropReport()", () => {
  it("names pairs with the policies that keep them apart, and what staged policies would do", () => {
    const text = formatDropReport({
      pairs: [
        {
          source: "shop/web1",
          destination: "shop/db",
          policies: ["NetworkPolicy/shop/db"],
          direction: "Ingress",
          packets: 7,
          example: { protocol: "TCP", port: 5432 },
        },
      ],
      reasons: [{ reason: "ingress-policy", resource: "Identity/1", machines: ["shop/db"], packets: 7 }],
      staged: [
        {
          verdict: "deny",
          resource: "Identity/1",
          machines: ["shop/db"],
          policies: ["shop/new"],
          packets: 2,
        },
      ],
      cut: [],
    });
    const lines = text.split("\n").map((line) => line.trim().replace(/ {2,}/g, " | "));
    expect(lines).toEqual([
      "PACKETS | FROM | TO | FIRST SEEN | DENIED BY",
      "7 | shop/web1 | shop/db | TCP 5432 | ingress of NetworkPolicy/shop/db",
      "",
      "PACKETS | REASON | RESOURCE",
      "7 | ingress-policy | VirtualMachine shop/db",
      "",
      "PACKETS | STAGED POLICY WOULD | RESOURCE",
      "2 | deny | VirtualMachine shop/db by NetworkPolicy shop/new",
    ]);
    expect(formatDropReport({ pairs: [], reasons: [], staged: [], cut: [] })).toBe("Nothing was dropped.");
  });
});
