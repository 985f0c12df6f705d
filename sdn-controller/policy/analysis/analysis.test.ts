// Golden answers worked out by hand from the meaning of the policies.
import { describe, expect, it } from "vitest";

import {
  ALL,
  admin,
  baseline,
  cluster,
  deployment,
  type Fields,
  list,
  namespace,
  pod,
  policy,
  problems,
} from "../../testing/manifests.js";
import { connections } from "./connection-set.js";
import { connectivityOf } from "./connectivity.js";

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
        text.includes("Ingress default/door leads to default/web[Deployment], which no pod of an unknown"),
      ),
    ).toBe(true);
  });

  it("reaches no port that no container declares, which is told", () => {
    const to = service({ selector: { app: "web" }, ports: [{ port: 80, targetPort: 8081 }] });
    expect(lines(web, to, ingress({ number: 80 }))).toEqual([]);
    expect(problems(web, to, ingress({ number: 80 }))).toContain(
      "warning: Ingress default/door leads to default/web[Deployment], which declares none of the TCP ports that the " +
        "service leads to: a line for the ingress controller is left out",
    );
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
