// The action set of the packet in hand: at most one action per place, executed in order of the places; what sets fields
// is executed in the order in which it was added, with cumulative effect.
// Source: ovs-actions(7), Action Sets; OpenFlow 1.3.5, 5.10. Thread: datapath worker. Hot: yes.
import { type Action, OFPP_CONTROLLER } from "../../base/openflow/index.js";
import { OFPP_UNSET } from "./key.js";
import {
  ACTION_SET_SLOTS,
  type ActionSetEntry,
  OP_OUTPUT,
  type Program,
  SLOT_GROUP,
  SLOT_OUTPUT,
  SLOT_SETS,
} from "./program.js";

export class ActionSet {
  /** Places in use lie in [first, last]; last < first when it is empty. */
  first = ACTION_SET_SLOTS;
  last = -1;
  /** How many programs are at SLOT_SETS. */
  setCount = 0;
  readonly #slots: (Program | null)[] = new Array<Program | null>(ACTION_SET_SLOTS).fill(null);
  /** The first `setCount` are valid; as many as one packet may look up flows. */
  readonly #sets: Program[] = [];

  clear(): void {
    for (let i = this.first; i <= this.last; i++) this.#slots[i] = null;
    this.first = ACTION_SET_SLOTS;
    this.last = -1;
    this.setCount = 0;
  }

  /** Becomes the same as `other`. */
  copy(other: ActionSet): void {
    this.clear();
    for (let i = other.first; i <= other.last; i++) this.#slots[i] = other.#slots[i]!;
    for (let i = 0; i < other.setCount; i++) this.#sets[i] = other.#sets[i]!;
    this.first = other.first;
    this.last = other.last;
    this.setCount = other.setCount;
  }

  write(entries: readonly ActionSetEntry[]): void {
    for (let i = 0; i < entries.length; i++) {
      const { slot, program } = entries[i]!;
      if (slot === SLOT_SETS) this.#sets[this.setCount++] = program;
      this.#slots[slot] = program;
      if (slot < this.first) this.first = slot;
      if (slot > this.last) this.last = slot;
    }
  }

  /** What actset_output shows: the port of the output, or OFPP_UNSET. */
  outputPort(): number {
    const program = this.at(SLOT_OUTPUT);
    if (program === null) return OFPP_UNSET;
    return program.code[0] === OP_OUTPUT ? program.code[1]! : OFPP_CONTROLLER | 0;
  }

  /** The action at a place, or null. Of a group, an output and what comes behind them only the first is there. */
  at(slot: number): Program | null {
    for (let i = SLOT_GROUP; i < slot; i++) if (this.#slots[i] !== null) return null;
    return this.#slots[slot]!;
  }

  /** What is in it, as actions that write-actions would make it of. */
  actions(): Action[] {
    const list: Action[] = [];
    for (let i = this.first; i <= this.last; i++) {
      if (i === SLOT_SETS) for (let n = 0; n < this.setCount; n++) list.push(...this.#sets[n]!.actions);
      else if (this.#slots[i] !== null) list.push(...this.#slots[i]!.actions);
    }
    return list;
  }

  /** What sets fields: number `index` of `setCount`. */
  setAt(index: number): Program {
    return this.#sets[index]!;
  }
}
