import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type IpAddress, tryParseIpAddress } from "../network/ip-address.js";
import { causeHash } from "../pipeline/cookie.js";
import {
  adminPolicies,
  adminPolicy,
  connectionOf,
  namespaceLabels,
  pod,
  pods,
  policies,
  policy,
  probe,
} from "../testing/arbitraries.js";
import { type CompiledRule, ruleKey } from "./compile.js";
import type { PolicyHandling } from "./handling.js";
import { judge, type OracleEnd } from "./oracle.js";
import { modelKey, modelOfAdminPolicy, modelOfNetworkPolicy, type PolicyModel } from "./policy-model.js";
import { type PolicyDelta, PolicySet } from "./policy-set.js";
import { type Verdict, verdictOf } from "./verdict.js";

const PROTOCOLS: Record<string, number> = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1 };
type Pod = NonNullable<OracleEnd["pod"]>;

function verdict(set: PolicySet, all: readonly Pod[], connection: ReturnType<typeof connectionOf>): Verdict {
  const end = (it: OracleEnd) => ({
    identity: it.pod === undefined ? 0 : (set.identityOf(`pod${all.indexOf(it.pod)}`)?.number ?? 0),
    address: tryParseIpAddress(it.address as string) as IpAddress,
  });
  return verdictOf(set, {
    source: end(connection.source),
    destination: end(connection.destination),
    protocol: PROTOCOLS[connection.protocol] as number,
    ...(connection.port === undefined ? {} : { port: connection.port }),
  });
}

function setOf(all: readonly Pod[], namespaces: Readonly<Record<string, Record<string, string>>>): PolicySet {
  const set = new PolicySet();
  for (const [name, labels] of Object.entries(namespaces)) set.setNamespace(name, labels);
  all.forEach((item, index) => {
    set.setPort(`pod${index}`, item);
  });
  return set;
}

describe("compiled policies", () => {
  it("say what the oracle says, for every policy, pod and connection", () => {
    fc.assert(
      fc.property(
        policies,
        adminPolicies,
        pods,
        namespaceLabels,
        fc.array(probe, { minLength: 8, maxLength: 20 }),
        (all, admin, vms, names, probes) => {
          const set = setOf(vms, names as Record<string, Record<string, string>>);
          for (const item of [...all.map(modelOfNetworkPolicy), ...admin.map(modelOfAdminPolicy)])
            set.setPolicy(modelKey(item), item);
          set.settle();
          for (const one of probes) {
            const connection = connectionOf(one, vms);
            const expected = judge(all, (name) => names[name] ?? {}, connection, admin);
            const actual = verdict(set, vms, connection);
            expect(actual.allowed).toBe(expected.allowed);
            if (expected.deniedBy === "Egress") expect(actual.egress.allowed).toBe(false);
            if (expected.deniedBy === "Ingress") expect(actual.egress.allowed).toBe(true);
          }
        },
      ),
      { numRuns: 1500 },
    );
  });

  it("come out the same change by change as from scratch", () => {
    const change = fc.oneof(
      fc.record({
        kind: fc.constant("policy" as const),
        item: fc
          .tuple(fc.oneof(policy.map(modelOfNetworkPolicy), adminPolicy.map(modelOfAdminPolicy)), handling)
          .map(([model, how]) => ({ ...model, handling: how })),
        gone: fc.boolean(),
      }),
      fc.record({ kind: fc.constant("port" as const), index: fc.nat(4), item: pod, gone: fc.boolean() }),
      fc.record({ kind: fc.constant("namespaces" as const), item: namespaceLabels }),
    );
    fc.assert(
      fc.property(
        pods,
        namespaceLabels,
        fc.array(fc.array(change, { maxLength: 3 }), { maxLength: 6 }),
        (vms, names, steps) => {
          const set = setOf(vms, names as Record<string, Record<string, string>>);
          const wanted = {
            pods: new Map(vms.map((item, i) => [`pod${i}`, item])),
            policies: new Map<string, PolicyModel>(),
            names,
          };
          const units = new Map<string, readonly CompiledRule[]>();
          take(units, set.settle());
          for (const step of steps) {
            for (const one of step) {
              if (one.kind === "policy") {
                const key = modelKey(one.item);
                if (one.gone) wanted.policies.delete(key);
                else wanted.policies.set(key, one.item);
                set.setPolicy(key, one.gone ? undefined : one.item);
              } else if (one.kind === "port") {
                if (one.gone) wanted.pods.delete(`pod${one.index}`);
                else wanted.pods.set(`pod${one.index}`, one.item);
                set.setPort(`pod${one.index}`, one.gone ? undefined : one.item);
              } else {
                wanted.names = one.item;
                for (const [name, labels] of Object.entries(one.item)) set.setNamespace(name, labels);
              }
            }
            const delta = set.settle();
            take(units, delta);
            const fresh = new PolicySet();
            for (const [name, labels] of Object.entries(wanted.names)) fresh.setNamespace(name, labels);
            for (const [key, item] of wanted.pods) fresh.setPort(key, item);
            for (const [key, item] of wanted.policies) fresh.setPolicy(key, item);
            const whole = new Map<string, readonly CompiledRule[]>();
            take(whole, fresh.settle());
            expect(unitsText(units)).toEqual(unitsText(whole));
            expect(textsOf(set.rules())).toEqual(textsOf(fresh.rules()));
            expect([...units.values()].flat().length).toBe(set.rules().length);
            const told = [
              ...set.identities.map(({ number }) => `Identity/${number}`),
              ...wanted.policies.keys(),
              ...NAMES,
            ];
            for (const direction of ["Ingress", "Egress"] as const)
              for (const name of told) {
                const hash = causeHash(direction, name);
                expect(set.causeOf(hash)).toEqual(fresh.causeOf(hash));
                const isPolicy = wanted.policies.has(name);
                if (isPolicy) expect(set.causeOf(hash)).toEqual({ direction, policies: [name] });
                expect(set.causeOf(hash) === undefined).toBe(!isPolicy && !name.startsWith("Identity/"));
              }
            expect(set.identities.map((i) => [i.number, set.isolationOf(i.number)]).sort()).toEqual(
              fresh.identities.map((i) => [i.number, fresh.isolationOf(i.number)]).sort(),
            );
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

/** Of policies that may be there or not. */
const NAMES = ["p0", "p1", "p2", "p3"].map((name) => `NetworkPolicy/red/${name}`);

const handling: fc.Arbitrary<PolicyHandling> = fc.oneof(
  { weight: 2, arbitrary: fc.constant({}) },
  fc.record(
    {
      staged: fc.boolean(),
      keepsLive: fc.boolean(),
      log: fc.subarray(["denied", "ingress[0]", "ingress[1]", "egress[0]"]),
    },
    { requiredKeys: [] },
  ),
);

/** What stands after a delta, as the flow store keeps it. */
function take(units: Map<string, readonly CompiledRule[]>, delta: PolicyDelta): void {
  for (const [unit, rules] of delta.units) {
    if (rules.length === 0) units.delete(unit);
    else units.set(unit, rules);
  }
}

function unitsText(units: ReadonlyMap<string, readonly CompiledRule[]>): string[] {
  return [...units].map(([unit, rules]) => `${unit}: ${textsOf(rules).join("; ")}`).sort();
}

function textsOf(rules: readonly CompiledRule[]): string[] {
  return rules
    .map((rule) => {
      const {
        tier,
        priority,
        action,
        policy: of,
        ruleId,
        ipv6,
        staged,
        keepsLive,
        logged,
        level,
        part,
      } = rule;
      const rest = [tier, priority, action, of, ruleId, ipv6, staged, keepsLive, logged, level, part];
      return `${ruleKey(rule)} ${rest.join(" ")}`;
    })
    .sort();
}
