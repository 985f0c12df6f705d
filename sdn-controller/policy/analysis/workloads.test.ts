// What counts as one endpoint, worked out by hand.
import { describe, expect, it } from "vitest";

import {
  ALL,
  cluster,
  deployment,
  type Fields,
  list,
  pod,
  policy,
  problems,
} from "../../testing/manifests.js";
import { connectivityOf, endText } from "./connectivity.js";
import { findEnd } from "./ends.js";
import { Evaluator } from "./evaluator.js";
import { explainPair, formatExplanation } from "./explain-pair.js";

describe("workloads", () => {
  const texts = (...documents: unknown[]): string[] =>
    cluster(...documents).workloads.map(({ text }) => text);
  const owned = (kind: string, name: string, controller: boolean | undefined = true): Fields => ({
    ownerReferences: [
      { apiVersion: "apps/v1", kind, name, ...(controller === undefined ? {} : { controller }) },
    ],
  });

  it.each([
    ["replicas are one", [deployment("web")], ["default/web[Deployment]"]],
    ["a pod stands for itself", [pod("a", "x")], ["a/x[Pod]"]],
    [
      "a pod stands for its owner",
      [pod("a", "x-1", {}, [], owned("StatefulSet", "x"))],
      ["a/x[StatefulSet]"],
    ],
    [
      "pods of one owner are one",
      [pod("a", "x-1", {}, [], owned("ReplicaSet", "x")), pod("a", "x-2", {}, [], owned("ReplicaSet", "x"))],
      ["a/x[ReplicaSet]"],
    ],
    [
      "an owner that does not control is none",
      [pod("a", "x-1", {}, [], owned("Job", "x", false))],
      ["a/x-1[Pod]"],
    ],
    [
      "owners of one name and two kinds are two",
      [pod("a", "x-1", {}, [], owned("Job", "x")), pod("a", "x-2", {}, [], owned("DaemonSet", "x"))],
      ["a/x[DaemonSet]", "a/x[Job]"],
    ],
    ["one name in two namespaces is two", [pod("a", "x"), pod("b", "x")], ["a/x[Pod]", "b/x[Pod]"]],
    [
      "one name of two kinds is two",
      [pod("default", "x"), deployment("x")],
      ["default/x[Deployment]", "default/x[Pod]"],
    ],
    [
      "a workload without template has no labels",
      [{ apiVersion: "apps/v1", kind: "DaemonSet", metadata: { name: "x" } }],
      ["default/x[DaemonSet]"],
    ],
    ["an empty namespace is default", [{ ...pod("", "x") }], ["default/x[Pod]"]],
    [
      "lists in lists",
      [
        {
          apiVersion: "v1",
          kind: "List",
          items: [{ apiVersion: "v1", kind: "List", items: [pod("a", "x")] }, null, deployment("y")],
        },
      ],
      ["a/x[Pod]", "default/y[Deployment]"],
    ],
    [
      "items of a PodList are pods, although they do not say so",
      [
        {
          apiVersion: "v1",
          kind: "PodList",
          items: [{ metadata: { namespace: "a", name: "x" } }, deployment("y"), { metadata: { name: "z" } }],
        },
      ],
      ["a/x[Pod]", "default/y[Deployment]", "default/z[Pod]"],
    ],
    [
      "items of an unknown list are unknown",
      [pod("a", "x"), { apiVersion: "v1", kind: "SecretList", items: [{ metadata: { name: "s" } }] }],
      ["a/x[Pod]"],
    ],
    [
      "services and unknown kinds are none",
      [
        pod("a", "x"),
        { apiVersion: "v1", kind: "Service", metadata: { name: "s" }, spec: {} },
        { apiVersion: "v1", kind: "Secret", metadata: { name: "s" } },
      ],
      ["a/x[Pod]"],
    ],
  ] as [string, unknown[], string[]][])("%s", (_name, documents, expected) => {
    expect(texts(...documents)).toEqual(expected);
  });

  it("know the pods behind an owner by their names", () => {
    const owner = owned("ReplicaSet", "web");
    const all = cluster(
      pod("a", "web-1", {}, [], owner),
      pod("a", "web-2", {}, [], owner),
      pod("b", "web-2"),
    );
    const found = (text: string, namespace?: string): string => endText(findEnd(all, text, namespace));
    expect(found("a/web-1")).toBe("a/web[ReplicaSet]");
    expect(found("web-2", "a")).toBe("a/web[ReplicaSet]");
    expect(found("a/web-2[Pod]")).toBe("a/web[ReplicaSet]");
    expect(found("b/web-2")).toBe("b/web-2[Pod]");
    expect(() => found("a/web-3")).toThrow("there is no workload a/web-3");
    const focus = { workloads: ["a/web-1"] };
    const lines = connectivityOf(all, { focus }).lines.map(({ source }) => source);
    expect(new Set(lines)).toEqual(new Set(["a/web[ReplicaSet]", "b/web-2[Pod]", ALL]));
  });
});

describe("pods of one owner", () => {
  it("have the ports of the first; it is told where another calls a port that is asked for by the same name", () => {
    const owner = {
      ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: "x", controller: true }],
    };
    const pods = [80, 81, 80].map((containerPort, i) =>
      pod("default", `x-${i}`, {}, [{ name: "web", containerPort }], owner),
    );
    const asks = policy("web", { podSelector: {}, ingress: [{ ports: [{ port: "web" }] }] });
    expect(problems(...pods, asks)).toEqual([
      "warning: test.yaml, document 2: port web of Pod x-1 is TCP 81; it counts as default/x[ReplicaSet], which has TCP 80 by Pod x-0",
    ]);
    expect(list([...pods, asks])).toContain(`${ALL} => default/x[ReplicaSet] : TCP 80`);
    expect(problems(...pods, policy("shut", { podSelector: {} }))).toEqual([]);
  });
});

describe("an owner beside its pods, as in the dump of a cluster", () => {
  const set = { ...deployment("x", { app: "x" }), kind: "ReplicaSet" };
  const owner = {
    ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: "x", controller: true }],
  };
  const pods = ["x-1", "x-2"].map((name) => pod("default", name, { app: "x", hash: "7" }, [], owner));
  const shut = policy("shut", { podSelector: {} });

  it.each([
    ["before them", [set, ...pods]],
    ["after them", [...pods, set]],
    ["between them", [pods[0], set, pods[1]]],
  ] as [string, Fields[]][])("is one with them, and known by their names: %s", (_place, documents) => {
    expect(problems(...documents, shut)).toEqual([]);
    const all = cluster(...documents);
    expect(all.workloads.map(({ text }) => text)).toEqual(["default/x[ReplicaSet]"]);
    for (const name of ["x", "x-1", "x-2"]) expect(endText(findEnd(all, name))).toBe("default/x[ReplicaSet]");
  });

  it("is refused where a policy tells them apart", () => {
    const apart = policy("apart", { podSelector: { matchLabels: { hash: "7" } } });
    expect(() => cluster(...pods, set, apart)).toThrow(
      "ReplicaSet x and x-1 belong to default/x[ReplicaSet], but NetworkPolicy apart selects only one of them",
    );
  });
});

describe("what no policy is asked about", () => {
  const shut = policy("shut", { podSelector: {}, policyTypes: ["Ingress", "Egress"] });
  const onNode = (name: string, status: Fields): Fields => ({ ...pod("default", name), status });
  const told = (source: string, destination: string, ...documents: unknown[]): string[] => {
    const all = cluster(shut, ...documents);
    const [from, to] = [findEnd(all, source), findEnd(all, destination)];
    return formatExplanation(explainPair(from, to, new Evaluator(all.policies).answer(from, to)));
  };

  it("is a pod and itself; another pod of the same owner is another", () => {
    expect(told("x", "x", pod("default", "x"), deployment("y"))).toEqual([
      "default/x[Pod] => default/x[Pod] : All Connections allowed",
      "  Egress (Allowed)",
      "    no policy keeps a pod from itself",
      "  Ingress (Allowed)",
      "    no policy keeps a pod from itself",
    ]);
    expect(told("y", "y", deployment("y"))[0]).toContain("denied");
  });

  it("is a pod and the node that it runs on, both ways, by every address of the node", () => {
    const status = { hostIP: "192.0.2.7", hostIPs: [{ ip: "192.0.2.7" }, { ip: "2001:db8::7" }] };
    const documents = [onNode("x", status), onNode("z", { hostIP: "192.0.2.8" })];
    expect(told("192.0.2.7", "x", ...documents)[0]).toContain("All Connections allowed");
    expect(told("x", "2001:db8::7", ...documents)[0]).toContain("All Connections allowed");
    expect(told("192.0.2.8", "x", ...documents)[0]).toContain("denied");
    expect(told("x", "192.0.2.6/31", ...documents)[0]).toContain("denied");
  });

  it("has a line where a rule's block is the node alone", () => {
    const block = policy("b", {
      podSelector: {},
      ingress: [{ from: [{ ipBlock: { cidr: "192.0.2.7/32" } }] }],
    });
    const lines = list([shut, block, onNode("x", { hostIP: "192.0.2.7" }), onNode("z", {})]).split("\n");
    expect(lines).toEqual([
      "192.0.2.7-192.0.2.7[External] => default/x[Pod] : All Connections",
      "192.0.2.7-192.0.2.7[External] => default/z[Pod] : All Connections",
      "",
    ]);
    const port = policy("b", {
      podSelector: {},
      ingress: [{ from: [{ ipBlock: { cidr: "192.0.2.7/32" } }], ports: [{ port: 80 }] }],
    });
    expect(list([shut, port, onNode("x", { hostIP: "192.0.2.7" }), onNode("z", {})])).toBe(
      "192.0.2.7-192.0.2.7[External] => default/x[Pod] : All Connections\n" +
        "192.0.2.7-192.0.2.7[External] => default/z[Pod] : TCP 80\n",
    );
  });

  it("is named where an address of a node is no text", () => {
    expect(problems(onNode("x", { hostIP: 7 }), pod("a", "y"), shut)).toEqual([
      "error: test.yaml, document 1: Pod x: status.hostIP: expected a string, found 7",
    ]);
  });
});

describe("Services, Ingresses and Routes", () => {
  const service = (app: string): Fields => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "s" },
    spec: { selector: { app }, ports: [{ port: 80 }] },
  });
  const entrance = (kind: "Ingress" | "Route", backend: string): Fields => ({
    apiVersion: kind === "Ingress" ? "networking.k8s.io/v1" : "route.openshift.io/v1",
    kind,
    metadata: { name: "in" },
    spec:
      kind === "Route"
        ? { to: { name: backend } }
        : { defaultBackend: { service: { name: backend, port: {} } } },
  });
  const shop = [
    deployment("web", { app: "web" }, [{ containerPort: 80 }]),
    deployment("db", { app: "db" }, [{ containerPort: 80 }]),
  ];
  const reached = (...documents: Fields[]): string[] =>
    list([...shop, ...documents])
      .split("\n")
      .filter((line) => line.startsWith("{ingress-controller}"));

  it.each(["Ingress", "Route"] as const)("of one name count once, the last: behind one %s", (kind) => {
    const line = (name: string): string => `{ingress-controller} => default/${name}[Deployment] : TCP 80`;
    expect(reached(entrance(kind, "s"), service("web"), service("db"))).toEqual([line("db")]);
    expect(reached(entrance(kind, "s"), service("web"), entrance(kind, "none"))).toEqual([]);
    expect(
      problems(...shop, entrance(kind, "s"), service("web"), service("db"), entrance(kind, "s")),
    ).toEqual([
      "warning: no network policies were found",
      "warning: test.yaml, document 5: Service default/s was in test.yaml, document 4 already; the later one counts",
      `warning: test.yaml, document 6: ${kind} default/in was in test.yaml, document 3 already; the later one counts`,
    ]);
  });
});
