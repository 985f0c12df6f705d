// Names and labels. Source: RFC 1123 labels and the Kubernetes rules built on them (k8s.io/apimachinery validation).
import type { FieldErrors } from "./field-errors.js";
import type { LabelSelector, ObjectMeta } from "./schema.js";

const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
const ANNOTATIONS_SIZE_BYTES_MAX = 256 * 1024;

export const LABEL_EXPECTED =
  "must be a DNS label: at most 63 lower-case letters, digits or '-', starting and ending with a letter or digit";
export const SUBDOMAIN_EXPECTED =
  "must be a DNS subdomain: at most 253 characters, dot-separated parts of lower-case letters, digits or '-', each starting and ending with a letter or digit";

export function isDnsLabel(text: string): boolean {
  return LABEL.test(text);
}

export function isDnsSubdomain(text: string): boolean {
  return text.length <= 253 && text.split(".").every((part) => LABEL.test(part));
}

/** "example.com/name" or "name". */
export function isQualifiedName(text: string): boolean {
  const slash = text.indexOf("/");
  const name = text.slice(slash + 1);
  return (slash < 0 || isDnsSubdomain(text.slice(0, slash))) && name !== "" && LABEL_VALUE.test(name);
}

export function isLabelValue(text: string): boolean {
  return LABEL_VALUE.test(text);
}

/** An IANA service name: at most 15 lower-case letters, digits or '-', with a letter, no "--" (RFC 6335, 5.1). */
export function isPortName(text: string): boolean {
  return /^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$/.test(text) && /[a-z]/.test(text) && !text.includes("--");
}
export const PORT_NAME_EXPECTED =
  "must be a port name: at most 15 lower-case letters, digits or single '-', with at least one letter";

export type NameForm = "label" | "subdomain" | "path";

const NAME_FORMS: Readonly<Record<NameForm, { fits(name: string): boolean; readonly expected: string }>> = {
  label: { fits: isDnsLabel, expected: LABEL_EXPECTED },
  subdomain: { fits: isDnsSubdomain, expected: SUBDOMAIN_EXPECTED },
  path: {
    fits: (name) => /^[^/%\p{C}]{1,253}$/u.test(name) && name !== "." && name !== "..",
    expected: "must be one part of a path: at most 253 characters without '/' and '%', and not . or ..",
  },
};

export function validateMetadata(metadata: ObjectMeta, nameForm: NameForm, errors: FieldErrors): void {
  const { name } = metadata;
  const { fits, expected } = NAME_FORMS[nameForm];
  if (!fits(name)) errors.invalid("metadata.name", name, expected);
  validateLabels(metadata.labels, "metadata.labels", errors);
  let size = 0;
  for (const [key, value] of Object.entries(metadata.annotations ?? {})) {
    if (!isQualifiedName(key.toLowerCase())) {
      errors.invalid("metadata.annotations", key, "must be a qualified name such as example.com/note");
    }
    size += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  if (size > ANNOTATIONS_SIZE_BYTES_MAX) errors.tooLong("metadata.annotations", ANNOTATIONS_SIZE_BYTES_MAX);
  for (const [i, finalizer] of (metadata.finalizers ?? []).entries()) {
    if (!isQualifiedName(finalizer)) {
      errors.invalid(
        `metadata.finalizers[${i}]`,
        finalizer,
        "must be a qualified name such as example.com/cleanup",
      );
    }
  }
}

function validateLabels(
  labels: Record<string, string> | undefined,
  field: string,
  errors: FieldErrors,
): void {
  for (const [key, value] of Object.entries(labels ?? {})) {
    if (!isQualifiedName(key))
      errors.invalid(field, key, "must be a qualified name such as app or example.com/app");
    if (!isLabelValue(value)) {
      errors.invalid(`${field}[${key}]`, value, "must be at most 63 letters, digits, '-', '_' or '.'");
    }
  }
}

export function validateSelector(
  selector: LabelSelector | undefined,
  field: string,
  errors: FieldErrors,
): void {
  if (selector === undefined) return;
  validateLabels(selector.matchLabels, `${field}.matchLabels`, errors);
  for (const [i, requirement] of (selector.matchExpressions ?? []).entries()) {
    const at = `${field}.matchExpressions[${i}]`;
    if (!isQualifiedName(requirement.key)) {
      errors.invalid(`${at}.key`, requirement.key, "must be a qualified name such as app or example.com/app");
    }
    const count = requirement.values?.length ?? 0;
    const needsValues = requirement.operator === "In" || requirement.operator === "NotIn";
    if (needsValues && count === 0) {
      errors.required(`${at}.values`, `must be specified when operator is ${requirement.operator}`);
    }
    if (!needsValues && count > 0) {
      errors.forbidden(`${at}.values`, `may not be specified when operator is ${requirement.operator}`);
    }
    for (const [j, value] of (requirement.values ?? []).entries()) {
      if (!isLabelValue(value)) {
        errors.invalid(`${at}.values[${j}]`, value, "must be at most 63 letters, digits, '-', '_' or '.'");
      }
    }
  }
}
