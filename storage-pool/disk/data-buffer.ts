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

  constructor(sizeBytes: number) {
    const memory = new ArrayBuffer(Math.max((sizeBytes + 3) & ~3, 4096));
    this.bytes = Buffer.from(memory, 0, sizeBytes);
    this.view = new DataView(memory);
    this.words = new Uint32Array(memory);
    this.address = process.platform === "linux" ? addressOf(this.bytes) : 0;
  }
}
