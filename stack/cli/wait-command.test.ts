import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import type { ApiObject } from "../resources/index.js";
import { isReached, parseGoal } from "./wait-command.js";

const vm = {
  apiVersion: "plinth.dev/v1alpha1",
  kind: "VirtualMachine",
  metadata: { name: "web1", generation: 3, annotations: { "a.b/c": "x" } },
  spec: { disks: [{ name: "d", volume: "v" }], interfaces: [] },
  status: {
    phase: "Running",
    conditions: [
      { type: "Scheduled", status: "True", observedGeneration: 3 },
      { type: "PortsCreated", status: "False", observedGeneration: 3 },
      { type: "Old", status: "True", observedGeneration: 2 },
    ],
  },
} as unknown as ApiObject;

describe("wait --for", () => {
  it.each([
    ["condition=Scheduled", true],
    ["condition=scheduled=true", true],
    ["condition=Scheduled=False", false],
    ["condition=PortsCreated", false],
    ["condition=PortsCreated=False", true],
    // It is about what the object was before.
    ["condition=Old", false],
    ["condition=None", false],
    ["jsonpath={.status.phase}=Running", true],
    ["jsonpath={.status.phase}=Stopped", false],
    ["jsonpath={.spec.disks[0].volume}=v", true],
    ["jsonpath={.spec.disks[1].volume}", false],
    ["jsonpath={.spec.disks.length}", false],
    ["jsonpath={.metadata.annotations['a.b/c']}=x", true],
    ["jsonpath={.metadata.generation}=3", true],
    ["jsonpath={.spec.interfaces}=[]", true],
    ["jsonpath={.status.toString}", false],
    ["jsonpath={.status}", true],
    ["create", true],
    ["delete", false],
  ])("%s: %s", (text, reached) => {
    expect(isReached(parseGoal(text), vm)).toBe(reached);
    expect(isReached(parseGoal(text), undefined)).toBe(text === "delete");
  });

  it("refuses what is none of these, and says what there is", () => {
    for (const text of [
      "",
      "condition",
      "condition=",
      "delete=1",
      "jsonpath=.a",
      "jsonpath={}",
      "jsonpath={a}",
      "ready",
    ])
      expect(() => parseGoal(text)).toThrow("--for: expected condition=TYPE");
  });

  it("takes any text", () => {
    const pieces = fc.constantFrom("jsonpath=", "{", "}", ".a", "[0]", "['b']", "=", "condition", "x");
    const text = fc.oneof(
      fc.string(),
      fc.array(pieces, { maxLength: 9 }).map((all) => all.join("")),
    );
    fc.assert(
      fc.property(text, (one) => {
        try {
          isReached(parseGoal(one), vm);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(PlinthError);
        }
      }),
    );
  });
});
