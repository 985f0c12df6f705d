import { describe, expect, it } from "vitest";
import { ALL_KINDS } from "../../resources/index.js";
import { admit } from "../admission.js";
import { exampleOf } from "./examples.js";

describe("examples", () => {
  it.each(ALL_KINDS.map((kind) => [kind.kind, kind] as const))("%s would be stored as it is", (_, kind) => {
    const { object, warnings } = admit(exampleOf(kind), {
      kind,
      namespace: kind.namespaced ? "shop" : undefined,
      previous: undefined,
      fieldValidation: "Strict",
      siblings: () => [],
      identity: { uid: "1", now: "2026-01-01T00:00:00Z", nameSuffix: "x" },
    });
    expect(warnings).toEqual([]);
    expect(object.kind).toBe(kind.kind);
  });
});
