// How a packet that was paused goes on, checked and compiled. A controller may have changed all of it but its beginning:
// nothing in it is trusted more than a flow-mod is.
// Source: ovs-actions(7), controller, "pause". Thread: datapath worker.
import type { Continuation, ContinuationFrame, Match } from "../../base/openflow/index.js";
import type { ActionSet } from "./action-set.js";
import type { ActionContext } from "./compile-actions.js";
import { compileInstructions } from "./compile-instructions.js";
import { flowError } from "./errors.js";
import { compileMatch, toBigInt } from "./fields.js";
import { Flow } from "./flow.js";
import type { InHand } from "./in-hand.js";
import { K_ACTSET_OUTPUT, K_IN_PORT, K_PIPELINE } from "./key.js";
import { FRAMES_MAX, STACK_MAX } from "./limits.js";
import type { ActionSetEntry } from "./program.js";
import { clearOptions } from "./saved-options.js";
import { SCRATCH_WORDS, type ValueOperations } from "./value-operations.js";

/** A frame as a flow that stands in no table. */
export interface ResumedFrame {
  readonly frame: ContinuationFrame;
  readonly flow: Flow;
  readonly tableId: number;
}

const EVERYTHING = compileMatch([]);
/** Of a flow without counters. */
const NO_SLOT = -1;

export class Resumption {
  readonly inPort: number;
  readonly frames: readonly ResumedFrame[];
  readonly #key: Int32Array;
  readonly #stack: readonly Uint8Array[];
  readonly #actionSet: readonly ActionSetEntry[];

  /** `match` holds the pipeline fields. Throws PlinthError with an OpenFlow error's name as code. */
  constructor(continuation: Continuation, match: Match, context: ActionContext, tableIdMax: number) {
    const { stack, frames, actionSet } = continuation;
    if (stack.length > STACK_MAX || frames.length > FRAMES_MAX)
      throw flowError("OFPBAC_TOO_MANY", `${frames.length} lists of actions, ${stack.length} values`);
    this.#key = compileMatch(match, context.options).value;
    this.inPort = this.#key[K_IN_PORT]! >>> 0;
    this.#stack = stack;
    // Meters stand in front of a pause.
    const whole = { ...context, meterExists: () => false };
    this.frames = frames.map((frame) => {
      const instructions = [
        { type: "apply_actions", actions: frame.actions } as const,
        ...frame.instructions,
      ];
      const program = compileInstructions(instructions, frame.tableId, tableIdMax, whole, undefined);
      const details = { flags: 0, idleTimeoutSeconds: 0, hardTimeoutSeconds: 0, slot: NO_SLOT, nowMs: 0 };
      const { tableId, cookie } = frame;
      const same = { tableId, cookie, priority: 1, match: [], key: EVERYTHING, instructions, program };
      return { frame, flow: new Flow({ ...same, ...details }), tableId };
    });
    const set = [{ type: "write_actions", actions: actionSet } as const];
    this.#actionSet = compileInstructions(set, 0, tableIdMax, whole, undefined).write;
  }

  /** Puts pipeline fields, stack and action set back, behind the packet's own fields. */
  restore(hand: InHand, values: ValueOperations, set: ActionSet): void {
    const { key } = hand;
    clearOptions(key);
    for (let i = K_PIPELINE; i < this.#key.length; i++) key[i] = this.#key[i]!;
    hand.marked = true;
    for (let i = 0; i < this.#stack.length; i++) {
      const value = toBigInt(this.#stack[i]!);
      for (let word = 0; word < SCRATCH_WORDS; word++)
        values.stack[i * SCRATCH_WORDS + word] = Number(
          BigInt.asIntN(32, value >> BigInt(32 * (SCRATCH_WORDS - 1 - word))),
        );
    }
    values.depth = this.#stack.length;
    set.write(this.#actionSet);
    key[K_ACTSET_OUTPUT] = set.outputPort();
  }
}
