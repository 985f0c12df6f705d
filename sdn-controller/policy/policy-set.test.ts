import { describe, expect, it } from "vitest";
import { GONE_POLICIES_MAX } from "../limits.js";
import { hash32 } from "../network/hash.js";
import {
  formatIpPrefix,
  type IpAddress,
  type IpPrefix,
  parseIpPrefix,
  subtractIpPrefixes,
  tryParseIpAddress,
} from "../network/ip-address.js";
import type { NetworkPolicySpec } from "./network-policy.js";
import { directionsOf } from "./network-policy.js";
import { modelOfNetworkPolicy } from "./policy-model.js";
import { PolicySet } from "./policy-set.js";
import { portMasks } from "./port-mask.js";
import { verdictOf } from "./verdict.js";

function three(): PolicySet {
  const set = new PolicySet();
  set.setNamespace("shop", { team: "a" });
  set.setNamespace("other", {});
  set.setPort("web1", {
    namespace: "shop",
    labels: { tier: "web", vm: "1" },
    namedPorts: [{ name: "http", port: 80 }],
  });
  set.setPort("web2", {
    namespace: "shop",
    labels: { tier: "web", vm: "2" },
    namedPorts: [{ name: "http", port: 8080 }],
  });
  set.setPort("db", { namespace: "shop", labels: { tier: "db" }, namedPorts: [] });
  set.setPort("spy", { namespace: "other", labels: { tier: "web" }, namedPorts: [] });
  return set;
}

function can(set: PolicySet, from: string, to: string, port: number, protocol = 6): boolean {
  const end = (key: string, address: string) => ({
    identity: set.identityOf(key)?.number ?? 0,
    address: tryParseIpAddress(address) as IpAddress,
  });
  return verdictOf(set, { source: end(from, "10.0.0.1"), destination: end(to, "10.0.0.2"), protocol, port })
    .allowed;
}

function withPolicy(spec: NetworkPolicySpec): PolicySet {
  const set = three();
  set.setPolicy("NetworkPolicy/shop/p", modelOfNetworkPolicy({ namespace: "shop", name: "p", spec }));
  set.settle();
  return set;
}

describe("PolicySet", () => {
  it("shares one identity between ports that no policy tells apart", () => {
    const set = withPolicy({ podSelector: { matchLabels: { tier: "db" } } });
    expect(set.identityOf("web1")).toBe(set.identityOf("web2"));
    expect(set.identityOf("web1")?.number).not.toBe(set.identityOf("db")?.number);
    expect(set.identityOf("web1")?.number).not.toBe(set.identityOf("spy")?.number);
  });

  it("isolates without a rule when ingress is missing, and allows all when it holds one empty rule", () => {
    expect(can(withPolicy({ podSelector: {} }), "web1", "db", 5432)).toBe(false);
    expect(can(withPolicy({ podSelector: {}, ingress: [] }), "web1", "db", 5432)).toBe(false);
    expect(can(withPolicy({ podSelector: {}, ingress: [{}] }), "spy", "db", 5432)).toBe(true);
    expect(can(withPolicy({ podSelector: {}, ingress: [{ from: [], ports: [] }] }), "spy", "db", 5432)).toBe(
      true,
    );
  });

  it("keeps a podSelector in its own namespace unless a namespaceSelector widens it", () => {
    const web = { matchLabels: { tier: "web" } };
    const own = withPolicy({ podSelector: {}, ingress: [{ from: [{ podSelector: web }] }] });
    expect([can(own, "web1", "db", 1), can(own, "spy", "db", 1)]).toEqual([true, false]);
    const all = withPolicy({
      podSelector: {},
      ingress: [{ from: [{ podSelector: web, namespaceSelector: {} }] }],
    });
    expect([can(all, "spy", "db", 1), can(all, "db", "db", 1)]).toEqual([true, false]);
    const team = withPolicy({
      podSelector: {},
      ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: "a" } } }] }],
    });
    expect([can(team, "spy", "db", 1), can(team, "db", "web1", 1)]).toEqual([false, true]);
  });

  it("resolves a named port at the destination, in both directions", () => {
    const ingress = withPolicy({
      podSelector: { matchLabels: { tier: "web" } },
      ingress: [{ ports: [{ port: "http" }] }],
    });
    expect([
      can(ingress, "db", "web1", 80),
      can(ingress, "db", "web2", 80),
      can(ingress, "db", "web2", 8080),
    ]).toEqual([true, false, true]);
    const egress = withPolicy({
      podSelector: { matchLabels: { tier: "db" } },
      policyTypes: ["Egress"],
      egress: [{ ports: [{ port: "http" }] }],
    });
    expect([
      can(egress, "db", "web1", 80),
      can(egress, "db", "web2", 80),
      can(egress, "web1", "db", 1),
    ]).toEqual([true, false, true]);
  });

  it("compiles again only what a change can affect", () => {
    const set = withPolicy({
      podSelector: { matchLabels: { tier: "db" } },
      ingress: [{ ports: [{ port: 1 }] }],
    });
    set.setPolicy(
      "NetworkPolicy/other/q",
      modelOfNetworkPolicy({ namespace: "other", name: "q", spec: { podSelector: {} } }),
    );
    set.settle();
    set.setPort("web3", { namespace: "shop", labels: { tier: "web" }, namedPorts: [] });
    expect(set.settle()).toMatchObject({ ports: new Set(["web3"]), policies: new Set(), rulesTouched: 0 });
    set.setPort("cache", { namespace: "shop", labels: { tier: "cache" }, namedPorts: [] });
    expect([...set.settle().policies]).toEqual([]);
    set.setPort("spy2", { namespace: "other", labels: { tier: "x" }, namedPorts: [] });
    expect([...set.settle().policies]).toEqual(["NetworkPolicy/other/q"]);
  });
});

describe("directionsOf()", () => {
  it("defaults to Ingress, and Egress only with egress rules", () => {
    expect(directionsOf({})).toEqual(["Ingress"]);
    expect(directionsOf({ egress: [] })).toEqual(["Ingress"]);
    expect(directionsOf({ egress: [{}], policyTypes: [] })).toEqual(["Ingress", "Egress"]);
    expect(directionsOf({ egress: [{}], policyTypes: ["Ingress"] })).toEqual(["Ingress"]);
    expect(directionsOf({ policyTypes: ["Egress"] })).toEqual(["Egress"]);
  });
});

describe("portMasks()", () => {
  it("covers exactly the range", () => {
    for (const [first, last] of [
      [0, 65535],
      [1, 65535],
      [80, 80],
      [1000, 1999],
      [5, 4],
      [65535, 65535],
    ] as const) {
      const masks = portMasks(first, last);
      for (const port of [0, 1, 79, 80, 81, 999, 1000, 1500, 1999, 2000, 65534, 65535]) {
        const hits = masks.filter((item) => (port & item.mask) === item.value).length;
        expect(hits).toBe(port >= first && port <= last ? 1 : 0);
      }
    }
    expect(portMasks(0, 65535)).toHaveLength(1);
  });
});

describe("PolicySet", () => {
  it("still knows the names of the policies that went last", () => {
    const set = new PolicySet();
    const keys = Array.from({ length: GONE_POLICIES_MAX + 1 }, (_, n) => `NetworkPolicy/shop/p${n}`);
    const model = modelOfNetworkPolicy({ namespace: "shop", name: "p", spec: { podSelector: {} } });
    for (const key of keys) set.setPolicy(key, model);
    for (const key of keys) set.setPolicy(key, undefined);
    const known = keys.filter((key) => set.keyOfHash(hash32(key)) === key);
    expect(known).toEqual(keys.slice(1));
    // One that comes back is there to stay.
    set.setPolicy(keys[1] as string, model);
    for (const key of [keys[0] as string, "NetworkPolicy/shop/other"]) {
      set.setPolicy(key, model);
      set.setPolicy(key, undefined);
    }
    expect(set.keyOfHash(hash32(keys[1] as string))).toBe(keys[1]);
  });
});

describe("subtractIpPrefixes()", () => {
  it("leaves the fewest prefixes around the holes", () => {
    const parse = (text: string) => parseIpPrefix(text) as IpPrefix;
    const rest = subtractIpPrefixes(parse("10.0.0.0/29"), [parse("10.0.0.1/32"), parse("10.0.0.4/30")]);
    expect(rest.map(formatIpPrefix)).toEqual(["10.0.0.0/32", "10.0.0.2/31"]);
    expect(subtractIpPrefixes(parse("10.0.0.0/8"), [parse("0.0.0.0/0")])).toEqual([]);
    expect(subtractIpPrefixes(parse("0.0.0.0/0"), [parse("128.0.0.0/1")]).map(formatIpPrefix)).toEqual([
      "0.0.0.0/1",
    ]);
  });
});
