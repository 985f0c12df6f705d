import { describe, expect, test } from "vitest";

import { findKind, type ResourceKind } from "../resources/index.js";
import { type AdmissionRequest, admit } from "./admission.js";

const kind = findKind("networking.k8s.io/v1", "NetworkPolicy") as ResourceKind;
const request: AdmissionRequest = {
  kind,
  namespace: "a",
  previous: undefined,
  fieldValidation: "Warn",
  siblings: () => [],
  identity: { uid: "u", now: "2026-01-01T00:00:00Z", nameSuffix: "x" },
};
const policy = (cidr: string, more: object = {}) => ({
  metadata: { name: "p" },
  spec: { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr } }] }] },
  ...more,
});

describe("admit()", () => {
  test("warns of what is taken and may not have been meant, beside unknown fields", () => {
    const advice =
      "spec.ingress[0].from[0].ipBlock.cidr: 10.0.0.1/8 has bits behind its length and counts as 10.0.0.0/8";
    expect(admit(policy("10.0.0.1/8", { colour: "red" }), request).warnings).toEqual([
      'unknown field "colour"',
      advice,
    ]);
    expect(admit(policy("10.0.0.0/8"), request).warnings).toEqual([]);
  });
});
