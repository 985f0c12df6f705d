// Everything that clients send is judged, never trusted: any input is accepted or refused with an ApiError.
import fc from "fast-check";
import { expect, test } from "vitest";
import { ALL_KINDS, type ApiObject } from "../resources/index.js";
import { admit } from "./admission.js";
import { ApiError } from "./errors.js";
import { parseKubernetesProtobuf } from "./kubernetes-protobuf.js";
import { negotiate } from "./negotiate.js";
import { applyPatch, type PatchType } from "./patch/index.js";
import { parseForce, parseListQuery, parseWriteQuery } from "./query.js";
import { parseLabelSelector, parseSelectors } from "./selectors.js";

/** Runs `work`; anything but an ApiError is a failure. */
function judged<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(ApiError);
    return undefined;
  }
}

const kinds = fc.constantFrom(...ALL_KINDS);
const object = (): ApiObject =>
  ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "x", uid: "u", finalizers: ["a/b"] },
    data: {},
  }) as never;

test("selectors take any text", () => {
  const almost = fc.stringMatching(/^[a-z!=,()<> ./-]{0,30}$/);
  fc.assert(
    fc.property(kinds, fc.oneof(fc.string(), almost), (kind, text) => {
      judged(() => parseSelectors(kind, text, undefined)(object()));
      judged(() => parseSelectors(kind, undefined, text)(object()));
    }),
  );
});

test("a label selector selects as its parts say", () => {
  const word = fc.stringMatching(/^[a-z]{1,3}$/);
  fc.assert(
    fc.property(fc.dictionary(word, word), word, word, (labels, key, value) => {
      const has = { metadata: { labels } } as unknown as ApiObject;
      const equal = Object.hasOwn(labels, key) && labels[key] === value;
      expect(parseLabelSelector(`${key}=${value}`)(has)).toBe(equal);
      expect(parseLabelSelector(`${key}!=${value}`)(has)).toBe(!equal);
      expect(parseLabelSelector(`${key} in (${value},zzzz)`)(has)).toBe(equal);
      expect(parseLabelSelector(`${key} notin (${value})`)(has)).toBe(!equal);
      expect(parseLabelSelector(`${key},!zzzz`)(has)).toBe(Object.hasOwn(labels, key));
    }),
  );
});

test("queries take any parameters", () => {
  const names = [
    "limit",
    "continue",
    "resourceVersion",
    "watch",
    "timeoutSeconds",
    "dryRun",
    "fieldManager",
    "force",
    "fieldValidation",
  ];
  const query = fc.dictionary(
    fc.constantFrom(...names),
    fc.oneof(fc.string(), fc.nat().map(String), fc.base64String()),
  );
  fc.assert(
    fc.property(kinds, query, fc.string(), (kind, parameters, accept) => {
      judged(() => parseListQuery(kind, parameters));
      judged(() => parseWriteQuery(parameters, accept));
      judged(() => parseForce(parameters, true));
      judged(() => negotiate(accept));
    }),
  );
});

test("patches of any JSON leave the object as it was and give something to judge", () => {
  const operations = fc.array(
    fc.record({
      op: fc.constantFrom("add", "remove", "replace", "move", "copy", "test", "x"),
      path: fc.stringMatching(/^(\/(metadata|data|name|finalizers|0|-|x|~1)){0,3}$/),
      from: fc.stringMatching(/^(\/(metadata|data|name|finalizers|0)){0,2}$/),
      value: fc.jsonValue({ maxDepth: 2 }),
    }),
    { maxLength: 6 },
  );
  const directives = fc.dictionary(
    fc.constantFrom("metadata", "finalizers", "$patch", "$retainKeys", "$setElementOrder/finalizers", "data"),
    fc.jsonValue({ maxDepth: 3 }),
  );
  const type = fc.constantFrom<PatchType>("merge", "json", "strategic");
  fc.assert(
    fc.property(kinds, type, fc.oneof(fc.jsonValue(), operations, directives), (kind, patchType, patch) => {
      const current = object();
      const document = judged(() => applyPatch(kind, patchType, current, patch));
      expect(current).toEqual(object());
      judged(() =>
        admit(document, {
          kind,
          namespace: "n",
          previous: undefined,
          fieldValidation: "Warn",
          siblings: () => [],
          identity: { uid: "u", now: "2030-01-01T00:00:00Z", nameSuffix: "abcde" },
        }),
      );
    }),
  );
});

test("protobuf bodies take any bytes", () => {
  const prefix = Buffer.from("k8s\0");
  const header = Buffer.from("0a0f0a02763112095365637265740000", "hex").subarray(0, 15);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      judged(() => parseKubernetesProtobuf(bytes));
      judged(() => parseKubernetesProtobuf(Buffer.concat([prefix, bytes])));
      judged(() =>
        parseKubernetesProtobuf(Buffer.concat([prefix, header, Buffer.of(0x12, bytes.length & 0x7f), bytes])),
      );
    }),
  );
});
