// What is left to do of a packet whose processing was paused, as values. A controller gives it back as it got it.
// Source: ovs-actions(7), controller, "pause"; ovs-ofctl(8), monitor, "resume".

import type { Action, Instruction } from "./actions.js";

/** The rest of one list of actions, and of the instructions that it stood in. */
export interface ContinuationFrame {
  /** Of the flow with the list; OFPTT_ALL of a packet-out. */
  readonly tableId: number;
  /** All ones where there is no flow. */
  readonly cookie: bigint;
  readonly actions: readonly Action[];
  /** No meter and no apply-actions. */
  readonly instructions: readonly Instruction[];
}

export interface Continuation {
  /** 16 bytes that name the bridge. */
  readonly bridge: Uint8Array;
  /** The lowest first; each value big-endian, without zeros in front. */
  readonly stack: readonly Uint8Array[];
  /** The innermost first. The last is where the run through the tables began. */
  readonly frames: readonly ContinuationFrame[];
  /** What write-actions have put into the action set. */
  readonly actionSet: readonly Action[];
}
