// Stops the packet in hand and gathers what is left to do of it, for a controller to hold: on the way out of each list of
// actions and each flow, its rest becomes a frame. What is around a clone or a bucket goes on: only the copy waits.
//
//   begin ── leaveActions, leaveInstructions of every list and flow around ── end: the packet-in with the frames
//
// Source: ovs-actions(7), controller, "pause". Thread: datapath worker.
import type { ContinuationFrame, Instruction } from "../../base/openflow/index.js";
import type { ActionSet } from "./action-set.js";
import type { InHand } from "./in-hand.js";
import type { Outputs } from "./outputs.js";
import type { Program } from "./program.js";
import type { ResumedFrame } from "./resumption.js";
import type { ValueOperations } from "./value-operations.js";

const NO_COOKIE = 0xffffffffffffffffn;

export class Pauses {
  /** A packet has been stopped, and the way out is not over. */
  isUnwinding = false;
  readonly #hand: InHand;
  readonly #outputs: Outputs;
  readonly #values: ValueOperations;
  #frames: ContinuationFrame[] = [];
  #request: { code: Int32Array; at: number; userdata: Uint8Array | null; tableId: number } | null = null;
  #flow: InHand["flow"] = null;
  #unowned = 0;
  /** Values on the stack when it was stopped. */
  #stack: Uint8Array[] = [];

  constructor(hand: InHand, outputs: Outputs, values: ValueOperations) {
    this.#hand = hand;
    this.#outputs = outputs;
    this.#values = values;
  }

  /** At the OP_CONTROLLER at `at`. Nothing more happens to the packet. */
  begin(code: Int32Array, at: number, userdata: Uint8Array | null): void {
    const hand = this.#hand;
    this.isUnwinding = true;
    this.#frames = [];
    this.#request = { code, at, userdata, tableId: hand.tableId };
    this.#flow = hand.flow;
    this.#unowned = hand.unowned;
    this.#stack = this.#values.stacked();
    hand.dropped = true;
  }

  /** The list is left, whose next operation would be at `at`. */
  leaveActions(program: Program, at: number): void {
    const { tableId, flow } = this.#hand;
    const actions = program.actions.filter((_, i) => program.offsets[i]! >= at);
    this.#frames.push({
      tableId,
      cookie: flow === null ? NO_COOKIE : flow.cookie,
      actions,
      instructions: [],
    });
  }

  /** The flow is left whose apply-actions the list before were. */
  leaveInstructions(instructions: readonly Instruction[]): void {
    const rest = instructions.filter(({ type }) => type !== "meter" && type !== "apply_actions");
    const last = this.#frames.pop()!;
    this.#frames.push({ ...last, instructions: rest });
  }

  /** A resumption is left: its frames from `first` on are still to come. */
  leaveFrames(frames: readonly ResumedFrame[], first: number): void {
    for (let f = first; f < frames.length; f++) this.#frames.push(frames[f]!.frame);
  }

  /** The way out is over: the packet goes to its controller. `set` is what is executed at its end, or null. */
  end(set: ActionSet | null): void {
    const hand = this.#hand;
    const { code, at, userdata, tableId } = this.#request!;
    const { tableId: tableBefore, flow: flowBefore, unowned } = hand;
    this.isUnwinding = false;
    const actionSet = set === null ? [] : set.actions();
    const last = this.#frames.length - 1;
    // The last one says where the end is, whatever is in it.
    const frames = this.#frames.filter(
      (frame, i) => i === last || frame.actions.length + frame.instructions.length > 0,
    );
    hand.tableId = tableId;
    hand.flow = this.#flow;
    hand.unowned = this.#unowned;
    const remainder = { stack: this.#stack, frames, actionSet };
    this.#outputs.toController(
      code[at + 1]!,
      code[at + 2]!,
      code[at + 3]!,
      userdata,
      code[at + 5]! >>> 0,
      remainder,
    );
    hand.tableId = tableBefore;
    hand.flow = flowBefore;
    hand.unowned = unowned;
    this.#request = null;
  }
}
