import { describe, expect, it } from "vitest";

import type { OxmFieldName, PacketIn } from "../../base/openflow/index.js";
import {
  ETHERTYPE_IPV4,
  encodeEthernet,
  encodeIpv4,
  encodeTcp,
  formatIpv4Address,
  IPPROTO_TCP,
  parseIpv4Address,
  parseMac,
  TCP_SYN,
} from "../../base/wire/index.js";
import { causeHash, cookieOf, parseCookie } from "../pipeline/cookie.js";
import { createShop, OFPORTS, policyChange, portInput } from "../testing/shop.js";
import { PolicyNewsDesk } from "./policy-news.js";

const WEB1 = "10.10.0.3";
const CLOSED = {
  namespace: "shop",
  name: "closed",
  spec: { podSelector: { matchLabels: { tier: "web" } }, policyTypes: ["Ingress"] },
};

/** A SYN to port 80 from `source`, a dotted address. */
function synFrom(source: string): Uint8Array {
  const ends = { source: parseIpv4Address(source), destination: parseIpv4Address(WEB1) };
  const payload = encodeTcp({ sourcePort: 40000, destinationPort: 80, sequence: 0, flags: TCP_SYN }, ends);
  return encodeEthernet({
    destination: parseMac("02:00:00:00:00:02"),
    source: parseMac("02:00:00:00:00:01"),
    etherType: ETHERTYPE_IPV4,
    payload: encodeIpv4({ ...ends, protocol: IPPROTO_TCP, payload }),
  });
}

describe("PolicyNewsDesk", () => {
  const { compiler, port } = createShop([CLOSED]);
  const clients = ["client2", "client3", "client4", "client5"];
  compiler.apply(
    clients.map((name) => ({
      kind: "Port",
      key: `shop/${name}`,
      value: portInput(name, "front", { tier: "client" }),
    })),
  );
  const identity = (name: string): number => compiler.policies.identityOf(`shop/${name}`)?.number ?? 0;
  const drop = parseCookie(cookieOf("dropped", { resource: "Pipeline" }));
  const told = (from: string, source: string, logged = false): PacketIn => {
    const fields: [OxmFieldName, number][] = [
      ["in_port", OFPORTS.get(from) ?? 0],
      ["reg2", identity("client")],
      ["reg4", OFPORTS.get("shop/web1") ?? 0],
      ["reg6", logged ? 4 : 0],
      ["reg7", causeHash("Ingress", `Identity/${identity("web1")}`)],
    ];
    const match = fields.map(([field, value]) => {
      const bytes = new Uint8Array(4);
      new DataView(bytes.buffer).setUint32(0, value);
      return { field, value: bytes };
    });
    return { match, data: synFrom(source) } as unknown as PacketIn;
  };
  const first = (desk: PolicyNewsDesk) =>
    desk.pairs(new Map()).map(({ source, destination }) => ({ source, destination }));

  it("names the machines of a dropped pair, with the policy", () => {
    const desk = new PolicyNewsDesk(compiler);
    expect(desk.take(told("shop/client", "10.10.0.2"), drop as never, "now")).toBe("policy-dropped");
    expect(desk.pairs(new Map())).toEqual([
      {
        source: "shop/client",
        destination: "shop/web1",
        direction: "Ingress",
        policies: ["NetworkPolicy/shop/closed"],
        example: { source: "10.10.0.2", destination: WEB1, protocol: "TCP", port: 80 },
        packets: 1,
      },
    ]);
  });

  it("names the clients of what a load balancer passes on: in a pair all that are counted with it", () => {
    const desk = new PolicyNewsDesk(compiler);
    desk.take(told("nf:shop/web", "10.10.0.2"), drop as never, "now");
    expect(first(desk)).toEqual([
      {
        source:
          "shop/client, shop/client2, shop/client3, shop/client4 and 1 more through shop/web[NetworkFunction]",
        destination: "shop/web1",
      },
    ]);
  });

  it("names the client itself in the log, by its address", () => {
    const desk = new PolicyNewsDesk(compiler);
    const [address] = port("client3").addresses;
    const text = formatIpv4Address(address ?? 0);
    desk.take(told("nf:shop/web", text, true), drop as never, "now");
    expect(desk.news.items).toEqual([
      expect.objectContaining({
        kind: "denied",
        from: "shop/client3 through shop/web[NetworkFunction]",
        to: "shop/web1",
        source: text,
      }),
    ]);
  });

  it("names the load balancer alone where nobody is known behind it", () => {
    const { compiler: other } = createShop([CLOSED]);
    other.apply([{ kind: "Port", key: "shop/client", value: undefined }, policyChange(CLOSED)]);
    const desk = new PolicyNewsDesk(other);
    desk.take(told("nf:shop/web", "10.10.0.2"), drop as never, "now");
    expect(first(desk)[0]?.source).toBe("shop/web[NetworkFunction]");
  });
});
