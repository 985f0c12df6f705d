// Machines that QEMU paused because a volume found no room: when it is worth while to let one go on. Trying in vain would
// make it run and pause again and again. Thread: main.
import type { PoolFacts } from "./storage-client.js";

const WAIT_MS_MIN = 5_000;
const WAIT_MS_MAX = 300_000;
/** So much more room is reason to try at once. */
const GAIN_BYTES = 1024 * 1024;

interface Wait {
  /** Room in the pools when the machine was found paused. */
  readonly roomBytes: number;
  /** With room that did not help before, it is tried at growing intervals. */
  waitMs: number;
  nextMs: number;
}

export class SpaceWaits {
  readonly #waits = new Map<string, Wait>();

  /** Whether the machine may try now. `pools`: those of its volumes; `nowMs`: a monotonic clock. */
  mayGoOn(machine: string, pools: readonly PoolFacts[], nowMs: number): boolean {
    const roomBytes = Math.min(...pools.map((pool) => (pool.growthBytes ?? 0) + (pool.spareBytes ?? 0)));
    const known = this.#waits.get(machine);
    // Long after the last try this is another time that it ran out of space.
    if (known === undefined || (known.waitMs > WAIT_MS_MIN && nowMs > known.nextMs + 2 * WAIT_MS_MAX)) {
      this.#waits.set(machine, { roomBytes, waitMs: WAIT_MS_MIN, nextMs: nowMs + WAIT_MS_MIN });
      return false;
    }
    if (roomBytes <= 0) return false;
    if (roomBytes < known.roomBytes + GAIN_BYTES && nowMs < known.nextMs) return false;
    const waitMs = Math.min(known.waitMs * 2, WAIT_MS_MAX);
    this.#waits.set(machine, { roomBytes, waitMs, nextMs: nowMs + waitMs });
    return true;
  }

  /** The machine ran for a while, or is gone. */
  forget(machine: string): void {
    this.#waits.delete(machine);
  }
}
