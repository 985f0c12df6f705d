// The bytes of a descriptor chain as two streams: what the device reads, then what it writes.
// Invariant: only offsets that the queue has checked are touched. Nothing is kept from one chain to the next.
// Thread: the owner of the window. Hot: yes.
import type { DescriptorChain, Virtqueue } from "../../base/virtio/index.js";
import type { WindowBuffer } from "./window-buffer.js";

export class ChainMemory {
  #queue: Virtqueue | undefined = undefined;
  /** Bytes that the device may read, and write. */
  readableBytes = 0;
  writableBytes = 0;

  /** Looks at the chain that `queue` took last. */
  use(queue: Virtqueue): void {
    this.#queue = queue;
    const { chain } = queue;
    this.readableBytes = 0;
    this.writableBytes = 0;
    for (let i = 0; i < chain.segments; i++) {
      const length = chain.length[i] as number;
      if (i < chain.readableCount) this.readableBytes += length;
      else this.writableBytes += length;
    }
  }

  /** Copies `length` readable bytes from `skip` on to `at` in the buffer; they are there. */
  read(skip: number, length: number, to: WindowBuffer, at: number): void {
    const { chain } = this.#queue as Virtqueue;
    let done = 0;
    for (let i = 0; i < chain.readableCount && done < length; i++) {
      const size = chain.length[i] as number;
      if (skip >= size) {
        skip -= size;
        continue;
      }
      const count = Math.min(size - skip, length - done);
      to.take(at + done, (chain.offset[i] as number) + skip, count);
      done += count;
      skip = 0;
    }
  }

  /** Copies the `length` bytes at `at` in the buffer over the writable ones from `skip` on; they are there. */
  write(skip: number, length: number, from: WindowBuffer, at: number): void {
    const queue = this.#queue as Virtqueue;
    const { chain } = queue;
    let done = 0;
    for (let i = chain.readableCount; i < chain.segments && done < length; i++) {
      const size = chain.length[i] as number;
      if (skip >= size) {
        skip -= size;
        continue;
      }
      const count = Math.min(size - skip, length - done);
      const offset = (chain.offset[i] as number) + skip;
      from.give(at + done, offset, count);
      if (queue.log !== undefined) queue.markWritten(offset, count);
      done += count;
      skip = 0;
    }
  }

  /** Window offset of the writable bytes but the last, where they are side by side; else −1. */
  get dataOffset(): number {
    const { chain } = this.#queue as Virtqueue;
    const first = chain.readableCount;
    return (chain.length[first] as number) < this.writableBytes - 1 ? -1 : (chain.offset[first] as number);
  }

  /** Window offset of the last writable byte, where the status goes; the chain has one. */
  get statusOffset(): number {
    const chain = (this.#queue as Virtqueue).chain as DescriptorChain;
    const last = chain.segments - 1;
    return (chain.offset[last] as number) + (chain.length[last] as number) - 1;
  }
}
