// Differences, explanations and refusals, worked out by hand.
import { describe, expect, it } from "vitest";

import {
  admin,
  baseline,
  cluster,
  deployment,
  type Fields,
  list,
  pod,
  policy,
  problems,
} from "../../testing/manifests.js";
import { connections } from "./connection-set.js";
import { connectivityOf } from "./connectivity.js";
import { type DifferenceFormat, differenceOf, formatDifference } from "./difference.js";
import { checkUniform, findEnd } from "./ends.js";
import { Evaluator } from "./evaluator.js";
import { explainPair, formatExplanation } from "./explain-pair.js";

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

  it("colours a workload that came, and none whose name is the end of another's", () => {
    const old = [pod("op", "new")];
    const graph = lines(old, [...old, pod("shop", "new")], "dot");
    const colorOf = (end: string): string | undefined =>
      graph.find((line) => line.trim().startsWith(`"${end}[Pod]" [`))?.match(/ color="(\S+)"/)?.[1];
    expect([colorOf("shop/new"), colorOf("op/new")]).toEqual(["#008000", "blue"]);
  });

  it("is a list as JSON, also when nothing differs", () => {
    const json = (one: unknown[], two: unknown[]): unknown => JSON.parse(lines(one, two, "json").join("\n"));
    expect(json(before, before)).toEqual([]);
    expect((json(before, after) as unknown[])[0]).toEqual({
      "diff-type": "changed",
      source: "default/front[Deployment]",
      destination: "default/back[Deployment]",
      dir1: "TCP 9090",
      dir2: "TCP 9090,UDP 53",
      "workloads-diff-info": "",
    });
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
  it("are told of where they are left out and would have changed the answer", () => {
    const values = [
      deployment("a"),
      { apiVersion: "cilium.io/v2", kind: "CiliumNetworkPolicy", metadata: { name: "c" } },
      { apiVersion: "k8s.ovn.org/v1", kind: "UserDefinedNetwork", metadata: { name: "u" } },
      { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "m" } },
      policy("p", { podSelector: {} }),
    ];
    expect(problems(...values)).toEqual([
      "warning: test.yaml, document 2: CiliumNetworkPolicy of cilium.io/v2 is not understood and is left out",
      "warning: test.yaml, document 3: UserDefinedNetwork of k8s.ovn.org/v1 is left out: the answer is about the pod network",
    ]);
  });

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

  it("are taken as they are, with a warning, where they may mean something else", () => {
    const values = [
      pod("default", "node-agent"),
      { ...deployment("a"), spec: { template: { spec: { hostNetwork: true } } } },
      policy("p", { podSelector: {}, ingress: [{ form: [{ podSelector: {} }], ports: [{ prot: "UDP" }] }] }),
      admin("a", {
        priority: 1,
        subject: { namespaces: { namespaceSelector: {} } },
        egress: [
          {
            action: "Allow",
            to: [{ namespaces: { matchLabels: { ports: "any" } } }, { domainNames: ["*.example"] }],
          },
        ],
      }),
      {
        apiVersion: "networking.k8s.io/v1beta1",
        kind: "Ingress",
        metadata: { name: "i" },
        spec: { backend: { serviceName: "s", servicePort: 80 } },
      },
    ];
    const nothing = "there is no such field, so it counts for nothing";
    expect(problems(...values)).toEqual([
      "warning: test.yaml, document 2: Deployment a: on the network of its node; the answer takes it for one of the pod network",
      `warning: test.yaml, document 3: NetworkPolicy p: spec.ingress[0].form: ${nothing}`,
      `warning: test.yaml, document 3: NetworkPolicy p: spec.ingress[0].ports[0].prot: ${nothing}`,
      `warning: test.yaml, document 4: AdminNetworkPolicy a: spec.subject.namespaces.namespaceSelector: ${nothing}`,
      "warning: test.yaml, document 5: Ingress i: only backends in the form of networking.k8s.io/v1 are read",
      "warning: AdminNetworkPolicy a: egress[0]: nobody knows the addresses behind domain names, so this peer selects nothing here",
    ]);
  });

  it("may take out of a block what is no part of it: the answer stands, and it is told", () => {
    const from = (cidr: string, ...except: string[]): Fields => ({ from: [{ ipBlock: { cidr, except } }] });
    const ingress = [
      from("10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/16"),
      from("10.2.0.0/16", "10.2.0.0/16"),
      from("2001:db8::/32", "10.0.0.0/24"),
    ];
    const values = [pod("default", "x"), policy("p", { podSelector: {}, ingress })];
    const refused = "the API server refuses such a policy";
    expect(problems(...values).filter((text) => text.includes("except"))).toEqual([
      `warning: NetworkPolicy default/p: ingress[0]: except 11.0.0.0/16 is no smaller part of 10.0.0.0/8: ${refused}`,
      `warning: NetworkPolicy default/p: ingress[1]: except 10.2.0.0/16 is no smaller part of 10.2.0.0/16: ${refused}`,
      `warning: NetworkPolicy default/p: ingress[2]: except 10.0.0.0/24 is no smaller part of 2001:db8::/32: ${refused}`,
    ]);
    expect(list(values)).toContain("10.2.0.0-10.255.255.255[External] => default/x[Pod]");
  });

  it("need a name, or the beginning of one", () => {
    const { metadata: _, ...nameless } = pod("default", "x");
    const begun = { ...nameless, metadata: { generateName: "job-" } };
    expect(cluster(nameless, begun).workloads.map(({ text }) => text)).toEqual(["default/job-[Pod]"]);
    expect(problems(begun, nameless, policy("p", { podSelector: {} }))).toEqual([
      "error: test.yaml, document 2: Pod: metadata.name: expected a name, found none",
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
    expect(() => cluster(admin("a", spec), admin("b", spec))).toThrow(
      "test.yaml, document 2: AdminNetworkPolicy b and a (test.yaml, document 1) both have priority 5",
    );
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
