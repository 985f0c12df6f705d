// Server-side apply over random histories, and managedFields over random bytes.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ApiObject, FieldErrors, type SchemaNode, secretKind } from "../../resources/index.js";
import { ApiError, isApiError } from "../errors.js";
import { parseApplyBody, readConfiguration } from "./configuration.js";
import {
  difference,
  encodeFields,
  equal,
  FieldsError,
  intersection,
  parseFields,
  paths,
  union,
} from "./field-set.js";
import { readManagers, validateManagedFields } from "./managers.js";
import { applyConfiguration, ownersAfterUpdate } from "./ownership.js";
import { compare, fieldsOf, merge } from "./typed-fields.js";

const NOW = "2030-01-01T00:00:00Z";
const word = fc.constantFrom("a", "b", "c");
const labels = fc.dictionary(word, word, { maxKeys: 3 });
const owner = fc.record({ uid: word, name: word, kind: word, apiVersion: fc.constant("v1") });
const unique = <T>(items: T[], keyOf: (item: T) => unknown): T[] =>
  items.filter((item, i) => items.findIndex((other) => keyOf(other) === keyOf(item)) === i);
/** Maps, a keyed list, a set and scalars, all in one kind. */
const document = fc
  .record(
    {
      labels,
      ownerReferences: fc.array(owner, { maxLength: 3 }).map((list) => unique(list, ({ uid }) => uid)),
      finalizers: fc.array(word, { maxLength: 3 }).map((list) => unique(list, (each) => each)),
      data: labels,
      type: word,
    },
    { requiredKeys: [] },
  )
  .map(({ data, type, ...metadata }) =>
    readConfiguration(
      secretKind,
      { namespace: "n", name: "s" },
      { apiVersion: "v1", kind: "Secret", metadata, data, type },
    ),
  );
const step = fc.record({
  manager: fc.constantFrom("alice", "bob", "carol"),
  operation: fc.constantFrom("apply", "force", "update"),
  document,
});

type Step = { manager: string; operation: string; document: ApiObject };

function take(
  { manager, operation, document: wanted }: Step,
  live: ApiObject | undefined,
): ApiObject | undefined {
  const writer = { manager, now: NOW };
  if (operation === "update") {
    const given = live?.metadata.managedFields;
    const managedFields = ownersAfterUpdate(secretKind, live, wanted, given, writer);
    return withManagers(wanted, managedFields);
  }
  try {
    return applyConfiguration(secretKind, live, wanted, { ...writer, force: operation === "force" });
  } catch (thrown) {
    if (!isApiError(thrown, "Conflict")) throw thrown;
    return live;
  }
}

function withManagers(object: ApiObject, managedFields: ApiObject["metadata"]["managedFields"]): ApiObject {
  const { managedFields: _before, ...metadata } = object.metadata;
  return { ...object, metadata: managedFields === undefined ? metadata : { ...metadata, managedFields } };
}

const schema = secretKind.schema as SchemaNode;
/** What of it can be owned. */
function bare({ metadata, data, type }: ApiObject): Record<string, unknown> {
  const { labels: l, ownerReferences: o, finalizers: f } = metadata;
  const notes = prune({ labels: l, ownerReferences: o, finalizers: f });
  return prune({ metadata: Object.keys(notes).length === 0 ? undefined : notes, data, type });
}

describe("histories of applies and updates", () => {
  test("an apply again changes nothing", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 6 }), step, (before, last) => {
        const live = before.reduce<ApiObject | undefined>((at, each) => take(each, at), undefined);
        const forced = { ...last, operation: "force" };
        const once = take(forced, live) as ApiObject;
        expect(take(forced, once)).toEqual(once);
        expect(take({ ...forced, operation: "apply" }, once)).toEqual(once);
      }),
    );
  });

  test("who applies gets what was stated, and owns exactly that", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 6 }), step, (before, last) => {
        const live = before.reduce<ApiObject | undefined>((at, each) => take(each, at), undefined);
        const made = take({ ...last, operation: "force" }, live) as ApiObject;
        const stated = bare(last.document);
        const mine = [...readManagers(made.metadata.managedFields).values()].find(
          ({ manager, operation }) => manager === last.manager && operation === "Apply",
        );
        expect(equal(mine?.fields ?? new Map(), fieldsOf(schema, stated))).toBe(true);
        // Laying it over again changes no value.
        const { modified, added } = compare(schema, bare(made), merge(schema, bare(made), stated));
        expect([paths(modified), paths(added)]).toEqual([[], []]);
      }),
    );
  });

  test("every field that somebody owns is there, and nobody loses one that nobody changed", () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 8 }), (history) => {
        let live: ApiObject | undefined;
        for (const each of history) {
          const next = take(each, live);
          if (next === undefined) continue;
          const present = compare(schema, {}, bare(next)).added;
          const owners = readManagers(next.metadata.managedFields);
          for (const { fields } of owners.values()) expect(paths(difference(fields, present))).toEqual([]);
          if (live !== undefined) {
            const { modified, added, removed } = compare(schema, bare(live), bare(next));
            const touched = union(union(modified, added), removed);
            for (const [key, { fields, manager }] of readManagers(live.metadata.managedFields)) {
              if (manager === each.manager) continue;
              const kept = owners.get(key)?.fields ?? new Map();
              expect(paths(difference(difference(fields, touched), kept))).toEqual([]);
            }
          }
          live = next;
        }
      }),
    );
  });

  test("an apply without force never changes what another owns", () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 6 }), step, (before, last) => {
        const live = before.reduce<ApiObject | undefined>(
          (at, each) => take(each, at),
          undefined,
        ) as ApiObject;
        const next = take({ ...last, operation: "apply" }, live) as ApiObject;
        const { modified, removed } = compare(schema, bare(live), bare(next));
        for (const { fields, manager, operation } of readManagers(live.metadata.managedFields).values()) {
          if (manager === last.manager && operation === "Apply") continue;
          expect(paths(intersection(fields, union(modified, removed)))).toEqual([]);
        }
      }),
    );
  });
});

/** Without members that are undefined, as JSON has it. */
function prune<T>(value: T): Record<string, unknown> {
  return JSON.parse(JSON.stringify(value)) as Record<string, unknown>;
}

describe("bytes from outside", () => {
  const element = fc.oneof(
    fc.string().map((name) => `f:${name}`),
    fc.nat(20).map((i) => `i:${i}`),
    fc.oneof(fc.string(), fc.integer(), fc.boolean()).map((value) => `v:${JSON.stringify(value)}`),
    fc
      .dictionary(fc.string(), fc.oneof(fc.string(), fc.integer()), { minKeys: 1 })
      .map((keys) => `k:${JSON.stringify(keys)}`),
  );
  const tree = fc.letrec((tie) => ({
    node: fc.dictionary(
      fc.oneof(element, fc.constant(".")),
      fc.oneof({ maxDepth: 4 }, fc.constant({}), tie("node")),
      { maxKeys: 4 },
    ),
  })).node;

  test("a set of fields keeps its meaning through its JSON form", () => {
    fc.assert(
      fc.property(fc.oneof(tree, fc.jsonValue()), (value) => {
        let fields: ReturnType<typeof parseFields>;
        try {
          fields = parseFields(value);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(FieldsError);
          return;
        }
        const again = parseFields(JSON.parse(JSON.stringify(encodeFields(fields))));
        expect(equal(again, fields)).toBe(true);
        expect(equal(union(difference(fields, again), intersection(fields, again)), fields)).toBe(true);
      }),
    );
  });

  test("managedFields that validate can be read, others have an error with a field", () => {
    const entry = fc.record(
      {
        manager: fc.string(),
        operation: fc.constantFrom("Apply", "Update"),
        apiVersion: fc.constantFrom("v1", "v2"),
        fieldsType: fc.constantFrom("FieldsV1", "FieldsV2"),
        fieldsV1: fc.oneof(tree, fc.dictionary(fc.string(), fc.jsonValue())) as fc.Arbitrary<
          Record<string, unknown>
        >,
        subresource: fc.constantFrom("", "status", "scale"),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 3 }), (entries) => {
        const errors = new FieldErrors();
        validateManagedFields(entries, "v1", errors);
        if (errors.list.length === 0) expect(readManagers(entries).size).toBeLessThanOrEqual(entries.length);
        for (const { field } of errors.list) expect(field).toMatch(/^metadata\.managedFields\[\d\]\./);
      }),
    );
  });

  test("a body is a configuration or is refused in words", () => {
    const body = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.string().map((text) => Buffer.from(text)),
      fc
        .jsonValue()
        .map((value) => Buffer.from(JSON.stringify({ apiVersion: "v1", kind: "Secret", metadata: value }))),
    );
    fc.assert(
      fc.property(body, (bytes) => {
        try {
          readConfiguration(secretKind, { namespace: "n", name: "s" }, parseApplyBody(bytes));
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(ApiError);
        }
      }),
    );
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${"bcdefghi".replace(/./g, (c) => `${c}: &${c} [${Array(9).fill(`*${String.fromCharCode(c.charCodeAt(0) - 1)}`)}]\n`)}`;
    expect(() => parseApplyBody(Buffer.from(bomb))).toThrow(/YAML/);
  });
});
