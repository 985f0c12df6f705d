import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatIpv4Address } from "../../base/wire/index.js";
import type { LoadBalancerInput, NetworkInput, PortInput } from "../inputs.js";
import { Inventory } from "./inventory.js";
import { formatMac } from "./mac.js";
import type { NetworkView } from "./views.js";

const network = (more: Partial<NetworkInput> = {}): NetworkInput => ({
  namespace: "shop",
  name: "front",
  vlan: 10,
  subnets: ["10.10.0.0/24"],
  ...more,
});
const port = (name: string, more: Partial<PortInput> = {}): PortInput => ({
  namespace: "shop",
  name,
  network: "front",
  virtualMachine: name,
  labels: {},
  namedPorts: [],
  ...more,
});
const balancer = (more: Partial<LoadBalancerInput> = {}): LoadBalancerInput => ({
  namespace: "shop",
  name: "web",
  network: "front",
  address: "10.10.0.100",
  targetPorts: [80],
  selector: { matchLabels: { tier: "web" } },
  drain: [],
  ...more,
});

function addressesOf(inventory: Inventory, key: string): string[] | undefined {
  return inventory.port(key)?.addresses.map(formatIpv4Address);
}

function withPorts(...ports: PortInput[]): Inventory {
  const inventory = new Inventory();
  inventory.setNetwork("shop/front", network());
  for (const one of ports) inventory.setPort(`shop/${one.name}`, one);
  inventory.settle();
  return inventory;
}

describe("Inventory", () => {
  it("skips network, DHCP server, gateway and requested addresses when it chooses", () => {
    const inventory = new Inventory();
    inventory.setNetwork("shop/front", network({ gateway: "10.10.0.1" }));
    inventory.setPort("shop/a", port("a"));
    inventory.setPort("shop/b", port("b", { addresses: ["10.10.0.3"] }));
    inventory.settle();
    expect(addressesOf(inventory, "shop/a")).toEqual(["10.10.0.4"]);
    expect(addressesOf(inventory, "shop/b")).toEqual(["10.10.0.3"]);
    expect(formatMac(inventory.port("shop/a")?.mac as number)).toMatch(/^02:50:/);
  });

  it("keeps what the status says after a restart, whatever the order", () => {
    const one = withPorts(port("a"), port("b"), port("c"));
    const status = (key: string) => ({
      allocated: {
        macAddress: formatMac(one.port(key)?.mac as number),
        addresses: addressesOf(one, key) as string[],
      },
    });
    const two = withPorts(port("0-new"), port("c", status("shop/c")), port("b", status("shop/b")));
    for (const key of ["shop/b", "shop/c"]) {
      expect(addressesOf(two, key)).toEqual(addressesOf(one, key));
      expect(two.port(key)?.mac).toBe(one.port(key)?.mac);
    }
    expect(addressesOf(two, "shop/0-new")).toEqual(["10.10.0.2"]);
  });

  it("refuses a taken, a foreign and a malformed address, and serves the first as soon as it is free", () => {
    const inventory = withPorts(
      port("a"),
      port("b", { addresses: ["10.10.0.255"] }),
      port("c", { addresses: ["10.11.0.1"] }),
      port("d", { macAddress: "01:00:00:00:00:01" }),
    );
    expect(inventory.refusalOf("Port", "shop/b")?.reason).toBe("InvalidAddress");
    expect(inventory.refusalOf("Port", "shop/c")?.reason).toBe("InvalidAddress");
    expect(inventory.refusalOf("Port", "shop/d")?.reason).toBe("InvalidAddress");
    inventory.setPort("shop/e", port("e", { addresses: ["10.10.0.2"] }));
    inventory.settle();
    expect(inventory.refusalOf("Port", "shop/e")).toMatchObject({
      reason: "AddressInUse",
      message: "10.10.0.2 belongs to Port/shop/a",
    });
    inventory.setPort("shop/a", undefined);
    expect(inventory.settle().ports).toContain("shop/e");
    expect(addressesOf(inventory, "shop/e")).toEqual(["10.10.0.2"]);
  });

  it("says which ports wait when a network is missing, wrong or full", () => {
    const inventory = new Inventory();
    inventory.setPort("shop/a", port("a"));
    inventory.settle();
    expect(inventory.refusalOf("Port", "shop/a")?.reason).toBe("NetworkNotFound");
    inventory.setNetwork("shop/front", network({ subnets: ["10.0.0.0/24", "10.0.0.128/25"] }));
    inventory.settle();
    expect(inventory.refusalOf("Port", "shop/a")?.reason).toBe("NetworkNotReady");
    inventory.setNetwork("shop/front", network({ subnets: ["10.0.0.0/30"] }));
    inventory.setPort("shop/b", port("b"));
    inventory.settle();
    expect(addressesOf(inventory, "shop/a")).toEqual(["10.0.0.2"]);
    expect(inventory.refusalOf("Port", "shop/b")?.reason).toBe("AddressesExhausted");
  });

  it("numbers segments by VLAN, never twice, and keeps a number from the status", () => {
    const inventory = new Inventory();
    inventory.setNetwork("a/x", network({ namespace: "a", name: "x" }));
    inventory.setNetwork("b/x", network({ namespace: "b", name: "x" }));
    inventory.setNetwork("c/x", network({ namespace: "c", name: "x", segmentId: 10 }));
    inventory.settle();
    const numbers = ["a/x", "b/x", "c/x"].map((key) => (inventory.network(key) as NetworkView).segmentId);
    expect(numbers[2]).toBe(10);
    expect(new Set(numbers).size).toBe(3);
  });

  it("gives a load balancer its address, a MAC, a probe address and the endpoints on its network", () => {
    const inventory = withPorts(
      port("web1", { labels: { tier: "web" } }),
      port("web2", { labels: { tier: "web" } }),
      port("db", { labels: { tier: "db" } }),
    );
    inventory.setFunction("shop/web", balancer({ drain: ["web2"] }));
    inventory.settle();
    const view = inventory.function("shop/web");
    expect(formatIpv4Address(view?.address as number)).toBe("10.10.0.100");
    expect(formatIpv4Address(view?.probeAddress as number)).toBe("10.10.0.5");
    expect(view?.endpoints.map((it) => [it.name, it.draining])).toEqual([
      ["web1", false],
      ["web2", true],
    ]);
    inventory.setPort("shop/web1", undefined);
    expect(inventory.settle().functions).toContain("shop/web");
    expect(inventory.function("shop/web")?.endpoints.map((it) => it.name)).toEqual(["web2"]);
  });

  it("never gives one address or MAC to two, over any sequence of changes", () => {
    const step = fc.record({
      name: fc.constantFrom("a", "b", "c", "d"),
      gone: fc.boolean(),
      addresses: fc.constantFrom([], ["10.0.0.2"], ["10.0.0.3"], ["10.0.0.2", "10.0.0.4"]),
      macAddress: fc.constantFrom(undefined, "02:00:00:00:00:01"),
    });
    fc.assert(
      fc.property(fc.array(fc.array(step, { maxLength: 3 }), { maxLength: 8 }), (steps) => {
        const inventory = new Inventory();
        inventory.setNetwork("shop/front", network({ subnets: ["10.0.0.0/29"] }));
        for (const batch of steps) {
          for (const { name, gone, addresses, macAddress } of batch) {
            const more = macAddress === undefined ? { addresses } : { addresses, macAddress };
            inventory.setPort(`shop/${name}`, gone ? undefined : port(name, more));
          }
          inventory.settle();
          const all = [...inventory.ports()];
          const addresses = all.flatMap((view) => view.addresses);
          expect(new Set(addresses).size).toBe(addresses.length);
          expect(new Set(all.map((view) => view.mac)).size).toBe(all.length);
          for (const view of all) expect(view.addresses.length).toBeGreaterThan(0);
        }
      }),
      { numRuns: 500 },
    );
  });
});
