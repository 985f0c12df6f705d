// A change costs what it changes, however many ports there are: counted, not timed.
import { describe, expect, it } from "vitest";
import type { Compiler } from "./compiler.js";
import type { InventoryChange } from "./inputs.js";
import { createCrowd, crowdPolicy, crowdPort } from "./testing/crowd.js";
import { policyChange } from "./testing/shop.js";

const SIZES = process.env["PLINTH_NIGHTLY"] === "1" ? [10, 1_000, 100_000] : [10, 1_000];
/** To compile a hundred thousand ports takes most of it; what is tested is counted. */
const NIGHTLY = { timeout: 600_000 };
const POLICIES = 50;

function costs(portCount: number) {
  const compiler = createCrowd(portCount, POLICIES);
  const cost = (change: ReturnType<typeof crowdPort>) => {
    const { rulesTouched, ownersTouched } = compiler.apply([change]);
    return { rulesTouched, ownersTouched, flows: compiler.flows.takeTouched().size };
  };
  return {
    policyChanged: cost(crowdPolicy(0, portCount, 4000)),
    policyTaken: cost({ ...crowdPolicy(0, portCount, 4000), value: undefined } as ReturnType<
      typeof crowdPolicy
    >),
    policyAdded: cost(crowdPolicy(0, portCount, 4001)),
    nothingChanged: cost(crowdPolicy(0, portCount, 4001)),
    // To a tier that the ports beside it are of already.
    portRelabelled: cost(crowdPort(0, 1)),
  };
}

describe("the cost of a change", NIGHTLY, () => {
  it.each(SIZES)("is the same among %i ports", (portCount) => {
    const { policyChanged, policyTaken, policyAdded, nothingChanged, portRelabelled } = costs(portCount);
    // One rule that went and one that came; with ten ports every machine is a tier of its own.
    expect(policyChanged).toEqual({ rulesTouched: 2, ownersTouched: 2, flows: 2 });
    // The policy's rule, and whether its one subject is isolated still.
    expect(policyTaken.rulesTouched).toBe(1);
    expect(policyTaken.flows).toBeLessThanOrEqual(4);
    expect(policyAdded.rulesTouched).toBe(1);
    expect(policyAdded.flows).toBeLessThanOrEqual(4);
    expect(nothingChanged.flows).toBe(0);
    if (portCount > 10) {
      expect(portRelabelled.rulesTouched).toBe(0);
      expect(portRelabelled.flows).toBeLessThanOrEqual(4);
    }
  });

  it.each(SIZES)(
    "of a rule about many peers and ports is their sum among %i ports, not their product",
    (portCount) => {
      const compiler = createCrowd(portCount, 0);
      // The first ten machines of a tenant are of ten tiers.
      const tiers = Math.min(10, portCount);
      const opens = (peers: number, ports: number) => {
        const labels = (n: number) => ({ podSelector: { matchLabels: { tier: `x${n}` } } });
        compiler.apply([
          policyChange({
            namespace: "t0",
            name: "wide",
            spec: {
              ...labels(0),
              policyTypes: ["Ingress"],
              ingress: [
                {
                  from: Array.from({ length: peers }, (_, n) => labels(n)),
                  ports: Array.from({ length: ports }, (_, n) => ({ port: 1000 + 2 * n })),
                },
              ],
            },
          }),
        ]);
        const own = [...compiler.flows.keys()].filter(
          (key) => compiler.flows.flow(key)?.origin.resource === "NetworkPolicy/t0/wide",
        );
        return { flows: own.length, touched: compiler.flows.takeTouched().size };
      };
      // A flow for each peer and each port, and one for both together.
      opens(1, 1);
      expect(opens(tiers, 40).flows).toBe(tiers + 40 + 1);
      expect(opens(tiers, 41)).toEqual({ flows: tiers + 41 + 1, touched: 1 });
      expect(opens(tiers - 1, 41)).toEqual({ flows: tiers - 1 + 41 + 1, touched: 1 });
    },
  );
});

/** Rules of the huge policy. */
const RULES = 900;

/** Each rule is about every tier and opens a port, rule number `changed` another one; `first` opens that one before all. */
function hugePolicy(namespace: string, changed?: number, count = RULES, first?: number): InventoryChange {
  const from = Array.from({ length: 10 }, (_, n) => ({ podSelector: { matchLabels: { tier: `x${n}` } } }));
  return policyChange({
    namespace,
    name: "huge",
    spec: {
      podSelector: { matchLabels: { tier: "x0" } },
      policyTypes: ["Ingress"],
      ingress: [
        ...(first === undefined ? [] : [first]),
        ...Array.from({ length: count }, (_, n) => (n === changed ? 60_000 : 1_000 + n)),
      ].map((port) => ({ from, ports: [{ port }] })),
    },
  });
}

function touched(compiler: Compiler, ...changes: InventoryChange[]) {
  const { rulesTouched, ownersTouched } = compiler.apply(changes);
  return { rulesTouched, ownersTouched, flows: compiler.flows.takeTouched().size };
}

describe("the cost of a change near a policy of 900 wide rules", NIGHTLY, () => {
  it.each(SIZES)("is that of what changed among %i ports", (portCount) => {
    const compiler = createCrowd(portCount, POLICIES);
    const tiers = Math.min(10, portCount);
    const one = { rulesTouched: 1, ownersTouched: 1, flows: tiers };
    // One rule of many peers makes a flow for each of them.
    touched(compiler, hugePolicy("t0"));
    // A rule edited: it went and it came, with its flows.
    expect(touched(compiler, hugePolicy("t0", 450))).toEqual({
      rulesTouched: 2,
      ownersTouched: 2,
      flows: 2 * tiers,
    });
    expect(touched(compiler, hugePolicy("t0", 450))).toEqual({ rulesTouched: 0, ownersTouched: 0, flows: 0 });
    expect(touched(compiler, hugePolicy("t0", 450, RULES + 1))).toEqual(one);
    expect(touched(compiler, hugePolicy("t0", 450))).toEqual(one);
    // A rule put before all others, and taken away again.
    expect(touched(compiler, hugePolicy("t0", 450, RULES, 50_000))).toEqual(one);
    expect(touched(compiler, hugePolicy("t0", 450))).toEqual(one);
    // A port more, of an identity that is there and of none that the policy is about.
    expect(touched(compiler, newPort("more", "x1")).rulesTouched).toBe(0);
    expect(touched(compiler, newPort("more", "other")).rulesTouched).toBe(0);
    expect(touched(compiler, { ...newPort("more", ""), value: undefined }).rulesTouched).toBe(0);
    // Every rule is about x0, and goes with the policy.
    const gone = { ...hugePolicy("t0"), value: undefined } as InventoryChange;
    expect(touched(compiler, gone)).toMatchObject({ rulesTouched: RULES });
    expect(touched(compiler, gone)).toEqual({ rulesTouched: 0, ownersTouched: 0, flows: 0 });
  });
});

function newPort(name: string, tier: string): InventoryChange {
  const value = { namespace: "t0", name, network: "n", virtualMachine: name, namedPorts: [] };
  return { kind: "Port", key: `t0/${name}`, value: { ...value, labels: { tier } } };
}

describe("the cost of a namespace's labels", NIGHTLY, () => {
  const labelled = (namespace: string, team: string): InventoryChange => ({
    kind: "Namespace",
    key: namespace,
    value: { name: namespace, labels: { team } },
  });
  /** Its rule number n lets in who is of team n. */
  const byTeam = (teams: number): InventoryChange =>
    policyChange({
      namespace: "t0",
      name: "teams",
      spec: {
        podSelector: { matchLabels: { tier: "x0" } },
        policyTypes: ["Ingress"],
        ingress: Array.from({ length: teams }, (_, n) => ({
          from: [
            {
              namespaceSelector: { matchLabels: { team: `m${n}` } },
              podSelector: { matchLabels: { tier: "x1" } },
            },
          ],
        })),
      },
    });

  it.each(SIZES)("is that of the rules that ask for them among %i ports", (portCount) => {
    const compiler = createCrowd(portCount, POLICIES);
    touched(compiler, labelled("t0", "m0"), byTeam(500));
    // From one rule to another: the same flow, under another rule's cookie.
    expect(touched(compiler, labelled("t0", "m7"))).toEqual({ rulesTouched: 2, ownersTouched: 2, flows: 1 });
    expect(touched(compiler, labelled("t0", "m7"))).toEqual({ rulesTouched: 0, ownersTouched: 0, flows: 0 });
    expect(touched(compiler, labelled("t0", "nobody"))).toEqual({
      rulesTouched: 1,
      ownersTouched: 1,
      flows: 1,
    });
    // Nobody is in it.
    expect(touched(compiler, labelled("empty", "m3"))).toEqual({
      rulesTouched: 0,
      ownersTouched: 0,
      flows: 0,
    });
  });
});
