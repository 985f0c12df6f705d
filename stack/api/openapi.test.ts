import { describe, expect, it } from "vitest";
import { isObject } from "../../base/json/index.js";
import { buildOpenApi } from "./openapi.js";

type Json = Record<string, unknown>;
const documents = buildOpenApi("1.2.3");
const v2 = JSON.parse(documents.v2.json) as Json & {
  definitions: Record<string, Json>;
  paths: Record<string, Json>;
};
const v3 = [...documents.byPath.values()].map((text) => JSON.parse(text) as Json);

/** Every value below `value` whose key is `key`. */
function valuesOf(value: unknown, key: string): unknown[] {
  if (Array.isArray(value)) return value.flatMap((each) => valuesOf(each, key));
  if (!isObject(value)) return [];
  return Object.entries(value).flatMap(([name, each]) => [
    ...(name === key ? [each] : []),
    ...valuesOf(each, key),
  ]);
}

/** Fields of a protobuf message: number → values, as bytes or numbers. Throws on bytes that are none. */
function parse(bytes: Uint8Array): Map<number, (Uint8Array | number)[]> {
  const fields = new Map<number, (Uint8Array | number)[]>();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error("it ends in a number");
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.byteLength) {
    const tag = varint();
    let value: Uint8Array | number;
    if (tag % 8 === 0) value = varint();
    else {
      const length = tag % 8 === 1 ? 8 : varint();
      if (length > bytes.byteLength - at) throw new Error("a length reaches past the end");
      value = bytes.subarray(at, at + length);
      at += length;
    }
    const number = Math.floor(tag / 8);
    fields.set(number, [...(fields.get(number) ?? []), value]);
  }
  return fields;
}
const messages = (bytes: Uint8Array, number: number) => (parse(bytes).get(number) ?? []) as Uint8Array[];
const message = (bytes: Uint8Array, ...path: number[]): Uint8Array =>
  path.reduce((inner, number) => messages(inner, number)[0] ?? new Uint8Array(), bytes);
const text = (bytes: Uint8Array, ...path: number[]): string =>
  Buffer.from(message(bytes, ...path)).toString();
/** Entry of a map: name 1, value 2. */
const named = (entries: readonly Uint8Array[], name: string): Uint8Array =>
  message(entries.find((entry) => text(entry, 1) === name) ?? new Uint8Array(), 2);

describe.each([
  ["OpenAPI 2", [v2 as Json], "#/definitions/"],
  ["OpenAPI 3", v3, "#/components/schemas/"],
])("%s", (_name, all, prefix) => {
  it("leads nowhere but to its own schemas, and names every operation once", () => {
    for (const document of all) {
      const schemas = (document["definitions"] ??
        (document["components"] as Json | undefined)?.["schemas"]) as Json;
      const references = valuesOf(document, "$ref").filter((each) => typeof each === "string");
      if (Object.keys(schemas).length > 0) expect(references.length).toBeGreaterThan(0);
      for (const reference of references) {
        expect(reference.startsWith(prefix)).toBe(true);
        expect(schemas).toHaveProperty([reference.slice(prefix.length)]);
      }
    }
    const ids = all.flatMap((document) => valuesOf(document["paths"], "operationId"));
    expect(ids.length).toBeGreaterThan(100);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it("declares every parameter of a path", () => {
    for (const [path, item] of all.flatMap((document) => Object.entries(document["paths"] as Json))) {
      const wanted = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const parameters = ((item as Json)["parameters"] ?? []) as Json[];
      const given = parameters.filter((each) => each["in"] === "path").map(({ name }) => name);
      expect([path, given]).toEqual([path, wanted]);
    }
  });
});

describe("OpenAPI 2", () => {
  it("says what OpenAPI 3 says, in its own words", () => {
    const schemas = v3.flatMap((document) =>
      Object.keys((document["components"] as { schemas: Json }).schemas),
    );
    expect(Object.keys(v2.definitions).sort()).toEqual(schemas.sort());
    expect(Object.keys(v2.paths).sort()).toEqual(
      v3.flatMap(({ paths }) => Object.keys(paths as Json)).sort(),
    );
    const policy = v2.definitions["io.k8s.networking.v1.NetworkPolicy"] as Json;
    const [port] = valuesOf(policy["properties"], "port") as Json[];
    expect(port).toMatchObject({ type: "string", format: "int-or-string" });
    for (const key of ["oneOf", "content", "requestBody", "components"])
      expect(valuesOf(v2, key)).toEqual([]);
  });

  it("is the same in its binary form", () => {
    const bytes = documents.v2.protobuf;
    expect([text(bytes, 1), text(bytes, 2, 2)]).toEqual(["2.0", "1.2.3"]);
    const definitions = messages(message(bytes, 9), 1);
    expect(definitions.map((entry) => text(entry, 1))).toEqual(Object.keys(v2.definitions));
    const network = named(definitions, "dev.plinth.v1alpha1.Network");
    const spec = named(messages(message(network, 25), 1), "spec");
    const properties = messages(message(spec, 25), 1);
    const vlan = named(properties, "vlan");
    const { spec: described } = (v2.definitions["dev.plinth.v1alpha1.Network"] as Json)[
      "properties"
    ] as Record<string, Json>;
    const wanted = (described as { properties: Record<string, Json> }).properties;
    expect(properties.map((entry) => text(entry, 1))).toEqual(Object.keys(wanted));
    expect([text(vlan, 22, 1), text(vlan, 4)]).toEqual([
      wanted["vlan"]?.["type"],
      wanted["vlan"]?.["description"],
    ]);
    expect(Buffer.from(message(vlan, 7)).readDoubleLE()).toBe(wanted["vlan"]?.["maximum"]);
    expect(text(named(properties, "subnets"), 23, 1, 22, 1)).toBe("string");
    // Extensions are YAML, of which JSON is a part.
    const [gvk] = messages(network, 31).filter(
      (entry) => text(entry, 1) === "x-kubernetes-group-version-kind",
    );
    expect(JSON.parse(text(gvk as Uint8Array, 2, 2))).toEqual([
      { group: "plinth.dev", version: "v1alpha1", kind: "Network" },
    ]);
    const paths = messages(message(bytes, 8), 2);
    expect(paths.map((entry) => text(entry, 1))).toEqual(Object.keys(v2.paths));
    const one = named(paths, "/apis/plinth.dev/v1alpha1/namespaces/{namespace}/networks/{name}");
    expect(messages(one, 9).map((parameter) => text(parameter, 1, 2, 4, 4))).toEqual(["namespace", "name"]);
    // Of a PATCH kubectl wants to know whether it takes dryRun.
    const queries = messages(message(one, 8), 8).map((parameter) => text(parameter, 1, 2, 3, 4));
    expect(queries.slice(0, 3)).toEqual(["dryRun", "fieldManager", "fieldValidation"]);
    expect(text(message(one, 2), 9, 1, 1)).toBe("200");
  });
});
