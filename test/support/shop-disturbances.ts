// Changes of the shop example that leave app → db alone: what stays allowed must not lose a packet by them.
import type { InventoryChange } from "../../sdn-controller/index.js";
import { policyChange, portInput } from "../../sdn-controller/testing/shop.js";

/** New labels, policies that mention them for the first time, rules around it. */
export function disturbances(round: number): InventoryChange[][] {
  const colour = ["red", "green", "blue"][round % 3] as string;
  const labelled = (name: string, tier: string): InventoryChange => ({
    kind: "Port",
    key: `shop/${name}`,
    value: portInput(name, "back", { tier, colour }),
  });
  const paint = (selected: string) => ({
    namespace: "shop",
    name: "paint",
    spec: {
      podSelector: { matchLabels: { colour: selected } },
      policyTypes: ["Ingress" as const],
      ingress: [{ ports: [{ port: 5432 }, { port: 6000 + round, endPort: 6100 }] }],
    },
  });
  return [
    [labelled("app", "app"), labelled("db", "db")],
    [policyChange(paint(colour))],
    [policyChange(paint("none")), labelled("web1-back", "web")],
    [policyChange(paint(colour), true)],
  ];
}

export function restored(): InventoryChange[] {
  return (
    [
      ["app", "app"],
      ["db", "db"],
      ["web1-back", "web"],
    ] as const
  ).map(([name, tier]) => ({
    kind: "Port",
    key: `shop/${name}`,
    value: portInput(name, "back", { tier }),
  }));
}
