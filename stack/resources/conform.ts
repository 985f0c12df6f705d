// Brings outside JSON into the form of a schema: fills in defaults, drops nulls and unknown fields, and reports what
// does not fit, field by field. Pure; the input is never changed; the result shares nothing with it.
import { isObject } from "../../base/json/index.js";
import type { FieldErrors } from "./field-errors.js";
import { parseQuantity } from "./quantity.js";
import type { SchemaNode } from "./schema.js";

export interface ConformReport {
  readonly errors: FieldErrors;
  /** Paths of fields that the schema does not know. */
  readonly unknownFields: string[];
}

const DEPTH_MAX = 64;
const UNKNOWN_FIELDS_MAX = 64;

/** The value in the form of `schema`. Where something does not fit it is reported and left as it is. */
export function conform(
  schema: SchemaNode,
  value: unknown,
  field: string,
  report: ConformReport,
  depth = 0,
): unknown {
  if (depth > DEPTH_MAX) {
    report.errors.invalid(field, "…", `must not be nested deeper than ${DEPTH_MAX} levels`);
    return undefined;
  }
  if (schema["x-kubernetes-int-or-string"] === true) {
    if (typeof value === "string" || Number.isInteger(value)) return value;
    report.errors.wrongType(field, value, "an integer or a string");
    return value;
  }
  switch (schema.type) {
    case "object":
      return conformObject(schema, value, field, report, depth);
    case "array":
      return conformArray(schema, value, field, report, depth);
    case "string":
      return conformString(schema, value, field, report);
    case "integer":
    case "number":
      return conformNumber(schema, value, field, report);
    case "boolean":
      if (typeof value !== "boolean") report.errors.wrongType(field, value, "true or false");
      return value;
    default:
      return structuredClone(value);
  }
}

function conformObject(
  schema: SchemaNode,
  value: unknown,
  field: string,
  report: ConformReport,
  depth: number,
): unknown {
  if (!isObject(value)) {
    report.errors.wrongType(field === "" ? "<root>" : field, value, "an object");
    return value;
  }
  if (schema["x-kubernetes-preserve-unknown-fields"] === true) return structuredClone(value);
  const given = value as Record<string, unknown>;
  const result: Record<string, unknown> = {};
  const properties = schema.properties ?? {};
  for (const [name, property] of Object.entries(properties)) {
    const at = field === "" ? name : `${field}.${name}`;
    let member = Object.hasOwn(given, name) ? given[name] : undefined;
    if (member === undefined || member === null) {
      if (property.default === undefined) {
        if (schema.required?.includes(name) && property.readOnly !== true) report.errors.required(at);
        continue;
      }
      member = structuredClone(property.default);
    }
    result[name] = conform(property, member, at, report, depth + 1);
  }
  const additional = schema.additionalProperties;
  for (const [name, member] of Object.entries(given)) {
    if (Object.hasOwn(properties, name)) continue;
    const at = field === "" ? name : `${field}.${name}`;
    if (typeof additional === "object") {
      // A key such as __proto__ must become a member, not the prototype.
      const fitted = conform(
        additional,
        member ?? additional.default,
        `${field}[${name}]`,
        report,
        depth + 1,
      );
      Object.defineProperty(result, name, {
        value: fitted,
        enumerable: true,
        writable: true,
        configurable: true,
      });
    } else if (report.unknownFields.length < UNKNOWN_FIELDS_MAX) report.unknownFields.push(at);
  }
  return result;
}

function conformArray(
  schema: SchemaNode,
  value: unknown,
  field: string,
  report: ConformReport,
  depth: number,
): unknown {
  if (!Array.isArray(value)) {
    report.errors.wrongType(field, value, "a list");
    return value;
  }
  const { minItems = 0, maxItems = 100_000, items } = schema;
  if (value.length < minItems) report.errors.required(field, `at least ${minItems} expected`);
  if (value.length > maxItems) {
    report.errors.tooMany(field, value.length, maxItems);
    return value;
  }
  return value.map((item, i) => conform(items ?? {}, item, `${field}[${i}]`, report, depth + 1));
}

function conformString(schema: SchemaNode, value: unknown, field: string, report: ConformReport): unknown {
  if (schema["x-plinth-quantity"] === true) {
    const text = typeof value === "number" ? String(value) : value;
    if (typeof text !== "string" || parseQuantity(text) === undefined) {
      report.errors.invalid(field, value, "must be a quantity such as 128Mi or 10Gi");
    }
    return text;
  }
  if (typeof value !== "string") {
    report.errors.wrongType(field, value, "a string");
    return value;
  }
  if (schema.enum !== undefined && !schema.enum.includes(value)) {
    report.errors.notSupported(field, value, schema.enum);
  }
  if (schema.minLength !== undefined && value.length < schema.minLength) report.errors.required(field);
  if (schema.maxLength !== undefined && value.length > schema.maxLength) {
    report.errors.tooLong(field, schema.maxLength);
  }
  if (schema.format === "date-time" && !isTime(value)) {
    report.errors.invalid(field, value, "must be an RFC 3339 time such as 2030-01-31T12:00:00Z");
  }
  return value;
}

function conformNumber(schema: SchemaNode, value: unknown, field: string, report: ConformReport): unknown {
  const integer = schema.type === "integer";
  if (typeof value !== "number" || (integer && !Number.isInteger(value))) {
    report.errors.wrongType(field, value, integer ? "an integer" : "a number");
    return value;
  }
  const { minimum, maximum } = schema;
  if ((minimum !== undefined && value < minimum) || (maximum !== undefined && value > maximum)) {
    const expected =
      minimum !== undefined && maximum !== undefined
        ? `must be between ${minimum} and ${maximum}, inclusive`
        : minimum !== undefined
          ? `must be at least ${minimum}`
          : `must be at most ${maximum}`;
    report.errors.invalid(field, value, expected);
  }
  return value;
}

function isTime(text: string): boolean {
  return (
    /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$/.test(text) &&
    !Number.isNaN(Date.parse(text))
  );
}
