// The dirty log of a guest that is being moved: one bit per page of guest memory that we wrote.
// Source: QEMU docs/interop/vhost-user.rst, "Migration": page = address / 4096, log[page / 8] |= 1 << page % 8, atomic.
// Invariant: bytes first, then the mark: the front-end may take a mark away at any moment, and then it copies the page.
// Addresses beyond the log are not marked, and nothing beyond it is written.
// Thread: the owner of the window. Hot: yes, while a guest is being moved.
import { closeFile, duplicateFile } from "../linux/index.js";
import type { GuestWindow } from "./guest-window.js";
import { mapShared, memoryInvalid, type SharedMapping, type SharedRange } from "./shared-mapping.js";

const LOG_PAGE_SIZE = 4096;

export class DirtyLog {
  /** Something was marked since whoever looks last set this to false. */
  marked = false;
  readonly #window: GuestWindow;
  readonly #bytes: Uint8Array;
  #mapping: SharedMapping | undefined = undefined;
  /** Where it lies, with a descriptor of our own. */
  range: SharedRange | undefined = undefined;
  #start = 0;
  #sizeBytes = 0;

  constructor(window: GuestWindow) {
    this.#window = window;
    this.#bytes = window.bytes;
  }

  /** Puts the log into `range`, in place of the one before. Throws as mapShared(), and then has none. */
  open(range: SharedRange, allowUnsealed: boolean): void {
    this.close();
    if (range.sizeBytes === 0) throw memoryInvalid("a dirty log of 0 bytes");
    this.#mapping = mapShared(this.#window, range, allowUnsealed);
    this.#start = this.#mapping.start;
    this.#sizeBytes = range.sizeBytes;
    this.range = { ...range, fd: duplicateFile(range.fd) };
  }

  close(): void {
    if (this.#mapping !== undefined) this.#window.giveBack(this.#mapping.windowOffset);
    if (this.range !== undefined) closeFile(this.range.fd);
    this.#mapping = undefined;
    this.range = undefined;
    this.#sizeBytes = 0;
  }

  /** Marks the pages of `length` bytes from guest address `address` on. */
  mark(address: number, length: number): void {
    if (length <= 0) return;
    const last = Math.floor((address + length - 1) / LOG_PAGE_SIZE);
    for (let page = Math.floor(address / LOG_PAGE_SIZE); page <= last; page++) {
      const byte = Math.floor(page / 8);
      if (byte >= this.#sizeBytes) return;
      Atomics.or(this.#bytes, this.#start + byte, 1 << (page % 8));
      this.marked = true;
    }
  }
}
