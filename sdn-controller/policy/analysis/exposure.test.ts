// Exposure, worked out by hand.
import { describe, expect, it } from "vitest";

import { admin, cluster, deployment, namespace, policy } from "../../testing/manifests.js";
import { connections } from "./connection-set.js";
import { connectivityOf, type Focus } from "./connectivity.js";
import { exposureOf } from "./exposure.js";
import { formatExposure } from "./exposure-format.js";
import type { ConnectivityFormat } from "./format.js";

const app = (name: string) => ({ podSelector: { matchLabels: { app: name } } });

function told(documents: unknown[], format: ConnectivityFormat = "txt", focus?: Focus): string {
  const all = cluster(...documents);
  const connectivity = connectivityOf(all, focus === undefined ? {} : { focus });
  return formatExposure(connectivity, exposureOf(all, connectivity, focus), format);
}

/** The lines of the answer without those of addresses, from the title on. */
function lines(documents: unknown[], focus?: Focus): string[] {
  const text = told(documents, "txt", focus);
  return text
    .slice(text.indexOf("Exposure Analysis Result:"))
    .split("\n")
    .slice(1, -1)
    .filter((line) => !line.includes("[External]"))
    .map((line) => line.replaceAll(/ *\t/g, " "));
}

describe("exposureOf()", () => {
  it("takes who is not selected for open to everyone, and says so", () => {
    expect(lines([deployment("a")])).toEqual([
      "Egress Exposure:",
      "default/a[Deployment] => entire-cluster : All Connections",
      "",
      "Ingress Exposure:",
      "default/a[Deployment] <= entire-cluster : All Connections",
      "",
      "Workloads not protected by network policies:",
      "default/a[Deployment] is not protected on Egress",
      "default/a[Deployment] is not protected on Ingress",
    ]);
  });

  it("says nothing of who is shut", () => {
    const shut = policy("p", { podSelector: {}, policyTypes: ["Ingress", "Egress"] });
    expect(told([deployment("a"), shut])).toBe("Exposure Analysis Result:\n");
  });

  it("tells pods that a rule names only where no document has one, and only when they may more than anyone", () => {
    const documents = [
      deployment("a"),
      deployment("b"),
      policy("p", {
        ...app("a"),
        ingress: [
          { from: [app("b"), app("c")], ports: [{ port: 80 }] },
          { from: [{ namespaceSelector: {} }], ports: [{ port: 443 }] },
          { from: [{ namespaceSelector: { matchLabels: { team: "x" } } }], ports: [{ port: 443 }] },
          { from: [{ namespaceSelector: {}, ...app("d") }], ports: [{ port: 81 }] },
        ],
      }),
      policy("q", { podSelector: {}, policyTypes: ["Egress"] }),
    ];
    expect(lines(documents, { workloads: ["a"] })).toEqual([
      "Ingress Exposure:",
      "default/a[Deployment] <= [all namespaces]/[pod with {app=d}] : TCP 81,443",
      "default/a[Deployment] <= default/[pod with {app=c}] : TCP 80,443",
      "default/a[Deployment] <= entire-cluster : TCP 443",
    ]);
  });

  it("gives pods all that their requirements make sure of, and nothing that they only may fulfil", () => {
    const expression = (key: string, operator: string, values?: string[]) => ({
      matchExpressions: [{ key, operator, ...(values === undefined ? {} : { values }) }],
    });
    const from = (selector: object, port: number) => ({
      from: [{ podSelector: selector }],
      ports: [{ port }],
    });
    const documents = [
      deployment("a"),
      policy("p", {
        ...app("a"),
        policyTypes: ["Ingress"],
        ingress: [
          from({ matchLabels: { role: "x" } }, 1),
          from(expression("role", "In", ["y", "x"]), 2),
          from(expression("role", "Exists"), 3),
          from({ matchLabels: { app: "z" }, ...expression("role", "NotIn", ["y"]) }, 4),
        ],
      }),
    ];
    expect(lines(documents, { workloads: ["a"], direction: "ingress" })).toEqual([
      "Ingress Exposure:",
      "default/a[Deployment] <= default/[pod with {app=z,{Key:role,Operator:NotIn,Values:[y],}}] : TCP 4",
      "default/a[Deployment] <= default/[pod with {role=x}] : TCP 1-3",
      "default/a[Deployment] <= default/[pod with {{Key:role,Operator:Exists,Values:[],}}] : TCP 3",
      "default/a[Deployment] <= default/[pod with {{Key:role,Operator:In,Values:[x y],}}] : TCP 2-3",
    ]);
  });

  it("knows a namespace by its name, and leaves port names to pods that are not there", () => {
    const dns = { matchLabels: { "kubernetes.io/metadata.name": "kube-system" } };
    const documents = [
      namespace("kube-system", { team: "infra" }),
      deployment("a"),
      policy("p", {
        ...app("a"),
        policyTypes: ["Egress"],
        egress: [
          { to: [{ namespaceSelector: dns }], ports: [{ port: "dns", protocol: "UDP" }, { port: 53 }] },
          {
            to: [{ namespaceSelector: { matchLabels: { team: "infra" } } }],
            ports: [{ port: 9, protocol: "UDP" }],
          },
        ],
      }),
    ];
    expect(lines(documents, { workloads: ["a"], direction: "egress" })).toEqual([
      "Egress Exposure:",
      "default/a[Deployment] => [namespace with {team=infra}]/[all pods] : UDP 9",
      "default/a[Deployment] => kube-system/[all pods] : TCP 53,UDP 9,dns",
    ]);
  });

  it("tells whom an admin policy denies what others may", () => {
    const documents = [
      deployment("a"),
      admin("deny", {
        priority: 3,
        subject: { namespaces: {} },
        ingress: [{ action: "Deny", from: [{ namespaces: { matchLabels: { team: "x" } } }] }],
      }),
    ];
    expect(lines(documents, { workloads: ["a"], direction: "ingress" })).toEqual([
      "Ingress Exposure:",
      "default/a[Deployment] <= [namespace with {team=x}]/[all pods] : No Connections",
      "default/a[Deployment] <= entire-cluster : All Connections",
    ]);
  });

  it("keeps to the connections in focus", () => {
    const documents = [
      deployment("a"),
      policy("p", { ...app("a"), ingress: [{ from: [app("c")], ports: [{ port: 80 }, { port: 81 }] }] }),
    ];
    const focus = (port: number): Focus => ({
      workloads: ["a"],
      direction: "ingress",
      connections: connections("TCP", { first: port, last: port }),
    });
    expect(lines(documents, focus(80))).toEqual([
      "Ingress Exposure:",
      "default/a[Deployment] <= default/[pod with {app=c}] : TCP 80",
    ]);
    expect(lines(documents, focus(82))).toEqual([]);
  });
});

describe("formatExposure()", () => {
  const documents = [
    deployment("a"),
    policy("p", { ...app("a"), ingress: [{ from: [app("c")], ports: [{ port: 80 }] }], egress: [] }),
    policy("q", { ...app("a"), egress: [{ to: [{ namespaceSelector: {} }], ports: [{ port: 1 }] }] }),
  ];
  const RULE = "|-----|-----|------|";

  it("has a section for each direction", () => {
    expect(told(documents)).toBe(
      "Exposure Analysis Result:\nEgress Exposure:\ndefault/a[Deployment] \t=> \tentire-cluster : TCP 1\n\n" +
        "Ingress Exposure:\ndefault/a[Deployment] \t<= \tdefault/[pod with {app=c}] : TCP 80\n",
    );
    expect(told(documents, "md").split("\n").slice(2, -1)).toEqual([
      "## Exposure Analysis Result:",
      "### Egress Exposure:",
      "| src | dst | conn |",
      RULE,
      "| default/a[Deployment] | entire-cluster | TCP 1 |",
      "",
      "### Ingress Exposure:",
      "| dst | src | conn |",
      RULE,
      "| default/a[Deployment] | default/[pod with {app=c}] | TCP 80 |",
    ]);
    expect(told(documents, "csv").split("\n").slice(1, -1)).toEqual([
      "Exposure Analysis Result:,,",
      "Egress Exposure:,,",
      "src,dst,conn",
      "default/a[Deployment],entire-cluster,TCP 1",
      "Ingress Exposure:,,",
      "dst,src,conn",
      "default/a[Deployment],default/[pod with {app=c}],TCP 80",
    ]);
  });

  it("goes beside the connectivity as JSON and in its graph as DOT", () => {
    expect(JSON.parse(told(documents, "json"))).toEqual({
      connlist_results: [],
      exposure_results: {
        egress_exposure: [{ src: "default/a[Deployment]", dst: "entire-cluster", conn: "TCP 1" }],
        ingress_exposure: [
          { src: "default/[pod with {app=c}]", dst: "default/a[Deployment]", conn: "TCP 80" },
        ],
      },
      unprotected: [],
    });
    const graph = told(documents, "dot");
    expect(graph).toContain(
      '"entire-cluster" [label="entire-cluster" color="red2" fontcolor="red2" shape=diamond]',
    );
    expect(graph).toContain('"default/a[Deployment]" -> "entire-cluster" [label="TCP 1"');
    expect(graph).toContain('"default/[pod with {app=c}]" -> "default/a[Deployment]" [label="TCP 80"');
    expect(graph.endsWith("]\n}\n")).toBe(true);
    expect(told(documents, "svg")).toContain(
      "<title>default/a[Deployment] =&gt; entire-cluster : TCP 1</title>",
    );
  });
});
