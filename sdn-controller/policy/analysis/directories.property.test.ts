// Whole directories of any kinds of workloads against the oracle: what is printed, read back, is what policies mean.
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { OUTSIDE, parsePorts, rangeHolds, soundPolicies } from "../../testing/answer-text.js";
import { adminPolicies, namespaceLabels, pod } from "../../testing/arbitraries.js";
import type { AdminPolicy } from "../admin-network-policy.js";
import type { Policy } from "../network-policy.js";
import { judge, type OracleEnd } from "../oracle.js";
import type { Labels } from "../selector.js";
import { clusterOf } from "./cluster.js";
import { PROTOCOLS } from "./connection-set.js";
import { type Connectivity, connectivityOf } from "./connectivity.js";
import { differenceOf, formatDifference } from "./difference.js";
import { formatConnectivity } from "./format.js";
import { readManifest } from "./manifest.js";

type Fields = Record<string, unknown>;
type Pod = NonNullable<OracleEnd["pod"]>;

/** The API group of what makes pods by a template. */
const MAKERS: Readonly<Record<string, string>> = {
  Deployment: "apps/v1",
  ReplicaSet: "apps/v1",
  StatefulSet: "apps/v1",
  DaemonSet: "apps/v1",
  Job: "batch/v1",
  CronJob: "batch/v1",
  ReplicationController: "v1",
  VirtualMachine: "kubevirt.io/v1",
};
const PORTS = [1, 2, 5, 8, 12, 22, 65_535];
/** Of an object that makes pods; no policy is about these. */
const DECOY: Labels = { app: "web", tier: "db", env: "" };

interface Item {
  readonly pod: Pod;
  readonly kind: string;
  /** Pods that one owner has: 0 stands for the owner's own document. */
  readonly replicas: number;
}

interface Directory {
  readonly items: readonly Item[];
  readonly policies: readonly Policy[];
  readonly admin: readonly AdminPolicy[];
  readonly spaces: Readonly<Record<string, Labels>>;
  /** How documents are packed: in which order, and how many into one list. */
  readonly seed: number;
}

const item: fc.Arbitrary<Item> = fc.record({
  pod,
  kind: fc.constantFrom("Pod", ...Object.keys(MAKERS)),
  replicas: fc.constantFrom(0, 0, 0, 1, 3),
});
const items = fc.array(item, { minLength: 1, maxLength: 5 });
const spaces = fc
  .tuple(namespaceLabels, fc.subarray(["red", "blue", "green"]))
  .map(([labels, described]) => Object.fromEntries(described.map((name) => [name, labels[name] ?? {}])));
const common = { policies: soundPolicies, admin: adminPolicies, spaces, seed: fc.nat(1000) };
const directory: fc.Arbitrary<Directory> = fc.record({ items, ...common });

/** Two states of one cluster: the second has lost some workloads and gained others, and other policies. */
const change = fc
  .tuple(directory, fc.record(common), fc.nat(3), items)
  .map(([first, more, lost, gained]): readonly [Directory, Directory] => {
    const kept = first.items.map((one, i) => (i < lost ? undefined : one));
    const fresh = [...first.items.map(() => undefined), ...gained];
    const second = { ...first, ...more, items: fresh.map((one, i) => kept[i] ?? one).filter(isThere) };
    return [first, second.items.length === 0 ? { ...second, items: first.items } : second];
  });

function isThere<T>(value: T | undefined): value is T {
  return value !== undefined;
}

/** Names stay with the item, so that both states of a cluster name it alike. */
const names = new WeakMap<Pod, string>();
let count = 0;
function nameOf({ pod: each }: Item): string {
  const name = names.get(each) ?? `w${count++}`;
  names.set(each, name);
  return name;
}

function textOf(one: Item): string {
  return `${one.pod.namespace}/${nameOf(one)}[${one.kind}]`;
}

function documentsOf(one: Item): Fields[] {
  const { kind, replicas, pod: of } = one;
  const { namespace, labels, namedPorts } = of;
  const name = nameOf(one);
  const ports = namedPorts.map(({ port, ...rest }) => ({ ...rest, containerPort: port }));
  const spec = { containers: [{ name: "sidecar" }, { name: "main", ports }] };
  if (kind === "Pod") return [{ apiVersion: "v1", kind, metadata: { name, namespace, labels }, spec }];
  if (replicas > 0) {
    const ownerReferences = [{ apiVersion: MAKERS[kind], kind, name, controller: true }];
    return Array.from({ length: replicas }, (_, i) => ({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: `${name}-${i}`, namespace, labels: { ...labels, ordinal: `${i}` }, ownerReferences },
      spec,
    }));
  }
  const template = { metadata: { labels }, spec };
  return [
    {
      apiVersion: MAKERS[kind],
      kind,
      metadata: { name, namespace, labels: DECOY },
      spec: kind === "CronJob" ? { jobTemplate: { spec: { template } } } : { template },
    },
  ];
}

function answerOf({ items: all, policies, admin, spaces: described, seed }: Directory): Connectivity {
  const values: Fields[] = [
    ...all.flatMap(documentsOf),
    ...Object.entries(described).map(([name, labels]) => ({
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name, labels },
    })),
    ...policies.map(({ namespace, name, spec }) => ({
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
  const turned = [...values.slice(seed % values.length), ...values.slice(0, seed % values.length)];
  const listed = turned.splice(0, seed % 4);
  const documents = [{ apiVersion: "v1", kind: "List", items: listed }, ...turned];
  const plain = JSON.parse(JSON.stringify(documents)) as unknown[];
  const cluster = clusterOf(
    readManifest(plain.map((value, i) => ({ where: `f.yaml, document ${i}`, value }))),
  );
  expect(cluster.problems.filter(({ severity }) => severity === "error")).toEqual([]);
  return connectivityOf(cluster, { ipv6: true });
}

interface Ends {
  readonly source: Item | string;
  readonly destination: Item | string;
}

function pairsOf(all: readonly Item[]): Ends[] {
  const ends = [...all, ...OUTSIDE];
  return ends.flatMap((source) =>
    ends
      .filter((one) => one !== source && !(typeof one === "string" && typeof source === "string"))
      .map((destination) => ({ source, destination })),
  );
}

/** The one of the lines that is about the ends; two would contradict each other. */
function lineOf<T extends { source: string; destination: string }>(
  lines: readonly T[],
  ends: Ends,
): T | undefined {
  const is = (text: string, end: Item | string): boolean =>
    typeof end === "string" ? rangeHolds(text, end) : text === textOf(end);
  const found = lines.filter(
    (line) => is(line.source, ends.source) && is(line.destination, ends.destination),
  );
  expect(found.length).toBeLessThan(2);
  return found[0];
}

function mayConnect(of: Directory, ends: Ends, protocol: string, port: number): boolean {
  const both = [ends.source, ends.destination];
  if (both.some((end) => typeof end !== "string" && !of.items.includes(end))) return false;
  const [source, destination] = both.map(
    (end): OracleEnd => (typeof end === "string" ? { address: end } : { pod: end.pod }),
  ) as [OracleEnd, OracleEnd];
  const connection = { source, destination, protocol, port };
  return judge(of.policies, (name) => of.spaces[name] ?? {}, connection, of.admin).allowed;
}

describe("whole directories", () => {
  it("are answered as the oracle does, for every kind of workload, from templates and from replicas", () => {
    fc.assert(
      fc.property(directory, (of) => {
        const { lines, workloads } = answerOf(of);
        expect(workloads.map(({ text }) => text)).toEqual(of.items.map(textOf).sort());
        const printed = formatConnectivity(lines, workloads, "txt").split("\n").slice(0, -1);
        const read = printed.map((line) => {
          const [, source, destination, ports] = /^(.*) => (.*) : (.*)$/.exec(line) as RegExpExecArray;
          return { source, destination, ports: parsePorts(ports as string) } as const;
        }) as { source: string; destination: string; ports: ReturnType<typeof parsePorts> }[];
        for (const ends of pairsOf(of.items)) {
          const line = lineOf(read, ends);
          for (const protocol of PROTOCOLS)
            for (const port of PORTS)
              expect(line?.ports(protocol, port) ?? false).toBe(mayConnect(of, ends, protocol, port));
        }
      }),
      { numRuns: 80 },
    );
  });

  it("differ in what is printed and in nothing else", () => {
    fc.assert(
      fc.property(change, ([one, two]) => {
        const [first, second] = [answerOf(one), answerOf(two)];
        const text = formatDifference(differenceOf(first, second), [], "json");
        const read = (JSON.parse(text) as Record<string, string>[]).map((row) => ({
          source: row.source as string,
          destination: row.destination as string,
          kind: row["diff-type"],
          dir1: parsePorts(row.dir1 as string),
          dir2: parsePorts(row.dir2 as string),
        }));
        for (const ends of pairsOf([...new Set([...one.items, ...two.items])])) {
          const row = lineOf(read, ends);
          for (const protocol of PROTOCOLS)
            for (const port of PORTS) {
              const [before, after] = [one, two].map((of) => mayConnect(of, ends, protocol, port));
              if (row === undefined) expect(after).toBe(before);
              else expect([row.dir1(protocol, port), row.dir2(protocol, port)]).toEqual([before, after]);
              if (row?.kind === "added") expect(before).toBe(false);
              if (row?.kind === "removed") expect(after).toBe(false);
            }
        }
      }),
      { numRuns: 30 },
    );
  });
});
