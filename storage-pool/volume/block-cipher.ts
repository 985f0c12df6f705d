// Encryption of blocks: AES-256-XTS with a block's number in the volume as its tweak, so that equal blocks differ on the
// medium, and a block may lie anywhere without being encrypted anew. What is checked, copied and moved is ciphertext.
// Source: IEEE 1619. Invariant: nothing is allocated where OpenSSL can be called directly. Thread: its creator. Hot: yes.
import { AesXts, hasAesXts } from "../../base/linux/index.js";
import type { DataBuffer } from "../disk/data-buffer.js";
import { BLOCK_SIZE } from "../limits.js";
import { NodeBlockCipher } from "./node-block-cipher.js";

/** One key. Blocks are those of the volume, from 0; a snapshot's and a clone's have the same numbers. */
export interface BlockCipher {
  encrypt(source: DataBuffer, at: number, target: DataBuffer, to: number, block: number, count: number): void;
  /** In place. */
  decrypt(target: DataBuffer, at: number, block: number, count: number): void;
  /** The key is not needed any more. */
  close(): void;
}

export function createBlockCipher(key: Uint8Array): BlockCipher {
  return hasAesXts() ? new DirectBlockCipher(key) : new NodeBlockCipher(key);
}

export class DirectBlockCipher implements BlockCipher {
  readonly #xts: AesXts;

  constructor(key: Uint8Array) {
    this.#xts = new AesXts(key);
  }

  encrypt(
    source: DataBuffer,
    at: number,
    target: DataBuffer,
    to: number,
    block: number,
    count: number,
  ): void {
    for (let i = 0; i < count; i++) {
      const offset = i * BLOCK_SIZE;
      this.#xts.encrypt(block + i, source.address + at + offset, target.address + to + offset, BLOCK_SIZE);
    }
  }

  decrypt(target: DataBuffer, at: number, block: number, count: number): void {
    for (let i = 0; i < count; i++) {
      const address = target.address + at + i * BLOCK_SIZE;
      this.#xts.decrypt(block + i, address, address, BLOCK_SIZE);
    }
  }

  close(): void {
    this.#xts.close();
  }
}
