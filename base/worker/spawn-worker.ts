// Starts worker threads. Entries must be JavaScript on Node 20, so they run from dist/, also when the caller
// is TypeScript source (tests). Thread: main.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker, type WorkerOptions } from "node:worker_threads";
import { PlinthError } from "../errors/index.js";
import { Build } from "./build.js";

/** The folder that holds base/, either the repository or its dist/. */
const root = fileURLToPath(new URL("../../", import.meta.url));
const dist = root.endsWith("/dist/") ? root : `${root}dist/`;
const build = new Build(`${dist}.info`);

/**
 * Starts the worker whose entry is `entry`, given as `new URL("./x-worker.js", import.meta.url)`.
 * Throws WORKER_NOT_BUILT when its JavaScript is not there, and PROGRAM_REPLACED when it is of another build than this
 * process.
 */
export function spawnWorker(entry: URL, options: WorkerOptions = {}): Worker {
  const path = workerPath(entry);
  const [folder = ""] = path.slice(dist.length).split("/");
  if (build.isReplaced(["base", folder])) {
    const message =
      "the program was built anew since this process began, and its new workers would not fit to it";
    throw new PlinthError("PROGRAM_REPLACED", message, { remedy: "start it again" });
  }
  return new Worker(path, options);
}

/** The JavaScript file that `entry` stands for. */
export function workerPath(entry: URL): string {
  const path = fileURLToPath(entry).replace(/\.ts$/, ".js");
  if (existsSync(path)) return path;
  const built = path.startsWith(root) ? `${dist}${path.slice(root.length)}` : path;
  if (existsSync(built)) return built;
  throw new PlinthError("WORKER_NOT_BUILT", `the worker ${built} does not exist`, {
    remedy: "run `npm run build` first",
    context: { entry: entry.href },
  });
}
