// What counts as one endpoint, worked out by hand.
import { describe, expect, it } from "vitest";

import { cluster, deployment, type Fields, pod } from "../../testing/manifests.js";

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
});
