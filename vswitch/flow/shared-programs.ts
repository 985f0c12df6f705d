// Programs of instruction lists that many flows share, so that a list is compiled once, and kept once.
// Invariant: only what follows from the list and its table alone is shared: outputs, and the next table.
// Thread: datapath worker.
import type { Instruction } from "../../base/openflow/index.js";
import type { FlowProgram } from "./program.js";

interface SharedProgram {
  readonly instructions: readonly Instruction[];
  readonly tableId: number;
  readonly program: FlowProgram;
}

/** The lists of the latest flows; to look through all takes less than to compile one. */
const PLACES = 32;

export class SharedPrograms {
  readonly #programs: SharedProgram[] = [];
  #next = 0;

  /** By the list itself: the codec gives the same one for the same bytes. */
  find(instructions: readonly Instruction[], tableId: number): FlowProgram | undefined {
    const programs = this.#programs;
    for (let i = 0; i < programs.length; i++) {
      const one = programs[i]!;
      if (one.instructions === instructions && one.tableId === tableId) return one.program;
    }
    return undefined;
  }

  /** The list was compiled for a flow of the table. */
  keep(instructions: readonly Instruction[], tableId: number, program: FlowProgram): void {
    if (!instructions.every(isSelfContained)) return;
    this.#programs[this.#next] = { instructions, tableId, program };
    this.#next = (this.#next + 1) % PLACES;
  }
}

function isSelfContained(instruction: Instruction): boolean {
  if (instruction.type === "goto_table" || instruction.type === "clear_actions") return true;
  const isList = instruction.type === "apply_actions" || instruction.type === "write_actions";
  return isList && instruction.actions.every(({ type }) => type === "output");
}
