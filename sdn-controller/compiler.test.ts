import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import { OFPP_CONTROLLER, OFPP_IN_PORT, OFPP_LOCAL, OFPP_MAX } from "../base/openflow/index.js";
import { tryParseIpv4Address } from "../base/wire/index.js";
import { Compiler } from "./compiler.js";
import type { PortView } from "./network/views.js";
import type { Flow } from "./pipeline/flow.js";
import { TABLES } from "./pipeline/tables.js";
import { judge } from "./policy/oracle.js";
import { type Fields, FlowModel, type ModelResult } from "./proof/flow-model.js";
import {
  adminPolicies,
  connectionOf,
  namespaceLabels,
  pods,
  policies,
  probe,
} from "./testing/arbitraries.js";
import { createShop, OFPORTS, POLICIES, policyChange, type Shop } from "./testing/shop.js";
import { createWorld, IPV4_ONLY, worldAddress, worldEnds } from "./testing/world.js";

const ICMP = 1;
const TCP = 6;
let shop: Shop;
let model: FlowModel;

function flowsOf(compiler: Compiler): Flow[] {
  return [...compiler.flows.keys()].map((key) => compiler.flows.flow(key) as Flow);
}

beforeEach(() => {
  shop = createShop();
  model = new FlowModel(flowsOf(shop.compiler));
});

function segment(from: PortView, to: PortView, tcpDst: number, more: Fields = {}): Fields {
  return {
    in_port: OFPORTS.get(from.key) as number,
    eth_src: from.mac,
    eth_dst: to.mac,
    eth_type: 0x0800,
    ipv4_src: from.addresses[0] as number,
    ipv4_dst: to.addresses[0] as number,
    ip_proto: TCP,
    tcp_src: 40000,
    tcp_dst: tcpDst,
    ...more,
  };
}

/** The packet that answers what came out as `sent`. */
function replyTo(sent: Fields, inPort: number): Fields {
  return {
    in_port: inPort,
    eth_src: sent.eth_dst ?? 0,
    eth_dst: sent.eth_src ?? 0,
    eth_type: 0x0800,
    ipv4_src: sent.ipv4_dst ?? 0,
    ipv4_dst: sent.ipv4_src ?? 0,
    ip_proto: TCP,
    tcp_src: sent.tcp_dst ?? 0,
    tcp_dst: sent.tcp_src ?? 0,
  };
}

const ports = (result: ModelResult): number[] => result.outputs.map((it) => it.port);
const reason = (result: ModelResult): string | undefined =>
  result.path.map((flow) => flow.origin.reason).find((it) => it !== undefined);

describe("spoof guard", () => {
  const own = () => segment(shop.port("app"), shop.port("db"), 5432);
  it.each([
    ["another MAC", () => ({ ...own(), eth_src: 0x020000000001 }), "spoofed-mac"],
    [
      "another address",
      () => ({ ...own(), ipv4_src: shop.port("web1-back").addresses[0] as number }),
      "spoofed-ip",
    ],
    ["a tag", () => ({ ...own(), vlan_vid: 0x1000 | 10 }), "tagged-frame"],
    ["a priority tag", () => ({ ...own(), vlan_vid: 0x1000 }), "tagged-frame"],
    ["IPv6", () => ({ ...own(), eth_type: 0x86dd }), "ipv6-not-enabled"],
    ["LLDP", () => ({ ...own(), eth_type: 0x88cc }), "unsupported-ethertype"],
    [
      "a DHCP server's reply",
      () => ({ ...own(), ip_proto: 17, udp_src: 67, udp_dst: 68 }),
      "dhcp-server-on-access-port",
    ],
    ["an unknown switch port", () => ({ ...own(), in_port: 77 }), "unknown-port", "Pipeline"],
    ["multicast", () => ({ ...own(), eth_dst: 0x01005e000001 }), "multicast-not-enabled", "Pipeline"],
    [
      "a MAC and an address that do not belong together",
      () => ({ ...own(), eth_dst: shop.port("web1-back").mac }),
      "unknown-destination",
      "Pipeline",
    ],
  ])("drops %s, and counts it for whoever sent it", (_name, packet, expected, whose = "Port/shop/app") => {
    const result = model.run(packet());
    expect(ports(result)).toEqual([]);
    expect(result.toController).toBe(false);
    expect(reason(result)).toBe(expected);
    expect(result.path.find(({ origin }) => origin.reason !== undefined)?.origin.resource).toBe(whose);
  });

  it("keeps the host off the networks: it sends nothing, and no flow sends to it or floods", () => {
    const result = model.run({ ...own(), in_port: OFPP_LOCAL });
    expect([ports(result), reason(result)]).toEqual([[], "unknown-port"]);
    const targets = flowsOf(shop.compiler)
      .flatMap(({ instructions }) => instructions)
      .flatMap((each) => (each.type === "apply_actions" ? each.actions : []))
      .flatMap((action) => (action.type === "output" ? [action.port] : []));
    // The highest numbers are no ports, but ways to many or to the host; only back to the sender and the controller are used.
    expect(new Set(targets.filter((port) => port >= OFPP_MAX))).toEqual(
      new Set([OFPP_IN_PORT, OFPP_CONTROLLER]),
    );
  });

  it("drops ARP in another's name and answers it in the port's own", () => {
    const from = shop.port("app");
    const to = shop.port("db");
    const arp: Fields = {
      in_port: 4,
      eth_src: from.mac,
      eth_dst: 0xffffffffffff,
      eth_type: 0x0806,
      arp_op: 1,
      arp_sha: from.mac,
      arp_spa: from.addresses[0] as number,
      arp_tpa: to.addresses[0] as number,
    };
    const [answer] = model.run(arp).outputs;
    expect(answer?.port).toBe(4);
    expect(answer?.fields).toMatchObject({
      eth_src: to.mac,
      eth_dst: from.mac,
      arp_op: 2,
      arp_sha: to.mac,
      arp_spa: to.addresses[0],
      arp_tha: from.mac,
      arp_tpa: from.addresses[0],
    });
    expect(reason(model.run({ ...arp, arp_spa: to.addresses[0] as number }))).toBe("spoofed-arp");
    expect(reason(model.run({ ...arp, arp_sha: to.mac }))).toBe("spoofed-arp");
    expect(reason(model.run({ ...arp, arp_tpa: shop.port("client").addresses[0] as number }))).toBe(
      "arp-for-unknown-address",
    );
    expect(reason(model.run({ ...arp, arp_spa: 0, arp_tpa: from.addresses[0] as number }))).toBe(
      "arp-announcement",
    );
  });

  it("hands DHCP requests, and nothing else, to the controller", () => {
    const from = shop.port("app");
    const discover: Fields = {
      in_port: 4,
      eth_src: from.mac,
      eth_dst: 0xffffffffffff,
      eth_type: 0x0800,
      ipv4_src: 0,
      ipv4_dst: 0xffffffff,
      ip_proto: 17,
      udp_src: 68,
      udp_dst: 67,
    };
    expect(model.run(discover).toController).toBe(true);
    const renew = {
      ...discover,
      ipv4_src: from.addresses[0] as number,
      ipv4_dst: from.network.dhcpAddresses[0] as number,
    };
    expect(model.run(renew).toController).toBe(true);
    expect(model.run({ ...discover, udp_src: 1000 }).toController).toBe(false);
    expect(model.run({ ...renew, ipv4_dst: shop.port("db").addresses[0] as number }).toController).toBe(
      false,
    );
  });
});

describe("policies of the example", () => {
  it.each([
    ["web1-back", "app", 8080, true],
    ["web1-back", "app", 8081, false],
    ["app", "db", 5432, true],
    ["web1-back", "db", 5432, false],
    ["db", "app", 8080, false],
    ["client", "web1", 80, true],
    ["client", "web1", 22, false],
    ["web1", "web2", 80, false],
  ])("%s to %s port %i: %s", (from, to, port, allowed) => {
    const sent = model.run(segment(shop.port(from), shop.port(to), port));
    expect(ports(sent)).toEqual(allowed ? [OFPORTS.get(`shop/${to}`)] : []);
  });

  it("let replies through and nothing else from the other side", () => {
    const request = segment(shop.port("app"), shop.port("db"), 5432);
    const reply = replyTo(request, 5);
    expect(ports(model.run(reply))).toEqual([]);
    expect(ports(model.run(request))).toEqual([5]);
    expect(ports(model.run(reply))).toEqual([4]);
    expect(ports(model.run({ ...reply, tcp_dst: 40001 }))).toEqual([]);
  });

  it("keep networks apart even for a frame with the right MAC and address", () => {
    const packet = segment(shop.port("client"), shop.port("db"), 5432);
    expect(reason(model.run(packet))).toBe("unknown-destination");
  });

  it("cut a connection that is no longer allowed in both directions, and mend it when it is again", () => {
    const request = segment(shop.port("app"), shop.port("db"), 5432);
    const reply = replyTo(request, 5);
    model.run(request);
    const db = POLICIES.find((policy) => policy.name === "db");
    if (db === undefined) throw new Error("no such policy");
    shop.compiler.apply([policyChange(db, true)]);
    model.replace(flowsOf(shop.compiler));
    expect(reason(model.run(request))).toBe("ingress-policy");
    expect(reason(model.run(reply))).toBe("connection-cut");
    shop.compiler.apply([policyChange(db)]);
    model.replace(flowsOf(shop.compiler));
    expect(ports(model.run(request))).toEqual([5]);
    expect(ports(model.run(reply))).toEqual([4]);
  });
});

describe("load balancer steering", () => {
  function throughBalancer(to: "web1" | "web2", port = 80) {
    const client = shop.port("client");
    const balancer = shop.balancer();
    const toVip = segment(client, client, port, { eth_dst: balancer.mac, ipv4_dst: balancer.address });
    const endpoint = shop.port(to);
    const rewritten: Fields = {
      ...toVip,
      in_port: 9,
      eth_src: balancer.mac,
      eth_dst: endpoint.mac,
      ipv4_dst: endpoint.addresses[0] as number,
    };
    return { client, balancer, toVip, endpoint, rewritten };
  }

  it("takes a client's packet to the balancer and on to the endpoint, and the reply back the same way", () => {
    const { client, balancer, toVip, endpoint, rewritten } = throughBalancer("web2");
    expect(ports(model.run(toVip))).toEqual([9]);
    expect(ports(model.run(rewritten))).toEqual([3]);
    const reply = { ...replyTo(rewritten, 3), eth_dst: client.mac, eth_src: endpoint.mac };
    expect(ports(model.run(reply))).toEqual([9]);
    const back = { ...reply, in_port: 9, eth_src: balancer.mac, ipv4_src: balancer.address };
    expect(ports(model.run(back))).toEqual([1]);
  });

  it("lets a machine reach itself through the virtual address, whatever the policies say", () => {
    const { balancer, endpoint } = throughBalancer("web1");
    const toVip = segment(endpoint, endpoint, 80, { eth_dst: balancer.mac, ipv4_dst: balancer.address });
    expect(ports(model.run(toVip))).toEqual([9]);
    const returned: Fields = {
      ...toVip,
      in_port: 9,
      eth_src: balancer.mac,
      eth_dst: endpoint.mac,
      ipv4_src: balancer.address,
      ipv4_dst: endpoint.addresses[0] as number,
    };
    expect(ports(model.run(returned))).toEqual([2]);
    expect(ports(model.run(replyTo(returned, 2)))).toEqual([9]);
  });

  it("judges the client against the real endpoint", () => {
    const { rewritten } = throughBalancer("web1", 22);
    expect(reason(model.run(rewritten))).toBe("egress-policy");
    const other = shop.port("web2");
    const { rewritten: allowed } = throughBalancer("web1");
    expect(ports(model.run({ ...allowed, ipv4_src: other.addresses[0] as number }))).toEqual([]);
  });

  it("does not steer replies of connections that clients make themselves", () => {
    const request = segment(shop.port("client"), shop.port("web1"), 80);
    model.run(request);
    expect(ports(model.run(replyTo(request, 2)))).toEqual([1]);
  });

  it("lets health checks and their replies through whatever the policies say", () => {
    const { balancer, endpoint } = throughBalancer("web1");
    const check: Fields = {
      ...segment(endpoint, endpoint, 80, { in_port: 9, eth_src: balancer.mac }),
      ipv4_src: balancer.probeAddress,
    };
    expect(ports(model.run(check))).toEqual([2]);
    expect(ports(model.run(replyTo(check, 2)))).toEqual([9]);
    const stranger = segment(shop.port("client"), endpoint, 80, {
      eth_dst: balancer.mac,
      ipv4_dst: balancer.probeAddress,
    });
    expect(reason(model.run(stranger))).toBe("unknown-destination");
  });

  it("lets health checks by ICMP and their replies through, and no other machine's", () => {
    const { balancer, endpoint, client } = throughBalancer("web1");
    const echo: Fields = {
      in_port: 9,
      eth_src: balancer.mac,
      eth_dst: endpoint.mac,
      eth_type: 0x0800,
      ipv4_src: balancer.probeAddress,
      ipv4_dst: endpoint.addresses[0] as number,
      ip_proto: ICMP,
      icmpv4_type: 8,
      icmpv4_code: 0,
    };
    expect(ports(model.run(echo))).toEqual([2]);
    const reply: Fields = {
      ...echo,
      in_port: 2,
      eth_src: endpoint.mac,
      eth_dst: balancer.mac,
      ipv4_src: endpoint.addresses[0] as number,
      ipv4_dst: balancer.probeAddress,
      icmpv4_type: 0,
    };
    expect(ports(model.run(reply))).toEqual([9]);
    const stranger = {
      ...reply,
      in_port: 1,
      eth_src: client.mac,
      ipv4_src: client.addresses[0] as number,
    };
    expect(ports(model.run(stranger))).toEqual([]);
    expect(ports(model.run({ ...stranger, ipv4_dst: endpoint.addresses[0] as number }))).toEqual([]);
  });

  it("refuses the balancer's port any address outside the network", () => {
    const { rewritten } = throughBalancer("web1");
    expect(reason(model.run({ ...rewritten, ipv4_src: tryParseIpv4Address("8.8.8.8") as number }))).toBe(
      "spoofed-ip",
    );
  });
});

describe("Compiler", () => {
  it("gives every installed flow back when everything is gone", () => {
    const empty = new Compiler();
    const { compiler } = shop;
    compiler.setAttachments(new Map());
    compiler.apply([
      ...POLICIES.map((policy) => policyChange(policy, true)),
      ...["client", "web1", "web2", "web1-back", "web2-back", "app", "db"].map(
        (name) => ({ kind: "Port", key: `shop/${name}`, value: undefined }) as const,
      ),
      { kind: "NetworkFunction", key: "shop/web", value: undefined },
      { kind: "Network", key: "shop/front", value: undefined },
      { kind: "Network", key: "shop/back", value: undefined },
    ]);
    expect([...compiler.flows.keys()].sort()).toEqual([...empty.flows.keys()].sort());
  });

  it("comes to the same flows from the same inventory in any order", () => {
    const text = (compiler: Compiler) =>
      flowsOf(compiler)
        .map((flow) => `${flow.key} ${flow.body}`)
        .sort();
    const one = createShop();
    const two = createShop([...POLICIES].reverse());
    expect(text(two.compiler)).toEqual(text(one.compiler));
    expect(createShop([]).compiler.flows.size).toBeLessThan(one.compiler.flows.size);
  });

  it("forks into the same policy tables whether it compiles everything or only what policies make of it", () => {
    const [, client] = POLICIES;
    if (client === undefined) throw new Error("no policy");
    const tables = new Set(
      (["admin-egress", "egress", "admin-ingress", "ingress"] as const).map((name) => TABLES[name].id),
    );
    const changes = [
      policyChange({ ...client, spec: { ...client.spec, egress: [{}] } }),
      { kind: "Namespace", key: "shop", value: { name: "shop", labels: { team: "a" } } } as const,
    ];
    const text = (compiler: Compiler) =>
      [...compiler.flows.inTables(tables)].map(({ key, body }) => `${key} ${body}`).sort();
    const short = shop.compiler.fork(changes);
    expect(text(short)).toEqual(text(shop.compiler.fork(changes, () => true)));
    expect(text(short)).not.toEqual(text(shop.compiler));
    expect([...short.inventory.ports()].length).toBe(7);
    // And once more from there.
    expect(text(short.fork([policyChange(client)]))).toEqual(text(shop.compiler));
    expect(() => short.apply([{ kind: "Network", key: "shop/back", value: undefined }])).toThrow(
      /stays as it is/,
    );
  });

  it("touches only the flows of what changed", () => {
    shop.compiler.flows.takeTouched();
    const [, client] = POLICIES;
    if (client === undefined) throw new Error("no policy");
    const result = shop.compiler.apply([policyChange({ ...client, spec: { ...client.spec, egress: [] } })]);
    expect(result.ownersTouched).toBeLessThanOrEqual(2);
    expect(
      [...shop.compiler.flows.takeTouched()].every((key) => key.startsWith(`${TABLES.egress.id} `)),
    ).toBe(true);
    expect(shop.compiler.apply([]).ownersTouched).toBe(0);
  });

  it("judges every connection as the oracle does", () => {
    const PROTOCOLS: Record<string, number> = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1 };
    fc.assert(
      fc.property(
        policies,
        adminPolicies,
        pods,
        namespaceLabels,
        fc.array(fc.tuple(probe, fc.constantFrom(4, 6)), { minLength: 4, maxLength: 10 }),
        (all, admin, vms, names, probes) => {
          const compiler = createWorld(all, admin, vms, names);
          for (const [one, family] of probes) {
            const source = Math.max(0, one.source) % vms.length;
            const destination = one.destination % vms.length;
            const [from, to] = [source, destination].map((i) =>
              compiler.inventory.port(`${vms[i]?.namespace}/p${i}`),
            );
            if (from === undefined || to === undefined || source === destination) continue;
            if (from.network.key !== to.network.key) continue;
            if (family === 6 && from.namespace === IPV4_ONLY) continue;
            const connection = connectionOf({ ...one, source, destination }, vms);
            const moved = {
              ...connection,
              source: { ...connection.source, address: worldAddress(source, family) },
              destination: { ...connection.destination, address: worldAddress(destination, family) },
            };
            const protocol = one.protocol.toLowerCase();
            const packet: Fields = {
              in_port: source + 1,
              eth_src: from.mac,
              eth_dst: to.mac,
              ...worldEnds(source, destination, family),
              ip_proto: one.protocol === "ICMP" && family === 6 ? 58 : (PROTOCOLS[one.protocol] as number),
              ...(protocol === "icmp" ? {} : { [`${protocol}_dst`]: one.port, [`${protocol}_src`]: 999 }),
            };
            const result = new FlowModel(flowsOf(compiler)).run(packet);
            const expected = judge(all, (name) => names[name] ?? {}, moved, admin);
            expect(ports(result).length > 0).toBe(expected.allowed);
          }
        },
      ),
      { numRuns: 150 },
    );
  });
});
