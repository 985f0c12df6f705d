// Starts worker threads. Entries must be JavaScript on Node 20, so they run from dist/, also when the caller
// is TypeScript source (tests). Thread: main.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker, type WorkerOptions } from "node:worker_threads";
import { PlinthError } from "../errors/index.js";

/** The folder that holds base/, either the repository or its dist/. */
const root = fileURLToPath(new URL("../../", import.meta.url));

/**
 * Starts the worker whose entry is `entry`, given as `new URL("./x-worker.js", import.meta.url)`.
 * Throws WORKER_NOT_BUILT when its JavaScript is not there.
 */
export function spawnWorker(entry: URL, options: WorkerOptions = {}): Worker {
  return new Worker(workerPath(entry), options);
}

/** The JavaScript file that `entry` stands for. */
export function workerPath(entry: URL): string {
  const path = fileURLToPath(entry).replace(/\.ts$/, ".js");
  if (existsSync(path)) return path;
  const built = path.startsWith(root) ? `${root}dist/${path.slice(root.length)}` : path;
  if (existsSync(built)) return built;
  throw new PlinthError("WORKER_NOT_BUILT", `the worker ${built} does not exist`, {
    remedy: "run `npm run build` first",
    context: { entry: entry.href },
  });
}
