// Files that must never be half written nor readable by others for a moment.
import { chmod, rename, writeFile } from "node:fs/promises";

/** Whole or not at all, never with wider permissions than asked for. */
export async function writeFileSafely(path: string, text: string, mode: number): Promise<void> {
  const draft = `${path}.new`;
  await writeFile(draft, text, { mode });
  await chmod(draft, mode);
  await rename(draft, path);
}
