// What the packet in hand teaches by learn(): in force when its way through the tables is over, so that all it meets was
// there when it came, as in Open vSwitch, where all lookups of one packet are in one version of the tables.
// Thread: datapath worker. Hot: yes (end).
import type { FlowTables } from "./flow-tables.js";
import { KEY_WORDS_MAX } from "./key.js";
import type { LearnProgram } from "./learn-program.js";
import { LESSONS_MAX } from "./limits.js";

export class Lessons {
  readonly #tables: FlowTables;
  #count = 0;
  readonly #programs: LearnProgram[] = [];
  /** The key at each. */
  readonly #keys = Array.from({ length: LESSONS_MAX }, () => new Int32Array(KEY_WORDS_MAX));

  constructor(tables: FlowTables) {
    this.#tables = tables;
  }

  /** False when there is no room for what the packet with `key` teaches. Beyond LESSONS_MAX it is in force at once. */
  take(program: LearnProgram, key: Int32Array, nowMs: number): boolean {
    const isFull = this.#count === LESSONS_MAX;
    if (!this.#tables.learn(program, key, nowMs, isFull)) return false;
    if (isFull) return true;
    this.#keys[this.#count]!.set(key);
    this.#programs[this.#count++] = program;
    return true;
  }

  /** The packet's way is over. */
  end(nowMs: number): void {
    for (let i = 0; i < this.#count; i++) this.#tables.learn(this.#programs[i]!, this.#keys[i]!, nowMs, true);
    this.#count = 0;
  }
}
