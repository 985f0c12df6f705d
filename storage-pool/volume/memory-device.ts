// A BlockDevice in memory: for tests, and the simplest example of the contract. Thread: any.
import type { DataBuffer } from "../disk/data-buffer.js";
import { EIO, OK } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import type { BlockDevice, ExtentVisitor } from "./block-device.js";

export class MemoryDevice implements BlockDevice {
  readonly sizeBytes: number;
  readonly readOnly = false;
  readonly syncError = OK;
  flushCount = 0;
  readonly #bytes: Uint8Array;
  readonly #mapped: Uint8Array;

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    this.#bytes = new Uint8Array(sizeBytes);
    this.#mapped = new Uint8Array(sizeBytes / BLOCK_SIZE);
  }

  read(target: DataBuffer, at: number, offset: number, length: number): number {
    target.bytes.set(this.#bytes.subarray(offset, offset + length), at);
    return OK;
  }

  /** There is nothing to be saved. */
  prepareRead(): number {
    return -1;
  }

  finishRead(): number {
    return EIO;
  }

  awaitRead(): number {
    return -1;
  }

  stageWrite(source: DataBuffer, at: number, offset: number, length: number): number {
    this.#bytes.set(source.bytes.subarray(at, at + length), offset);
    this.#mapped.fill(1, Math.floor(offset / BLOCK_SIZE), Math.ceil((offset + length) / BLOCK_SIZE));
    return OK;
  }

  stageUnmap(offset: number, length: number): number {
    this.#bytes.fill(0, offset, offset + length);
    const first = Math.ceil(offset / BLOCK_SIZE);
    const end = Math.floor((offset + length) / BLOCK_SIZE);
    if (end > first) this.#mapped.fill(0, first, end);
    return OK;
  }

  stageZeroes(offset: number, length: number): number {
    this.#bytes.fill(0, offset, offset + length);
    this.#mapped.fill(1, Math.floor(offset / BLOCK_SIZE), Math.ceil((offset + length) / BLOCK_SIZE));
    return OK;
  }

  unreserve(): void {}

  reserve(): number {
    return OK;
  }

  commit(): number {
    return OK;
  }

  flush(): number {
    this.flushCount++;
    return OK;
  }

  extents(offset: number, length: number, visit: ExtentVisitor): void {
    const end = offset + length;
    for (let start = offset; start < end; ) {
      let block = Math.floor(start / BLOCK_SIZE);
      const kind = this.#mapped[block];
      while (block * BLOCK_SIZE < end && this.#mapped[block] === kind) block++;
      const stop = Math.min(end, block * BLOCK_SIZE);
      if (!visit(stop - start, kind === 1)) return;
      start = stop;
    }
  }

  snapshotNames(): readonly string[] {
    return [];
  }

  changes(): boolean {
    return false;
  }
}
