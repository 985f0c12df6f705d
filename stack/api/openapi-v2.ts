// The API described in OpenAPI 2 ("Swagger"), as one document: what older kubectl and many generators of clients read.
// Made from the documents in OpenAPI 3, so that both say the same. Pure.
// Source: OpenAPI Specification 2.0; Kubernetes, /openapi/v2 (where it differs: a number or a name is a string of format
// int-or-string).
import { isObject } from "../../base/json/index.js";

type Json = Record<string, unknown>;
const METHODS = ["get", "put", "post", "patch", "delete"] as const;
const V3_REFERENCE = "#/components/schemas/";

/** `documents` are those in OpenAPI 3. */
export function toOpenApiV2(documents: readonly Json[], version: string): Json {
  const paths: Json = {};
  const definitions: Json = {};
  for (const document of documents) {
    const { schemas } = document["components"] as { schemas: Json };
    for (const [name, schema] of Object.entries(schemas)) definitions[name] = schemaOf(schema);
    for (const [path, item] of Object.entries(document["paths"] as Json)) paths[path] = itemOf(item as Json);
  }
  return {
    swagger: "2.0",
    info: { title: "Plinth", version },
    paths,
    definitions,
    securityDefinitions: { BearerToken: { type: "apiKey", name: "authorization", in: "header" } },
  };
}

function itemOf(item: Json): Json {
  const result: Json = {};
  for (const method of METHODS) {
    const operation = item[method];
    if (operation !== undefined) result[method] = operationOf(operation as Json);
  }
  const shared = (item["parameters"] ?? []) as Json[];
  return { ...result, ...(shared.length === 0 ? {} : { parameters: shared.map(parameterOf) }) };
}

function operationOf({ requestBody, responses, parameters, ...rest }: Json): Json {
  const listed = ((parameters ?? []) as Json[]).map(parameterOf);
  const content = isObject(requestBody) ? (requestBody["content"] as Json) : undefined;
  if (content !== undefined) {
    const [first] = Object.values(content) as Json[];
    listed.push({ name: "body", in: "body", required: true, schema: schemaOf(first?.["schema"]) });
  }
  const answers = Object.entries(responses as Json).map(([code, answer]) => [code, answerOf(answer as Json)]);
  return {
    ...rest,
    consumes: content === undefined ? ["*/*"] : Object.keys(content),
    produces: ["application/json"],
    ...(listed.length === 0 ? {} : { parameters: listed }),
    responses: Object.fromEntries(answers),
  };
}

function parameterOf({ schema, ...rest }: Json): Json {
  return { ...rest, ...(schema as Json) };
}

function answerOf({ description, content }: Json): Json {
  const [first] = Object.values((content ?? {}) as Json) as Json[];
  return { description, ...(first === undefined ? {} : { schema: schemaOf(first["schema"]) }) };
}

/** There is no oneOf, and references lead elsewhere. */
function schemaOf(schema: unknown): Json {
  if (!isObject(schema)) return {};
  const { $ref, oneOf: _oneOf, properties, items, additionalProperties, ...rest } = schema;
  if (typeof $ref === "string") return { $ref: $ref.replace(V3_REFERENCE, "#/definitions/") };
  const result: Json = { ...rest };
  if (rest["format"] === "int-or-string") result["type"] = "string";
  if (isObject(properties)) {
    const each = Object.entries(properties).map(([name, property]) => [name, schemaOf(property)]);
    result["properties"] = Object.fromEntries(each);
  }
  if (items !== undefined) result["items"] = schemaOf(items);
  if (additionalProperties !== undefined)
    result["additionalProperties"] = isObject(additionalProperties)
      ? schemaOf(additionalProperties)
      : additionalProperties;
  return result;
}
