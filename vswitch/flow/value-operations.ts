// The operations that put values into fields: set, move, the stack, and what is chosen or measured.
// Source: ovs-actions(7). Invariant: the stack is empty when a packet comes in and lives as long as it is in hand,
// recirculation included; a pop from an empty stack changes nothing.
// Thread: datapath worker. Hot: yes.
import { DROP_NESTING } from "./drop-reasons.js";
import { chooseLink, hashFields, weigh } from "./hash-fields.js";
import type { InHand } from "./in-hand.js";
import { K_OPTIONS_THERE, widenNumber, widenPort } from "./key.js";
import { STACK_MAX } from "./limits.js";
import type { PacketSink } from "./pipeline-modules.js";
import * as P from "./program.js";
import { moveBits, setBits } from "./run-on-key.js";

export const SCRATCH_WORDS = P.SCRATCH_BITS / 32;
/** OFPP_NONE of OpenFlow 1.0: no member is live. */
const NO_MEMBER = 0xffff;

export class ValueOperations {
  /** A value on its way, right-aligned. */
  readonly scratch = new Int32Array(SCRATCH_WORDS);
  readonly stack = new Int32Array(STACK_MAX * SCRATCH_WORDS);
  depth = 0;
  readonly #hand: InHand;
  readonly #sink: PacketSink;
  /** The key shows what it hides of a first fragment, for the change in hand. */
  #uncovered = false;

  constructor(hand: InHand, sink: PacketSink) {
    this.#hand = hand;
    this.#sink = sink;
  }

  /** OP_SET and OP_MOVE: changes bits of the key, and the packet where they stand for bytes of it. */
  assign(code: Int32Array, at: number): number {
    const hand = this.#hand;
    const set = code[at] === P.OP_SET;
    const writer = code[at + 1]!;
    const count = code[at + 2]!;
    const start = at + 3;
    if (!this.#prepare(writer)) return start + (set ? 3 : 5) * count;
    const key = hand.key;
    const end = set ? setBits(code, start, count, key) : moveBits(code, start, count, key, key);
    this.#write(writer);
    return end;
  }

  /** OP_PUSH. */
  push(code: Int32Array, at: number): number {
    const end = this.read(code, at + 1);
    if (this.depth >= STACK_MAX) {
      this.#hand.drop(DROP_NESTING);
      return end;
    }
    const base = this.depth++ * SCRATCH_WORDS;
    for (let i = 0; i < SCRATCH_WORDS; i++) this.stack[base + i] = this.scratch[i]!;
    return end;
  }

  /** OP_POP. */
  pop(code: Int32Array, at: number): number {
    if (this.depth === 0) return at + 3 + 5 * code[at + 2]!;
    const base = --this.depth * SCRATCH_WORDS;
    for (let i = 0; i < SCRATCH_WORDS; i++) this.scratch[i] = this.stack[base + i]!;
    return this.store(code, at + 1);
  }

  /** What is on the stack, the lowest first: big-endian, without zeros in front. */
  stacked(): Uint8Array[] {
    return Array.from({ length: this.depth }, (_, i) => {
      const bytes = new Uint8Array(SCRATCH_WORDS * 4);
      const view = new DataView(bytes.buffer);
      for (let word = 0; word < SCRATCH_WORDS; word++)
        view.setInt32(4 * word, this.stack[i * SCRATCH_WORDS + word]!);
      const first = bytes.findIndex((byte) => byte !== 0);
      return bytes.slice(first < 0 ? bytes.length - 1 : first);
    });
  }

  /** OP_MULTIPATH. */
  multipath(code: Int32Array, at: number): number {
    const links = code[at + 4]!;
    const link = chooseLink(
      code[at + 3]!,
      code[at + 1]!,
      code[at + 2]!,
      links,
      code[at + 5]!,
      this.#hand.key,
    );
    return this.storeNumber(link, code, at + 6);
  }

  /** OP_CHECK_LARGER. */
  checkLarger(code: Int32Array, at: number): number {
    // The size of a packet is not part of its key.
    this.#hand.path.leave();
    const larger = this.#hand.pool.length[this.#hand.packet]! > code[at + 1]!;
    return this.storeNumber(larger ? 1 : 0, code, at + 2);
  }

  /** The port, as OpenFlow 1.0 numbers it, of a live member for the OP_BUNDLE or OP_BUNDLE_LOAD at `at`. */
  member(program: P.Program, at: number): number {
    const code = program.code;
    const members = program.members[code[at + 4]!]!;
    if (code[at + 3] === 0) {
      for (let i = 0; i < members.length; i++) if (this.#isLive(members[i]!)) return members[i]!;
      return NO_MEMBER;
    }
    const hash = hashFields(code[at + 1]!, code[at + 2]!, this.#hand.key);
    let best = NO_MEMBER;
    let weightMax = -1;
    for (let i = 0; i < members.length; i++) {
      const weight = weigh(hash, i);
      if (weight <= weightMax || !this.#isLive(members[i]!)) continue;
      weightMax = weight;
      best = members[i]!;
    }
    return best;
  }

  #isLive(port: number): boolean {
    return this.#sink.isLive(widenNumber(port));
  }

  /** Count and pieces at `at`: from the key into the scratch words; returns where they end. */
  read(code: Int32Array, at: number): number {
    for (let i = 0; i < SCRATCH_WORDS; i++) this.scratch[i] = 0;
    return moveBits(code, at + 1, code[at]!, this.#hand.key, this.scratch);
  }

  storeNumber(value: number, code: Int32Array, at: number): number {
    for (let i = 0; i < SCRATCH_WORDS - 1; i++) this.scratch[i] = 0;
    this.scratch[SCRATCH_WORDS - 1] = value;
    return this.store(code, at);
  }

  /** Writer, count and pieces at `at`: from the scratch words into the key and the packet; returns where they end. */
  store(code: Int32Array, at: number): number {
    const writer = code[at]!;
    const count = code[at + 1]!;
    if (!this.#prepare(writer)) return at + 2 + 5 * count;
    const end = moveBits(code, at + 2, count, this.scratch, this.#hand.key);
    if (count > 0 || writer >= P.W_OPTION) this.#write(writer);
    return end;
  }

  /** OP_DELETE_OPTION. */
  deleteOption(code: Int32Array, at: number): number {
    const { key } = this.#hand;
    const option = code[at + 1]!;
    const word = K_OPTIONS_THERE + (option >>> 5);
    key[word] = key[word]! & ~(1 << (31 - (option & 31)));
    const from = code[at + 2]!;
    key.fill(0, from, from + code[at + 3]!);
    return at + 4;
  }

  #prepare(writer: number): boolean {
    if (writer === P.W_NONE || writer === P.W_IN_PORT || writer >= P.W_OPTION) {
      this.#hand.marked = true;
      return true;
    }
    if (!this.#hand.writable()) return false;
    this.#uncovered = this.#hand.rewriter.uncover(writer);
    return true;
  }

  #write(writer: number): void {
    const hand = this.#hand;
    if (writer === P.W_NONE) return;
    if (writer === P.W_IN_PORT) {
      widenPort(hand.key);
      return;
    }
    if (writer >= P.W_OPTION) {
      const option = writer - P.W_OPTION;
      const word = K_OPTIONS_THERE + (option >>> 5);
      hand.key[word] = hand.key[word]! | (1 << (31 - (option & 31)));
      return;
    }
    // These bring to light what the key at the start did not hold.
    if (writer === P.W_ETH_TYPE || writer === P.W_PROTO || writer === P.W_ICMP || writer === P.W_ND_OPTION)
      hand.path.leave();
    hand.rewriter.write(hand.packet, writer);
    if (this.#uncovered) hand.rewriter.reparse(hand.packet);
  }
}
