// What a request asks for, in the words that permissions are given in. Pure.
// Source: Kubernetes documentation, "Authorization", Request attributes; k8s.io/apiserver RequestInfo (rules, not code).
import { ApiError } from "../errors.js";

export interface ResourceAttributes {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  /** "" for what lies in no namespace, and for all namespaces. */
  readonly namespace: string;
  /** "" for a collection and a creation. */
  readonly name: string;
}
export interface PathAttributes {
  readonly verb: string;
  readonly path: string;
}
export type Attributes = ResourceAttributes | PathAttributes;

export function isResource(attributes: Attributes): attributes is ResourceAttributes {
  return "resource" in attributes;
}

const VERBS: Readonly<Record<string, string>> = {
  GET: "get",
  HEAD: "get",
  POST: "create",
  PUT: "update",
  PATCH: "patch",
  DELETE: "delete",
};
const NAMESPACE_SUBRESOURCES = new Set(["status", "finalize"]);

/** Of a method and a URL with its query. Throws ApiError BadRequest when it cannot be decoded. */
export function attributesOf(method: string, url: string): Attributes {
  const [path = "", ...rest] = url.split("?");
  const verb = VERBS[method] ?? method.toLowerCase();
  const parts = path
    .split("/")
    .filter((part) => part !== "")
    .map(decode);
  const below = resourceParts(parts);
  if (below === undefined) return { verb: method.toLowerCase(), path: `/${parts.join("/")}` };
  const query = new URLSearchParams(rest.join("?"));
  const { group, namespace, resource, subresource } = below;
  let { name } = below;
  if (name !== "") return { verb, group, namespace, resource, name, subresource };
  // A list or watch of one name is a request about that name.
  name = /^metadata\.name==?([^,=!]+)$/.exec(query.get("fieldSelector") ?? "")?.[1]?.trim() ?? "";
  const isWatch = ["true", "1"].includes(query.get("watch") ?? "");
  const collection =
    verb === "get" ? (isWatch ? "watch" : "list") : verb === "delete" ? "deletecollection" : verb;
  return { verb: collection, group, namespace, resource, name: verb === "create" ? "" : name, subresource };
}

function resourceParts(
  parts: readonly string[],
): Pick<ResourceAttributes, "group" | "namespace" | "resource" | "name" | "subresource"> | undefined {
  const isCore = parts[0] === "api";
  if (!isCore && parts[0] !== "apis") return undefined;
  const group = isCore ? "" : (parts[1] ?? "");
  const rest = parts.slice(isCore ? 2 : 3);
  if (rest.length === 0) return undefined;
  const isInside =
    rest[0] === "namespaces" && rest.length > 2 && !NAMESPACE_SUBRESOURCES.has(rest[2] as string);
  if (isInside) {
    const [, namespace = "", resource = "", name = "", ...sub] = rest;
    return { group, namespace, resource, name, subresource: sub.join("/") };
  }
  const [resource = "", name = "", ...sub] = rest;
  const namespace = resource === "namespaces" ? name : "";
  return { group, namespace, resource, name, subresource: sub.join("/") };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new ApiError("BadRequest", "the path is malformed");
  }
}

/** As permissions name it: RESOURCE or RESOURCE/SUBRESOURCE. */
export const resourceText = ({
  resource,
  subresource,
}: Pick<ResourceAttributes, "resource" | "subresource">): string =>
  subresource === "" ? resource : `${resource}/${subresource}`;
