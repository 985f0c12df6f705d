// The annotations by which a policy says how it wants to be handled, checked when it is written. Pure.
import { parseHandling } from "../../sdn-controller/index.js";
import type { FieldErrors } from "./field-errors.js";

/** `canStage` is false for kinds that take effect at once. */
export function validateHandling(
  annotations: Readonly<Record<string, string>> | undefined,
  canStage: boolean,
  errors: FieldErrors,
): void {
  for (const { annotation, value, expected } of parseHandling(annotations ?? {}, canStage).problems)
    errors.invalid(`metadata.annotations[${annotation}]`, value, `must be ${expected}`);
}
