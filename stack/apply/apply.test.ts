import { expect, test } from "vitest";
import { applyMergePatch } from "../api/patch/merge-patch.js";
import type { ApiObject } from "../resources/index.js";
import { LAST_APPLIED, threeWayPatch } from "./apply.js";

test("a three-way patch changes what is said, removes what is said no more, and leaves what others say", () => {
  const last = {
    metadata: { name: "x", labels: { a: "1", b: "2" } },
    spec: { mtu: 1400, gateway: "10.0.0.1" },
  };
  const before = {
    metadata: {
      name: "x",
      labels: { a: "1", b: "2", others: "3" },
      annotations: { [LAST_APPLIED]: JSON.stringify(last) },
    },
    spec: { mtu: 1400, gateway: "10.0.0.1", host: "h1" },
  } as unknown as ApiObject;
  const wanted = { metadata: { name: "x", labels: { a: "9" } }, spec: { mtu: 1500 } } as unknown as ApiObject;
  const after = applyMergePatch(before, threeWayPatch(before, wanted));
  expect(after).toMatchObject({ metadata: { labels: { a: "9", others: "3" } } });
  expect((after as ApiObject)["spec"]).toEqual({ mtu: 1500, host: "h1" });
  expect((after as ApiObject).metadata.labels).not.toHaveProperty("b");
});

test("an annotation that is no JSON counts as none", () => {
  const before = {
    metadata: { name: "x", annotations: { [LAST_APPLIED]: "{" } },
    spec: { a: 1 },
  } as unknown as ApiObject;
  expect(threeWayPatch(before, { metadata: { name: "x" }, spec: {} } as unknown as ApiObject)).toEqual({
    metadata: { name: "x" },
    spec: {},
  });
});
