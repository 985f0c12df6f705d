// Label and field selectors as they stand in query strings. Pure.
// Source: k8s.io/apimachinery/pkg/labels (grammar of Parse) and pkg/fields.
import {
  type ApiObject,
  isLabelValue,
  isQualifiedName,
  type ResourceKind,
  type SchemaNode,
} from "../resources/index.js";
import { ApiError } from "./errors.js";

export type Matcher = (object: ApiObject) => boolean;

const SELECTOR_LENGTH_MAX = 8192;
const REQUIREMENT =
  /^\s*(?:(!)\s*([^\s=!<>(),]+)|([^\s=!<>(),]+)\s*(?:(==|=|!=|<|>)\s*([^\s=!<>(),]*)|\s(in|notin)\s*\(([^()]*)\))?)\s*(?:,|$)/;

/** Matches everything when both are absent. Throws ApiError BadRequest. */
export function parseSelectors(
  kind: ResourceKind,
  labelSelector: string | undefined,
  fieldSelector: string | undefined,
): Matcher {
  const matchers: Matcher[] = [];
  if (labelSelector !== undefined && labelSelector.trim() !== "")
    matchers.push(parseLabelSelector(labelSelector));
  if (fieldSelector !== undefined && fieldSelector.trim() !== "") {
    matchers.push(parseFieldSelector(kind, fieldSelector));
  }
  return (object) => matchers.every((matches) => matches(object));
}

/** "a=b,c!=d,e in (x,y),f notin (z),g,!h,n>1" */
export function parseLabelSelector(text: string): Matcher {
  const refuse = (why: string): never => {
    throw new ApiError(
      "BadRequest",
      `unable to parse label selector ${JSON.stringify(text.slice(0, 200))}: ${why}`,
    );
  };
  if (text.length > SELECTOR_LENGTH_MAX) refuse("too long");
  const matchers: ((labels: Readonly<Record<string, string>>) => boolean)[] = [];
  let rest = text;
  while (rest.trim() !== "") {
    const match = REQUIREMENT.exec(rest);
    if (match === null) return refuse(`unexpected ${JSON.stringify(rest.trim().slice(0, 40))}`);
    const [whole, not, absentKey, presentKey, operator, value, setOperator, set] = match;
    const key = (absentKey ?? presentKey) as string;
    if (!isQualifiedName(key)) refuse(`${JSON.stringify(key)} is not a label key`);
    const values = set === undefined ? [value ?? ""] : set.split(",").map((each) => each.trim());
    for (const each of values)
      if (!isLabelValue(each)) refuse(`${JSON.stringify(each)} is not a label value`);
    matchers.push(labelMatcher(key, not ?? setOperator ?? operator ?? "exists", values));
    rest = rest.slice(whole.length);
  }
  return (object) => matchers.every((matches) => matches(object.metadata.labels ?? {}));
}

function labelMatcher(
  key: string,
  operator: string,
  values: readonly string[],
): (labels: Readonly<Record<string, string>>) => boolean {
  const labelOf = (labels: Readonly<Record<string, string>>): string | undefined =>
    Object.hasOwn(labels, key) ? labels[key] : undefined;
  switch (operator) {
    case "!":
      return (labels) => labelOf(labels) === undefined;
    case "exists":
      return (labels) => labelOf(labels) !== undefined;
    case "!=":
    case "notin":
      return (labels) => {
        const value = labelOf(labels);
        return value === undefined || !values.includes(value);
      };
    case "<":
      return (labels) => Number(labelOf(labels) ?? Number.NaN) < Number(values[0]);
    case ">":
      return (labels) => Number(labelOf(labels) ?? Number.NaN) > Number(values[0]);
    default:
      return (labels) => {
        const value = labelOf(labels);
        return value !== undefined && values.includes(value);
      };
  }
}

/** "metadata.name=x,spec.host!=y": any scalar field of the kind. */
function parseFieldSelector(kind: ResourceKind, text: string): Matcher {
  if (text.length > SELECTOR_LENGTH_MAX) throw new ApiError("BadRequest", "field selector is too long");
  const matchers = splitUnescaped(text, ",").map((part): Matcher => {
    const match = /^\s*([A-Za-z0-9_.]+)\s*(==|=|!=)(.*)$/s.exec(part);
    if (match === null) {
      throw new ApiError(
        "BadRequest",
        `invalid field selector ${JSON.stringify(part)}: expected field=value`,
      );
    }
    const path = (match[1] as string).split(".");
    if (!isScalarField(kind.schema as SchemaNode, path)) {
      throw new ApiError("BadRequest", `field label not supported: ${match[1]}`);
    }
    const wanted = (match[3] as string).trim().replace(/\\([\\,=])/g, "$1");
    const equal = match[2] !== "!=";
    return (object) => (fieldText(object, path) === wanted) === equal;
  });
  return (object) => matchers.every((matches) => matches(object));
}

function splitUnescaped(text: string, separator: string): string[] {
  const parts: string[] = [];
  let part = "";
  for (let i = 0; i < text.length; i++) {
    const character = text[i] as string;
    if (character === "\\" && i + 1 < text.length) part += character + text[++i];
    else if (character === separator) {
      parts.push(part);
      part = "";
    } else part += character;
  }
  parts.push(part);
  return parts.filter((each) => each.trim() !== "");
}

function isScalarField(schema: SchemaNode, path: readonly string[]): boolean {
  let node: SchemaNode | undefined = schema;
  for (const name of path) {
    node =
      node?.properties !== undefined && Object.hasOwn(node.properties, name)
        ? node.properties[name]
        : undefined;
  }
  return node !== undefined && node.type !== "object" && node.type !== "array";
}

function fieldText(object: ApiObject, path: readonly string[]): string {
  let value: unknown = object;
  for (const name of path) {
    if (typeof value !== "object" || value === null) return "";
    value = (value as Record<string, unknown>)[name];
  }
  return value === undefined || value === null ? "" : String(value);
}
