// What few flows do: none of it is remembered of a packet, so each goes through the tables.
// Source: ovs-actions(7). Thread: datapath worker. Hot: yes.
import type { FlowTables } from "./flow-tables.js";
import type { InHand } from "./in-hand.js";
import { K_TCP_FLAGS } from "./key.js";
import type { Lessons } from "./lessons.js";
import type { Outputs } from "./outputs.js";
import type { Pauses } from "./pauses.js";
import * as P from "./program.js";
import type { ValueOperations } from "./value-operations.js";
import type { VerdictRecorder } from "./verdict-recorder.js";

const WHOLE_PACKET = 0xffff;
const TCP_FIN_OR_RST = 5;

export interface RareModules {
  readonly hand: InHand;
  readonly tables: FlowTables;
  readonly outputs: Outputs;
  readonly values: ValueOperations;
  readonly lessons: Lessons;
  readonly recorder: VerdictRecorder;
  readonly pauses: Pauses;
  /** Runs the program on a copy of the packet in hand. */
  readonly clone: (program: P.Program) => void;
}

export class RareOperations {
  readonly #modules: RareModules;

  constructor(modules: RareModules) {
    this.#modules = modules;
  }

  /** Runs the operation at `at`; returns where the next is. */
  run(program: P.Program, at: number): number {
    const { hand, outputs, values } = this.#modules;
    this.#modules.recorder.giveUp();
    const code = program.code;
    switch (code[at]) {
      case P.OP_CONTROLLER:
        return this.#controller(program, at);
      case P.OP_OUTPUT_REG: {
        const end = values.read(code, at + 2);
        outputs.number(values.scratch[3]!, code[at + 1]!);
        return end;
      }
      case P.OP_OUTPUT_TRUNC:
        outputs.truncated(code[at + 1]! >>> 0, code[at + 2]!);
        return at + 3;
      case P.OP_PUSH:
        return values.push(code, at);
      case P.OP_POP:
        return values.pop(code, at);
      case P.OP_EXIT:
        hand.exited = true;
        return at + 1;
      case P.OP_MULTIPATH:
        return values.multipath(code, at);
      case P.OP_CHECK_LARGER:
        return values.checkLarger(code, at);
      case P.OP_BUNDLE:
        outputs.number(values.member(program, at), WHOLE_PACKET);
        return at + 5;
      case P.OP_BUNDLE_LOAD:
        return values.storeNumber(values.member(program, at), code, at + 5);
      case P.OP_CLONE:
        this.#modules.clone(program.nested[code[at + 1]!]!);
        return at + 2;
      case P.OP_FIN_TIMEOUT:
        this.#finTimeout(code[at + 1]!, code[at + 2]!);
        return at + 3;
      case P.OP_DELETE_OPTION:
        return values.deleteOption(code, at);
      default:
        return this.#learn(program, at);
    }
  }

  #controller(program: P.Program, at: number): number {
    const { hand, outputs, pauses } = this.#modules;
    const code = program.code;
    hand.outputs++;
    const userdata = code[at + 4]! < 0 ? null : program.userdata[code[at + 4]!]!;
    if (code[at + 6] === 1) pauses.begin(code, at, userdata);
    else outputs.toController(code[at + 1]!, code[at + 2]!, code[at + 3]!, userdata, code[at + 5]! >>> 0);
    return at + P.CONTROLLER_WORDS;
  }

  #learn(program: P.Program, at: number): number {
    const { hand, lessons, values } = this.#modules;
    const learn = program.learns[program.code[at + 1]!]!;
    const learned = hand.isDry || lessons.take(learn, hand.key, hand.nowMs);
    return values.storeNumber(learned ? 1 : 0, program.code, at + 2);
  }

  #finTimeout(idleSeconds: number, hardSeconds: number): void {
    const { hand, tables } = this.#modules;
    if ((hand.key[K_TCP_FLAGS]! & TCP_FIN_OR_RST) === 0) return;
    if (!hand.isDry && hand.flow !== null && hand.flow.slot >= 0)
      tables.shorten(hand.flow, idleSeconds, hardSeconds);
  }
}
