// Copies of the packet in hand that wait to go through the tables again, with their pipeline fields and stack.
// Invariant: each entry holds one reference to its packet. Thread: datapath worker. Hot: yes.
import { K_IN_PORT, K_PIPELINE, KEY_WORDS } from "./key.js";
import { RECIRCULATIONS_MAX, STACK_MAX } from "./limits.js";
import { SavedOptions } from "./saved-options.js";
import { restoreStack, saveStack } from "./saved-states.js";
import { SCRATCH_WORDS, type ValueOperations } from "./value-operations.js";

const SAVED_WORDS = KEY_WORDS - K_PIPELINE + 1;

export class Recirculation {
  length = 0;
  readonly packets = new Int32Array(RECIRCULATIONS_MAX);
  readonly tables = new Int32Array(RECIRCULATIONS_MAX);
  readonly #keys = new Int32Array(RECIRCULATIONS_MAX * SAVED_WORDS);
  readonly #options = new SavedOptions();
  readonly #stacks = new Int32Array(RECIRCULATIONS_MAX * STACK_MAX * SCRATCH_WORDS);
  readonly #depths = new Int32Array(RECIRCULATIONS_MAX);

  /** Takes the caller's reference; false when there is no room. */
  push(packet: number, tableId: number, key: Int32Array, values: ValueOperations): boolean {
    if (this.length >= RECIRCULATIONS_MAX) return false;
    const entry = this.length++;
    this.packets[entry] = packet;
    this.tables[entry] = tableId;
    const base = entry * SAVED_WORDS;
    this.#keys[base] = key[K_IN_PORT]!;
    for (let i = K_PIPELINE; i < KEY_WORDS; i++) this.#keys[base + 1 + i - K_PIPELINE] = key[i]!;
    this.#options.save(entry, key);
    saveStack(values, this.#stacks, this.#depths, entry);
    return true;
  }

  /** Puts the entry's pipeline fields into `key` and its stack into `values`. */
  restore(entry: number, key: Int32Array, values: ValueOperations): void {
    const base = entry * SAVED_WORDS;
    this.#options.restore(entry, key);
    key[K_IN_PORT] = this.#keys[base]!;
    for (let i = K_PIPELINE; i < KEY_WORDS; i++) key[i] = this.#keys[base + 1 + i - K_PIPELINE]!;
    restoreStack(values, this.#stacks, this.#depths, entry);
  }
}
