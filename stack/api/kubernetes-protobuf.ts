// Request bodies in the binary form that kubectl's typed commands (`create namespace`, `create secret`) insist on.
// Only the kinds that those commands send are known; answers are always JSON, which every client accepts.
// Source: Kubernetes API concepts, "Protobuf encoding" (magic "k8s\0" and runtime.Unknown); field numbers from
// k8s.io/api/{core,rbac,authorization,authentication}/v1/generated.proto and k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto; protobuf wire format.
// Pure. Any bytes raise only ApiError.
import { ApiError } from "./errors.js";

type FieldType = "string" | "bytes" | "integer" | "boolean" | "time" | Message;
interface Field {
  readonly name: string;
  readonly type: FieldType;
  readonly repeated?: boolean;
  /** A map<string, string>, map<string, bytes> or map<string, Quantity>. */
  readonly map?: "string" | "bytes" | "quantity";
}
type Message = Readonly<Record<number, Field>>;

const text = (name: string): Field => ({ name, type: "string" });
const texts = (name: string): Field => ({ name, type: "string", repeated: true });
const whole = (name: string): Field => ({ name, type: "integer" });
const truth = (name: string): Field => ({ name, type: "boolean" });
const map = (name: string, of: "string" | "bytes"): Field => ({ name, type: of, map: of });
const QUANTITY: Message = { 1: text("string") };
const quantities = (name: string): Field => ({ name, type: QUANTITY, map: "quantity" });

const OWNER_REFERENCE: Message = {
  1: text("kind"),
  3: text("name"),
  4: text("uid"),
  5: text("apiVersion"),
  6: truth("controller"),
  7: truth("blockOwnerDeletion"),
};
const OBJECT_META: Message = {
  1: text("name"),
  2: text("generateName"),
  3: text("namespace"),
  5: text("uid"),
  6: text("resourceVersion"),
  7: whole("generation"),
  8: { name: "creationTimestamp", type: "time" },
  9: { name: "deletionTimestamp", type: "time" },
  10: whole("deletionGracePeriodSeconds"),
  11: map("labels", "string"),
  12: map("annotations", "string"),
  13: { name: "ownerReferences", type: OWNER_REFERENCE, repeated: true },
  14: texts("finalizers"),
};
const METADATA: Field = { name: "metadata", type: OBJECT_META };
const RULES: Field = {
  name: "rules",
  repeated: true,
  type: {
    1: texts("verbs"),
    2: texts("apiGroups"),
    3: texts("resources"),
    4: texts("resourceNames"),
    5: texts("nonResourceURLs"),
  },
};
const BINDING: Message = {
  1: METADATA,
  2: {
    name: "subjects",
    repeated: true,
    type: { 1: text("kind"), 2: text("apiGroup"), 3: text("name"), 4: text("namespace") },
  },
  3: { name: "roleRef", type: { 1: text("apiGroup"), 2: text("kind"), 3: text("name") } },
};
const MESSAGES: Readonly<Record<string, Message>> = {
  "v1 Namespace": {
    1: METADATA,
    2: { name: "spec", type: { 1: texts("finalizers") } },
    3: { name: "status", type: { 1: text("phase") } },
  },
  "v1 ResourceQuota": {
    1: METADATA,
    2: { name: "spec", type: { 1: quantities("hard"), 2: texts("scopes") } },
    3: { name: "status", type: { 1: quantities("hard"), 2: quantities("used") } },
  },
  "v1 Secret": {
    1: METADATA,
    2: map("data", "bytes"),
    3: text("type"),
    4: map("stringData", "string"),
    5: truth("immutable"),
  },
  "authorization.k8s.io/v1 SelfSubjectAccessReview": {
    1: METADATA,
    2: {
      name: "spec",
      type: {
        1: {
          name: "resourceAttributes",
          type: {
            1: text("namespace"),
            2: text("verb"),
            3: text("group"),
            4: text("version"),
            5: text("resource"),
            6: text("subresource"),
            7: text("name"),
          },
        },
        2: { name: "nonResourceAttributes", type: { 1: text("path"), 2: text("verb") } },
      },
    },
  },
  "authorization.k8s.io/v1 SelfSubjectRulesReview": {
    1: METADATA,
    2: { name: "spec", type: { 1: text("namespace") } },
  },
  "authentication.k8s.io/v1 SelfSubjectReview": { 1: METADATA },
  "v1 ServiceAccount": { 1: METADATA, 4: truth("automountServiceAccountToken") },
  "authentication.k8s.io/v1 TokenRequest": {
    1: METADATA,
    2: { name: "spec", type: { 1: texts("audiences"), 4: whole("expirationSeconds") } },
  },
  "rbac.authorization.k8s.io/v1 Role": { 1: METADATA, 2: RULES },
  "rbac.authorization.k8s.io/v1 ClusterRole": { 1: METADATA, 2: RULES },
  "rbac.authorization.k8s.io/v1 RoleBinding": BINDING,
  "rbac.authorization.k8s.io/v1 ClusterRoleBinding": BINDING,
  "v1 DeleteOptions": {
    1: whole("gracePeriodSeconds"),
    2: { name: "preconditions", type: { 1: text("uid"), 2: text("resourceVersion") } },
    3: truth("orphanDependents"),
    4: text("propagationPolicy"),
    5: texts("dryRun"),
  },
};
const UNKNOWN: Message = {
  1: { name: "typeMeta", type: { 1: text("apiVersion"), 2: text("kind") } },
  2: { name: "raw", type: "bytes" },
};

const MAGIC = Uint8Array.of(0x6b, 0x38, 0x73, 0x00);
const DEPTH_MAX = 8;

/** The object as its JSON form would be. Throws ApiError UnsupportedMediaType (other kinds) or BadRequest. */
export function parseKubernetesProtobuf(body: Uint8Array): Record<string, unknown> {
  for (const [i, byte] of MAGIC.entries()) if (body[i] !== byte) throw malformed("the prefix k8s is missing");
  const unknown = parseMessage(body.subarray(MAGIC.length), UNKNOWN, 0);
  const { apiVersion = "", kind = "" } = (unknown["typeMeta"] ?? {}) as {
    apiVersion?: string;
    kind?: string;
  };
  // DeleteOptions come under the version of whatever is deleted.
  const message = kind === "DeleteOptions" ? MESSAGES["v1 DeleteOptions"] : MESSAGES[`${apiVersion} ${kind}`];
  if (message === undefined) {
    throw new ApiError("UnsupportedMediaType", `a ${kind || "body"} must be sent as application/json`);
  }
  const raw = unknown["raw"];
  const bytes = typeof raw === "string" ? Buffer.from(raw, "base64") : new Uint8Array();
  return { apiVersion, kind, ...parseMessage(bytes, message, 0) };
}

function parseMessage(bytes: Uint8Array, message: Message, depth: number): Record<string, unknown> {
  if (depth > DEPTH_MAX) throw malformed("it is nested too deeply");
  const reader = new WireReader(bytes);
  const result: Record<string, unknown> = {};
  while (!reader.done) {
    const tag = reader.varint();
    const field = message[Math.floor(tag / 8)];
    const wireType = tag % 8;
    if (field === undefined) {
      reader.skip(wireType);
      continue;
    }
    const isVarint = field.type === "integer" || field.type === "boolean";
    if (wireType !== (isVarint ? 0 : 2)) throw malformed(`${field.name} has wire type ${wireType}`);
    if (field.map !== undefined) addMapEntry(result, field, reader.bytes());
    else if (field.repeated) {
      const list = (result[field.name] ?? []) as unknown[];
      list.push(readValue(reader, field.type, depth));
      result[field.name] = list;
    } else {
      const value = readValue(reader, field.type, depth);
      // Go writes empty strings and zero times where nothing was set.
      if (value !== "" && value !== undefined) result[field.name] = value;
    }
  }
  return result;
}

function readValue(reader: WireReader, type: FieldType, depth: number): unknown {
  switch (type) {
    case "integer":
      return reader.varint();
    case "boolean":
      return reader.varint() !== 0;
    case "string":
      return decodeText(reader.bytes());
    case "bytes":
      return Buffer.from(reader.bytes()).toString("base64");
    case "time": {
      const { seconds = 0 } = parseMessage(reader.bytes(), { 1: whole("seconds") }, depth + 1) as {
        seconds?: number;
      };
      return seconds > 0 && seconds < 1e11
        ? `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`
        : undefined;
    }
    default:
      return parseMessage(reader.bytes(), type, depth + 1);
  }
}

function addMapEntry(result: Record<string, unknown>, field: Field, bytes: Uint8Array): void {
  const entry = parseMessage(bytes, { 1: text("key"), 2: { name: "value", type: field.type } }, 1);
  const target = (result[field.name] ?? {}) as Record<string, unknown>;
  const key = String(entry["key"] ?? "");
  if (key === "__proto__") throw malformed("a key is __proto__");
  const value = entry["value"] ?? "";
  target[key] = field.map === "quantity" ? ((value as { string?: string }).string ?? "0") : value;
  result[field.name] = target;
}

/** Reads the wire format front to back and never past the end. */
class WireReader {
  readonly #bytes: Uint8Array;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#offset >= this.#bytes.byteLength;
  }

  /** Values up to 2^53; a larger or negative one loses precision, which no field here has use for. */
  varint(): number {
    let value = 0;
    for (let i = 0; i < 10; i++) {
      const byte = this.#bytes[this.#offset++];
      if (byte === undefined) throw malformed("it ends in a number");
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return value;
    }
    throw malformed("a number is too long");
  }

  bytes(): Uint8Array {
    const length = this.varint();
    if (length > this.#bytes.byteLength - this.#offset) throw malformed("a length reaches past the end");
    this.#offset += length;
    return this.#bytes.subarray(this.#offset - length, this.#offset);
  }

  skip(wireType: number): void {
    if (wireType === 0) this.varint();
    else if (wireType === 1) this.#offset += 8;
    else if (wireType === 2) this.bytes();
    else if (wireType === 5) this.#offset += 4;
    else throw malformed(`wire type ${wireType} is not known`);
  }
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw malformed("a string is not UTF-8");
  }
}

function malformed(why: string): ApiError {
  return new ApiError("BadRequest", `the protobuf body is malformed: ${why}`);
}
