// The operations on tags, labels and TTLs. Source: OpenFlow 1.3.5, 5.12. Thread: datapath worker. Hot: yes.
import { DROP_NO_BUFFER, DROP_TTL } from "./drop-reasons.js";
import type { InHand } from "./in-hand.js";
import type { Outputs } from "./outputs.js";
import * as P from "./program.js";

const REASON_INVALID_TTL = P.REASONS.indexOf("invalid_ttl");
const WHOLE_PACKET = 0xffff;

export class HeaderOperations {
  readonly #hand: InHand;
  readonly #outputs: Outputs;

  constructor(hand: InHand, outputs: Outputs) {
    this.#hand = hand;
    this.#outputs = outputs;
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

  /** The operation that lowers a TTL: where it cannot, controllers are told and the packet ends. */
  decrement(code: Int32Array, at: number): number {
    const hand = this.#hand;
    const op = code[at]!;
    const count = op === P.OP_DEC_TTL_IDS ? code[at + 1]! : 0;
    const end = op === P.OP_DEC_TTL_IDS ? at + 2 + count : at + 1;
    if (!hand.writable()) return end;
    const { rewriter } = hand;
    const alive = op === P.OP_DEC_MPLS_TTL ? rewriter.decrementMplsTtl() : rewriter.decrementTtl();
    if (alive) return end;
    if (op !== P.OP_DEC_TTL_IDS) this.#outputs.toController(WHOLE_PACKET, REASON_INVALID_TTL, 0, null);
    for (let i = 0; i < count; i++)
      this.#outputs.toController(WHOLE_PACKET, REASON_INVALID_TTL, code[at + 2 + i]!, null);
    hand.drop(DROP_TTL);
    return end;
  }
}
