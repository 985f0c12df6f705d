// Messages of OpenFlow 1.3 that leave together: written one behind the other, and taken as one piece without a copy.
// Invariant: the bytes taken are those of encodeMessage() of each, in order, and nobody writes into them again.
// Hot: yes (add, take: one view for all that is taken).

import { OFP13_VERSION } from "./constants.js";
import { writeMessage } from "./message-wire.js";
import type { Unsent } from "./messages.js";
import { Writer } from "./wire.js";

/** What is taken lies one behind the other in blocks of this size; a small piece keeps no more than that alive. */
const BLOCK_SIZE = 16 * 1024;
/** A block with less room is left. */
const ROOM = 1024;

export class MessageBatch {
  #writer = newBlock();
  /** Where in the block what waits begins. */
  #start = 0;

  /** Bytes that wait to be taken. */
  get size(): number {
    return this.#writer.size - this.#start;
  }

  /** Adds one message whole, or throws as encodeMessage does and adds nothing. */
  add(message: Unsent, xid: number): void {
    const { size } = this.#writer;
    try {
      writeMessage(this.#writer, message, xid);
    } catch (thrown) {
      this.#writer.cutTo(size);
      throw thrown;
    }
  }

  /** Adds messages that are bytes already. */
  addBytes(bytes: Uint8Array): void {
    this.#writer.put(bytes);
  }

  /** All that waits, owned by the caller; nothing waits afterwards. */
  take(): Buffer {
    const taken = this.#writer.viewFrom(this.#start);
    this.#start = this.#writer.size;
    if (this.#start > BLOCK_SIZE - ROOM) {
      this.#writer = newBlock();
      this.#start = 0;
    }
    return taken;
  }
}

function newBlock(): Writer {
  return new Writer(OFP13_VERSION, new Uint8Array(BLOCK_SIZE));
}
