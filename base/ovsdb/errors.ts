// Errors of the OVSDB protocol (RFC 7047, 3.1): a short stable text in `error`, an explanation in `details`.
import { PlinthError } from "../errors/index.js";

/** The error texts of RFC 7047 and of ovsdb-server(7). */
export type OvsdbErrorText =
  | "syntax error"
  | "unknown column"
  | "unknown mutator"
  | "unknown function"
  | "unknown database"
  | "unknown method"
  | "constraint violation"
  | "referential integrity violation"
  | "domain error"
  | "range error"
  | "timed out"
  | "not supported"
  | "aborted"
  | "not owner"
  | "duplicate uuid-name"
  | "duplicate uuid"
  | "not allowed"
  | "ovsdb error"
  | "resources exhausted"
  | "I/O error"
  | "canceled";

/** A failure as OVSDB states it; `code` is the text in upper snake case ("CONSTRAINT_VIOLATION"). */
export class OvsdbError extends PlinthError {
  readonly error: string;
  readonly details: string;

  constructor(error: OvsdbErrorText | (string & {}), details: string, field?: string) {
    super(error.toUpperCase().replace(/[^A-Z0-9]+/g, "_"), details === "" ? error : `${error}: ${details}`, {
      ...(field === undefined ? {} : { field }),
    });
    this.error = error;
    this.details = details;
  }

  toJson(): { readonly error: string; readonly details: string } {
    return { error: this.error, details: this.details };
  }
}

export function syntaxError(details: string): OvsdbError {
  return new OvsdbError("syntax error", details);
}

/** A short printed form of an untrusted value, for error messages. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
