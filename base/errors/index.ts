// The one error type for everything the world can do to us: bad input, a missing program, a full disk.
// Each folder lists its codes in an `errors.ts`; a code is stable, its message is for people.
export { systemReason } from "./system-reason.js";

export interface PlinthErrorOptions {
  /** Field path in dotted form ("spec.vlan") when one input field is at fault. */
  readonly field?: string;
  /** What would put it right, as an instruction to the user. */
  readonly remedy?: string;
  /** Numbers and names for logs and machines. */
  readonly context?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** A failure that is not our bug. `code` is stable UPPER_SNAKE_CASE, e.g. "POOL_FULL". */
export class PlinthError extends Error {
  override readonly name = "PlinthError";
  readonly code: string;
  readonly field: string | undefined;
  readonly remedy: string | undefined;
  readonly context: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, options: PlinthErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.field = options.field;
    this.remedy = options.remedy;
    this.context = options.context ?? {};
  }
}

/** The message of anything thrown, with the remedy when there is one. */
export function describeError(thrown: unknown): string {
  if (thrown instanceof PlinthError) {
    return thrown.remedy === undefined ? thrown.message : `${thrown.message} (${thrown.remedy})`;
  }
  return thrown instanceof Error ? thrown.message : String(thrown);
}
