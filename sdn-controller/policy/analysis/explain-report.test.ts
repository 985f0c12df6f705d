// The report on every pair, worked out by hand.
import { describe, expect, it } from "vitest";

import { admin, baseline, cluster, deployment, namespace, pod, policy } from "../../testing/manifests.js";
import { type ConnectionSet, connections } from "./connection-set.js";
import { connectivityOf, type Focus } from "./connectivity.js";
import { explainReport } from "./explain-report.js";

function report(documents: unknown[], focus?: Focus, asked?: ConnectionSet): string[] {
  const all = cluster(...documents);
  const { lines } = connectivityOf(all, { denied: true, ...(focus === undefined ? {} : { focus }) });
  return explainReport(all, lines, asked).split("\n");
}

const app = (name: string) => ({ podSelector: { matchLabels: { app: name } } });
const web = { workloads: ["web"], peers: ["db"], direction: "ingress" } as const;

describe("explainReport()", () => {
  it("tells what only the default decides apart, without reasons", () => {
    expect(report([deployment("a"), deployment("b")], { workloads: ["a"], peers: ["b"] })).toEqual([
      "#########################################################",
      "# All Connections due to the system default (Allow all) #",
      "#########################################################",
      "default/a[Deployment] => default/b[Deployment]",
      "default/b[Deployment] => default/a[Deployment]",
      "",
    ]);
  });

  it("gives the policies and rules of both directions for what is allowed and what is not", () => {
    const documents = [
      deployment("web"),
      deployment("db"),
      policy("p", { ...app("web"), ingress: [{ from: [app("db")], ports: [{ port: 80 }] }] }),
      policy("closed", { podSelector: {} }),
    ];
    expect(report(documents, web)).toEqual([
      "##########################################",
      "# Specific connections and their reasons #",
      "##########################################",
      "-".repeat(160),
      "Connections between default/db[Deployment] => default/web[Deployment]:",
      "",
      "Allowed connections:",
      "\tAllowed TCP:[80] due to the following policies and rules:",
      "\t\tEgress (Allowed) due to the system default (Allow all)",
      "\t\tIngress (Allowed)",
      "\t\t\tNetworkPolicy 'default/p' allows connections by Ingress rule #1",
      "",
      "Denied connections:",
      "\tDenied TCP:[1-79,81-65535], UDP, SCTP due to the following policies and rules:",
      "\t\tEgress (Allowed) due to the system default (Allow all)",
      "\t\tIngress (Denied)",
      "\t\t\tNetworkPolicy list:",
      "\t\t\t\t- NetworkPolicy 'default/closed' selects default/web[Deployment], but default/db[Deployment] is not selected by any Ingress rule (no rules defined)",
      "\t\t\t\t- NetworkPolicy 'default/p' selects default/web[Deployment], and Ingress rule #1 selects default/db[Deployment], but the protocols and ports are not referenced",
      "",
      "",
    ]);
  });

  it("names what passes before what decides", () => {
    const monitoring = { matchLabels: { "kubernetes.io/metadata.name": "monitoring" } };
    const documents = [
      namespace("foo", { security: "internal" }),
      namespace("monitoring"),
      pod("foo", "web"),
      pod("monitoring", "db"),
      admin("pass-monitoring", {
        priority: 7,
        subject: { namespaces: { matchLabels: { security: "internal" } } },
        ingress: [{ name: "pass-in", action: "Pass", from: [{ namespaces: monitoring }] }],
      }),
      baseline({
        subject: { namespaces: { matchLabels: { security: "internal" } } },
        ingress: [{ name: "deny-in", action: "Deny", from: [{ namespaces: {} }] }],
      }),
    ];
    expect(report(documents, web).slice(4)).toEqual([
      "Connections between monitoring/db[Pod] => foo/web[Pod]:",
      "",
      "Denied connections:",
      "\tDenied TCP, UDP, SCTP due to the following policies and rules:",
      "\t\tEgress (Allowed) due to the system default (Allow all)",
      "\t\tIngress (Denied)",
      "\t\t\tAdminNetworkPolicy 'pass-monitoring' passes connections by Ingress rule pass-in",
      "\t\t\tBaselineAdminNetworkPolicy 'default' denies connections by Ingress rule deny-in",
      "",
      "",
    ]);
  });

  it("keeps to the connections that are asked about", () => {
    const lines = report(
      [deployment("web"), deployment("db")],
      web,
      connections("TCP", { first: 90, last: 90 }),
    );
    expect(lines).toContain("\tAllowed TCP:[90] due to the system default (Allow all)");
  });
});
