// What takes frames out of one receive queue of a device of the host: the seam between such queues and who serves them.
// Thread: the one that serves the queue.
import type { Batch } from "../../base/packet/index.js";

export interface QueueReader {
  /** Readable when a frame waits after mayWait() answered true; level-triggered. */
  readonly wakeFd: number;
  /** Appends the frames that are there and fit; returns how many. Drops and errors are counted, frames are not. */
  receive(batch: Batch): number;
  /** False when a frame waits that wakeFd does not tell of. */
  mayWait(): boolean;
  /** Asks the kernel for no more frames; false while receive() still has some. To be called until it is true. */
  stop(): boolean;
  close(): void;
}
