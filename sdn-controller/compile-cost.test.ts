// A change costs what it changes, however many ports there are: counted, not timed.
import { describe, expect, it } from "vitest";
import { createCrowd, crowdPolicy, crowdPort } from "./testing/crowd.js";
import { policyChange } from "./testing/shop.js";

const SIZES = process.env["PLINTH_NIGHTLY"] === "1" ? [10, 1_000, 100_000] : [10, 1_000];
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

describe("the cost of a change", () => {
  it.each(SIZES)("is the same among %i ports", (portCount) => {
    const { policyChanged, policyTaken, policyAdded, nothingChanged, portRelabelled } = costs(portCount);
    // One rule before and after; with ten ports every machine is a tier of its own.
    expect(policyChanged).toEqual({ rulesTouched: 2, ownersTouched: 1, flows: 2 });
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
