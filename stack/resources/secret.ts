// Secret of core/v1: small confidential values, as base64.
import Type from "typebox";
import { defineKind } from "./kind.js";
import { resourceSchema, StringMap } from "./schema.js";

const SECRET_SIZE_BYTES_MAX = 1024 * 1024;

export const SecretSchema = resourceSchema("v1", "Secret", "Small confidential values.", {
  type: Type.String({ default: "Opaque", description: "What the values are for. Cannot be changed." }),
  data: Type.Optional(StringMap({ description: "Values by key, each in base64." })),
  stringData: Type.Optional(
    StringMap({ description: "Values in plain text; written into data, never read back." }),
  ),
  immutable: Type.Optional(Type.Boolean({ description: "True forbids any further change of the values." })),
});
export type Secret = Type.Static<typeof SecretSchema>;

export const secretKind = defineKind<Secret>({
  group: "",
  version: "v1",
  kind: "Secret",
  plural: "secrets",
  singular: "secret",
  shortNames: [],
  namespaced: true,
  hasStatus: false,
  strategicMerge: true,
  schema: SecretSchema,
  columns: [
    { name: "Type", description: "What the values are for", value: (secret) => secret.type },
    {
      name: "Data",
      type: "integer",
      description: "Number of values",
      value: (secret) => Object.keys(secret.data ?? {}).length,
    },
  ],
  complete(secret) {
    if (secret.stringData === undefined) return;
    const data: Record<string, string> = { ...secret.data };
    for (const [key, value] of Object.entries(secret.stringData))
      data[key] = Buffer.from(value).toString("base64");
    secret.data = data;
    delete secret.stringData;
  },
  validate(secret, errors, context) {
    let size = 0;
    for (const [key, value] of Object.entries(secret.data ?? {})) {
      if (!/^[-._a-zA-Z0-9]{1,253}$/.test(key)) {
        errors.invalid(`data[${key}]`, key, "must consist of letters, digits, '-', '_' or '.'");
      }
      if (!isBase64(value)) errors.invalid(`data[${key}]`, value, "must be base64");
      size += value.length;
    }
    if (size > SECRET_SIZE_BYTES_MAX) errors.tooLong("data", SECRET_SIZE_BYTES_MAX);
    const before = context.previous;
    if (before === undefined) return;
    if (before.type !== secret.type) errors.invalid("type", secret.type, "cannot be changed");
    if (before.immutable === true && JSON.stringify(before.data) !== JSON.stringify(secret.data)) {
      errors.forbidden("data", "cannot be changed when `immutable` is set");
    }
    if (before.immutable === true && secret.immutable !== true) {
      errors.forbidden("immutable", "cannot be unset");
    }
  },
});

function isBase64(text: string): boolean {
  const packed = text.replace(/[\r\n]/g, "");
  return packed.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(packed);
}
