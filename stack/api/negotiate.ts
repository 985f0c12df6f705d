// Which form of an answer a client wants. Source: Kubernetes API, "Receiving resources as Tables"; RFC 9110, 12.5.1.
import { ApiError } from "./errors.js";

export type AnswerForm = "full" | "table" | "partial";

/** The first form in `accept` that can be given; throws ApiError NotAcceptable when there is none. */
export function negotiate(accept: string | undefined): AnswerForm {
  if (accept === undefined || accept.trim() === "") return "full";
  for (const range of accept.slice(0, 4096).split(",")) {
    const [type, ...parameters] = range.split(";").map((part) => part.trim());
    if (type !== "application/json" && type !== "application/*" && type !== "*/*") continue;
    const form = parameters.find((parameter) => parameter.startsWith("as="))?.slice(3);
    if (form === undefined) return "full";
    if (!parameters.includes("g=meta.k8s.io") || !parameters.includes("v=v1")) continue;
    if (form === "Table") return "table";
    if (form === "PartialObjectMetadata" || form === "PartialObjectMetadataList") return "partial";
  }
  throw new ApiError("NotAcceptable", "only the following media types are accepted: application/json");
}

const OPENAPI_V2_PROTOBUF = ["v2@v1.0", "v2.v1.0"].map(
  (version) => `application/com.github.proto-openapi.spec.${version}+protobuf`,
);

/** /openapi/v2: in the binary form for who asks for it. Throws ApiError NotAcceptable. */
export function negotiateOpenApiV2(accept: string | undefined): "json" | "protobuf" {
  const ranges = (accept ?? "*/*").slice(0, 4096).split(",");
  for (const range of ranges) {
    const type = (range.split(";")[0] as string).trim();
    if (OPENAPI_V2_PROTOBUF.includes(type)) return "protobuf";
    if (type === "application/json" || type === "application/*" || type === "*/*") return "json";
  }
  const all = ["application/json", ...OPENAPI_V2_PROTOBUF].join(", ");
  throw new ApiError("NotAcceptable", `only the following media types are accepted: ${all}`);
}

/** For answers that have one form only, such as discovery. */
export function requireJson(accept: string | undefined): void {
  if (negotiate(accept) !== "full")
    throw new ApiError("NotAcceptable", "this is answered as plain application/json");
}
