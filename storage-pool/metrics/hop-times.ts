// Where a request's time goes, hop by hop, for all clients of the worker together. Clocks are read once for each hop of a
// breath, not for each request.
//
//   seen ─ queue ─► its breath ─ append ─► log written ─ answer ─► read, replies made ─ send ─► given to the socket
//   sync: from when a flush begins until the disks have it
//
// Thread: the pool's worker. Hot: yes.
import { Latency } from "./latency.js";

export const HOP_QUEUE = 0;
export const HOP_APPEND = 1;
export const HOP_ANSWER = 2;
export const HOP_SEND = 3;
export const HOP_SYNC = 4;
/** By number, as they are called in metrics. */
export const HOP_NAMES: readonly string[] = ["queue", "append", "answer", "send", "sync"];

export class HopTimes {
  readonly hops: readonly Latency[] = HOP_NAMES.map(() => new Latency());
  /** When the requests of this breath were seen. */
  seenMs = 0;
  /** When the last hop ended. */
  atMs = 0;

  /** A breath begins; `seenMs`: when its requests came, or the end of the breath before. */
  begin(seenMs: number): void {
    this.seenMs = Math.max(seenMs, this.atMs);
    this.atMs = this.seenMs;
  }

  /** `count` requests are through a hop. */
  lap(hop: number, count: number): void {
    const nowMs = performance.now(); // cold: four in a breath
    (this.hops[hop] as Latency).observe(nowMs - this.atMs, count);
    this.atMs = nowMs;
  }
}
