// What the configuration database refuses beside the errors of its protocol (base/ovsdb/errors.ts).
//
// code                 meaning                                        remedy
// DATABASE_UNREADABLE  the file cannot be opened or is none of OVSDB  its rights; another directory
// DATABASE_FOREIGN     the file holds another database                another directory; move the file away
import { PlinthError } from "../../base/errors/index.js";

export function unreadable(path: string, cause: unknown): PlinthError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new PlinthError("DATABASE_UNREADABLE", `cannot open ${path}: ${why}`, { cause });
}

export function foreign(path: string, name: string): PlinthError {
  return new PlinthError("DATABASE_FOREIGN", `${path} does not hold the database ${name}`, {
    remedy: "use another directory, or move the file away",
  });
}
