// What a start after a crash would have to replay, of all volumes together: so that it takes as long with a hundred volumes as
// with one, and with small writes as with large ones. Thread: the pool's worker. Hot: no (once per breath, a sum).
import { CHECKPOINT_COST_BYTES, CHECKPOINT_COST_LEAST, CHECKPOINT_RECORD_BYTES } from "../limits.js";
import type { Volume } from "../volume/volume.js";

/** In bytes of log; a record costs as much as so many bytes of payload that have to be looked at. */
export function replayCostOf({ writer, checkpointSequence }: Volume): number {
  return writer.writtenBytes + (writer.sequence - checkpointSequence) * CHECKPOINT_RECORD_BYTES;
}

/** The volume that a checkpoint helps most, once all together would take too long; not one with next to nothing. */
export function longestTail(volumes: Iterable<Volume>): Volume | undefined {
  let longest: Volume | undefined;
  let most = CHECKPOINT_COST_LEAST;
  let total = 0;
  for (const volume of volumes) {
    const cost = replayCostOf(volume);
    total += cost;
    if (cost < most) continue;
    most = cost;
    longest = volume;
  }
  return total < CHECKPOINT_COST_BYTES ? undefined : longest;
}
