// The action set of the packet in hand: at most one action per place, executed in order of the places.
// Source: OpenFlow 1.3.5, 5.10. Thread: datapath worker. Hot: yes.
import { OFPP_CONTROLLER } from "../../base/openflow/index.js";
import { OFPP_UNSET } from "./key.js";
import {
  ACTION_SET_SLOTS,
  type ActionSetEntry,
  OP_OUTPUT,
  type Program,
  SLOT_GROUP,
  SLOT_OUTPUT,
} from "./program.js";

export class ActionSet {
  /** Places in use lie in [first, last]; last < first when it is empty. */
  first = ACTION_SET_SLOTS;
  last = -1;
  readonly #slots: (Program | null)[] = new Array<Program | null>(ACTION_SET_SLOTS).fill(null);

  clear(): void {
    for (let i = this.first; i <= this.last; i++) this.#slots[i] = null;
    this.first = ACTION_SET_SLOTS;
    this.last = -1;
  }

  /** Becomes the same as `other`. */
  copy(other: ActionSet): void {
    this.clear();
    for (let i = other.first; i <= other.last; i++) this.#slots[i] = other.#slots[i]!;
    this.first = other.first;
    this.last = other.last;
  }

  write(entries: readonly ActionSetEntry[]): void {
    for (let i = 0; i < entries.length; i++) {
      const { slot, program } = entries[i]!;
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

  /** The action at a place, or null. A group takes precedence over an output. */
  at(slot: number): Program | null {
    if (slot === SLOT_OUTPUT && this.#slots[SLOT_GROUP] !== null) return null;
    return this.#slots[slot]!;
  }
}
