// Programs that only a bench needs: `npm test` does not install them, so what is missing is named with its package.
import { accessSync, constants } from "node:fs";
import { join } from "node:path";

/** Throws naming the Debian packages of those programs that are nowhere to be found. Keys: a name or an absolute path. */
export function requirePackages(packages: Readonly<Record<string, string>>): void {
  const missing = Object.keys(packages).filter((program) => !isThere(program));
  if (missing.length === 0) return;
  const names = missing.map((program) => packages[program]);
  throw new Error(
    `missing programs: ${missing.join(", ")}; apt-get install ${[...new Set(names)].join(" ")}`,
  );
}

function isThere(program: string): boolean {
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"];
  const paths = program.startsWith("/") ? [program] : folders.map((folder) => join(folder, program));
  return paths.some((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
