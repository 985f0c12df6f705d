// mkdir -p. Node's own loops for ever where a file system answers ENOENT although the directory above is there, as /proc
// does, and tells ENOENT of one that is read-only. Thread: any. Hot: no.
import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Makes a directory and those above it that are missing; one that is there is no error. Throws Node's errors with the code
 * of mkdir(2), ENOTDIR where a file stands in the way.
 */
export function makeDirectory(path: string, mode: number): void {
  const existing = statSync(path, { throwIfNoEntry: false });
  if (existing?.isDirectory()) return;
  const above = dirname(path);
  if (above !== path) makeDirectory(above, mode);
  try {
    mkdirSync(path, { mode });
  } catch (thrown) {
    // Somebody else may have been faster.
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw thrown;
  }
}
