// Seeds of the storage simulation, run one after the other, or by as many threads as there are processors: a night of
// 10,000 is an hour and a half of one. Threads run what was compiled. Thread: any.
import { availableParallelism } from "node:os";
import { setImmediate } from "node:timers/promises";
import { spawnWorker } from "../../base/worker/index.js";
import { World } from "./storage-world.js";

/** What a thread is told. */
export interface SeedsOfThreads {
  readonly seeds: readonly number[];
  readonly rounds: number;
  /** How many seeds were taken: one int32. */
  readonly taken: SharedArrayBuffer;
}

export interface SeedFailure {
  readonly seed: number;
  readonly message: string;
}

/** Runs the worlds of `seeds` here; the first failure, if any. */
export async function runSeeds(seeds: readonly number[], rounds: number): Promise<SeedFailure | undefined> {
  for (const seed of seeds) {
    try {
      new World(seed).run(rounds);
    } catch (thrown) {
      return { seed, message: (thrown as Error).message };
    }
    // The runner asks now and then whether anybody is there.
    await setImmediate();
  }
  return undefined;
}

/** The same in threads, each of which takes the next seed that nobody has; the first failure to be told ends them. */
export async function runSeedsInThreads(
  seeds: readonly number[],
  rounds: number,
): Promise<SeedFailure | undefined> {
  const taken = new SharedArrayBuffer(4);
  const workerData: SeedsOfThreads = { seeds, rounds, taken };
  const entry = new URL("./storage-seeds-worker.js", import.meta.url);
  const threads = Array.from({ length: availableParallelism() }, () => spawnWorker(entry, { workerData }));
  try {
    return await new Promise((resolve, reject) => {
      let left = threads.length;
      for (const thread of threads) {
        thread.on("error", reject);
        thread.on("message", (failure: SeedFailure | undefined) => {
          if (failure !== undefined || --left === 0) resolve(failure);
        });
      }
    });
  } finally {
    await Promise.all(threads.map((thread) => thread.terminate()));
  }
}
