// What the configuration database refuses beside the errors of its protocol (base/ovsdb/errors.ts).
//
// code                 meaning                                        remedy
// DATABASE_UNREADABLE  the file cannot be opened or is none of OVSDB  its rights; another directory
// DATABASE_DAMAGED     a bad record with good ones after it           a backup; or cut the file where the message says
// DATABASE_FOREIGN     the file holds another database                another directory; move the file away
// DATABASE_NEWER       a later version wrote the file                 that version; another directory
import { PlinthError } from "../../base/errors/index.js";

export function unreadable(path: string, cause: unknown): PlinthError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new PlinthError("DATABASE_UNREADABLE", `cannot open ${path}: ${why}`, { cause });
}

export function damaged(
  path: string,
  found: {
    readonly goodBytes: number;
    readonly damage: string | undefined;
    readonly nextGoodBytes: number | undefined;
  },
): PlinthError {
  const { goodBytes, damage, nextGoodBytes } = found;
  return new PlinthError(
    "DATABASE_DAMAGED",
    `${path} is damaged at byte ${goodBytes} (${damage}); good records begin again at byte ${nextGoodBytes}`,
    { remedy: `restore a backup, or give up what follows with: truncate -s ${goodBytes} ${path}` },
  );
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
