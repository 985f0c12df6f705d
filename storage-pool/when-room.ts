// What a pool has no room for yet is done again while it makes some. Thread: main.
import { setTimeout as sleep } from "node:timers/promises";
import { PlinthError } from "../base/errors/index.js";
import { storageError } from "./errors.js";

/** How long an operation waits. */
const ROOM_WAIT_MS = 15_000;
const ROOM_RETRY_MS = 50;

/** Does again what the pool has no room for yet, while it makes some. Throws POOL_FULL in the end. */
export async function whenRoom<T>(action: () => Promise<T>): Promise<T> {
  for (const endMs = Date.now() + ROOM_WAIT_MS; ; ) {
    try {
      return await action();
    } catch (thrown) {
      if (!(thrown instanceof PlinthError) || thrown.code !== "ROOM_PENDING") throw thrown;
      if (Date.now() < endMs) await sleep(ROOM_RETRY_MS);
      else
        throw storageError("POOL_FULL", thrown.message, {
          remedy: "add a disk, or delete volumes or snapshots",
        });
    }
  }
}
