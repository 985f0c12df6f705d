import { describe, expect, it } from "vitest";

import { explanationLines } from "./policy-commands.js";

describe("explanationLines()", () => {
  const denied = {
    allowed: false,
    text: ["may leave shop/a: no policy isolates it for egress", "may not reach shop/b: no rule allows it"],
    remedies: ["policy shop/b needs an ingress rule that allows TCP 80 from shop/a"],
    path: [
      { table: "ingress", priority: 0, cookie: "0x2a", resource: "NetworkPolicy shop/b", reason: "policy" },
      { table: "denied", priority: 0, cookie: "0x0", resource: "pipeline" },
    ],
  };

  it("gives the verdict, its reasons and what would have to change", () => {
    expect(explanationLines("shop/front", denied, false)).toEqual([
      "shop/front: denied",
      "  may leave shop/a: no policy isolates it for egress",
      "  may not reach shop/b: no rule allows it",
      "  to allow it: policy shop/b needs an ingress rule that allows TCP 80 from shop/a",
    ]);
  });

  it("adds the flows that the first packet meets", () => {
    expect(explanationLines("shop/front", denied, true).slice(4)).toEqual([
      "  table ingress: priority 0, cookie 0x2a, of NetworkPolicy shop/b (policy)",
      "  table denied: priority 0, cookie 0x0, of pipeline",
    ]);
    const apart = { allowed: true, text: [], remedies: [], path: [] };
    expect(explanationLines("outside", apart, true)).toEqual([
      "outside: allowed",
      "  no flows: not both ends are machines that are plugged in",
    ]);
  });
});
