// What a bench leaves behind when somebody stops it with a signal: nothing.

import type { ChildProcess } from "node:child_process";
import { rmSync } from "node:fs";

const undone = new Set<() => void>();
let isArmed = false;

/** Calls `undo`, which must not wait for anything, if the process ends before the returned function is called. */
export function onAbort(undo: () => void): () => void {
  arm();
  undone.add(undo);
  return () => undone.delete(undo);
}

/** Kills the process if ours ends before it. */
export function guardChild<Child extends ChildProcess>(child: Child): Child {
  child.once(
    "exit",
    onAbort(() => child.kill("SIGKILL")),
  );
  return child;
}

/** Removes the directory if our process ends before the returned function is called. */
export function guardDirectory(path: string): () => void {
  return onAbort(() => rmSync(path, { recursive: true, force: true, maxRetries: 3 }));
}

function arm(): void {
  if (isArmed) return;
  isArmed = true;
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)
    process.once(signal, () => process.exit(code));
  process.once("exit", () => {
    // Processes were started in directories that were there before them.
    for (const undo of [...undone].reverse()) undo();
  });
}
