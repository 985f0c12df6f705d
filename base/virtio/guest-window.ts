// One window of addresses for everything that moves by copyWithin: the packet arena and all guests' memory.
//
//   0 ├ packet arena ┤├ guest A region ┤├ guest A region ┤   hole   ├ guest B region ┤ …  sizeBytes
//
// Offsets are plain numbers below 4 GiB; low ones are given out first, since copies below 2³¹ are faster.
// Invariant: reserved ranges never overlap. Thread: the datapath worker that owns it.
import { assert } from "../assert/index.js";
import { alignUp } from "../bytes/index.js";
import { MemoryWindow, PAGE_SIZE_BYTES } from "../linux/index.js";
import { createSplitRing, type SplitRing } from "./split-ring.js";
import { type BlockCopy, createBlockCopy, createWindowCopy, type WindowCopy } from "./window-copy.js";

/** The most that one view can show; more guest memory than this needs a second worker. */
export const GUEST_WINDOW_SIZE_MAX = 0xffff_f000;

interface Range {
  readonly offset: number;
  readonly sizeBytes: number;
}

export class GuestWindow {
  readonly memory: MemoryWindow;
  readonly bytes: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly copy: WindowCopy;
  readonly copyBlock: BlockCopy;
  readonly splitRing: SplitRing;
  /** Sorted by offset. */
  readonly #reserved: Range[] = [];

  /** `sizeBytes` of addresses; memory is used only for what is mapped. */
  constructor(sizeBytes: number = GUEST_WINDOW_SIZE_MAX) {
    this.memory = new MemoryWindow(sizeBytes);
    this.bytes = new Uint8Array(this.memory.buffer);
    this.u16 = new Uint16Array(this.memory.buffer);
    this.u32 = new Uint32Array(this.memory.buffer);
    this.copy = createWindowCopy(this.memory.buffer);
    this.copyBlock = createBlockCopy(this.memory.buffer, this.copy);
    this.splitRing = createSplitRing(this.memory.buffer, this.copy, this.copyBlock);
  }

  /** The offset of a free range whose address is a multiple of `alignment`; −1 when none is large enough. */
  reserve(sizeBytes: number, alignment: number = PAGE_SIZE_BYTES): number {
    const length = alignUp(sizeBytes, PAGE_SIZE_BYTES);
    const { address } = this.memory;
    let offset = alignUp(address, alignment) - address;
    let position = 0;
    for (; position < this.#reserved.length; position++) {
      const next = this.#reserved[position]!;
      if (offset + length <= next.offset) break;
      offset = alignUp(address + Math.max(offset, next.offset + next.sizeBytes), alignment) - address;
    }
    if (offset + length > this.memory.sizeBytes) return -1;
    this.#reserved.splice(position, 0, { offset, sizeBytes: length });
    return offset;
  }

  /** Reserves and fills a range with zeroed memory of our own, e.g. for a packet arena; −1 when there is no room. */
  reserveAnonymous(sizeBytes: number): number {
    const offset = this.reserve(sizeBytes);
    if (offset >= 0) this.memory.mapAnonymous(offset, alignUp(sizeBytes, PAGE_SIZE_BYTES));
    return offset;
  }

  /** As reserveAnonymous(), filled with the beginning of a file that others see too. Throws as mmap(2). */
  reserveShared(fd: number, sizeBytes: number): number {
    const offset = this.reserve(sizeBytes);
    if (offset < 0) return offset;
    try {
      this.memory.mapFile(offset, alignUp(sizeBytes, PAGE_SIZE_BYTES), fd, 0);
    } catch (thrown) {
      this.giveBack(offset);
      throw thrown;
    }
    return offset;
  }

  /** Gives a reserved range back; its pages are replaced by nothing, so nobody may hold offsets into it. */
  giveBack(offset: number): void {
    const position = this.#reserved.findIndex((range) => range.offset === offset);
    assert(position >= 0, "a range is given back once");
    const [range] = this.#reserved.splice(position, 1);
    this.memory.unmap(offset, range!.sizeBytes);
  }

  /** Bytes reserved now. */
  get reservedBytes(): number {
    return this.#reserved.reduce((sum, range) => sum + range.sizeBytes, 0);
  }

  close(): void {
    this.memory.release();
  }
}
