// Packets of one verdict that changes little of them on their way to one port (short-rewrite.ts): they are changed where
// they lie, without key and interpreter, and put out together.
// Invariant: the same bytes, order and counters as by the operations of the verdict, one after the other
// (verdict-replay.ts), which is how it goes on with those that are not so simple. Thread: datapath worker. Hot: yes.
import type { InHand } from "./in-hand.js";
import { type ShortRewrite, type ShortRewriter, shortRewriterOf } from "./short-rewrite.js";
import type { Verdict } from "./verdict.js";
import type { VerdictReplay } from "./verdict-replay.js";

export interface RewrittenRunsModules {
  readonly hand: InHand;
  readonly replay: VerdictReplay;
  readonly forward: (packets: Int32Array, from: number, to: number, port: number) => void;
}

export class RewrittenRuns {
  readonly #hand: InHand;
  readonly #replay: VerdictReplay;
  readonly #forward: RewrittenRunsModules["forward"];
  readonly #rewrite: ShortRewriter;

  constructor({ hand, replay, forward }: RewrittenRunsModules) {
    this.#hand = hand;
    this.#replay = replay;
    this.#forward = forward;
    this.#rewrite = shortRewriterOf(hand.pool);
  }

  /** Takes packets[from] up to packets[to], which came in by another port than they go to. */
  run(
    verdict: Verdict,
    rewrite: ShortRewrite,
    packets: Int32Array,
    from: number,
    to: number,
    inPort: number,
  ): void {
    const { pool } = this.#hand;
    let first = from;
    for (let i = from; i < to; i++) {
      const packet = packets[i]!;
      const start = pool.offset[packet]!;
      if ((start & 3) === 0 && !pool.isShared(packet) && this.#rewrite(start, rewrite)) continue;
      this.#putOut(verdict, rewrite, packets, first, i);
      this.#replay.whole(verdict, packet, inPort);
      first = i + 1;
    }
    this.#putOut(verdict, rewrite, packets, first, to);
  }

  #putOut(
    { flows }: Verdict,
    { port, tableId, flowIndex }: ShortRewrite,
    packets: Int32Array,
    from: number,
    to: number,
  ): void {
    if (from === to) return;
    const hand = this.#hand;
    hand.tableId = tableId;
    hand.flow = flowIndex < 0 ? null : flows[flowIndex]!;
    this.#forward(packets, from, to, port);
  }
}
