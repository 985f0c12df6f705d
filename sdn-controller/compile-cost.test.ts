// A change costs what it changes, however many ports there are: counted, not timed.
import { describe, expect, it } from "vitest";
import { createCrowd, crowdPolicy, crowdPort } from "./testing/crowd.js";

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
});
