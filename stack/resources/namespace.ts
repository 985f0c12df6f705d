// Namespace of core/v1: a tenant. Deleting it deletes everything in it.
import Type from "typebox";
import { defineKind } from "./kind.js";
import { OneOf, resourceSchema } from "./schema.js";

export const NamespaceSchema = resourceSchema(
  "v1",
  "Namespace",
  "A tenant. Deleting it deletes everything in it.",
  {
    spec: Type.Object(
      {
        finalizers: Type.Optional(
          Type.Array(Type.String(), { description: "Who must still clean up before the namespace may go." }),
        ),
      },
      { description: "What is wanted.", default: {} },
    ),
    status: Type.Optional(
      Type.Object(
        {
          phase: Type.Optional(
            OneOf(["Active", "Terminating"], { description: "Terminating while its content goes." }),
          ),
        },
        { description: "What is." },
      ),
    ),
  },
);
export type Namespace = Type.Static<typeof NamespaceSchema>;

/** Every namespace has it, with its name for a value; nobody takes it away. Source: Kubernetes, "Automatic labelling". */
const NAME_LABEL = "kubernetes.io/metadata.name";

export const namespaceKind = defineKind<Namespace>({
  group: "",
  version: "v1",
  kind: "Namespace",
  plural: "namespaces",
  singular: "namespace",
  shortNames: ["ns"],
  namespaced: false,
  nameForm: "label",
  hasStatus: true,
  strategicMerge: true,
  schema: NamespaceSchema,
  complete({ metadata }) {
    metadata.labels = { ...metadata.labels, [NAME_LABEL]: metadata.name };
  },
  columns: [
    {
      name: "Status",
      description: "Active or Terminating",
      value: (namespace) => namespace.status?.phase ?? "Active",
    },
  ],
});
