// What becomes of IP fragments in front of the tables: they go on as they are, are dropped, or wait until their
// datagram is whole, which then goes on instead. Packets that are none are not held up.
// Source: OpenFlow 1.3.5, 7.3.2 (OFPC_FRAG_*); ovs-ofctl(8), set-frags. Thread: datapath worker. Hot: yes (`holds`).
import {
  OFPC_FRAG_DROP,
  OFPC_FRAG_NORMAL,
  OFPC_FRAG_NX_MATCH,
  OFPC_FRAG_REASM,
} from "../../base/openflow/index.js";
import { DROP_FRAGMENT, DROP_REASSEMBLY } from "./drop-reasons.js";
import type { InHand } from "./in-hand.js";
import type { Headers } from "./key.js";

/** Puts datagrams together again. */
export interface Reassembler {
  /**
   * Takes a fragment, with a reference of its own if it keeps it. The datagram that it made whole, one reference the
   * caller's; REASSEMBLY_WAITS; or REASSEMBLY_REFUSED, and `reason` says what the fragment is to be dropped for.
   * Pipeline words of `key` are those of the datagram afterwards, others mean nothing.
   */
  take(packet: number, key: Int32Array, headers: Headers, nowMs: number): number;
  readonly reason: number;
  /** Fragments that waited and were given up by the last take(), for the same reason. */
  readonly lost: number;
}

export const REASSEMBLY_WAITS = -1;
export const REASSEMBLY_REFUSED = -2;

export class FragmentGate {
  /** Fragments may not simply go on. */
  holds = false;
  #mode: number = OFPC_FRAG_NORMAL;
  #reassembler: Reassembler | null = null;
  readonly #hand: InHand;

  constructor(hand: InHand) {
    this.#hand = hand;
  }

  get mode(): number {
    return this.#mode;
  }

  /** `mode` is one of OFPC_FRAG_*; the reassembler is for OFPC_FRAG_REASM. */
  set(mode: number, reassembler: Reassembler | null): void {
    this.#mode = mode;
    this.#reassembler = reassembler;
    this.holds = mode === OFPC_FRAG_DROP || mode === OFPC_FRAG_REASM;
    this.#hand.headers.readsFirstFragments = mode === OFPC_FRAG_NX_MATCH;
  }

  /** True when a packet is in hand that goes on: what was in hand, a fragment, or the datagram that it made whole. */
  admits(): boolean {
    const hand = this.#hand;
    if (this.#mode === OFPC_FRAG_DROP) {
      hand.countDrop(DROP_FRAGMENT);
      return false;
    }
    const reassembler = this.#reassembler;
    // A trace has nothing that could wait.
    if (reassembler === null || hand.observer !== null) {
      hand.countDrop(DROP_REASSEMBLY);
      return false;
    }
    const whole = reassembler.take(hand.packet, hand.key, hand.headers, hand.nowMs);
    if (whole === REASSEMBLY_REFUSED)
      for (let i = 0; i <= reassembler.lost; i++)
        hand.countDropOf(i === 0 ? hand.packet : -1, reassembler.reason);
    if (whole < 0) return false;
    hand.pool.free(hand.packet);
    hand.packet = whole;
    hand.headers.parseNew(hand.pool, whole, hand.key);
    return true;
  }
}
