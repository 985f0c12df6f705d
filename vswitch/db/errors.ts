// What the configuration database refuses beside the errors of its protocol (base/ovsdb/errors.ts).
//
// code                 meaning                                        remedy
// DATABASE_UNREADABLE  the file cannot be opened or is none of OVSDB  its rights; another directory
// DATABASE_FOREIGN     the file holds another database                another directory; move the file away
// DATABASE_NEWER       a later version wrote the file                 that version; another directory
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

export function newer(path: string, version: string, known: string): PlinthError {
  return new PlinthError(
    "DATABASE_NEWER",
    `${path} has version ${version} of its schema; this Plinth reads up to ${known}`,
    { remedy: "use the version that wrote it, or another directory" },
  );
}
