// Policies about many peers and many ports become conjunctions, and these mean what their rules say.
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { policyFlows } from "../apps/policy/policy-flows.js";
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

const podPeer = fc.constantFrom(...APPS).map((app) => ({ podSelector: { matchLabels: { app } } }));
const namedPort = fc.constant({ port: "web" });

/** One policy with rules of such peers (null: of everyone) and ports, of which `logged` are logged. */
function wide(
  peers: fc.Arbitrary<unknown[] | null>,
  ports: fc.Arbitrary<unknown>,
  logged: fc.Arbitrary<number[]>,
): fc.Arbitrary<Policy> {
  const rules = fc.array(fc.record({ peers, ports: fc.array(ports, { minLength: 1, maxLength: 8 }) }), {
    minLength: 1,
    maxLength: 3,
  });
  return fc.record({ rules, egress: fc.boolean(), logged }).map((all) => {
    const [type, list, ends] = all.egress ? ["Egress", "egress", "to"] : ["Ingress", "ingress", "from"];
    const spec = {
      podSelector: { matchLabels: { app: "a" } },
      policyTypes: [type],
      [list as string]: all.rules.map((one) => ({
        ports: one.ports,
        ...(one.peers === null ? {} : { [ends as string]: one.peers }),
      })),
    };
    const log = all.logged.map((i) => `${list}[${i}]`);
    return { namespace: "red", name: "wide", spec, handling: { log } } as Policy;
  });
}

const wideOnes = fc.oneof(
  // Everything that can make a rule wide.
  wide(
    fc.option(
      fc.array(fc.oneof(peer, fc.constant({ ipBlock: { cidr: "fd00::/112" } })), {
        minLength: 1,
        maxLength: 6,
      }),
    ),
    fc.oneof(
      { weight: 3, arbitrary: port },
      { weight: 1, arbitrary: fc.oneof(namedPort, fc.constant({ port: 3, endPort: 21 })) },
    ),
    fc.constantFrom([], [0, 1, 2]),
  ),
  // Some rules are logged. No two flows may match one packet then, or it were not defined which of them does.
  wide(fc.array(podPeer, { minLength: 1, maxLength: 6 }), fc.oneof(port, namedPort), fc.subarray([0, 1, 2])),
);
const NAMED_PODS = APPS.map((app, i) => ({
  namespace: "red",
  labels: { app },
  namedPorts: i % 2 === 0 ? [{ name: "web", port: 7 + (i % 4), protocol: "TCP" }] : [],
}));

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

  it("do what a flow for every peer with every port does, and log what it logs", () => {
    let clauses = 0;
    fc.assert(
      fc.property(wideOnes, (one) => {
        const compiler = createWorld([one], [], NAMED_PODS, {});
        const key = "NetworkPolicy/red/wide";
        const flows = flowsOf(compiler);
        clauses += flows.filter((flow) => flow.clauses !== undefined).length;
        const others = flows.filter(({ origin }) => origin.resource !== key);
        const product = [...others, ...policyFlows(compiler.policies.rulesOf(key), () => undefined)];
        expect(product.every((flow) => flow.clauses === undefined)).toBe(true);
        const [short, long] = [flows, product].map((all) => new FlowModel(all)) as [FlowModel, FlowModel];
        for (const other of [1, 2, 3])
          for (const [from, to] of [
            [0, other],
            [other, 0],
          ] as const)
            for (const family of [4, 6])
              for (const word of ["tcp", "udp"] as const)
                for (let number = 1; number <= 41; number++) {
                  const eth = (i: number) => compiler.inventory.port(`red/p${i}`)?.mac ?? 0;
                  const packet = {
                    in_port: from + 1,
                    eth_src: eth(from),
                    eth_dst: eth(to),
                    ...worldEnds(from, to, family),
                    ip_proto: word === "tcp" ? 6 : 17,
                    [`${word}_dst`]: number,
                    [`${word}_src`]: 50_000,
                  };
                  // What is logged stands in a register.
                  const told = (model: FlowModel) =>
                    model.run(packet).outputs.map(({ port, fields }) => [port, fields.reg6]);
                  expect(told(short)).toEqual(told(long));
                }
      }),
      { numRuns: 10 },
    );
    expect(clauses).toBeGreaterThan(0);
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
