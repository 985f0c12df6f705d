// The three kinds of patch, by example. Strategic merge examples follow the Kubernetes documentation.
import { describe, expect, test } from "vitest";
import { type ApiObject, networkKind, type SchemaNode, secretKind } from "../../resources/index.js";
import { applyPatch } from "./index.js";
import { applyJsonPatch } from "./json-patch.js";
import { applyMergePatch } from "./merge-patch.js";
import { applyStrategicMerge } from "./strategic-merge.js";

describe("JSON merge patch (RFC 7386, appendix A)", () => {
  test.each<[unknown, unknown, unknown]>([
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
    [{ a: "b" }, { a: null }, {}],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [
      ["a", "b"],
      ["c", "d"],
      ["c", "d"],
    ],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: "b", c: null }, { a: "b" }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])("%j with %j is %j", (target, patch, expected) => {
    const before = structuredClone(target);
    expect(applyMergePatch(target, patch)).toEqual(expected);
    expect(target).toEqual(before);
  });
});

describe("strategic merge patch", () => {
  const schema: SchemaNode = {
    type: "object",
    properties: {
      conditions: {
        type: "array",
        "x-kubernetes-patch-merge-key": "type",
        "x-kubernetes-patch-strategy": "merge",
        items: { type: "object", properties: {} },
      },
      finalizers: { type: "array", "x-kubernetes-patch-strategy": "merge", items: { type: "string" } },
      atomic: { type: "array" },
      map: { type: "object", additionalProperties: { type: "string" } },
    },
  };
  const target = {
    conditions: [
      { type: "A", status: "True" },
      { type: "B", status: "True" },
    ],
    finalizers: ["x", "y"],
    atomic: [1, 2],
    map: { a: "1", b: "2" },
  };
  const patched = (patch: object): Record<string, unknown> => {
    const before = structuredClone(target);
    const result = applyStrategicMerge(target, patch, schema) as Record<string, unknown>;
    expect(target).toEqual(before);
    return result;
  };

  test("merges lists of objects by their key", () => {
    expect(patched({ conditions: [{ type: "B", status: "False" }, { type: "C" }] })["conditions"]).toEqual([
      { type: "A", status: "True" },
      { type: "B", status: "False" },
      { type: "C" },
    ]);
  });

  test("deletes and replaces by directive", () => {
    expect(patched({ conditions: [{ type: "A", $patch: "delete" }] })["conditions"]).toEqual([
      { type: "B", status: "True" },
    ]);
    expect(patched({ conditions: [{ type: "C" }, { $patch: "replace" }] })["conditions"]).toEqual([
      { type: "C" },
    ]);
    expect(patched({ map: { c: "3", $patch: "replace" } })["map"]).toEqual({ c: "3" });
    expect(patched({ map: { $patch: "delete" } })["map"]).toEqual({});
    expect(patched({ map: { $retainKeys: ["b", "c"], c: "3" } })["map"]).toEqual({ b: "2", c: "3" });
    expect(() => patched({ $patch: "explode" })).toThrow(/unknown \$patch/);
  });

  test("merges lists of scalars as sets, in the order that is asked for", () => {
    expect(patched({ finalizers: ["z", "x"] })["finalizers"]).toEqual(["x", "y", "z"]);
    expect(patched({ "$deleteFromPrimitiveList/finalizers": ["x"] })["finalizers"]).toEqual(["y"]);
    const ordered = { "$setElementOrder/finalizers": ["z", "x"], finalizers: ["z"] };
    expect(patched(ordered)["finalizers"]).toEqual(["z", "x", "y"]);
    const conditions = { "$setElementOrder/conditions": [{ type: "B" }, { type: "A" }] };
    expect((patched(conditions)["conditions"] as { type: string }[]).map(({ type }) => type)).toEqual([
      "B",
      "A",
    ]);
  });

  test("replaces other lists and removes what is null", () => {
    expect(patched({ atomic: [3], map: { a: null } })).toMatchObject({ atomic: [3], map: { b: "2" } });
    expect(() => patched({ conditions: [{ status: "True" }] })).toThrow(/no type to merge by/);
  });
});

describe("JSON patch", () => {
  test("applies in order, or not at all", () => {
    const target = { a: [1, 2], b: { c: 1 } };
    const patch = [
      { op: "test", path: "/b/c", value: 1 },
      { op: "add", path: "/a/-", value: 3 },
      { op: "move", from: "/b/c", path: "/d" },
    ];
    expect(applyJsonPatch(target, patch)).toEqual({ a: [1, 2, 3], b: {}, d: 1 });
    expect(target).toEqual({ a: [1, 2], b: { c: 1 } });
    expect(() => applyJsonPatch(target, [{ op: "test", path: "/b/c", value: 2 }])).toThrow(/operation 0/);
  });

  test("cannot reach a prototype nor blow an object up", () => {
    expect(() => applyJsonPatch({}, [{ op: "add", path: "/__proto__/x", value: 1 }])).toThrow(/malformed/);
    const doubling = Array.from({ length: 60 }, (_, i) => ({ op: "copy", from: "/a", path: `/a/${i}` }));
    expect(() => applyJsonPatch({ a: { x: "y".repeat(1000) } }, doubling)).toThrow(/too large/);
  });
});

test("only the kinds of Kubernetes take strategic merge patches", () => {
  const object = { metadata: {} } as ApiObject;
  expect(() => applyPatch(networkKind, "strategic", object, {})).toThrow(/merge or JSON patch for Network/);
  expect(applyPatch(secretKind, "strategic", object, { data: { a: "b" } })).toMatchObject({
    data: { a: "b" },
  });
});
