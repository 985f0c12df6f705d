import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { adminPolicies, policies, selector } from "../../testing/arbitraries.js";
import {
  compareModels,
  type EndpointSelector,
  modelOfAdminPolicy,
  modelOfNetworkPolicy,
  NAMESPACE_NAME_LABEL,
  type PolicyModel,
  selectsEndpoint,
} from "../policy-model.js";
import type { Labels } from "../selector.js";
import type { Workload } from "./cluster.js";
import { contains } from "./connection-set.js";
import { Evaluator } from "./evaluator.js";
import { ANY_POD, unknownPodsOf } from "./unknown-pods.js";

const labels = fc.dictionary(fc.constantFrom("tier", "app", "env"), fc.constantFrom("web", "db", ""), {
  maxKeys: 3,
});
const nameOf = (namespace: string): Labels => ({ [NAMESPACE_NAME_LABEL]: namespace });
const workload = (namespace: string, own: Labels, spaceLabels: Labels): Workload => ({
  namespace,
  name: "w",
  kind: "Pod",
  text: `${namespace}/w[Pod]`,
  labels: own,
  namespaceLabels: { ...spaceLabels, ...nameOf(namespace) },
  ports: [{ name: "http", port: 3, protocol: "TCP" }],
  pods: [],
  nodeAddresses: [],
});
const workloads = fc
  .tuple(fc.constantFrom("red", "blue", "green"), labels)
  .map(([namespace, own]) => workload(namespace, own, {}));
const directions = fc.constantFrom<("Ingress" | "Egress")[]>("Ingress", "Egress");

const peersOf = (models: readonly PolicyModel[]): EndpointSelector[] =>
  models
    .flatMap((model) => model.rules.flatMap((rule) => rule.peers ?? []))
    .flatMap((peer) => (peer.kind === "endpoints" ? [peer.selector] : []));

describe("what unknown pods may do", () => {
  it("is never more than what any pod that fits may do, as long as no policy denies", () => {
    fc.assert(
      fc.property(policies, workloads, workloads, directions, (all, subject, other, direction) => {
        const models = all.map(modelOfNetworkPolicy).sort(compareModels);
        const evaluator = new Evaluator(models);
        const known = evaluator.direction(direction, { workload: subject }, { workload: other }).allowed;
        const fitting = peersOf(models).filter((peer) => selectsEndpoint(peer, other));
        for (const unknown of [ANY_POD, ...fitting.map((peer) => unknownPodsOf(peer, nameOf))]) {
          const promised = evaluator.direction(direction, { workload: subject }, { unknown }).allowed;
          expect(contains(known, promised)).toBe(true);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("is what a pod with just those labels may do, where rules only ask for labels to be there", () => {
    fc.assert(
      fc.property(
        policies,
        adminPolicies,
        workloads,
        labels,
        fc.option(labels),
        directions,
        (all, admin, subject, own, spaceLabels, direction) => {
          const asked = { podSelector: { matchLabels: own } };
          const [peer, witness] =
            spaceLabels === null
              ? [{ ...asked, namespace: "red" }, workload("red", own, {})]
              : [
                  { ...asked, namespaceSelector: { matchLabels: spaceLabels } },
                  workload("elsewhere", own, spaceLabels),
                ];
          const models = [
            ...admin.map((one) => modelOfAdminPolicy(positive(one))),
            ...all.map((one) => modelOfNetworkPolicy(positive(one))),
          ].sort(compareModels);
          const evaluator = new Evaluator(models);
          const judge = (opposite: Parameters<Evaluator["direction"]>[2]): unknown =>
            evaluator.direction(direction, { workload: subject }, opposite).allowed;
          expect(judge({ unknown: unknownPodsOf(peer, nameOf) })).toEqual(
            judge({ workload: { ...witness, ports: [] } }),
          );
        },
      ),
      { numRuns: 300 },
    );
  });

  it("is told of everyone whom a selector without requirements selects", () => {
    fc.assert(
      fc.property(selector, (some) => {
        const isAnyone =
          Object.keys(some.matchLabels ?? {}).length + (some.matchExpressions ?? []).length === 0;
        const pods = unknownPodsOf({ namespaceSelector: some, podSelector: some }, nameOf);
        if (isAnyone) expect(pods).toEqual(ANY_POD);
        else expect(pods).not.toEqual(ANY_POD);
      }),
    );
  });
});

/** The same policy with requirements that only a label can fulfil. */
function positive<T>(policy: T): T {
  const words: Record<string, string> = { NotIn: "In", DoesNotExist: "Exists" };
  return JSON.parse(
    JSON.stringify(policy, (key, value) => (key === "operator" ? (words[value] ?? value) : value)),
  );
}
