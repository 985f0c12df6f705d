// ServiceAccount of core/v1: a name for a program, which `kubectl create token` gives tokens to.
import Type from "typebox";
import { defineKind } from "./kind.js";
import { resourceSchema } from "./schema.js";

export const ServiceAccountSchema = resourceSchema(
  "v1",
  "ServiceAccount",
  "A name for a program that uses the API. Its tokens end when it is deleted.",
  {
    automountServiceAccountToken: Type.Optional(
      Type.Boolean({
        description: "Kept for documents written for Kubernetes; machines are given no token.",
      }),
    ),
  },
);
export type ServiceAccount = Type.Static<typeof ServiceAccountSchema>;

export const serviceAccountKind = defineKind<ServiceAccount>({
  group: "",
  version: "v1",
  kind: "ServiceAccount",
  plural: "serviceaccounts",
  singular: "serviceaccount",
  shortNames: ["sa"],
  namespaced: true,
  hasStatus: false,
  strategicMerge: true,
  schema: ServiceAccountSchema,
  actions: [{ name: "token", method: "POST" }],
  columns: [],
});
