// ResourceQuota of core/v1: how much all objects of a namespace may come to. What can be counted, and the counting, is
// the API server's: stack/api/quota.ts.
// Source: Kubernetes, "Resource Quotas"; k8s.io/api/core/v1 ResourceQuota.
import Type from "typebox";
import type { FieldErrors } from "./field-errors.js";
import { defineKind } from "./kind.js";
import { parseQuantity } from "./quantity.js";
import { Quantity, resourceSchema } from "./schema.js";

const HARD_MAX = 256;

function QuantityMap(description: string) {
  return Type.Unsafe<Record<string, string>>({
    type: "object",
    additionalProperties: Quantity(),
    description,
  });
}

export const ResourceQuotaSchema = resourceSchema(
  "v1",
  "ResourceQuota",
  "How much all objects of a namespace may come to together. What would go beyond it is refused.",
  {
    spec: Type.Object(
      {
        hard: Type.Optional(
          QuantityMap(
            "The most there may be, by what is counted: count/RESOURCE.GROUP, such as count/networks.plinth.dev; cpu (requests.cpu) and memory (requests.memory) of machines; requests.storage of volumes.",
          ),
        ),
      },
      { description: "What is wanted.", default: {} },
    ),
    status: Type.Optional(
      Type.Object(
        {
          hard: Type.Optional(QuantityMap("The most there may be, as it is enforced.")),
          used: Type.Optional(QuantityMap("What there is. Kept by the server with every write.")),
        },
        { description: "What is." },
      ),
    ),
  },
);
export type ResourceQuota = Type.Static<typeof ResourceQuotaSchema>;

export const resourceQuotaKind = defineKind<ResourceQuota>({
  group: "",
  version: "v1",
  kind: "ResourceQuota",
  plural: "resourcequotas",
  singular: "resourcequota",
  shortNames: ["quota"],
  namespaced: true,
  hasStatus: true,
  strategicMerge: true,
  schema: ResourceQuotaSchema,
  columns: [
    {
      name: "Request",
      description: "Used and most of each",
      value: ({ status }) =>
        Object.entries(status?.hard ?? {})
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([resource, hard]) => `${resource}: ${status?.used?.[resource] ?? "0"}/${hard}`)
          .join(", "),
    },
  ],
  validate: validateResourceQuota,
});

function validateResourceQuota({ spec }: ResourceQuota, errors: FieldErrors): void {
  const hard = Object.entries(spec.hard ?? {});
  if (hard.length > HARD_MAX) errors.tooMany("spec.hard", hard.length, HARD_MAX);
  for (const [resource, text] of hard) {
    const field = `spec.hard[${resource}]`;
    const amount = parseQuantity(text);
    if (amount === undefined || amount < 0) errors.invalid(field, text, "must be greater than or equal to 0");
    else if (isObjectCount(resource) && !Number.isInteger(amount))
      errors.invalid(field, text, "must be an integer");
  }
}

/** A number of objects, as against an amount of something that they have. */
function isObjectCount(resource: string): boolean {
  return resource.startsWith("count/") || resource === "secrets" || resource === "resourcequotas";
}
