// The body of a server-side apply: YAML or JSON, in the form in which it is compared with what is there.
import { parse, YAMLError } from "yaml";
import { isObject } from "../../../base/json/index.js";
import { type ApiObject, apiVersionOf, type ResourceKind, type SchemaNode } from "../../resources/index.js";
import { checkDepth } from "../depth.js";
import { ApiError } from "../errors.js";

/** What an alias may stand for, all together; a document that multiplies itself is refused. */
const ALIASES_MAX = 100;

/** The document in the bytes. Throws ApiError BadRequest. */
export function parseApplyBody(bytes: Uint8Array): unknown {
  const text = decode(bytes);
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    document = parseYaml(text);
  }
  checkDepth(document);
  return document;
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new ApiError("BadRequest", "the body is not UTF-8");
  }
}

function parseYaml(text: string): unknown {
  try {
    return parse(text, {
      maxAliasCount: ALIASES_MAX,
      stringKeys: true,
      prettyErrors: false,
      logLevel: "error",
    });
  } catch (thrown) {
    const why = thrown instanceof YAMLError || thrown instanceof Error ? thrown.message : String(thrown);
    throw new ApiError("BadRequest", `error decoding YAML: ${why.slice(0, 200)}`);
  }
}

/**
 * The configuration that `document` states for the object at the path: complete in type and name, without nulls, with
 * quantities as text. Throws ApiError BadRequest for a document of another object.
 */
export function readConfiguration(
  kind: ResourceKind,
  name: { readonly name: string; readonly namespace?: string | undefined },
  document: unknown,
): ApiObject {
  if (!isObject(document)) throw new ApiError("BadRequest", "the applied configuration must be an object");
  const metadata = document["metadata"] ?? {};
  if (!isObject(metadata)) throw new ApiError("BadRequest", "metadata: must be an object");
  if (metadata["managedFields"] !== undefined && metadata["managedFields"] !== null)
    throw new ApiError("BadRequest", "metadata.managedFields must be nil");
  const expected = apiVersionOf(kind);
  const { apiVersion, kind: kindName } = document;
  if (apiVersion !== expected || kindName !== kind.kind) {
    throw new ApiError(
      "BadRequest",
      `the applied configuration must say apiVersion ${expected} and kind ${kind.kind}, it says ${JSON.stringify(apiVersion)} and ${JSON.stringify(kindName)}`,
    );
  }
  if (metadata["name"] !== undefined && metadata["name"] !== name.name) {
    throw new ApiError(
      "BadRequest",
      `the name of the object (${String(metadata["name"]).slice(0, 253)}) does not match the name on the URL (${name.name})`,
    );
  }
  const stated = normalize(kind.schema as SchemaNode, document) as ApiObject;
  const place = name.namespace === undefined ? {} : { namespace: name.namespace };
  // An object with no labels and one with none of them are stored alike.
  const notes = Object.entries(stated.metadata ?? {}).filter(
    ([, value]) => typeof value !== "object" || Object.keys(value as object).length > 0,
  );
  return { ...stated, metadata: { ...place, ...Object.fromEntries(notes), name: name.name } } as ApiObject;
}

/** Nulls state nothing; a quantity is text, as it is stored. */
export function normalize(schema: SchemaNode | undefined, value: unknown): unknown {
  if (schema?.["x-plinth-quantity"] === true && typeof value === "number") return String(value);
  if (Array.isArray(value)) return value.map((item) => normalize(schema?.items, item));
  if (!isObject(value)) return value;
  const result: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value)) {
    if (member === null || member === undefined) continue;
    const below = Object.hasOwn(schema?.properties ?? {}, name)
      ? schema?.properties?.[name]
      : (schema?.additionalProperties as SchemaNode | undefined);
    Object.defineProperty(result, name, {
      value: normalize(typeof below === "object" ? below : undefined, member),
      enumerable: true,
      writable: true,
      configurable: true,
    });
  }
  return result;
}
