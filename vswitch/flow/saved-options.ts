// Options of tunnels of packets that are set aside: beside the words that every key has, for the few that have any.
// Invariant: in a key, what stands for an option that is not there is 0.
// Thread: datapath worker. Hot: yes, up to the first packet with options.
import { K_OPTIONS, K_OPTIONS_THERE } from "./key.js";

/** Whether the packet has any. */
export function hasOptions(key: Int32Array): boolean {
  return (key[K_OPTIONS_THERE]! | key[K_OPTIONS_THERE + 1]!) !== 0;
}

/** Makes those words of the key 0, while words K_OPTIONS_THERE still say whether any is not. */
export function clearOptions(key: Int32Array): void {
  if (hasOptions(key)) key.fill(0, K_OPTIONS);
}

export class SavedOptions {
  readonly #kept = new Map<number, Int32Array>();

  /** Keeps those of `key` in place `index`. */
  save(index: number, key: Int32Array): void {
    if (hasOptions(key)) this.#kept.set(index, key.slice(K_OPTIONS));
    else if (this.#kept.size > 0) this.#kept.delete(index);
  }

  /** Puts back what place `index` has; before words K_OPTIONS_THERE are put back, which say what is overwritten. */
  restore(index: number, key: Int32Array): void {
    clearOptions(key);
    if (this.#kept.size === 0) return;
    const kept = this.#kept.get(index);
    if (kept !== undefined) key.set(kept, K_OPTIONS);
  }
}
