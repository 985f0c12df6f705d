// Any JSON at all may be sent as a resource: it is admitted or refused by field, never an exception.
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  ALL_KINDS,
  type ApiObject,
  conform,
  FieldErrors,
  parseAddress,
  parsePrefix,
  parseQuantity,
  type SchemaNode,
} from "./index.js";

const kinds = fc.constantFrom(...ALL_KINDS);

test("conform() and validate() never throw on arbitrary JSON", () => {
  fc.assert(
    fc.property(kinds, fc.jsonValue({ maxDepth: 6 }), fc.jsonValue({ maxDepth: 4 }), (kind, json, spec) => {
      const report = { errors: new FieldErrors(), unknownFields: [] };
      for (const value of [json, { metadata: { name: "x" }, spec, involvedObject: {} }]) {
        const object = conform(kind.schema as SchemaNode, value, "", report) as ApiObject;
        if (report.errors.list.length > 0) continue;
        kind.complete?.(object);
        kind.validate?.(object, report.errors, { previous: undefined, siblings: [] });
      }
    }),
  );
});

test("conform() is idempotent on what it accepts", () => {
  const spec = fc.record(
    {
      cpus: fc.integer({ min: 1, max: 8 }),
      memory: fc.constantFrom("1Gi", 134217728),
      interfaces: fc.array(fc.record({ name: fc.string(), network: fc.string({ minLength: 1 }) }), {
        maxLength: 3,
      }),
      ports: fc.array(fc.record({ name: fc.string(), port: fc.integer({ min: 1, max: 65535 }) }), {
        maxLength: 3,
      }),
    },
    { requiredKeys: [] },
  );
  const schema = ALL_KINDS.find((kind) => kind.kind === "VirtualMachine")?.schema as SchemaNode;
  fc.assert(
    fc.property(spec, (value) => {
      const report = { errors: new FieldErrors(), unknownFields: [] };
      const once = conform(schema, { metadata: { name: "x" }, spec: value }, "", report);
      expect(conform(schema, once, "", report)).toEqual(once);
    }),
  );
});

test("text parsers take any string", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.ipV4(), fc.ipV6(), fc.stringMatching(/^[0-9a-f.:/]{0,20}$/)),
      (text) => {
        parseAddress(text);
        parsePrefix(text);
        parseQuantity(text);
        const prefix = parsePrefix(`${text}/0`);
        if (prefix !== undefined) expect(prefix.first).toBe(0n);
      },
    ),
  );
});
