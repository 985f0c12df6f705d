// The operations on tags, labels and TTLs, but for those that may end a packet's way. Thread: datapath worker. Hot: yes.
import { DROP_NO_BUFFER } from "./drop-reasons.js";
import type { InHand } from "./in-hand.js";
import * as P from "./program.js";

export class HeaderOperations {
  readonly #hand: InHand;

  constructor(hand: InHand) {
    this.#hand = hand;
  }

  /** Runs the operation at `at`; returns where the next is. */
  run(code: Int32Array, at: number): number {
    const hand = this.#hand;
    const operand = code[at + 1]!;
    if (!hand.writable()) return at + 1;
    const { rewriter, packet } = hand;
    switch (code[at]) {
      case P.OP_PUSH_VLAN:
        if (!rewriter.pushVlan(packet, operand)) hand.drop(DROP_NO_BUFFER);
        return at + 2;
      case P.OP_POP_VLAN:
        if (hand.headers.tags > 1) hand.path.leave();
        rewriter.popVlan(packet);
        return at + 1;
      case P.OP_PUSH_MPLS:
        if (!rewriter.pushMpls(packet, operand)) hand.drop(DROP_NO_BUFFER);
        return at + 2;
      case P.OP_POP_MPLS:
        hand.path.leave();
        rewriter.popMpls(packet, operand);
        return at + 2;
      case P.OP_PUSH_PBB:
        if (!rewriter.pushPbb(packet, operand)) hand.drop(DROP_NO_BUFFER);
        return at + 2;
      case P.OP_POP_PBB:
        hand.path.leave();
        rewriter.popPbb(packet);
        return at + 1;
      case P.OP_SET_NW_TTL:
        rewriter.setTtl(operand);
        return at + 2;
      case P.OP_SET_MPLS_TTL:
        rewriter.setMplsTtl(operand);
        return at + 2;
      case P.OP_COPY_TTL_OUT:
        hand.path.leave();
        rewriter.copyTtlOut();
        return at + 1;
      default:
        rewriter.copyTtlIn();
        return at + 1;
    }
  }
}
