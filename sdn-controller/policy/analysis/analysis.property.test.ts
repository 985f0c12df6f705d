import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { PlinthError } from "../../../base/errors/index.js";
import {
  OUTSIDE,
  parsePorts,
  rangeHolds,
  soundPolicies,
  withSoundBlocks,
} from "../../testing/answer-text.js";
import { adminPolicies, namespaceLabels, pods, policies } from "../../testing/arbitraries.js";
import type { AdminPolicy } from "../admin-network-policy.js";
import type { Policy } from "../network-policy.js";
import { judge, type OracleConnection, type OracleEnd } from "../oracle.js";
import {
  cutSpace,
  type Family,
  mergeRanges,
  parseAddress,
  parseCidr,
  subtractRanges,
} from "./address-range.js";
import { type Cluster, clusterOf } from "./cluster.js";
import {
  type ConnectionSet,
  connections,
  contains,
  formatConnections,
  intersect,
  isEmpty,
  isProtocol,
  NO_CONNECTIONS,
  PROTOCOLS,
  subtract,
  union,
} from "./connection-set.js";
import { connectivityOf } from "./connectivity.js";
import { differenceOf } from "./difference.js";
import { type End, Evaluator } from "./evaluator.js";
import { formatConnectivity } from "./format.js";
import { readManifest } from "./manifest.js";

type Pod = NonNullable<OracleEnd["pod"]>;

function documents(
  all: readonly Policy[],
  admin: readonly AdminPolicy[],
  vms: readonly Pod[],
  names: Readonly<Record<string, Readonly<Record<string, string>>>>,
): { where: string; value: unknown }[] {
  const values: unknown[] = [
    ...Object.entries(names).map(([name, labels]) => ({
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name, labels },
    })),
    ...vms.map((pod, i) => ({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: `pod${i}`, namespace: pod.namespace, labels: pod.labels },
      spec: {
        containers: [
          {
            name: "main",
            ports: pod.namedPorts.map(({ name, port, protocol }) => ({
              name,
              containerPort: port,
              protocol,
            })),
          },
        ],
      },
    })),
    ...all.map(({ namespace, name, spec }) => ({
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { namespace, name },
      spec,
    })),
    ...admin.map(({ kind, name, spec }) => ({
      apiVersion: "policy.networking.k8s.io/v1alpha1",
      kind,
      metadata: { name },
      spec,
    })),
  ];
  return JSON.parse(JSON.stringify(values)).map((value: unknown, i: number) => ({
    where: `generated, document ${i + 1}`,
    value,
  }));
}

function endOf(cluster: Cluster, evaluator: Evaluator, end: OracleEnd, name: string): End {
  if (end.pod !== undefined) {
    const workload = cluster.workloads.find(({ text }) => text === `${end.pod?.namespace}/${name}[Pod]`);
    return { workload: workload as NonNullable<typeof workload> };
  }
  const { family, address } = parseAddress(end.address as string) as { family: Family; address: bigint };
  const pieces = cutSpace(family, [...evaluator.blocks("Ingress"), ...evaluator.blocks("Egress")]);
  const range = pieces.find(({ first, last }) => first <= address && address <= last);
  return { range: range as NonNullable<typeof range> };
}

const probe = fc.record({
  source: fc.integer({ min: -OUTSIDE.length, max: 4 }),
  destination: fc.integer({ min: -OUTSIDE.length, max: 4 }),
  protocol: fc.constantFrom("TCP", "UDP", "SCTP"),
  port: fc.constantFrom(1, 2, 3, 5, 8, 11, 12, 13, 21, 22, 65535),
});

describe("the offline analysis", () => {
  it("allows exactly the packets that the oracle allows", () => {
    fc.assert(
      fc.property(
        soundPolicies,
        adminPolicies,
        pods,
        namespaceLabels,
        fc.array(probe, { minLength: 10, maxLength: 30 }),
        (all, admin, vms, names, probes) => {
          const cluster = clusterOf(readManifest(documents(all, admin, vms, names)));
          const evaluator = new Evaluator(cluster.policies);
          for (const { source, destination, protocol, port } of probes) {
            const nameOf = (index: number): number => index % vms.length;
            const end = (index: number): OracleEnd =>
              index < 0 ? { address: OUTSIDE[-index - 1] as string } : { pod: vms[nameOf(index)] as Pod };
            if (source < 0 && destination < 0) continue;
            const connection: OracleConnection = {
              source: end(source),
              destination: end(destination),
              protocol,
              port,
            };
            // What is about one pod is not about policies.
            const itself = (connection.source.pod ?? 0) === connection.destination.pod;
            const expected = itself
              ? { allowed: true }
              : judge(all, (name) => names[name] ?? {}, connection, admin);
            const answer = evaluator.answer(
              endOf(cluster, evaluator, connection.source, `pod${nameOf(source)}`),
              endOf(cluster, evaluator, connection.destination, `pod${nameOf(destination)}`),
            );
            const packet = connections(protocol as "TCP", { first: port, last: port });
            expect(contains(answer.allowed, packet)).toBe(expected.allowed);
            const { deniedBy } = { deniedBy: undefined, ...expected };
            expect(contains(answer.egress.allowed, packet)).toBe(deniedBy !== "Egress");
            if (deniedBy === "Ingress") expect(contains(answer.ingress.allowed, packet)).toBe(false);
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  it("prints a line for each pair that the oracle lets connect, with exactly those ports, and no other", () => {
    fc.assert(
      fc.property(soundPolicies, adminPolicies, pods, namespaceLabels, (all, admin, vms, names) => {
        const text = formatConnectivity(
          connectivityOf(clusterOf(readManifest(documents(all, admin, vms, names))), { ipv6: true }).lines,
          [],
          "txt",
        );
        const lines = text
          .split("\n")
          .flatMap((line) => (line === "" ? [] : [/^(.*) => (.*) : (.*)$/.exec(line) as RegExpExecArray]))
          .map(([, source, destination, ports]) => ({ source, destination, ports: parsePorts(ports ?? "") }));
        const ends: OracleEnd[] = [
          ...vms.map((pod) => ({ pod })),
          ...OUTSIDE.map((address) => ({ address })),
        ];
        const isEnd = (text: string | undefined, { pod, address }: OracleEnd): boolean =>
          pod === undefined
            ? rangeHolds(text ?? "", address ?? "")
            : text === `${pod.namespace}/pod${vms.indexOf(pod)}[Pod]`;
        for (const source of ends)
          for (const destination of ends) {
            if (source === destination || (source.pod ?? destination.pod) === undefined) continue;
            const found = lines.filter(
              (line) => isEnd(line.source, source) && isEnd(line.destination, destination),
            );
            expect(found.length).toBeLessThan(2);
            for (const protocol of PROTOCOLS)
              for (const port of [1, 2, 8, 12, 22, 65535]) {
                const connection = { source, destination, protocol, port };
                const { allowed } = judge(all, (name) => names[name] ?? {}, connection, admin);
                expect(found[0]?.ports(protocol, port) ?? false).toBe(allowed);
              }
          }
      }),
      { numRuns: 60 },
    );
  });

  it("gives reasons that cover every packet of a direction", () => {
    fc.assert(
      fc.property(soundPolicies, adminPolicies, pods, namespaceLabels, (all, admin, vms, names) => {
        const cluster = clusterOf(readManifest(documents(all, admin, vms, names)));
        const evaluator = new Evaluator(cluster.policies);
        const [first, second] = cluster.workloads as [Cluster["workloads"][0], Cluster["workloads"][0]];
        const answer = evaluator.answer({ workload: first }, { workload: second ?? first });
        for (const { allowed, steps } of [answer.egress, answer.ingress]) {
          const sum = (action: string): ConnectionSet =>
            steps
              .filter((step) => step.action === action)
              .reduce((set, step) => union(set, step.connections), NO_CONNECTIONS);
          expect(formatConnections(sum("Allow"))).toBe(formatConnections(allowed));
          expect(formatConnections(union(sum("Allow"), sum("Deny")))).toBe("All Connections");
          expect(isEmpty(intersect(sum("Allow"), sum("Deny")))).toBe(true);
        }
      }),
      { numRuns: 150 },
    );
  });

  it("finds no difference between a cluster and itself, and mirrors the difference between two", () => {
    fc.assert(
      fc.property(
        policies.map(withSoundBlocks),
        policies.map(withSoundBlocks),
        pods,
        namespaceLabels,
        (one, two, vms, names) => {
          const first = connectivityOf(clusterOf(readManifest(documents(one, [], vms, names))));
          const second = connectivityOf(clusterOf(readManifest(documents(two, [], vms, names))));
          expect(differenceOf(first, first).filter(({ kind }) => kind !== "unchanged")).toEqual([]);
          const count = (all: ReturnType<typeof differenceOf>, kind: string): number =>
            all.filter((item) => item.kind === kind).length;
          const forward = differenceOf(first, second);
          const backward = differenceOf(second, first);
          expect(count(forward, "added")).toBe(count(backward, "removed"));
          expect(count(forward, "removed")).toBe(count(backward, "added"));
          expect(count(forward, "changed")).toBe(count(backward, "changed"));
        },
      ),
      { numRuns: 100 },
    );
  });

  it("refuses or reads whatever it is given, and throws nothing but PlinthError", () => {
    const word = fc.constantFrom(
      "kind",
      "Pod",
      "Deployment",
      "NetworkPolicy",
      "AdminNetworkPolicy",
      "Ingress",
      "Service",
      "Route",
      "CronJob",
      "apiVersion",
      "v1",
      "apps/v1",
      "networking.k8s.io/v1",
      "policy.networking.k8s.io/v1alpha1",
      "metadata",
      "spec",
      "name",
      "items",
      "template",
      "ingress",
      "from",
      "ports",
      "port",
      "__proto__",
    );
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 5 },
        fc.constant(null),
        fc.integer(),
        fc.boolean(),
        word,
        tie("list"),
        tie("record"),
      ),
      list: fc.array(tie("value"), { maxLength: 3 }),
      record: fc.dictionary(word, tie("value"), { maxKeys: 6 }),
    }));
    const object = fc.record({
      apiVersion: fc.constantFrom(
        "v1",
        "apps/v1",
        "networking.k8s.io/v1",
        "policy.networking.k8s.io/v1alpha1",
      ),
      kind: word,
      metadata: fc.oneof(fc.constant({ name: "a" }), value),
      spec: value,
    });
    fc.assert(
      fc.property(fc.array(fc.oneof(object, value), { maxLength: 5 }), (values) => {
        try {
          connectivityOf(
            clusterOf(readManifest(values.map((item, i) => ({ where: `f ${i}`, value: item })))),
          );
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(PlinthError);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe("connection sets", () => {
  const range = fc.tuple(fc.integer({ min: -1, max: 40 }), fc.integer({ min: 0, max: 9 }));
  const set = fc
    .array(fc.tuple(fc.constantFrom(...PROTOCOLS), range), { maxLength: 5 })
    .map((parts) =>
      parts.reduce(
        (sum, [protocol, [first, more]]) => union(sum, connections(protocol, { first, last: first + more })),
        NO_CONNECTIONS,
      ),
    );
  const has = (of: ConnectionSet, protocol: string, port: number): boolean =>
    isProtocol(protocol) && of[protocol].some(({ first, last }) => first <= port && port <= last);

  it("are sets of protocol and port", () => {
    fc.assert(
      fc.property(set, set, (a, b) => {
        const sum = union(a, b);
        const both = intersect(a, b);
        const rest = subtract(a, b);
        for (const protocol of PROTOCOLS) {
          for (const port of [0, 1, 2, 5, 9, 17, 25, 33, 40, 41, 49, 65535]) {
            const [inA, inB] = [has(a, protocol, port), has(b, protocol, port)];
            expect(has(sum, protocol, port)).toBe(inA || inB);
            expect(has(both, protocol, port)).toBe(inA && inB);
            expect(has(rest, protocol, port)).toBe(inA && !inB);
          }
        }
        expect(contains(sum, a)).toBe(true);
        expect(contains(a, both)).toBe(true);
        expect(formatConnections(union(rest, both))).toBe(formatConnections(a));
      }),
    );
  });
});

describe("cutSpace()", () => {
  const block = fc
    .tuple(fc.integer({ min: 0, max: 2 ** 16 - 1 }), fc.integer({ min: 0, max: 32 }))
    .map(([bits, length]) => parseCidr(`${bits >>> 8}.${bits & 255}.0.0/${length}`))
    .filter((parsed) => parsed !== undefined);

  it("covers everything once, and no piece is partly in a block", () => {
    fc.assert(
      fc.property(fc.array(block, { maxLength: 6 }), (blocks) => {
        const pieces = cutSpace(4, blocks);
        expect(mergeRanges(pieces)).toEqual([{ family: 4, first: 0n, last: 2n ** 32n - 1n }]);
        for (const piece of pieces)
          for (const one of blocks) {
            const left = subtractRanges(piece, [one]);
            expect(
              left.length === 0 || (left[0]?.first === piece.first && left[0]?.last === piece.last),
            ).toBe(true);
          }
      }),
    );
  });
});
