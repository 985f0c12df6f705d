// What becomes of every packet with one key: the flows that it counts for, and what is done to it. Many keys share one.
// Thread: datapath worker.
import type { CtProgram } from "./ct-program.js";
import type { Flow } from "./flow.js";
import type { Group, GroupBucket } from "./groups.js";
import { K_PIPELINE, K_QUEUE, KEY_WORDS } from "./key.js";
import type { ShortRewrite } from "./short-rewrite.js";

/** Beside the OP_ codes of a program, in a verdict: what follows happens in this table, by flows[index] or (−1) by none. */
export const V_AT = -1; // tableId, index
/** The packet is dropped and counted. */
export const V_DROP = -2; // reason
/** ct(): index in cts, zone, in_port, the pipeline words of the key as they are then, and how many lookups count for the
 *  packet if it is dropped there. */
export const V_CT = -3;
/** The packet counts for groups[index]. */
export const V_GROUP = -4; // index
/** It counts for buckets[index]; what is done to it up to the V_LEAVE at `leave` ends there. */
export const V_BUCKET = -5; // index, leave
export const V_LEAVE = -6;
/** The meter is asked; of the packets that it drops only the first `lookups` lookups count. */
export const V_METER = -7; // meterId, lookups
/** ct() of the packet as it is: nothing has changed the pipeline words of its key since its run began. */
export const V_CT_LIVE = -8; // index in cts, lookups as above
export const PIPELINE_WORDS = KEY_WORDS - K_PIPELINE;
/** Words of V_CT before the pipeline words, and in all. */
export const V_CT_HEAD = 4;
export const V_CT_WORDS = V_CT_HEAD + PIPELINE_WORDS + 1;

/** A live ct() that commits a connection whose packets stay as they are, and one output: all that happens to a packet. */
export interface Commit {
  readonly ct: CtProgram;
  /** OFPP_NORMAL, or one that is no reserved one. */
  readonly port: number;
  /** Who puts it out: in this table, by flows[flowIndex] or (−1) by none. */
  readonly tableId: number;
  readonly flowIndex: number;
}

export interface Verdict {
  /** Index of its counters. */
  readonly id: number;
  /** Table looked up in, and what was found there, in order; null = no flow matched. */
  readonly tables: readonly number[];
  readonly flows: readonly (Flow | null)[];
  /** V_ and OP_ codes with their operands. */
  readonly code: Int32Array;
  readonly cts: readonly CtProgram[];
  readonly groups: readonly Group[];
  readonly buckets: readonly GroupBucket[];
  /** There is a V_METER. */
  readonly isMetered: boolean;
  /** Where in `code` the V_CT stands that ends it: the packet goes on in a table as its connection says; −1: none does. */
  readonly tail: number;
  /** Something is done to the packet before that. */
  readonly acts: boolean;
  /** There is a V_CT_LIVE: only for a packet whose key is in hand. */
  readonly isLive: boolean;
  /** Connections may change by it. */
  readonly tracks: boolean;
  /** When that and an output is all. */
  readonly commit: Commit | null;
  /** The port that the packet goes to unchanged, when that is all; −1 otherwise. */
  readonly onlyPort: number;
  /** What is done to it on its way to one port, when that is little; null otherwise, and when it goes unchanged. */
  readonly rewrite: ShortRewrite | null;
  /** The packet is forwarded as an ordinary switch does, and that is all. */
  readonly isNormal: boolean;
  /** The code changes the packet, or needs its key. */
  readonly needsKey: boolean;
}

/** Whether a queue has been chosen before the V_CT at `at`: outputs behind it ask the key for it. */
export function carriesQueue(code: Int32Array, at: number): boolean {
  return code[at + V_CT_HEAD + K_QUEUE - K_PIPELINE] !== 0;
}
