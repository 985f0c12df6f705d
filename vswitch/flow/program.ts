// Actions compiled to a compact program of 32-bit words that the pipeline runs without looking at objects.
//
//   code: | op | operands … | op | operands … | end of the array ends the program
//
// Invariant: a program that was made is safe to run on any packet: what a packet lacks makes its action do nothing.
// Source: OpenFlow 1.3.5, 7.2.4 and 7.2.5 for meaning, ovs-actions(7) for Nicira actions. Thread: datapath worker.
import type { Action } from "../../base/openflow/index.js";
import type { CtProgram } from "./ct-program.js";
import type { LearnProgram } from "./learn-program.js";

export const OP_OUTPUT = 1; // port, maxLength
export const OP_CONTROLLER = 2; // maxLength, reason, controllerId, index into userdata or −1, meterId or 0, 1 = pause
export const OP_GROUP = 3; // groupId
export const OP_SET = 4; // writer, count, (word, mask, value)…
export const OP_MOVE = 5; // writer, count, (fromWord, fromShift, toWord, toShift, bits)…
export const OP_PUSH_VLAN = 6; // etherType
export const OP_POP_VLAN = 7;
export const OP_PUSH_MPLS = 8; // etherType
export const OP_POP_MPLS = 9; // etherType
export const OP_PUSH_PBB = 10; // etherType
export const OP_POP_PBB = 11;
export const OP_SET_NW_TTL = 12; // ttl
export const OP_DEC_NW_TTL = 13;
export const OP_SET_MPLS_TTL = 14; // ttl
export const OP_DEC_MPLS_TTL = 15;
export const OP_COPY_TTL_OUT = 16;
export const OP_COPY_TTL_IN = 17;
export const OP_RESUBMIT = 18; // port, tableId, withCt
export const OP_CT = 19; // index into Program.ct
export const OP_CT_CLEAR = 20;
// A piece is (fromWord, fromShift, toWord, toShift, bits). The scratch words hold a value of up to 128 bits,
// right-aligned.
export const OP_OUTPUT_REG = 21; // maxLength, count, pieces from key to scratch
export const OP_PUSH = 22; // count, pieces from key to scratch
export const OP_POP = 23; // writer, count, pieces from scratch to key
export const OP_EXIT = 24;
export const OP_DEC_TTL_IDS = 25; // count, controllerId…
export const OP_SET_QUEUE = 26; // queueId
export const OP_POP_QUEUE = 27;
export const OP_MULTIPATH = 28; // fields, basis, algorithm, links, argument, writer, count, pieces from scratch
export const OP_BUNDLE = 29; // fields, basis, algorithm, index into members
export const OP_BUNDLE_LOAD = 30; // fields, basis, algorithm, index into members, writer, count, pieces from scratch
export const OP_LEARN = 31; // index into learns, writer, count, pieces of the result from scratch
export const OP_FIN_TIMEOUT = 32; // idle seconds, hard seconds
export const OP_CLONE = 33; // index into nested
export const OP_CHECK_LARGER = 34; // sizeBytes, writer, count, pieces from scratch
export const OP_OUTPUT_TRUNC = 35; // port, maxLength
export const OP_DELETE_OPTION = 36; // number, first word, words
export const SCRATCH_BITS = 128;

/** How a changed key field gets into the packet. */
export const W_NONE = 0;
export const W_ETH_DST = 1;
export const W_ETH_SRC = 2;
export const W_ETH_TYPE = 3;
export const W_VLAN = 4;
export const W_TOS = 5;
export const W_PROTO = 6;
export const W_TTL = 7;
export const W_SOURCE = 8;
export const W_DESTINATION = 9;
export const W_PORTS = 10;
export const W_ICMP = 11;
export const W_ARP_OP = 12;
export const W_SHA = 13;
export const W_THA = 14;
export const W_ND_TARGET = 15;
export const W_ND_LINK_LAYER = 16;
export const W_FLOW_LABEL = 17;
export const W_MPLS = 18;
export const W_ISID = 19;
export const W_ND_RESERVED = 20;
export const W_ND_OPTION = 21;
/** No bytes of the packet, but the port number is made whole. */
export const W_IN_PORT = 22;
/** The whole tag, its presence included: setting that puts a tag on, clearing it takes the tag off. */
export const W_TCI = 23;

/** And more by the number of an option of tunnels, which is there from then on; no bytes of the packet. */
export const W_OPTION = 64;

/** Words of an OP_CONTROLLER. */
export const CONTROLLER_WORDS = 7;

export const REASONS = ["no_match", "action", "invalid_ttl", "action_set", "group", "packet_out"] as const;

export interface Program {
  readonly code: Int32Array;
  readonly ct: readonly CtProgram[];
  /** Of clone. */
  readonly nested: readonly Program[];
  readonly learns: readonly LearnProgram[];
  /** Port numbers of a bundle. */
  readonly members: readonly Int32Array[];
  /** Of controller. */
  readonly userdata: readonly Uint8Array[];
  /** What was compiled, for traces: action n begins at offsets[n]. */
  readonly actions: readonly Action[];
  readonly offsets: readonly number[];
}

/** A flow's instructions, in the order in which they are executed (5.9). */
export interface FlowProgram {
  /** 0 = no meter. */
  readonly meterId: number;
  readonly apply: Program | null;
  readonly clear: boolean;
  /** Write-actions: each with its place in the action set. */
  readonly write: readonly ActionSetEntry[];
  readonly metadata: Int32Array | null;
  /** −1: the pipeline ends here. */
  readonly gotoTable: number;
  /** Of a conjunctive flow, which does nothing else; null for every other. */
  readonly clauses: readonly Clause[] | null;
}

/** What a conjunctive flow is a part of. */
export interface Clause {
  readonly id: number;
  /** From 0. */
  readonly clause: number;
  readonly clauseCount: number;
}

export interface ActionSetEntry {
  readonly slot: number;
  readonly program: Program;
}

/** Places in the action set (ovs-actions(7), Action Sets): executed in this order, each but one holding one action. */
export const SLOTS: Partial<Record<Action["type"], number>> = {
  copy_ttl_in: 0,
  pop_vlan: 1,
  pop_mpls: 2,
  pop_pbb: 3,
  push_mpls: 4,
  push_pbb: 5,
  push_vlan: 6,
  copy_ttl_out: 7,
  dec_nw_ttl: 8,
  dec_ttl_ids: 8,
  dec_mpls_ttl: 9,
  set_field: 10,
  load: 10,
  move: 10,
  set_nw_ttl: 10,
  set_mpls_ttl: 10,
  set_queue: 11,
  group: 12,
  output: 13,
  controller: 13,
  resubmit: 14,
  ct_clear: 15,
  ct: 16,
};
/** Of all that sets fields: holds whatever was added, in that order. */
export const SLOT_SETS = 10;
/** From here on the first that is there is executed, and no other. */
export const SLOT_GROUP = 12;
export const SLOT_OUTPUT = 13;
export const ACTION_SET_SLOTS = 17;
