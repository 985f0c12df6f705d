// What becomes of every packet with one key: the flows that it counts for, and what is done to it. Many keys share one.
// Thread: datapath worker.
import type { Flow } from "./flow.js";

/** Beside the OP_ codes of a program, in a verdict: what follows happens in this table, by flows[index] or (−1) by none. */
export const V_AT = -1; // tableId, index
/** The packet is dropped and counted. */
export const V_DROP = -2; // reason

export interface Verdict {
  /** Index of its counters. */
  readonly id: number;
  /** Table looked up in, and what was found there, in order; null = no flow matched. */
  readonly tables: readonly number[];
  readonly flows: readonly (Flow | null)[];
  /** V_ and OP_ codes with their operands. */
  readonly code: Int32Array;
  /** The port that the packet goes to unchanged, when that is all; −1 otherwise. */
  readonly onlyPort: number;
  /** The packet is forwarded as an ordinary switch does, and that is all. */
  readonly isNormal: boolean;
  /** The code changes the packet, or needs its key. */
  readonly needsKey: boolean;
}
