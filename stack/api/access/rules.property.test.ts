// Permissions by their meaning: what rules cover is judged against every single thing that could be asked for.
import fc from "fast-check";
import { expect, test } from "vitest";
import type { PolicyRule } from "../../resources/index.js";
import { ApiError } from "../errors.js";
import { type Attributes, attributesOf, isResource } from "./attributes.js";
import { allows, uncovered } from "./rules.js";

const VERBS = ["get", "update"];
const GROUPS = ["", "g"];
const RESOURCES = ["a", "a/s", "b", "b/s"];
const NAMES = ["", "x", "y"];
const PATHS = ["/p", "/p/q", "/r"];
const some = (words: readonly string[]) =>
  fc.uniqueArray(fc.constantFrom(...words), { minLength: 1, maxLength: 3 });
const rule: fc.Arbitrary<PolicyRule> = fc.oneof(
  fc.record({
    verbs: some([...VERBS, "*"]),
    apiGroups: some([...GROUPS, "*"]),
    resources: some([...RESOURCES, "*/s", "*"]),
    resourceNames: fc.uniqueArray(fc.constantFrom("x", "y"), { maxLength: 2 }),
  }),
  fc.record({ verbs: some([...VERBS, "*"]), nonResourceURLs: some([...PATHS, "/p/*", "*"]) }),
);
const EVERYTHING: Attributes[] = VERBS.flatMap((verb) => [
  ...PATHS.map((path) => ({ verb, path })),
  ...GROUPS.flatMap((group) =>
    RESOURCES.flatMap((each) =>
      NAMES.map((name) => {
        const [resource = "", subresource = ""] = each.split("/");
        return { verb, group, resource, subresource, namespace: "n", name };
      }),
    ),
  ),
]);

test("rules that are covered allow nothing that the covering ones do not", () => {
  fc.assert(
    fc.property(fc.array(rule, { maxLength: 4 }), fc.array(rule, { maxLength: 3 }), (held, wanted) => {
      const missing = uncovered(held, wanted, 1000);
      const may = (rules: readonly PolicyRule[], asked: Attributes): boolean =>
        rules.some((each) => allows(each, asked));
      for (const asked of EVERYTHING) {
        if (may(wanted, asked) && !may(held, asked)) expect(may(missing, asked)).toBe(true);
        if (missing.length === 0 && may(wanted, asked)) expect(may(held, asked)).toBe(true);
      }
      expect(uncovered(wanted, wanted)).toEqual([]);
      expect(uncovered([...held, ...missing], wanted)).toEqual([]);
    }),
  );
});

test("any method and path ask for something, or are refused", () => {
  const path = fc.oneof(
    fc.string({ maxLength: 30 }).map((text) => `/${text}`),
    fc
      .array(
        fc.constantFrom(
          "api",
          "apis",
          "v1",
          "g",
          "namespaces",
          "n",
          "x",
          "status",
          "%",
          "%2f",
          "?watch=1",
          "..",
        ),
      )
      .map((parts) => `/${parts.join("/")}`),
  );
  fc.assert(
    fc.property(
      fc.constantFrom("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"),
      path,
      (method, url) => {
        try {
          const asked = attributesOf(method, url);
          if (isResource(asked)) expect(asked.resource).not.toBe("");
          else expect(asked.path.startsWith("/")).toBe(true);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(ApiError);
        }
      },
    ),
  );
});

test.each<[string, string, object]>([
  ["GET", "/api/v1/namespaces", { verb: "list", resource: "namespaces", name: "", namespace: "" }],
  ["GET", "/api/v1/namespaces/a", { verb: "get", resource: "namespaces", name: "a", namespace: "a" }],
  ["PUT", "/api/v1/namespaces/a/status", { verb: "update", resource: "namespaces", subresource: "status" }],
  [
    "GET",
    "/apis/g/v1/namespaces/a/rs?watch=true",
    { verb: "watch", group: "g", resource: "rs", namespace: "a" },
  ],
  ["GET", "/apis/g/v1/rs?limit=5", { verb: "list", namespace: "" }],
  ["DELETE", "/apis/g/v1/namespaces/a/rs", { verb: "deletecollection" }],
  ["DELETE", "/apis/g/v1/namespaces/a/rs/x", { verb: "delete", name: "x" }],
  ["PATCH", "/apis/g/v1/namespaces/a/rs/x/status", { verb: "patch", name: "x", subresource: "status" }],
  ["POST", "/apis/g/v1/namespaces/a/rs/x/exec", { verb: "create", name: "x", subresource: "exec" }],
  ["GET", "/apis/g/v1/rs?fieldSelector=metadata.name%3Dx", { verb: "list", name: "x" }],
  ["GET", "/openapi/v3/apis/x", { verb: "get", path: "/openapi/v3/apis/x" }],
  ["GET", "/apis/g/v1", { verb: "get", path: "/apis/g/v1" }],
])("%s %s", (method, url, expected) => {
  expect(attributesOf(method, url)).toMatchObject(expected);
});
