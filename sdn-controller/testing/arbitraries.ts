// Random policies, pods and connections for the property tests: few labels, names and addresses, so that they meet.
import fc from "fast-check";
import type { AdminPeer, AdminPolicy, AdminPort, AdminRule } from "../policy/admin-network-policy.js";
import type { NetworkPolicySpec, Policy, PolicyPeer, PolicyPort } from "../policy/network-policy.js";
import type { OracleConnection, OracleEnd } from "../policy/oracle.js";
import type { LabelSelector, Labels } from "../policy/selector.js";

const NAMESPACES = ["red", "blue", "green"] as const;
const key = fc.constantFrom("tier", "app", "env");
const value = fc.constantFrom("web", "db", "");
const labels: fc.Arbitrary<Labels> = fc.dictionary(key, value, { maxKeys: 3 });
const requirement = fc.oneof(
  fc.record({
    key,
    operator: fc.constantFrom("In", "NotIn"),
    values: fc.array(value, { minLength: 1, maxLength: 2 }),
  }),
  fc.record({ key, operator: fc.constantFrom("Exists", "DoesNotExist") }),
);
export const selector: fc.Arbitrary<LabelSelector> = fc.record(
  {
    matchLabels: fc.dictionary(key, value, { maxKeys: 2 }),
    matchExpressions: fc.array(requirement, { maxLength: 2 }),
  },
  { requiredKeys: [] },
);
const namespaceSelector = fc.oneof(
  selector,
  fc.constantFrom(...NAMESPACES).map((name) => ({ matchLabels: { "kubernetes.io/metadata.name": name } })),
);
const cidr = fc.constantFrom(
  "0.0.0.0/0",
  "10.0.0.0/8",
  "10.0.0.0/30",
  "10.0.0.4/30",
  "10.0.0.1/32",
  "192.168.0.0/16",
  "0:0:0:0:0:0:0:0/0",
  "fd00:0:0:0:0:0:0:0/64",
  "fd00:0:0:0:0:0:0:a/126",
  "fd00:0:0:0:0:0:0:b/128",
);
const except = fc.array(
  fc.constantFrom(
    "10.0.0.0/31",
    "10.0.0.2/32",
    "10.0.0.6/31",
    "192.168.1.0/24",
    "10.0.0.10/31",
    "fd00:0:0:0:0:0:0:a/127",
    "fd00:0:0:0:0:0:0:d/128",
  ),
  { maxLength: 2 },
);
const peer: fc.Arbitrary<PolicyPeer> = fc.oneof(
  fc.record({ podSelector: selector }),
  fc.record({ namespaceSelector }),
  fc.record({ podSelector: selector, namespaceSelector }),
  fc.record({ ipBlock: fc.record({ cidr, except }, { requiredKeys: ["cidr"] }) }),
);
const protocol = fc.constantFrom("TCP", "UDP", "SCTP");
const portName = fc.constantFrom("http", "sql");
const port: fc.Arbitrary<PolicyPort> = fc.oneof(
  fc.record({ protocol }, { requiredKeys: [] }),
  fc.record({ protocol, port: fc.integer({ min: 1, max: 12 }) }, { requiredKeys: ["port"] }),
  fc.record({ protocol, port: portName }, { requiredKeys: ["port"] }),
  fc
    .tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 9 }))
    .map(([first, more]) => ({ port: first, endPort: first + more })),
);
const peers = fc.array(peer, { maxLength: 3 });
const ports = fc.array(port, { maxLength: 3 });
const spec: fc.Arbitrary<NetworkPolicySpec> = fc.record(
  {
    podSelector: selector,
    ingress: fc.array(fc.record({ from: peers, ports }, { requiredKeys: [] }), { maxLength: 2 }),
    egress: fc.array(fc.record({ to: peers, ports }, { requiredKeys: [] }), { maxLength: 2 }),
    policyTypes: fc.subarray(["Ingress", "Egress"]),
  },
  { requiredKeys: ["podSelector"] },
);
export const policy: fc.Arbitrary<Policy> = fc.record({
  namespace: fc.constantFrom(...NAMESPACES),
  name: fc.constantFrom("p0", "p1", "p2", "p3"),
  spec,
});
export const policies = fc.uniqueArray(policy, {
  maxLength: 5,
  selector: (item) => `${item.namespace}/${item.name}`,
});

const adminPods = fc.record({ namespaceSelector, podSelector: selector }, { requiredKeys: [] });
const ingressPeer: fc.Arbitrary<AdminPeer> = fc.oneof(
  fc.record({ namespaces: namespaceSelector }),
  fc.record({ pods: adminPods }),
);
const egressPeer: fc.Arbitrary<AdminPeer> = fc.oneof(
  ingressPeer,
  fc.record({ networks: fc.array(cidr, { minLength: 1, maxLength: 2 }) }),
);
const adminPort: fc.Arbitrary<AdminPort> = fc.oneof(
  fc.record({
    portNumber: fc.record({ protocol, port: fc.integer({ min: 1, max: 12 }) }, { requiredKeys: ["port"] }),
  }),
  fc
    .tuple(protocol, fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 9 }))
    .map(([word, start, more]) => ({ portRange: { protocol: word, start, end: start + more } })),
  fc.record({ namedPort: portName }),
);
const adminRules = (
  action: fc.Arbitrary<AdminRule["action"]>,
  way: "from" | "to",
): fc.Arbitrary<AdminRule[]> =>
  fc.array(
    fc
      .record(
        {
          action,
          peers: fc.array(way === "from" ? ingressPeer : egressPeer, { minLength: 1, maxLength: 2 }),
          ports: fc.array(adminPort, { minLength: 1, maxLength: 2 }),
        },
        { requiredKeys: ["action", "peers"] },
      )
      .map(({ peers: some, ...rest }) => ({ ...rest, [way]: some })),
    { maxLength: 3 },
  );
const adminSubject = fc.oneof(fc.record({ namespaces: namespaceSelector }), fc.record({ pods: adminPods }));
const anyAction = fc.constantFrom<AdminRule["action"][]>("Allow", "Deny", "Pass");
const firmAction = fc.constantFrom<AdminRule["action"][]>("Allow", "Deny");
export const adminPolicy: fc.Arbitrary<AdminPolicy> = fc.record({
  kind: fc.constant("AdminNetworkPolicy" as const),
  name: fc.constantFrom("a0", "a1", "a2", "a3"),
  spec: fc.record({
    priority: fc.constantFrom(0, 1, 7, 999, 1000),
    subject: adminSubject,
    ingress: adminRules(anyAction, "from"),
    egress: adminRules(anyAction, "to"),
  }),
});
const baselinePolicy: fc.Arbitrary<AdminPolicy> = fc.record({
  kind: fc.constant("BaselineAdminNetworkPolicy" as const),
  name: fc.constant("default"),
  spec: fc.record({
    subject: adminSubject,
    ingress: adminRules(firmAction, "from"),
    egress: adminRules(firmAction, "to"),
  }),
});
/** No two of one name or one priority, and at most one baseline. */
export const adminPolicies: fc.Arbitrary<AdminPolicy[]> = fc
  .tuple(
    fc.uniqueArray(adminPolicy, { maxLength: 3, selector: ({ name }) => name }),
    fc.option(baselinePolicy, { nil: undefined }),
  )
  .map(([admin, baseline]) => {
    const priorities = new Set<number | undefined>();
    const distinct = admin.filter(({ spec: { priority } }) => {
      const fresh = !priorities.has(priority);
      priorities.add(priority);
      return fresh;
    });
    return baseline === undefined ? distinct : [...distinct, baseline];
  });

export const namespaceLabels: fc.Arbitrary<Readonly<Record<string, Labels>>> = fc.record({
  red: labels,
  blue: labels,
  green: labels,
});

export const pod: fc.Arbitrary<NonNullable<OracleEnd["pod"]>> = fc.record({
  namespace: fc.constantFrom(...NAMESPACES),
  labels: labels.map((some) => ({ ...some, unseen: "x" })),
  namedPorts: fc.uniqueArray(
    fc.record(
      { name: portName, port: fc.integer({ min: 1, max: 12 }), protocol },
      { requiredKeys: ["name", "port"] },
    ),
    { maxLength: 2, selector: (item) => item.name },
  ),
});

/** Pods with addresses 10.0.0.1, 10.0.0.2, … in the order given. */
export const pods = fc.array(pod, { minLength: 2, maxLength: 5 });

export interface Probe {
  readonly source: number;
  readonly destination: number;
  readonly protocol: string;
  readonly port: number;
}

export const probe: fc.Arbitrary<Probe> = fc.record({
  source: fc.integer({ min: -1, max: 4 }),
  destination: fc.integer({ min: 0, max: 4 }),
  protocol: fc.constantFrom("TCP", "UDP", "SCTP", "ICMP"),
  port: fc.integer({ min: 1, max: 22 }),
});

/** The probe's connection; source -1 is an outside address. */
export function connectionOf(probe: Probe, all: readonly NonNullable<OracleEnd["pod"]>[]): OracleConnection {
  const end = (index: number): OracleEnd =>
    index < 0
      ? { address: "192.168.1.9" }
      : {
          address: `10.0.0.${(index % all.length) + 1}`,
          pod: all[index % all.length] as NonNullable<OracleEnd["pod"]>,
        };
  const common = { source: end(probe.source), destination: end(probe.destination), protocol: probe.protocol };
  return probe.protocol === "ICMP" ? common : { ...common, port: probe.port };
}
