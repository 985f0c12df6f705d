// Golden answers worked out by hand from the meaning of the policies.
import { describe, expect, it } from "vitest";

import { type Cluster, clusterOf } from "./cluster.js";
import { connections } from "./connection-set.js";
import { type ConnectivityOptions, connectivityOf } from "./connectivity.js";
import { type DifferenceFormat, differenceOf, formatDifference } from "./difference.js";
import { checkUniform, findEnd } from "./ends.js";
import { Evaluator } from "./evaluator.js";
import { explainPair, formatExplanation } from "./explain-pair.js";
import { type ConnectivityFormat, formatConnectivity } from "./format.js";
import { readManifest } from "./manifest.js";

type Fields = Record<string, unknown>;

const pod = (
  namespace: string,
  name: string,
  labels: Fields = {},
  ports: Fields[] = [],
  more: Fields = {},
): Fields => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { namespace, name, labels, ...more },
  spec: { containers: [{ name: "main", ports }] },
});
const deployment = (name: string, labels: Fields = { app: name }, ports: Fields[] = []): Fields => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name },
  spec: { replicas: 3, template: { metadata: { labels }, spec: { containers: [{ name: "main", ports }] } } },
});
const namespace = (name: string, labels: Fields = {}): Fields => ({
  apiVersion: "v1",
  kind: "Namespace",
  metadata: { name, labels },
});
const policy = (name: string, spec: Fields, space = "default"): Fields => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name, namespace: space },
  spec,
});
const admin = (name: string, spec: Fields): Fields => ({
  apiVersion: "policy.networking.k8s.io/v1alpha1",
  kind: "AdminNetworkPolicy",
  metadata: { name },
  spec,
});
const baseline = (spec: Fields): Fields => ({
  apiVersion: "policy.networking.k8s.io/v1alpha1",
  kind: "BaselineAdminNetworkPolicy",
  metadata: { name: "default" },
  spec,
});

function cluster(...values: unknown[]): Cluster {
  return clusterOf(
    readManifest(values.map((value, i) => ({ where: `test.yaml, document ${i + 1}`, value }))),
  );
}

function list(
  values: readonly unknown[],
  options: ConnectivityOptions = {},
  format: ConnectivityFormat = "txt",
): string {
  const { lines, workloads } = connectivityOf(cluster(...values), options);
  return formatConnectivity(lines, workloads, format);
}

function problems(...values: unknown[]): string[] {
  return connectivityOf(cluster(...values)).problems.map(
    ({ severity, message }) => `${severity}: ${message}`,
  );
}

const ALL = "0.0.0.0-255.255.255.255[External]";

describe("connectivityOf()", () => {
  it("allows everything where no policy is, and never lists a workload with itself", () => {
    expect(list([pod("a", "one"), deployment("two")])).toBe(
      [
        `${ALL} => a/one[Pod] : All Connections`,
        `${ALL} => default/two[Deployment] : All Connections`,
        `a/one[Pod] => ${ALL} : All Connections`,
        "a/one[Pod] => default/two[Deployment] : All Connections",
        `default/two[Deployment] => ${ALL} : All Connections`,
        "default/two[Deployment] => a/one[Pod] : All Connections",
        "",
      ].join("\n"),
    );
  });

  it("cuts addresses outside where rules name blocks, sources and destinations each for themselves", () => {
    const answer = list([
      deployment("web"),
      policy("out", {
        podSelector: {},
        policyTypes: ["Egress"],
        egress: [
          {
            to: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16"] } }],
            ports: [{ port: 53, protocol: "UDP" }],
          },
          { to: [{ ipBlock: { cidr: "8.8.8.8/32" } }] },
        ],
      }),
    ]);
    expect(answer).toBe(
      [
        `${ALL} => default/web[Deployment] : All Connections`,
        "default/web[Deployment] => 10.0.0.0-10.0.255.255[External] : UDP 53",
        "default/web[Deployment] => 10.2.0.0-10.255.255.255[External] : UDP 53",
        "default/web[Deployment] => 8.8.8.8-8.8.8.8[External] : All Connections",
        "",
      ].join("\n"),
    );
  });

  it("leaves ranges apart that touch, when blocks of policies border there", () => {
    const halves = ["0.0.0.0/1", "128.0.0.0/1"].map((cidr) => ({ ipBlock: { cidr } }));
    expect(
      list([
        deployment("web"),
        policy("in", { podSelector: {}, ingress: [{ from: halves, ports: [{ port: 80 }] }] }),
      ]),
    ).toBe(
      [
        "0.0.0.0-127.255.255.255[External] => default/web[Deployment] : TCP 80",
        "128.0.0.0-255.255.255.255[External] => default/web[Deployment] : TCP 80",
        `default/web[Deployment] => ${ALL} : All Connections`,
        "",
      ].join("\n"),
    );
  });

  it("joins ports that touch, sorts protocols, and resolves names at the destination", () => {
    const ports = [
      { name: "http", containerPort: 8080 },
      { name: "dns", containerPort: 53, protocol: "UDP" },
    ];
    const answer = list(
      [
        deployment("web", { app: "web" }, ports),
        deployment("db"),
        policy("in", {
          podSelector: { matchLabels: { app: "web" } },
          ingress: [
            {
              from: [{ podSelector: { matchLabels: { app: "db" } } }],
              ports: [
                { port: "http" },
                { port: "dns" },
                { port: "dns", protocol: "UDP" },
                { port: 8081, endPort: 8085 },
                { protocol: "SCTP" },
                { port: 443 },
              ],
            },
          ],
        }),
      ],
      { focus: { workloads: ["web"], direction: "ingress" } },
    );
    expect(answer).toBe(
      "default/db[Deployment] => default/web[Deployment] : SCTP 1-65535,TCP 443,8080-8085,UDP 53\n",
    );
  });

  it("tells the empty from the missing", () => {
    const base = [pod("a", "x"), pod("a", "y"), namespace("a")];
    const count = (spec: Fields): string[] =>
      list([...base, policy("p", spec, "a")])
        .trimEnd()
        .split("\n")
        .map((line) => line.replace(" : All Connections", ""))
        .filter((line) => line !== "");
    const inner = ["a/x[Pod] => a/y[Pod]", "a/y[Pod] => a/x[Pod]"];
    const incoming = [`${ALL} => a/x[Pod]`, `${ALL} => a/y[Pod]`];
    const outgoing = [`a/x[Pod] => ${ALL}`, `a/y[Pod] => ${ALL}`];
    const sorted = (...lines: string[]): string[] => [...lines].sort();
    // No rules: isolated. One empty rule: everything. Without policyTypes egress counts only when it has rules.
    expect(count({ podSelector: {} })).toEqual(outgoing);
    expect(count({ podSelector: {}, ingress: [] })).toEqual(outgoing);
    expect(count({ podSelector: {}, ingress: [{}] })).toEqual(sorted(...incoming, ...inner, ...outgoing));
    expect(count({ podSelector: {}, ingress: [{ from: [] }] })).toEqual(
      sorted(...incoming, ...inner, ...outgoing),
    );
    expect(count({ podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] })).toEqual(
      sorted(...inner, ...outgoing),
    );
    expect(count({ podSelector: {}, egress: [] })).toEqual(outgoing);
    expect(count({ podSelector: {}, egress: [{}] })).toEqual(outgoing);
    expect(count({ podSelector: {}, policyTypes: ["Egress"] })).toEqual(incoming);
    expect(count({ podSelector: {}, policyTypes: ["Ingress", "Egress"] })).toEqual([]);
    expect(count({ podSelector: null, ingress: [{ from: null, ports: null }] })).toEqual(
      sorted(...incoming, ...inner, ...outgoing),
    );
  });

  it("knows a namespace by its name label, whether it is described or not", () => {
    const from = (name: string): Fields => ({
      namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": name } },
    });
    const answer = list([
      pod("described", "x"),
      pod("assumed", "y"),
      pod("other", "z"),
      namespace("described", { team: "a" }),
      policy("p", { podSelector: {}, ingress: [{ from: [from("described"), from("assumed")] }] }, "other"),
    ]);
    expect(answer.split("\n").filter((line) => line.includes("=> other/z[Pod]"))).toEqual([
      "assumed/y[Pod] => other/z[Pod] : All Connections",
      "described/x[Pod] => other/z[Pod] : All Connections",
    ]);
  });

  it("counts the pods of one owner as one, and reads lists", () => {
    const owned = {
      ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: "web-1", controller: true }],
    };
    const node = { ownerReferences: [{ apiVersion: "v1", kind: "Node", name: "n1", controller: true }] };
    const items = [
      pod("default", "web-1-a", { app: "web", hash: "1" }, [], owned),
      {
        apiVersion: "v1",
        kind: "List",
        items: [pod("default", "web-1-b", { app: "web", hash: "2" }, [], owned)],
      },
      pod("kube-system", "static", {}, [], node),
    ];
    expect(cluster({ apiVersion: "v1", kind: "PodList", items }).workloads.map(({ text }) => text)).toEqual([
      "default/web-1[ReplicaSet]",
      "kube-system/static[Pod]",
    ]);
  });

  it("refuses pods of one owner that a policy tells apart", () => {
    const owned = {
      ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: "web-1", controller: true }],
    };
    expect(() =>
      cluster(
        pod("default", "a", { hash: "1" }, [], owned),
        pod("default", "b", { hash: "2" }, [], owned),
        policy("p", { podSelector: { matchLabels: { hash: "1" } } }),
      ),
    ).toThrow(
      "test.yaml, document 2: Pod b and a belong to default/web-1[ReplicaSet], but NetworkPolicy p selects only one",
    );
  });

  it("knows every kind that makes pods", () => {
    const template = { metadata: { labels: { app: "x" } }, spec: { containers: [{ name: "main" }] } };
    const kinds: Fields[] = [
      ...["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"].map((kind) => ({
        apiVersion: "apps/v1",
        kind,
        spec: { template },
      })),
      { apiVersion: "v1", kind: "ReplicationController", spec: { template } },
      { apiVersion: "batch/v1", kind: "Job", spec: { template } },
      { apiVersion: "batch/v1", kind: "CronJob", spec: { jobTemplate: { spec: { template } } } },
      { apiVersion: "kubevirt.io/v1", kind: "VirtualMachine", spec: { template } },
    ];
    const found = cluster(...kinds.map((value) => ({ ...value, metadata: { name: "it" } }))).workloads;
    expect(found.map(({ kind, labels }) => `${kind} ${labels.app}`)).toEqual(
      [
        "CronJob",
        "DaemonSet",
        "Deployment",
        "Job",
        "ReplicaSet",
        "ReplicationController",
        "StatefulSet",
        "VirtualMachine",
      ].map((kind) => `${kind} x`),
    );
  });

  it("asks admin policies first, then network policies, then the baseline", () => {
    const to = (name: string): Fields => ({
      namespaces: { matchLabels: { "kubernetes.io/metadata.name": name } },
    });
    const answer = list(
      [
        pod("client", "c"),
        pod("server", "s", {}, [{ name: "web", containerPort: 8080 }]),
        admin("second", {
          priority: 20,
          subject: to("server"),
          ingress: [
            { action: "Allow", from: [to("client")], ports: [{ portRange: { start: 1, end: 100 } }] },
          ],
        }),
        admin("first", {
          priority: 10,
          subject: to("server"),
          ingress: [
            { action: "Deny", from: [to("client")], ports: [{ portNumber: { protocol: "TCP", port: 22 } }] },
            { action: "Pass", from: [to("client")], ports: [{ portNumber: { protocol: "TCP", port: 80 } }] },
          ],
        }),
        policy("net", { podSelector: {}, ingress: [{ ports: [{ port: "web" }, { port: 22 }] }] }, "server"),
        baseline({ subject: { namespaces: {} }, ingress: [{ action: "Allow", from: [{ namespaces: {} }] }] }),
      ],
      { focus: { workloads: ["server/s"], direction: "ingress" } },
    );
    // 22 is denied first; 80 is passed on, and no network policy allows it; the rest of 1-100 is allowed second.
    expect(answer).toBe(
      [
        `${ALL} => server/s[Pod] : TCP 22,8080`,
        "client/c[Pod] => server/s[Pod] : TCP 1-21,23-79,81-100,8080",
        "",
      ].join("\n"),
    );
  });

  it("gives the baseline the last word only where no network policy isolates", () => {
    const answer = list(
      [
        pod("a", "x"),
        pod("b", "y"),
        baseline({
          subject: { namespaces: {} },
          egress: [
            { action: "Allow", to: [{ networks: ["10.0.0.0/8"] }] },
            { action: "Deny", to: [{ networks: ["0.0.0.0/0"] }, { namespaces: {} }] },
          ],
        }),
        policy("open", { podSelector: {}, egress: [{}], policyTypes: ["Egress"] }, "b"),
      ],
      { focus: { workloads: ["x", "y"], direction: "egress" } },
    );
    expect(answer).toBe(
      [
        "a/x[Pod] => 10.0.0.0-10.255.255.255[External] : All Connections",
        "b/y[Pod] => 0.0.0.0-9.255.255.255[External] : All Connections",
        "b/y[Pod] => 10.0.0.0-10.255.255.255[External] : All Connections",
        "b/y[Pod] => 11.0.0.0-255.255.255.255[External] : All Connections",
        "b/y[Pod] => a/x[Pod] : All Connections",
        "",
      ].join("\n"),
    );
  });

  it("lists IPv6 only when asked, and says so", () => {
    const values = [
      deployment("web"),
      policy("out", {
        podSelector: {},
        egress: [{ to: [{ ipBlock: { cidr: "2001:db8::/32" } }] }],
        policyTypes: ["Egress"],
      }),
    ];
    expect(list(values)).toBe(`${ALL} => default/web[Deployment] : All Connections\n`);
    expect(problems(...values)).toContain(
      "warning: policies name IPv6 blocks; addresses of IPv6 are listed only with --ipv6",
    );
    expect(list(values, { ipv6: true })).toBe(
      [
        `${ALL} => default/web[Deployment] : All Connections`,
        "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff[External] => default/web[Deployment] : All Connections",
        "default/web[Deployment] => 2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff[External] : All Connections",
        "",
      ].join("\n"),
    );
  });

  it("focuses on workloads, their peers and a connection", () => {
    const values = [deployment("a"), deployment("b"), deployment("c")];
    expect(list(values, { focus: { workloads: ["a"], peers: ["default/b"] } })).toBe(
      "default/a[Deployment] => default/b[Deployment] : All Connections\ndefault/b[Deployment] => default/a[Deployment] : All Connections\n",
    );
    const focus = { workloads: ["a"], peers: ["b"], direction: "ingress" as const };
    expect(
      list(values, { focus: { ...focus, connections: connections("TCP", { first: 80, last: 80 }) } }),
    ).toBe("default/b[Deployment] => default/a[Deployment] : TCP 80\n");
    expect(connectivityOf(cluster(...values), { focus: { workloads: ["nobody"] } })).toMatchObject({
      lines: [],
      problems: [
        { severity: "warning", message: "no network policies were found" },
        { severity: "warning", message: "there is no workload nobody in the documents" },
      ],
    });
  });
});

describe("the ingress controller", () => {
  const service = (spec: Fields): Fields => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web" },
    spec,
  });
  const ingress = (port: Fields): Fields => ({
    apiVersion: "networking.k8s.io/v1",
    kind: "Ingress",
    metadata: { name: "door" },
    spec: { rules: [{ http: { paths: [{ path: "/", backend: { service: { name: "web", port } } }] } }] },
  });
  const web = deployment("web", { app: "web" }, [
    { name: "http", containerPort: 8080 },
    { containerPort: 9090 },
  ]);
  const lines = (...values: Fields[]): string[] =>
    list(values)
      .split("\n")
      .filter((line) => line.startsWith("{"));

  it("reaches the container ports behind the port of the service", () => {
    const ports = [
      { name: "main", port: 80, targetPort: "http" },
      { name: "admin", port: 9090 },
    ];
    const to = service({ selector: { app: "web" }, ports });
    expect(lines(web, to, ingress({ number: 80 }))).toEqual([
      "{ingress-controller} => default/web[Deployment] : TCP 8080",
    ]);
    expect(lines(web, to, ingress({ name: "admin" }))).toEqual([
      "{ingress-controller} => default/web[Deployment] : TCP 9090",
    ]);
    const route = {
      apiVersion: "route.openshift.io/v1",
      kind: "Route",
      metadata: { name: "road" },
      spec: { to: { kind: "Service", name: "web" } },
    };
    expect(lines(web, to, route)).toEqual([
      "{ingress-controller} => default/web[Deployment] : TCP 8080,9090",
    ]);
  });

  it("is a pod of a namespace that nobody knows", () => {
    const to = service({ selector: { app: "web" }, ports: [{ port: 80, targetPort: 8080 }] });
    const allow = (peer: Fields): Fields => policy("p", { podSelector: {}, ingress: [{ from: [peer] }] });
    expect(lines(web, to, ingress({ number: 80 }), allow({ namespaceSelector: {} }))).toHaveLength(1);
    const inside = [web, to, ingress({ number: 80 }), allow({ podSelector: {} })];
    expect(lines(...inside)).toEqual([]);
    expect(
      problems(...inside).some((text) =>
        text.includes("Ingress default/door leads to default/web[Deployment]"),
      ),
    ).toBe(true);
  });
});

describe("formatConnectivity()", () => {
  const values = [
    deployment("a"),
    deployment("b"),
    policy("p", { podSelector: {}, policyTypes: ["Ingress", "Egress"] }),
    policy("q", {
      podSelector: {},
      ingress: [
        {
          from: [{ podSelector: { matchLabels: { app: "a" } } }],
          ports: [{ port: 80 }, { port: 53, protocol: "UDP" }],
        },
      ],
      egress: [{ to: [{ podSelector: { matchLabels: { app: "b" } } }] }],
    }),
  ];

  it("writes JSON, CSV, Markdown and DOT", () => {
    expect(JSON.parse(list(values, {}, "json"))).toEqual([
      { src: "default/a[Deployment]", dst: "default/b[Deployment]", conn: "TCP 80,UDP 53" },
    ]);
    expect(list(values, {}, "csv")).toBe(
      'src,dst,conn\ndefault/a[Deployment],default/b[Deployment],"TCP 80,UDP 53"\n',
    );
    expect(list(values, {}, "md")).toBe(
      "| src | dst | conn |\n|-----|-----|------|\n| default/a[Deployment] | default/b[Deployment] | TCP 80,UDP 53 |\n",
    );
    expect(list(values, {}, "dot")).toContain(
      '"default/a[Deployment]" -> "default/b[Deployment]" [label="TCP 80,UDP 53" color="gold2" fontcolor="darkgreen"]',
    );
  });
});

describe("differenceOf()", () => {
  const lines = (one: unknown[], two: unknown[], format: DifferenceFormat = "txt"): string[] => {
    const [first, second] = [connectivityOf(cluster(...one)), connectivityOf(cluster(...two))];
    const workloads = [...first.workloads, ...second.workloads];
    return formatDifference(differenceOf(first, second), workloads, format).split("\n").slice(0, -1);
  };
  const before = [
    deployment("front"),
    deployment("back"),
    policy("p", {
      podSelector: { matchLabels: { app: "back" } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: "front" } } }], ports: [{ port: 9090 }] }],
    }),
  ];
  const after = [
    deployment("front"),
    deployment("back"),
    policy("p", {
      podSelector: { matchLabels: { app: "back" } },
      ingress: [
        {
          from: [{ podSelector: { matchLabels: { app: "front" } } }],
          ports: [{ port: 53, protocol: "UDP" }],
        },
        {
          from: [
            { podSelector: {} },
            { ipBlock: { cidr: "10.0.0.0/9" } },
            { ipBlock: { cidr: "10.128.0.0/9" } },
          ],
          ports: [{ port: 9090 }],
        },
      ],
    }),
  ];

  it("says what changed, was added and was removed, with ranges joined that became alike", () => {
    expect(lines(before, after)).toEqual([
      "Connectivity diff:",
      "diff-type: changed, source: default/front[Deployment], destination: default/back[Deployment], dir1:  TCP 9090, dir2: TCP 9090,UDP 53",
      "diff-type: added, source: 10.0.0.0-10.255.255.255[External], destination: default/back[Deployment], dir1:  No Connections, dir2: TCP 9090",
    ]);
    expect(
      lines(after, before)
        .slice(1)
        .map((line) => line.slice(0, 20)),
    ).toEqual(["diff-type: changed, ", "diff-type: removed, "]);
    expect(lines(before, before)).toEqual([]);
  });

  it("names workloads that came or went", () => {
    const two = [...before, pod("x", "new")];
    expect(lines(before, two, "csv").filter((line) => line.includes("x/new[Pod],default/front"))).toEqual([
      "added,x/new[Pod],default/front[Deployment],No Connections,All Connections,workload x/new[Pod] added",
    ]);
    expect(lines(two, before, "md").filter((line) => line.includes("| x/new[Pod] | default/front"))).toEqual([
      "| removed | x/new[Pod] | default/front[Deployment] | All Connections | No Connections | workload x/new[Pod] removed |",
    ]);
  });
});

describe("explainPair()", () => {
  const explain = (values: unknown[], source: string, destination: string, port: number): string[] => {
    const of = cluster(...values);
    const [from, to] = [findEnd(of, source), findEnd(of, destination)];
    const answer = new Evaluator(of.policies).answer(from, to);
    return formatExplanation(explainPair(from, to, answer, connections("TCP", { first: port, last: port })));
  };
  const values = [
    deployment("front"),
    deployment("back"),
    policy("p", {
      podSelector: { matchLabels: { app: "back" } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: "front" } } }], ports: [{ port: 9090 }] }],
    }),
    admin("a", {
      priority: 1,
      subject: { namespaces: {} },
      egress: [
        { name: "ssh", action: "Deny", to: [{ namespaces: {} }], ports: [{ portNumber: { port: 22 } }] },
      ],
    }),
  ];

  it("names policy and rule of both directions", () => {
    expect(explain(values, "front", "back", 9090)).toEqual([
      "default/front[Deployment] => default/back[Deployment] : TCP 9090 allowed",
      "  Egress (Allowed)",
      "    the system default (Allow all)",
      "  Ingress (Allowed)",
      "    NetworkPolicy 'default/p' allows connections by Ingress rule #1",
    ]);
  });

  it("says what would have to change", () => {
    expect(explain(values, "8.8.8.8", "back", 9090)).toEqual([
      "8.8.8.8-8.8.8.8[External] => default/back[Deployment] : TCP 9090 denied",
      "  Egress (Allowed)",
      "    the system default (Allow all)",
      "  Ingress (Denied)",
      "    NetworkPolicy 'default/p' selects default/back[Deployment], but 8.8.8.8-8.8.8.8[External] is not allowed by any Ingress rule",
      "  To allow it: NetworkPolicy 'default/p' would need an ingress rule that allows TCP 9090 from 8.8.8.8-8.8.8.8[External]",
    ]);
    expect(explain(values, "back", "front", 22).at(-1)).toBe(
      "  To allow it: Egress rule ssh of AdminNetworkPolicy 'a' would have to leave out TCP 22, or an AdminNetworkPolicy of a lower priority number would have to allow it",
    );
  });

  it("refuses a block that policies cut", () => {
    const of = cluster(
      deployment("web"),
      policy("p", { podSelector: {}, egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8" } }] }] }),
    );
    const evaluator = new Evaluator(of.policies);
    checkUniform(findEnd(of, "10.9.0.0/16"), evaluator);
    expect(() => checkUniform(findEnd(of, "10.0.0.0/7"), evaluator)).toThrow(
      "ask about one of 10.0.0.0-10.255.255.255, 11.0.0.0-255.255.255.255",
    );
  });

  it("knows ends by name, namespace and kind", () => {
    const of = cluster(pod("a", "x"), pod("b", "x"), pod("b", "y"), deployment("y"));
    const text = (name: string): string =>
      (findEnd(of, name) as { workload: { text: string } }).workload.text;
    expect(text("b/x")).toBe("b/x[Pod]");
    expect(text("y")).toBe("default/y[Deployment]");
    expect(text("b/y[Pod]")).toBe("b/y[Pod]");
    expect(() => text("x")).toThrow("x may be any of a/x[Pod], b/x[Pod]");
    expect(() => text("z")).toThrow("there is no workload z");
  });
});

describe("bad documents", () => {
  it("are left out one by one, with file, document and field named", () => {
    const values = [
      deployment("good"),
      { kind: "Pod", metadata: { name: "x" } },
      { apiVersion: "v1", metadata: { name: "values" } },
      { ...deployment("bad"), metadata: { name: "bad", labels: { version: 1 } } },
      "text",
      {
        apiVersion: "crd.projectcalico.org/v1",
        kind: "NetworkPolicy",
        metadata: { name: "c" },
        spec: { selector: "all()" },
      },
      { apiVersion: "v1", kind: "ConfigMap", metadata: { name: 1 } },
    ];
    expect(problems(...values)).toEqual([
      "error: test.yaml, document 2: apiVersion: expected the version of Pod",
      "error: test.yaml, document 3: kind: expected the name of a kind, found none",
      'error: test.yaml, document 4: Deployment bad: metadata.labels["version"]: expected a string (put it in quotes), found 1',
      "error: test.yaml, document 5: expected an object with apiVersion and kind",
      "warning: test.yaml, document 6: NetworkPolicy of crd.projectcalico.org/v1 is none of Kubernetes and is left out",
      "warning: no network policies were found",
    ]);
  });

  it("stop everything when a policy has no meaning", () => {
    const spec = { podSelector: {} };
    const refusals: [Fields, string][] = [
      [
        policy("p", { ...spec, ingress: [{ from: [{}] }] }),
        "spec.ingress[0].from[0]: expected podSelector, namespaceSelector or ipBlock",
      ],
      [
        policy("p", { ...spec, ingress: [{ from: [{ podSelector: {}, ipBlock: { cidr: "1.2.3.4/8" } }] }] }),
        "ipBlock may not stand beside a selector",
      ],
      [
        policy("p", { ...spec, egress: [{ to: [{ ipBlock: { cidr: "1.2.3/8" } }] }] }),
        "spec.egress[0].to[0].ipBlock.cidr: expected a block",
      ],
      [
        policy("p", {
          ...spec,
          egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["11.0.0.0/33"] } }] }],
        }),
        'except[0]: expected a block such as 10.9.1.0/24, found "11.0.0.0/33"',
      ],
      [
        policy("p", { ...spec, ingress: [{ ports: [{ port: "http", endPort: 9 }] }] }),
        "spec.ingress[0].ports[0].endPort: only a port number",
      ],
      [
        policy("p", { ...spec, ingress: [{ ports: [{ port: 9, endPort: 8 }] }] }),
        "endPort: expected a number from 9 to 65535, found 8",
      ],
      [
        policy("p", { ...spec, ingress: [{ ports: [{ protocol: "ICMP" }] }] }),
        'protocol: expected TCP, UDP or SCTP, found "ICMP"',
      ],
      [
        policy("p", { podSelector: { matchExpressions: [{ key: "a", operator: "Is" }] } }),
        "spec.podSelector.matchExpressions[0].operator",
      ],
      [policy("p", { ...spec, policyTypes: ["Both"] }), "spec.policyTypes: expected Ingress or Egress"],
      [
        admin("a", { priority: 1001, subject: { namespaces: {} } }),
        "spec.priority: expected a number from 0 to 1000, found 1001",
      ],
      [admin("a", { priority: 1, subject: {} }), "spec.subject: expected either namespaces or pods"],
      [
        admin("a", {
          priority: 1,
          subject: { namespaces: {} },
          ingress: [{ action: "Drop", from: [{ namespaces: {} }] }],
        }),
        "spec.ingress[0].action: expected Allow, Deny, Pass",
      ],
      [
        admin("a", {
          priority: 1,
          subject: { namespaces: {} },
          ingress: [{ action: "Deny", from: [{ networks: ["10.0.0.0/8"] }] }],
        }),
        "expected exactly one of namespaces, pods",
      ],
      [
        baseline({ subject: { namespaces: {} }, ingress: [{ action: "Pass", from: [{ namespaces: {} }] }] }),
        "expected Allow, Deny",
      ],
    ];
    for (const [document, message] of refusals) {
      expect(() => cluster(document)).toThrow(message);
      expect(() => cluster(document)).toThrow("test.yaml, document 1");
    }
  });

  it("stop everything when policies contradict each other", () => {
    const spec = { priority: 5, subject: { namespaces: {} } };
    expect(() => cluster(admin("a", spec), admin("b", spec))).toThrow("both have priority 5");
    expect(() =>
      cluster(policy("p", { podSelector: {} }), policy("p", { podSelector: {}, egress: [{}] })),
    ).toThrow("NetworkPolicy default/p is not what test.yaml, document 1 says");
    expect(
      problems(deployment("a"), policy("p", { podSelector: {} }), policy("p", { podSelector: {} })),
    ).toEqual([
      "warning: test.yaml, document 3: NetworkPolicy default/p was in test.yaml, document 2 already",
    ]);
  });
});
