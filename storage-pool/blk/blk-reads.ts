// Short reads of one guest that came together: one system call for all, then each into its chain. They go through a
// buffer of ours, so that what the guest gets is what was checked.
//
//   add … add ─► run, when the writes of the breath are committed ─► results[i], in the order of add() ─► clear
//
// Invariant: the window does not move between add() and run(). Thread: the pool's worker. Hot: yes.
import { OK } from "../errors.js";
import type { BlockDevice } from "../volume/block-device.js";
import type { WindowBuffer } from "./window-buffer.js";

/** Longer reads are worth system calls of their own. */
const SHORT_MAX = 16 * 1024;
const READS_MAX = 256;

export class BlkReads {
  readonly #device: BlockDevice;
  readonly #bytesMax: number;
  readonly #offsets = new Float64Array(READS_MAX);
  readonly #tickets = new Int32Array(READS_MAX);
  /** Where the bytes go in the window, and how many. */
  readonly places = new Float64Array(READS_MAX);
  readonly lengths = new Uint32Array(READS_MAX);
  /** After run(): 0 or EIO. */
  readonly results = new Int32Array(READS_MAX);
  #count = 0;
  #bytes = 0;

  /** `bytesMax`: of all that run() reads. */
  constructor(device: BlockDevice, bytesMax: number) {
    this.#device = device;
    this.#bytesMax = bytesMax;
  }

  /** False when it is to be read at once: it is long, or there is no room. `place`: in the window, checked. */
  add(offset: number, length: number, place: number): boolean {
    if (length > SHORT_MAX || this.#count === READS_MAX || this.#bytes + length > this.#bytesMax)
      return false;
    const i = this.#count++;
    this.#offsets[i] = offset;
    this.places[i] = place;
    this.lengths[i] = length;
    this.#bytes += length;
    return true;
  }

  /** By way of `buffer`, which has room for all from `start` on. */
  run(buffer: WindowBuffer, start: number): void {
    const { data } = buffer;
    const count = this.#count;
    const device = this.#device;
    for (let i = 0, at = start; i < count; i++) {
      const length = this.lengths[i] as number;
      const offset = this.#offsets[i] as number;
      this.#tickets[i] = count === 1 ? -1 : device.prepareRead(data, at, offset, length);
      at += length;
    }
    for (let i = 0, at = start; i < count; i++) {
      const length = this.lengths[i] as number;
      const ticket = this.#tickets[i] as number;
      const offset = this.#offsets[i] as number;
      const result = ticket < 0 ? device.read(data, at, offset, length) : device.finishRead(ticket);
      this.results[i] = result;
      if (result === OK) buffer.give(at, this.places[i] as number, length);
      at += length;
    }
  }

  clear(): void {
    this.#count = 0;
    this.#bytes = 0;
  }
}
