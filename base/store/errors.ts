// The codes that a Store raises.
//
//   code                  meaning                                            remedy
//   REVISION_CONFLICT     a condition of the transaction does not hold       read again, retry
//   REVISION_COMPACTED    that revision is older than the kept history       list again, watch from there
//   REVISION_FUTURE       that revision has not happened here                list again
//   STORE_LIMIT           a key, value or transaction is too large           make it smaller
//   STORE_OVERLOADED      too many writes wait for the disk                  retry later
//   STORE_WRITE_FAILED    the disk refused a write; nothing more is written  free space; then by itself
//   STORE_LOCKED          another process holds the directory                stop it
//   STORE_INACCESSIBLE    its files may not be made, read or written         give rights or space
//   STORE_CORRUPT         its files are not what was written                 restore a backup
//   STORE_CLOSED          used after close                                   –
import { PlinthError } from "../errors/index.js";

export type StoreErrorCode =
  | "REVISION_CONFLICT"
  | "REVISION_COMPACTED"
  | "REVISION_FUTURE"
  | "STORE_LIMIT"
  | "STORE_OVERLOADED"
  | "STORE_WRITE_FAILED"
  | "STORE_LOCKED"
  | "STORE_INACCESSIBLE"
  | "STORE_CORRUPT"
  | "STORE_CLOSED";

export function storeError(
  code: StoreErrorCode,
  message: string,
  context: Readonly<Record<string, unknown>> = {},
  cause?: unknown,
  remedy?: string,
): PlinthError {
  return new PlinthError(code, message, { context, cause, ...(remedy === undefined ? {} : { remedy }) });
}

/** True when `thrown` is a store error with that code. */
export function isStoreError(thrown: unknown, code: StoreErrorCode): thrown is PlinthError {
  return thrown instanceof PlinthError && thrown.code === code;
}
