// What is known of packets behind a ct(): for packets with one key, the connection that the last of them belonged to, and
// the verdict on what such packets do from the table on where they go after it. The next one is only checked and
// counted for that connection; no table is searched, neither of flows nor of connections.
//
//   line of the verdict cache ──► stage ──► stage …        a stage (8 words): 0 serial of what it follows | 1 found
//                                                          2 epoch | 3 ct_state | 4 verdict | 5 own serial | 6 next
//
// Invariants: a stage counts only for what it was made for: serials are never used twice while anything may name them.
// With the same headers, the same connections (as they were) and the same states, a packet has the same key in every
// table on its way. Thread: datapath worker. Hot: yes (find).
import { CT_STAGES_FIRST, CT_STAGES_MAX } from "./limits.js";

export const STAGE_SHIFT = 3;
export const S_FOUND = 1;
export const S_EPOCH = 2;
export const S_STATE = 3;
export const S_VERDICT = 4;
export const S_SERIAL = 5;
export const S_NEXT = 6;

export class CtStages {
  words = new Int32Array(CT_STAGES_FIRST << STAGE_SHIFT);
  #stages = CT_STAGES_FIRST;
  #made = 0;
  #serial = 0;

  /** A number for something that a stage may follow; never 0. */
  serial(): number {
    this.#serial = (this.#serial + 1) | 0;
    if (this.#serial === 0) {
      // After 2³² the numbers come again: nothing old may be left then.
      this.words.fill(0);
      this.#serial = 1;
    }
    return this.#serial;
  }

  /** Where the stage at `at` begins if it follows `serial`, or −1. */
  find(at: number, serial: number): number {
    return at < this.words.length && this.words[at] === serial ? at : -1;
  }

  /** Makes a stage that follows `serial`; the oldest gives way. Returns where it begins. */
  add(serial: number, found: number, epoch: number, state: number, verdict: number): number {
    if (++this.#made > this.#stages && this.#stages < CT_STAGES_MAX) this.#grow();
    const at = ((this.#made - 1) % this.#stages) << STAGE_SHIFT;
    const { words } = this;
    words[at] = serial;
    words[at + S_FOUND] = found;
    words[at + S_EPOCH] = epoch;
    words[at + S_STATE] = state;
    words[at + S_VERDICT] = verdict;
    words[at + S_SERIAL] = this.serial();
    words[at + S_NEXT] = 0;
    return at;
  }

  /** More room, empty: what is still in use is soon there again. */
  #grow(): void {
    this.#stages *= 4;
    this.#made = 1;
    this.words = new Int32Array(this.#stages << STAGE_SHIFT);
  }
}
