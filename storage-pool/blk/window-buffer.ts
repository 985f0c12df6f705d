// A buffer of ours in the window that a guest's memory is mapped into: what is copied between the two moves inside one
// array, and a call for it leaves no garbage. A guest that leaves no room there has it beside the window, and pays.
// Invariant: its place is the window's own again before the guest's memory may change (release). Thread: the owner of the
// window. Hot: yes (take, give).
import { copyMemory } from "../../base/linux/index.js";
import type { GuestWindow } from "../../base/virtio/index.js";
import { DataBuffer } from "../disk/data-buffer.js";

const NOWHERE = -1;
/** Not in the window. */
const BESIDE = -2;

export class WindowBuffer {
  /** Of `sizeBytes`, from place() on until release(); empty else. Pages are used once something is written to them. */
  data: DataBuffer;
  readonly #none = new DataBuffer(0);
  readonly #window: GuestWindow;
  readonly #sizeBytes: number;
  /** Where in the window it begins; NOWHERE, or BESIDE. */
  #start = NOWHERE;

  constructor(window: GuestWindow, sizeBytes: number) {
    this.#window = window;
    this.#sizeBytes = sizeBytes;
    this.data = this.#none;
  }

  /** To be called before it is used. */
  place(): void {
    if (this.#start !== NOWHERE) return;
    const at = this.#window.reserveAnonymous(this.#sizeBytes);
    this.#start = at < 0 ? BESIDE : at;
    this.data = new DataBuffer(
      this.#sizeBytes,
      at < 0 ? undefined : { memory: this.#window.memory.buffer, at },
    );
  }

  release(): void {
    if (this.#start >= 0) this.#window.giveBack(this.#start);
    this.#start = NOWHERE;
    this.data = this.#none;
  }

  /** Gives all pages back to the system. */
  empty(): void {
    if (this.#start >= 0) this.#window.memory.mapAnonymous(this.#start, this.#sizeBytes);
    else this.release();
    this.place();
  }

  /** Copies `length` bytes at `from` in the window to `at`. */
  take(at: number, from: number, length: number): void {
    if (this.#start >= 0) this.#window.copy(this.#start + at, from, length);
    else copyMemory(this.data.address + at, this.#window.memory.address + from, length);
  }

  /** Copies the `length` bytes at `at` to `to` in the window. */
  give(at: number, to: number, length: number): void {
    if (this.#start >= 0) this.#window.copy(to, this.#start + at, length);
    else copyMemory(this.#window.memory.address + to, this.data.address + at, length);
  }
}
