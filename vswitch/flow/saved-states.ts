// What a bucket or a clone may change for itself only: key, stack and, of a clone, the action set; kept by nesting.
// Thread: datapath worker. Hot: yes.
import { ActionSet } from "./action-set.js";
import { KEY_WORDS } from "./key.js";
import { NESTING_MAX, STACK_MAX } from "./limits.js";
import { SavedOptions } from "./saved-options.js";
import type { ValueOperations } from "./value-operations.js";
import { SCRATCH_WORDS } from "./value-operations.js";

const STACK_WORDS = STACK_MAX * SCRATCH_WORDS;

export class SavedStates {
  readonly #keys = new Int32Array((NESTING_MAX + 1) * KEY_WORDS);
  readonly #options = new SavedOptions();
  readonly #stacks = new Int32Array((NESTING_MAX + 1) * STACK_WORDS);
  readonly #depths = new Int32Array(NESTING_MAX + 1);
  readonly #sets = Array.from({ length: NESTING_MAX + 1 }, () => new ActionSet());

  saveSet(nesting: number, set: ActionSet): void {
    this.#sets[nesting]!.copy(set);
  }

  restoreSet(nesting: number, set: ActionSet): void {
    set.copy(this.#sets[nesting]!);
  }

  save(nesting: number, key: Int32Array, values: ValueOperations): void {
    const base = nesting * KEY_WORDS;
    for (let i = 0; i < KEY_WORDS; i++) this.#keys[base + i] = key[i]!;
    this.#options.save(nesting, key);
    saveStack(values, this.#stacks, this.#depths, nesting);
  }

  restore(nesting: number, key: Int32Array, values: ValueOperations): void {
    const base = nesting * KEY_WORDS;
    this.#options.restore(nesting, key);
    for (let i = 0; i < KEY_WORDS; i++) key[i] = this.#keys[base + i]!;
    restoreStack(values, this.#stacks, this.#depths, nesting);
  }
}

/** Puts the stack into place `index` of `stacks`, STACK_MAX values each, and its depth into `depths`. */
export function saveStack(
  values: ValueOperations,
  stacks: Int32Array,
  depths: Int32Array,
  index: number,
): void {
  depths[index] = values.depth;
  const base = index * STACK_WORDS;
  for (let i = 0; i < values.depth * SCRATCH_WORDS; i++) stacks[base + i] = values.stack[i]!;
}

export function restoreStack(
  values: ValueOperations,
  stacks: Int32Array,
  depths: Int32Array,
  index: number,
): void {
  values.depth = depths[index]!;
  const base = index * STACK_WORDS;
  for (let i = 0; i < values.depth * SCRATCH_WORDS; i++) values.stack[i] = stacks[base + i]!;
}
