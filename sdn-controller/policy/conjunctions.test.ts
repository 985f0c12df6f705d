import { describe, expect, it } from "vitest";

import { encodeMessage } from "../../base/openflow/index.js";
import { CONJUNCTIONS_MAX } from "../limits.js";
import type { Flow } from "../pipeline/flow.js";
import { FlowModel } from "../proof/flow-model.js";
import { policyChange } from "../testing/shop.js";
import { createWorld, worldEnds } from "../testing/world.js";

const APPS = ["a", "b", "c", "d"];
const PODS = APPS.map((app) => ({ namespace: "red", labels: { app }, namedPorts: [] }));
const PEERS = ["b", "c", "d"].map((app) => ({ podSelector: { matchLabels: { app } } }));

/** A policy about "a" with so many rules, all of which open port 80 and three of their own. */
function huge(ruleCount: number) {
  const ingress = Array.from({ length: ruleCount }, (_, i) => ({
    from: PEERS,
    ports: [{ port: 80 }, ...[1, 3, 5].map((more) => ({ port: 1_000 + 8 * i + more }))],
  }));
  const spec = { podSelector: { matchLabels: { app: "a" } }, policyTypes: ["Ingress" as const], ingress };
  return { namespace: "red", name: "huge", spec };
}

describe("conjunctions of a huge policy", () => {
  it("leave every clause small enough for a message, and mean the same beyond their number", () => {
    const compiler = createWorld([huge(CONJUNCTIONS_MAX + 50)], [], PODS, {});
    const flows = [...compiler.flows.keys()].map((key) => compiler.flows.flow(key) as Flow);
    const sizes = flows.map(({ clauses }) => clauses?.length ?? 0);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(CONJUNCTIONS_MAX);
    expect(Math.max(...sizes)).toBeGreaterThan(CONJUNCTIONS_MAX / 2);
    for (const flow of flows) {
      const { tableId, priority, match, instructions, cookie, flags } = flow;
      const none = {
        cookieMask: 0n,
        idleTimeoutSeconds: 0,
        hardTimeoutSeconds: 0,
        bufferId: 0,
        outPort: 0,
        outGroup: 0,
      };
      const message = { type: "flow_mod", xid: 1, command: "add", ...none } as const;
      encodeMessage({ ...message, tableId, priority, match, instructions, cookie, flags });
    }
    const [a, b] = [0, 1].map((i) => compiler.inventory.port(`red/p${i}`));
    const passes = (port: number): boolean =>
      new FlowModel(flows).run({
        in_port: 2,
        eth_src: b?.mac ?? 0,
        eth_dst: a?.mac ?? 0,
        ...worldEnds(1, 0, 4),
        ip_proto: 6,
        tcp_dst: port,
        tcp_src: 50_000,
      }).outputs.length > 0;
    const last = CONJUNCTIONS_MAX + 49;
    expect([80, 1_001, 1_001 + 8 * last, 1_005 + 8 * last].map(passes)).toEqual([true, true, true, true]);
    expect([81, 1_002, 1_002 + 8 * last, 1_007 + 8 * last].map(passes)).toEqual([false, false, false, false]);
    compiler.apply([policyChange(huge(1), true)]);
    expect([...compiler.flows.keys()].some((key) => compiler.flows.flow(key)?.clauses !== undefined)).toBe(
      false,
    );
  });
});
