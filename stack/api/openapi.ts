// The API described in OpenAPI 3, one document per group and version, and in OpenAPI 2 as one. kubectl reads it for
// `explain`, for strategic merge patches and to learn which PATCH operations take dryRun and fieldValidation.
// Source: Kubernetes OpenAPI v3 (/openapi/v3).
import { createHash } from "node:crypto";
import { ALL_KINDS, type ResourceKind, type SchemaNode } from "../resources/index.js";
import { apiGroupVersions, pathOf } from "./discovery.js";
import { toOpenApiV2 } from "./openapi-v2.js";
import { encodeOpenApiV2 } from "./openapi-v2-protobuf.js";
import { exampleOf } from "./reference/examples.js";

const GROUP_VERSION_KIND = "x-kubernetes-group-version-kind";

export interface OpenApiDocuments {
  /** /openapi/v3 */
  readonly index: object;
  /** By path below /openapi/v3/: "api/v1", "apis/plinth.dev/v1alpha1". */
  readonly byPath: ReadonlyMap<string, string>;
  /** /openapi/v2, as JSON and as openapi.v2.Document. */
  readonly v2: { readonly json: string; readonly protobuf: Uint8Array };
}

/** Made once; nothing in them changes while the server runs. */
export function buildOpenApi(version: string): OpenApiDocuments {
  const byPath = new Map<string, string>();
  const paths: Record<string, object> = {};
  const documents: Record<string, unknown>[] = [];
  for (const each of [{ group: "", version: "v1" }, ...apiGroupVersions()]) {
    const kinds = ALL_KINDS.filter((kind) => kind.group === each.group && kind.version === each.version);
    const path = pathOf(each).slice(1);
    const document = describeKinds(kinds, version);
    documents.push(document);
    const text = JSON.stringify(document);
    byPath.set(path, text);
    const hash = createHash("sha256").update(text).digest("hex").slice(0, 32).toUpperCase();
    paths[path] = { serverRelativeURL: `/openapi/v3/${path}?hash=${hash}` };
  }
  const v2 = toOpenApiV2(documents, version);
  return { index: { paths }, byPath, v2: { json: JSON.stringify(v2), protobuf: encodeOpenApiV2(v2) } };
}

function describeKinds(kinds: readonly ResourceKind[], version: string): Record<string, unknown> {
  const schemas: Record<string, object> = {};
  const paths: Record<string, object> = {};
  for (const kind of kinds) {
    const name = schemaName(kind);
    const gvk = { group: kind.group, version: kind.version, kind: kind.kind };
    const example = exampleOf(kind);
    schemas[name] = { ...toOpenApi(kind.schema as SchemaNode), example, [GROUP_VERSION_KIND]: [gvk] };
    schemas[`${name}List`] = listSchema(kind, name);
    addPaths(paths, kind, name);
  }
  return {
    openapi: "3.0.0",
    info: { title: "Plinth", version },
    paths,
    components: {
      schemas,
      securitySchemes: { BearerToken: { type: "apiKey", in: "header", name: "authorization" } },
    },
  };
}

function schemaName(kind: ResourceKind): string {
  const reversed = kind.group === "" ? "io.k8s.api.core" : kind.group.split(".").reverse().join(".");
  return `${reversed}.${kind.version}.${kind.kind}`;
}

/** The schema without what is only ours; what the server fills in is not required. */
function toOpenApi(schema: SchemaNode): Record<string, unknown> {
  const { required, properties, items, additionalProperties, ...rest } = schema;
  const result: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(rest)) {
    if (name.startsWith("x-plinth-") || name.startsWith("~")) continue;
    result[name] = value;
  }
  if (schema["x-kubernetes-int-or-string"] === true) {
    result["oneOf"] = [{ type: "integer" }, { type: "string" }];
    result["format"] = "int-or-string";
  }
  if (properties !== undefined) {
    result["properties"] = Object.fromEntries(
      Object.entries(properties).map(([name, property]) => [name, toOpenApi(property)]),
    );
    const needed = (required ?? []).filter(
      (name) =>
        properties[name]?.default === undefined && properties[name]?.readOnly !== true && name !== "metadata",
    );
    if (needed.length > 0) result["required"] = needed;
  }
  if (items !== undefined) result["items"] = toOpenApi(items);
  if (typeof additionalProperties === "object")
    result["additionalProperties"] = toOpenApi(additionalProperties);
  return result;
}

function listSchema(kind: ResourceKind, name: string): object {
  return {
    type: "object",
    description: `A list of ${kind.kind} objects.`,
    required: ["items"],
    properties: {
      apiVersion: { type: "string" },
      kind: { type: "string" },
      metadata: { type: "object" },
      items: { type: "array", items: reference(name) },
    },
    [GROUP_VERSION_KIND]: [{ group: kind.group, version: kind.version, kind: `${kind.kind}List` }],
  };
}

function addPaths(paths: Record<string, object>, kind: ResourceKind, name: string): void {
  const scope = kind.namespaced ? "/namespaces/{namespace}" : "";
  const collection = `${pathOf(kind)}${scope}/${kind.plural}`;
  const place = kind.namespaced ? [pathParameter("namespace")] : [];
  const op = (action: string, more: object = {}, what = ""): object => ({
    tags: [kind.plural],
    operationId: `${action}${kind.kind}${what}`,
    "x-kubernetes-action": action,
    [GROUP_VERSION_KIND]: { group: kind.group, version: kind.version, kind: kind.kind },
    responses: { "200": answer(name) },
    ...more,
  });
  const write = [query("dryRun"), query("fieldManager"), query("fieldValidation")];
  if (kind.namespaced) {
    paths[`${pathOf(kind)}/${kind.plural}`] = {
      get: op("list", { responses: { "200": answer(`${name}List`) } }, "ForAllNamespaces"),
    };
  }
  paths[collection] = {
    get: op("list", { parameters: LIST_PARAMETERS, responses: { "200": answer(`${name}List`) } }),
    post: op("post", { parameters: write, requestBody: body(["application/json"], name) }),
    delete: op("deletecollection", { parameters: LIST_PARAMETERS }),
    parameters: place,
  };
  const parameters = [...place, pathParameter("name")];
  const single = (what = ""): object => ({
    get: op("get", {}, what),
    put: op("put", { parameters: write, requestBody: body(["application/json"], name) }, what),
    patch: op("patch", { parameters: write, requestBody: body(patchTypes(kind), undefined) }, what),
    parameters,
  });
  paths[`${collection}/{name}`] = {
    ...single(),
    delete: op("delete", { parameters: [query("dryRun"), query("propagationPolicy")] }),
  };
  if (kind.hasStatus) paths[`${collection}/{name}/status`] = single("Status");
  for (const action of kind.actions ?? []) {
    const method = action.method.toLowerCase();
    paths[`${collection}/{name}/${action.name}`] = {
      [method]: op("connect", { responses: { "200": { description: "OK" } } }, `-${action.name}`),
      parameters,
    };
  }
}

function patchTypes(kind: ResourceKind): string[] {
  const types = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
  ];
  return kind.strategicMerge ? [...types, "application/strategic-merge-patch+json"] : types;
}

const reference = (name: string): object => ({ $ref: `#/components/schemas/${name}` });
const answer = (name: string): object => ({
  description: "OK",
  content: { "application/json": { schema: reference(name) } },
});
const body = (types: readonly string[], name: string | undefined): object => ({
  required: true,
  content: Object.fromEntries(
    types.map((type) => [type, { schema: name === undefined ? { type: "object" } : reference(name) }]),
  ),
});
const query = (name: string): object => ({
  name,
  in: "query",
  schema: { type: "string", uniqueItems: true },
});
const pathParameter = (name: string): object => ({
  name,
  in: "path",
  required: true,
  schema: { type: "string" },
});
const LIST_PARAMETERS = [
  "labelSelector",
  "fieldSelector",
  "limit",
  "continue",
  "resourceVersion",
  "watch",
].map(query);
