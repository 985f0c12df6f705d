// The building blocks of resource schemas: TypeBox pieces that are type, validation and documentation at once.
//
// Keywords with a meaning of their own here:
//   default     the field may be left out; the server fills it in (present in the TypeScript type)
//   readOnly    the field may be left out; only the server sets it (present in the TypeScript type)
//   x-kubernetes-int-or-string, x-kubernetes-patch-merge-key, x-kubernetes-patch-strategy, x-kubernetes-list-type,
//   x-kubernetes-list-map-keys, x-kubernetes-map-type   as in Kubernetes
//   x-plinth-quantity   a Kubernetes quantity; numbers are turned into strings
import Type, { type TSchema } from "typebox";

/** The part of JSON Schema that resources use; what the walkers read. */
export interface SchemaNode {
  readonly type?: "object" | "array" | "string" | "integer" | "number" | "boolean";
  readonly description?: string;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: SchemaNode | boolean;
  readonly items?: SchemaNode;
  readonly enum?: readonly string[];
  readonly default?: unknown;
  readonly readOnly?: boolean;
  readonly format?: string;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly "x-kubernetes-int-or-string"?: boolean;
  readonly "x-kubernetes-patch-merge-key"?: string;
  readonly "x-kubernetes-patch-strategy"?: "merge" | "retainKeys";
  readonly "x-kubernetes-list-type"?: "atomic" | "set" | "map";
  readonly "x-kubernetes-list-map-keys"?: readonly string[];
  readonly "x-kubernetes-map-type"?: "atomic" | "granular";
  readonly "x-kubernetes-preserve-unknown-fields"?: boolean;
  readonly "x-plinth-quantity"?: boolean;
}

interface Options {
  readonly description?: string;
  readonly default?: unknown;
  readonly readOnly?: boolean;
}

/** One of a few words. */
export function OneOf<const T extends string>(words: readonly T[], options: Options = {}) {
  return Type.Unsafe<T>({ type: "string", enum: [...words], ...options });
}

/** A map from string to string. */
export function StringMap(options: Options = {}) {
  return Type.Unsafe<Record<string, string>>({
    type: "object",
    additionalProperties: { type: "string", default: "" },
    ...options,
  });
}

/** A number or a name, such as a port. */
export function IntOrString(options: Options = {}) {
  return Type.Unsafe<number | string>({ "x-kubernetes-int-or-string": true, ...options });
}

/** An amount such as "128Mi" or "10Gi"; see quantity.ts. */
export function Quantity(options: Options = {}) {
  return Type.Unsafe<string>({ type: "string", "x-plinth-quantity": true, ...options });
}

/** An RFC 3339 time in UTC. */
export function Time(options: Options = {}) {
  return Type.String({ format: "date-time", ...options });
}

export const Condition = Type.Object(
  {
    type: Type.String({ description: "What is judged, in CamelCase: Ready, ReferencesResolved …" }),
    status: OneOf(["True", "False", "Unknown"], { description: "The verdict." }),
    reason: Type.Optional(Type.String({ description: "Why, as one CamelCase word for programs." })),
    message: Type.Optional(Type.String({ description: "Why, for people." })),
    lastTransitionTime: Type.Optional(Time({ description: "When status last changed." })),
    observedGeneration: Type.Optional(
      Type.Integer({ description: "metadata.generation that this verdict was made on." }),
    ),
  },
  { description: "One aspect of the state, in the form that Kubernetes uses." },
);
export type Condition = Type.Static<typeof Condition>;

/** For a list of objects: what names its items, so that several writers can each own some of them. */
export const listKeys = (...keys: string[]) =>
  ({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys }) as const;
/** For a list of words in which each stands once. */
export const asSet = { "x-kubernetes-list-type": "set" } as const;

export const Conditions = Type.Array(Condition, {
  ...listKeys("type"),
  description: "What is true of this object now, and why it waits.",
  "x-kubernetes-patch-merge-key": "type",
  "x-kubernetes-patch-strategy": "merge",
});

export const LabelSelectorRequirement = Type.Object({
  key: Type.String({ description: "The label that is looked at." }),
  operator: OneOf(["In", "NotIn", "Exists", "DoesNotExist"], { description: "How values are compared." }),
  values: Type.Optional(
    Type.Array(Type.String(), { description: "Needed by In and NotIn, forbidden otherwise." }),
  ),
});

export function LabelSelectorSchema(description: string) {
  return Type.Object(
    {
      matchLabels: Type.Optional(
        StringMap({ description: "Labels that must all be there with these values." }),
      ),
      matchExpressions: Type.Optional(
        Type.Array(LabelSelectorRequirement, { description: "Further requirements; all must hold." }),
      ),
    },
    { description, "x-kubernetes-map-type": "atomic" },
  );
}
export const LabelSelector = LabelSelectorSchema(
  "Selects by labels; empty selects everything. All requirements must hold.",
);
export type LabelSelector = Type.Static<typeof LabelSelector>;

export const OwnerReference = Type.Object({
  apiVersion: Type.String({ description: "API version of the owner." }),
  kind: Type.String({ description: "Kind of the owner." }),
  name: Type.String({ description: "Name of the owner, in the same namespace or cluster-wide." }),
  uid: Type.String({ description: "UID of the owner." }),
  controller: Type.Optional(
    Type.Boolean({ description: "True for the one owner that manages this object." }),
  ),
  blockOwnerDeletion: Type.Optional(
    Type.Boolean({ description: "Keeps the owner in foreground deletion until this object is gone." }),
  ),
});
export type OwnerReference = Type.Static<typeof OwnerReference>;

export const ManagedFieldsEntry = Type.Object({
  manager: Type.Optional(Type.String({ description: "The program that set the fields." })),
  operation: Type.Optional(
    OneOf(["Apply", "Update"], {
      description: "Apply for an applied configuration, Update for every other write.",
    }),
  ),
  apiVersion: Type.Optional(
    Type.String({ description: "Version of the form that the fields are named in." }),
  ),
  time: Type.Optional(Time({ description: "When the manager last changed its fields." })),
  fieldsType: Type.Optional(Type.String({ description: "Always FieldsV1." })),
  fieldsV1: Type.Optional(
    Type.Unsafe<Record<string, unknown>>({
      type: "object",
      "x-kubernetes-preserve-unknown-fields": true,
      description: "The fields, as a tree of their names (f:), list keys (k:) and set values (v:).",
    }),
  ),
  subresource: Type.Optional(
    Type.String({ description: "The subresource that was written: status or none." }),
  ),
});
export type ManagedFieldsEntry = Type.Static<typeof ManagedFieldsEntry>;

export const ObjectMeta = Type.Object(
  {
    name: Type.String({
      readOnly: true,
      description: "Unique among its kind in its namespace. Cannot be changed.",
    }),
    generateName: Type.Optional(
      Type.String({ description: "Prefix for a name that the server completes when name is absent." }),
    ),
    namespace: Type.Optional(Type.String({ description: "The tenant that the object belongs to." })),
    uid: Type.String({ readOnly: true, description: "Unique over all objects and all time." }),
    resourceVersion: Type.String({
      readOnly: true,
      description:
        "Changes with every write. Send it back with a replacement to be refused if someone was faster.",
    }),
    generation: Type.Integer({ readOnly: true, description: "Rises with every change of what is wanted." }),
    creationTimestamp: Time({ readOnly: true, description: "When the object was made." }),
    deletionTimestamp: Type.Optional(
      Time({ readOnly: true, description: "When deletion was asked for; gone once finalizers is empty." }),
    ),
    deletionGracePeriodSeconds: Type.Optional(
      Type.Integer({ readOnly: true, description: "Always 0 here." }),
    ),
    labels: Type.Optional(StringMap({ description: "Words to select by." })),
    annotations: Type.Optional(StringMap({ description: "Notes that programs keep with the object." })),
    ownerReferences: Type.Optional(
      Type.Array(OwnerReference, {
        ...listKeys("uid"),
        description: "Objects that this one goes away with.",
        "x-kubernetes-patch-merge-key": "uid",
        "x-kubernetes-patch-strategy": "merge",
      }),
    ),
    finalizers: Type.Optional(
      Type.Array(Type.String(), {
        ...asSet,
        description: "Who must still clean up before the object may go.",
        "x-kubernetes-patch-strategy": "merge",
      }),
    ),
    managedFields: Type.Optional(
      Type.Array(ManagedFieldsEntry, {
        description: "Who set which field. Kept by the server; `kubectl get --show-managed-fields` shows it.",
      }),
    ),
  },
  { description: "What every object has." },
);
export type ObjectMeta = Type.Static<typeof ObjectMeta>;

/** The four lines that every kind starts with. */
export function resourceSchema<const K extends string, P extends Record<string, TSchema>>(
  apiVersion: string,
  kind: K,
  description: string,
  properties: P,
) {
  return Type.Object(
    {
      apiVersion: Type.Unsafe<string>({
        type: "string",
        default: apiVersion,
        description: "Version of the form that this object has.",
      }),
      kind: Type.Unsafe<K>({ type: "string", default: kind, description: "What this object is." }),
      metadata: ObjectMeta,
      ...properties,
    },
    { description },
  );
}
