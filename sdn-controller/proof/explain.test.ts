import { describe, expect, it } from "vitest";

import { createShop } from "../testing/shop.js";
import { explain } from "./explain.js";
import { reachablePairs } from "./plan.js";

const question = (source: string, destination: string, port: number) =>
  ({ source, destination, port, protocol: "TCP" }) as const;

describe("explain()", () => {
  const { compiler } = createShop();

  it("has nothing to change where the connection is allowed", () => {
    const answer = explain(compiler, question("shop/client", "shop/web1", 80));
    expect(answer.allowed).toBe(true);
    expect(answer.undelivered).toBeUndefined();
    expect(answer.remedies).toEqual([]);
    expect(answer.path.at(-1)).toMatchObject({ table: "output", resource: "Port/shop/web1" });
  });

  it("names every rule that allows it, as all of them must change to shut it off", () => {
    const opens = (name: string) => ({
      namespace: "shop",
      name,
      spec: { podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] },
    });
    const said = (...policies: Parameters<typeof createShop>[0] & object) =>
      explain(createShop(policies).compiler, question("shop/client", "shop/web1", 80)).text[1];
    expect(said(opens("a"), opens("b"))).toBe(
      "may reach shop/web1: ingress[0] of policy shop/a, ingress[0] of policy shop/b allow it",
    );
    expect(said(opens("a"))).toBe("may reach shop/web1: ingress[0] of policy shop/a allows it");
    expect(said(...["a", "b", "c", "d", "e", "f"].map((name) => opens(name)))).toMatch(
      /policy shop\/e and 1 more allow it$/,
    );
  });

  it("says of each direction that denies what would have to change", () => {
    const answer = explain(compiler, question("shop/web1-back", "shop/db", 5432));
    expect(answer.allowed).toBe(false);
    expect(answer.remedies).toEqual([
      "policy shop/default-deny or policy shop/web needs an egress rule that allows TCP 5432 to shop/db",
      "policy shop/db or policy shop/default-deny needs an ingress rule that allows TCP 5432 from shop/web1-back",
    ]);
    expect(answer.path.slice(-3)).toMatchObject([
      { table: "egress", reason: "egress-policy" },
      { table: "staged-egress" },
      { table: "denied" },
    ]);
    expect(answer.path.at(-1)?.reason).toBeUndefined();
  });

  it("names the admin rule that is in the way", () => {
    const all = { namespaces: {} };
    const { compiler: shop } = createShop();
    shop.apply([
      {
        kind: "AdminNetworkPolicy",
        key: "guard",
        value: {
          kind: "AdminNetworkPolicy",
          name: "guard",
          spec: { priority: 5, subject: all, ingress: [{ action: "Deny", from: [all] }] },
        },
      },
    ]);
    expect(explain(shop, question("shop/client", "shop/web1", 80)).remedies).toEqual([
      "ingress[0] of AdminNetworkPolicy guard must leave out TCP 80 from shop/client, " +
        "or an AdminNetworkPolicy of a lower priority number must allow it",
    ]);
  });

  it("judges an address outside by the policies of the machine alone", () => {
    const { compiler: shop } = createShop([
      {
        namespace: "shop",
        name: "out",
        spec: {
          podSelector: {},
          policyTypes: ["Egress"],
          egress: [{ to: [{ ipBlock: { cidr: "192.0.2.0/24" } }] }],
        },
      },
    ]);
    const ask = (source: string, destination: string) => explain(shop, question(source, destination, 443));
    expect(ask("shop/client", "192.0.2.7")).toMatchObject({
      allowed: true,
      text: [
        "may leave shop/client: egress[0] of policy shop/out allows it",
        "may reach 192.0.2.7: no policy speaks of addresses that no machine has",
      ],
      undelivered:
        "no machine on shop/front has 192.0.2.7, and no router leads on: the switch drops it (unknown-destination)",
      path: [],
    });
    expect(ask("shop/client", "198.51.100.1").remedies).toEqual([
      "policy shop/out needs an egress rule that allows TCP 443 to 198.51.100.1",
    ]);
    expect(ask("198.51.100.1", "shop/client")).toMatchObject({
      allowed: true,
      undelivered: "no machine on shop/front may send from 198.51.100.1: the switch drops it (spoofed-ip)",
    });
    expect(ask("198.51.100.1", "192.0.2.7")).toMatchObject({
      allowed: false,
      text: ["neither end is a machine's, so no policy speaks of them"],
    });
    expect(ask("shop/gone", "192.0.2.7").text).toEqual(["there is no allocated port shop/gone"]);
  });

  it("knows what joins no two networks", () => {
    expect(explain(compiler, question("shop/client", "shop/db", 5432)).remedies).toEqual([
      "both machines need an interface on one network",
    ]);
  });
});

describe("reachablePairs()", () => {
  it("lists every pair and every machine, with the network where a machine has several", () => {
    const { pairs, machines } = reachablePairs(createShop().compiler);
    expect(
      pairs.map(({ source, destination, connections }) => `${source} => ${destination} : ${connections}`),
    ).toEqual([
      "shop/app[VirtualMachine] => shop/db[VirtualMachine] : TCP 5432",
      "shop/client[VirtualMachine] => shop/web1[VirtualMachine]@front : TCP 80",
      "shop/client[VirtualMachine] => shop/web2[VirtualMachine]@front : TCP 80",
      "shop/web1[VirtualMachine]@back => shop/app[VirtualMachine] : TCP 8080",
      "shop/web2[VirtualMachine]@back => shop/app[VirtualMachine] : TCP 8080",
    ]);
    expect(machines).toHaveLength(7);
    expect(machines).toContain("shop/web1[VirtualMachine]@back");
  });
});
