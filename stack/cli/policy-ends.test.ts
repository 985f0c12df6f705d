import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { describeError, PlinthError } from "../../base/errors/index.js";
import type { NetworkFunction, Port, VirtualMachine } from "../resources/index.js";
import { type Inventory, pairsOf, resolveEnd } from "./policy-ends.js";

const machine = (namespace: string, name: string, ports: object[] = []) =>
  ({ metadata: { namespace, name }, spec: { ports } }) as unknown as VirtualMachine;
const port = (namespace: string, vm: string, network: string, ...addresses: string[]) =>
  ({
    metadata: { namespace, name: `${vm}-${network}` },
    spec: { virtualMachine: vm, network },
    status: { addresses },
  }) as unknown as Port;
const http = { name: "http", port: 80, protocol: "TCP" };

/**
 * shop: client and web1, web2 on front, web1 on back, too; balancer "web" in front of web1 and web2 (draining), balancer
 * "client" of no one, named like a machine. bank: web1, and a machine without a port. vm: a namespace named like a kind.
 */
const SHOP: Inventory = {
  machines: [
    machine("shop", "client"),
    machine("shop", "web1", [http, { name: "dns", port: 53, protocol: "UDP" }]),
    machine("shop", "web2", [http]),
    machine("bank", "web1"),
    machine("bank", "idle"),
    machine("vm", "web2"),
  ],
  ports: [
    port("shop", "client", "front", "10.10.0.2"),
    port("shop", "web1", "front", "10.10.0.3", "fd00:10::3"),
    port("shop", "web1", "back", "10.20.0.3"),
    port("shop", "web2", "front", "10.10.0.4"),
    port("bank", "web1", "vault", "10.30.0.2"),
    port("vm", "web2", "other", "10.40.0.2"),
  ],
  functions: [
    {
      metadata: { namespace: "shop", name: "web" },
      spec: {
        network: "front",
        loadBalancer: {
          address: "10.10.0.100",
          ports: [
            { name: "www", port: 80, targetPort: 8080, protocol: "TCP" },
            { port: 53, protocol: "UDP" },
          ],
        },
      },
      status: {
        address: "10.10.0.100",
        probeAddress: "10.10.0.101",
        endpoints: [
          { name: "web1", address: "10.10.0.3", draining: false },
          { name: "web2", address: "10.10.0.4", draining: true },
        ],
      },
    },
    {
      metadata: { namespace: "shop", name: "client" },
      spec: { network: "front", loadBalancer: { address: "10.10.0.110", ports: [] } },
    },
  ] as unknown as NetworkFunction[],
};

/** Keys of what the words mean, or the error in words. */
function meant(text: string, namespace = "shop"): string {
  try {
    return resolveEnd(text, SHOP, namespace)
      .places.map(({ key }) => key)
      .join(" ");
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(PlinthError);
    return describeError(thrown);
  }
}

describe("resolveEnd()", () => {
  it.each([
    ["web1", "shop/web1-front shop/web1-back"],
    ["bank/web1", "bank/web1-vault"],
    ["shop/web1@back", "shop/web1-back"],
    ["shop/web1[VirtualMachine]@shop/front", "shop/web1-front"],
    ["vm/web1", "shop/web1-front shop/web1-back"],
    ["virtualmachines.plinth.dev/web1", "shop/web1-front shop/web1-back"],
    ["bank/vm/web1", "bank/web1-vault"],
    // A namespace comes before a kind of the same name.
    ["vm/web2", "vm/web2-other"],
    ["shop/vm/web2", "shop/web2-front"],
    ["port/web1-back", "shop/web1-back"],
    ["web1-back", "shop/web1-back"],
    ["shop/web1-back[Port]", "shop/web1-back"],
    ["web", "shop/web1-front shop/web2-front"],
    ["nf/web", "shop/web1-front shop/web2-front"],
    ["shop/web[NetworkFunction]", "shop/web1-front shop/web2-front"],
    ["10.10.0.100", "shop/web1-front shop/web2-front"],
    ["10.20.0.3", "shop/web1-back"],
    ["fd00:10:0:0::3", "shop/web1-front"],
    ["[FD00:10::3]", "shop/web1-front"],
    ["198.51.100.7", "198.51.100.7"],
    ["198.51.100.7[External]", "198.51.100.7"],
    ["2001:db8::1", "2001:db8::1"],
  ])("%s is %s", (text, keys) => {
    expect(meant(text)).toBe(keys);
  });

  it.each([
    ["client", "client may be any of shop/client[VirtualMachine], shop/client[NetworkFunction]: say which"],
    [
      "db",
      "there is no machine db (namespace shop has shop/client[VirtualMachine], shop/web1[VirtualMachine], shop/web2[VirtualMachine], shop/web[NetworkFunction], shop/client[NetworkFunction])",
    ],
    ["idle", "there is no idle in namespace shop (there is bank/idle[VirtualMachine])"],
    ["vm/web", "there is no machine vm/web (there is shop/web[NetworkFunction])"],
    ["nowhere/db", "there is no machine nowhere/db"],
    ["bank/idle", "machine bank/idle has no port"],
    ["nf/client", "no machine serves behind load balancer shop/client"],
    ["web2@back", "web2@back has no interface on network back; its networks: shop/front"],
    ["a/b/c/d", "there is no machine a/b/c/d"],
    [
      "web1[Pod]",
      "web1[Pod]: there is no Pod to connect; expected VirtualMachine, NetworkFunction, Port or External",
    ],
    ["10.10.0.0/24", "10.10.0.0/24: expected one address, such as 198.51.100.7"],
    [
      "10.0.0.0-10.0.0.9[External]",
      "10.0.0.0-10.0.0.9[External]: expected one address, such as 198.51.100.7",
    ],
  ])("%s: %s", (text, message) => {
    expect(meant(text)).toBe(message);
  });

  it("knows a machine whose namespace is not said only in the namespace asked from", () => {
    expect(meant("web1", "bank")).toBe("bank/web1-vault");
    expect(meant("web1", "vm")).toBe(
      "there is no web1 in namespace vm (there is shop/web1[VirtualMachine], bank/web1[VirtualMachine])",
    );
  });

  it("answers any words with an end or an error of its own", () => {
    const words = fc.string({
      unit: fc.constantFrom(..."web12/[]@:.-vmnf0 ".split(""), "External", "client"),
      maxLength: 24,
    });
    fc.assert(
      fc.property(fc.oneof(words, fc.string()), (text) => {
        expect(meant(text)).not.toBe("");
      }),
    );
  });
});

describe("pairsOf()", () => {
  type Protocol = "TCP" | "UDP" | "SCTP" | "ICMP";
  function asked(
    source: string,
    destination: string,
    toPort?: string,
    protocol: Protocol = "TCP",
  ): unknown[] {
    const ends = [source, destination].map((text) => resolveEnd(text, SHOP, "shop"));
    const pairs = pairsOf(ends[0] as never, ends[1] as never, { protocol, port: toPort });
    return pairs.map(({ network, through, ask }) => {
      const words =
        "allowed" in ask ? `${ask.allowed ? "yes" : "no"}: ${ask.text}` : Object.values(ask).join(" ");
      return [network, ...(through === undefined ? [] : [through]), words];
    });
  }

  it("asks about every pair of interfaces on one network", () => {
    expect(asked("vm/client", "web1", "80")).toEqual([
      ["shop/front", "shop/client-front shop/web1-front TCP 80"],
    ]);
    expect(asked("web1", "web1@back", "80")).toEqual([
      ["shop/back", "yes: a machine reaches itself without a network"],
    ]);
    expect(asked("vm/client", "bank/web1", "80")).toEqual([]);
    expect(asked("198.51.100.7", "web1", "80").map((pair) => (pair as string[])[0])).toEqual([
      "shop/front",
      "shop/back",
    ]);
    expect(asked("web1@back", "2001:db8::1", undefined, "ICMP")).toEqual([
      ["shop/back", "shop/web1-back 2001:db8::1 ICMP"],
    ]);
  });

  it("takes the names that the destination gives to its ports, and says which there are", () => {
    expect(asked("vm/client", "web1", "http")).toEqual([
      ["shop/front", "shop/client-front shop/web1-front TCP 80"],
    ]);
    expect(asked("vm/client", "web1", "dns", "UDP")[0]).toEqual([
      "shop/front",
      "shop/client-front shop/web1-front UDP 53",
    ]);
    expect(() => asked("vm/client", "web1", "dns")).toThrow(
      "shop/web1-front has no TCP port dns: its machine names http (TCP 80), dns (UDP 53)",
    );
    expect(() => asked("web1", "vm/client", "http")).toThrow(
      "has no TCP port http: its machine names no ports",
    );
    for (const number of ["0", "65536", "99999999999"])
      expect(() => asked("vm/client", "web1", number)).toThrow(`from 1 to 65535, found ${number}`);
    expect(() => asked("vm/client", "web1")).toThrow("say to which TCP port, as in NAME:80");
  });

  it("asks about the machines behind a load balancer, at the port that it sends to", () => {
    const both = [
      [
        "shop/front",
        "shop/web[NetworkFunction] to shop/web1-front TCP 8080",
        "shop/client-front shop/web1-front TCP 8080",
      ],
      [
        "shop/front",
        "shop/web[NetworkFunction] to shop/web2-front TCP 8080 (draining: no new connections)",
        "shop/client-front shop/web2-front TCP 8080",
      ],
    ];
    for (const to of ["web", "10.10.0.100"]) expect(asked("vm/client", to, "80")).toEqual(both);
    expect(asked("vm/client", "web", "www")).toEqual(both);
    expect(asked("web1@front", "web", "53", "UDP")[0]).toEqual([
      "shop/front",
      "shop/web[NetworkFunction] to shop/web1-front UDP 53",
      "yes: a machine reaches itself through a load balancer, whatever policies say",
    ]);
    const nothing = "web balances TCP 80, UDP 53; nothing answers to";
    expect(asked("vm/client", "web", "81")[0]).toEqual(["shop/front", `no: ${nothing} TCP 81`]);
    expect(asked("vm/client", "web", undefined, "ICMP")[0]).toEqual(["shop/front", `no: ${nothing} ICMP`]);
  });

  it("knows where health checks come from, and that balancers open nothing themselves", () => {
    expect(asked("10.10.0.101", "web2", "8080")).toEqual([
      [
        "shop/front",
        "yes: health checks of shop/web[NetworkFunction] reach what it balances, whatever policies say",
      ],
    ]);
    expect(asked("10.10.0.101", "vm/client", "80")).toEqual([
      [
        "shop/front",
        "no: only the health checks of shop/web[NetworkFunction] come from 10.10.0.101, and only to what it balances",
      ],
    ]);
    expect(asked("vm/client", "10.10.0.101", "80")).toEqual([
      ["shop/front", "no: only answers to health checks reach 10.10.0.101"],
    ]);
    expect(() => asked("10.10.0.100", "web1", "80")).toThrow(
      "10.10.0.100 is a load balancer, which opens no connections of its own",
    );
  });
});
