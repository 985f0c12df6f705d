// Programs of instruction lists that many flows share, so that a list is compiled once, and kept once.
// Invariant: only what follows from the list and its table alone is shared: outputs, and the next table.
// Thread: datapath worker.
import type { Instruction } from "../../base/openflow/index.js";
import type { FlowProgram } from "./program.js";

interface SharedProgram {
  readonly tableId: number;
  readonly program: FlowProgram;
}

export class SharedPrograms {
  /** By the list itself: the codec gives the same one for the same bytes. */
  readonly #programs = new WeakMap<readonly Instruction[], SharedProgram>();

  find(instructions: readonly Instruction[], tableId: number): FlowProgram | undefined {
    const known = this.#programs.get(instructions);
    return known?.tableId === tableId ? known.program : undefined;
  }

  /** The list was compiled for a flow of the table. */
  keep(instructions: readonly Instruction[], tableId: number, program: FlowProgram): void {
    if (instructions.every(isSelfContained)) this.#programs.set(instructions, { tableId, program });
  }
}

function isSelfContained(instruction: Instruction): boolean {
  if (instruction.type === "goto_table" || instruction.type === "clear_actions") return true;
  const isList = instruction.type === "apply_actions" || instruction.type === "write_actions";
  return isList && instruction.actions.every(({ type }) => type === "output");
}
