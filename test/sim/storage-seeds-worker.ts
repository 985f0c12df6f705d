// A thread of a long night: takes seed after seed of those that are left and runs their worlds. What one finds ends it.
// Thread: worker.
import { parentPort, workerData } from "node:worker_threads";
import { describeError } from "../../base/errors/index.js";
import type { SeedFailure, SeedsOfThreads } from "./storage-seeds.js";
import { World } from "./storage-world.js";

const { seeds, rounds, taken } = workerData as SeedsOfThreads;
const next = new Int32Array(taken);
let failure: SeedFailure | undefined;
while (failure === undefined) {
  const seed = seeds[Atomics.add(next, 0, 1)];
  if (seed === undefined) break;
  try {
    new World(seed).run(rounds);
  } catch (thrown) {
    failure = { seed, message: describeError(thrown) };
  }
}
parentPort?.postMessage(failure);
