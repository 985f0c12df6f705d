// The annotations by which a policy says how it wants to be handled, checked when it is written. Pure.
import { parseHandling } from "../../sdn-controller/index.js";
import type { FieldErrors } from "./field-errors.js";

interface AnnotatedPolicy {
  readonly metadata: { readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: { readonly ingress?: readonly unknown[]; readonly egress?: readonly unknown[] };
}

/** `canStage` is false for kinds that take effect at once. */
export function validateHandling(
  { metadata, spec }: AnnotatedPolicy,
  canStage: boolean,
  errors: FieldErrors,
): void {
  const { handling, problems } = parseHandling(metadata.annotations ?? {}, canStage);
  for (const { annotation, value, expected } of problems)
    errors.invalid(`metadata.annotations[${annotation}]`, value, `must be ${expected}`);
  // A rule that is not there would never be logged, and nobody would know why.
  for (const item of handling.log ?? []) {
    const direction = item.startsWith("ingress[") ? "ingress" : "egress";
    const index = item.startsWith(`${direction}[`) ? Number(item.slice(direction.length + 1, -1)) : -1;
    const count = spec[direction]?.length ?? 0;
    if (index >= count)
      errors.invalid(
        "metadata.annotations[policy.plinth.dev/log]",
        item,
        `must name a rule of the policy; it has ${count} ${direction} rules, counted from 0`,
      );
  }
}
