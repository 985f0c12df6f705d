// Policies about many peers and many ports become conjunctions, and these mean what their rules say.
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import type { PortView } from "../network/views.js";
import type { Flow } from "../pipeline/flow.js";
import type { Protocol } from "../policy/analysis/connection-set.js";
import type { Policy } from "../policy/network-policy.js";
import { judge } from "../policy/oracle.js";
import { namespaceLabels } from "../testing/arbitraries.js";
import { policyChange } from "../testing/shop.js";
import { createWorld, worldAddress, worldEnds } from "../testing/world.js";
import { FlowModel } from "./flow-model.js";
import { NO_PACKETS } from "./packet-space.js";
import { Reachability } from "./reachability.js";

const NUMBERS = { TCP: 6, UDP: 17, SCTP: 132 } as const;
const APPS = ["a", "b", "c", "d", "e", "f"] as const;
const PODS = APPS.map((app) => ({ namespace: "red", labels: { app }, namedPorts: [] }));

const peer = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom(...APPS).map((app) => ({ podSelector: { matchLabels: { app } } })),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom("10.0.0.0/8", "0.0.0.0/1", worldAddress(1, 4).concat("/32"))
      .map((cidr) => ({ ipBlock: { cidr } })),
  },
);
const port = fc.record(
  {
    protocol: fc.constantFrom("TCP" as const, "UDP" as const, "SCTP" as const),
    port: fc.integer({ min: 1, max: 40 }),
  },
  { requiredKeys: ["port"] },
);
const rule = fc.record({
  peers: fc.array(peer, { minLength: 2, maxLength: 6 }),
  ports: fc.array(port, { minLength: 3, maxLength: 8 }),
});
const many: fc.Arbitrary<Policy[]> = fc
  .array(
    fc.record({
      rules: fc.array(rule, { minLength: 1, maxLength: 2 }),
      app: fc.constantFrom(...APPS),
      egress: fc.boolean(),
    }),
    { minLength: 1, maxLength: 4 },
  )
  .map((all) =>
    all.map(({ rules, app, egress }, i) => ({
      namespace: "red",
      name: `p${i}`,
      spec: {
        podSelector: { matchLabels: { app } },
        policyTypes: [egress ? "Egress" : "Ingress"],
        ...(egress
          ? { egress: rules.map(({ peers, ports }) => ({ to: peers, ports })) }
          : { ingress: rules.map(({ peers, ports }) => ({ from: peers, ports })) }),
      },
    })),
  );

function flowsOf(compiler: ReturnType<typeof createWorld>): Flow[] {
  return [...compiler.flows.keys()].map((key) => compiler.flows.flow(key) as Flow);
}

describe("conjunctions", () => {
  let seen = 0;

  it("let pass what the oracle lets pass, by proof and by trace", () => {
    fc.assert(
      fc.property(
        many,
        namespaceLabels,
        fc.array(fc.nat(40), { minLength: 2, maxLength: 4 }),
        (all, names, ports) => {
          const compiler = createWorld(all, [], PODS, names);
          const flows = flowsOf(compiler);
          seen += flows.filter(({ clauses }) => clauses !== undefined).length;
          const reach = new Reachability(compiler);
          const view = (i: number) => compiler.inventory.port(`red/p${i}`) as PortView;
          for (let i = 0; i < PODS.length; i++)
            for (let j = 0; j < PODS.length; j++) {
              if (i === j) continue;
              const space = reach.between(view(i), view(j), 4) ?? NO_PACKETS;
              for (const port of ports.filter((number) => number > 0))
                for (const protocol of ["TCP", "UDP", "SCTP"] as const) {
                  const end = (k: number) => ({
                    address: worldAddress(k, 4),
                    pod: PODS[k] as (typeof PODS)[0],
                  });
                  const connection = { source: end(i), destination: end(j), protocol, port };
                  const { allowed } = judge(all, (name) => names[name] ?? {}, connection, []);
                  const word = protocol.toLowerCase();
                  const packet = {
                    in_port: i + 1,
                    eth_src: view(i).mac,
                    eth_dst: view(j).mac,
                    ...worldEnds(i, j, 4),
                    ip_proto: NUMBERS[protocol],
                    [`${word}_dst`]: port,
                    [`${word}_src`]: 50_000,
                  };
                  const inSpace = space.connections[protocol as Protocol].some(
                    ({ first, last }) => first <= port && port <= last,
                  );
                  expect(inSpace).toBe(allowed);
                  expect(new FlowModel(flows).run(packet).outputs.length > 0).toBe(allowed);
                }
            }
        },
      ),
      { numRuns: 15 },
    );
    expect(seen).toBeGreaterThan(0);
  });

  it("are the same whatever the order in which policies came, and leave nothing behind", () => {
    fc.assert(
      fc.property(many, namespaceLabels, (all, names) => {
        const bodies = (compiler: ReturnType<typeof createWorld>) =>
          flowsOf(compiler)
            .map(({ key, body }) => `${key} ${body}`)
            .sort();
        const empty = bodies(createWorld([], [], PODS, names));
        const forward = createWorld(all, [], PODS, names);
        const backward = createWorld([], [], PODS, names);
        for (const policy of [...all].reverse()) backward.apply([policyChange(policy)]);
        expect(bodies(backward)).toEqual(bodies(forward));
        for (const policy of all)
          backward.apply([{ kind: "NetworkPolicy", key: `red/${policy.name}`, value: undefined }]);
        expect(bodies(backward)).toEqual(empty);
      }),
      { numRuns: 15 },
    );
  });
});
