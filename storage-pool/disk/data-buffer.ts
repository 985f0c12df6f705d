// Bytes with a fixed address: what system calls read into and write from.
// Invariant: the address is valid for as long as the object is reachable. Thread: its creator. Hot: yes.
import { addressOf } from "../../base/linux/index.js";

export class DataBuffer {
  readonly bytes: Buffer;
  readonly view: DataView;
  /** The same as whole words in the machine's byte order, which is little endian: a few times as fast as the view. */
  readonly words: Uint32Array;
  /** 0 where system calls do not exist. */
  readonly address: number;

  /** In memory of its own, or from `place` on in another's, at a multiple of four, where it is for as long as that lets it. */
  constructor(sizeBytes: number, place?: { readonly memory: ArrayBuffer; readonly at: number }) {
    const { memory, at } = place ?? { memory: new ArrayBuffer(Math.max(wholeWords(sizeBytes), 4096)), at: 0 };
    const size = place === undefined ? memory.byteLength : wholeWords(sizeBytes);
    this.bytes = Buffer.from(memory, at, sizeBytes);
    this.view = new DataView(memory, at, size);
    this.words = new Uint32Array(memory, at, size >>> 2);
    this.address = process.platform === "linux" ? addressOf(this.bytes) : 0;
  }
}

function wholeWords(sizeBytes: number): number {
  return (sizeBytes + 3) & ~3;
}
