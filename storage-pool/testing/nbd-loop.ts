// A transmission over a device, without sockets: everything received is committed, finished and flushed at once.
import { DataBuffer } from "../disk/data-buffer.js";
import { NbdExport } from "../nbd/nbd-export.js";
import type { Negotiated } from "../nbd/nbd-session.js";
import { INPUT_SIZE, NbdTransmission } from "../nbd/nbd-transmission.js";
import type { BlockDevice } from "../volume/block-device.js";

export class NbdLoop {
  target: NbdExport;
  readonly transmission: NbdTransmission;
  readonly #waiting: number[] = [];
  readonly #sent: Buffer[] = [];

  constructor(device: BlockDevice, options: Pick<Negotiated, "mode" | "contexts">, readOnly = false) {
    this.target = new NbdExport("v", "", device, readOnly);
    this.transmission = new NbdTransmission(this.target, new DataBuffer(INPUT_SIZE), options, {
      wait: (_waiter, tag) => this.#waiting.push(tag),
    });
  }

  /** `alone`: as in NbdTransmission.finish. */
  receive(bytes: Uint8Array, alone = true): void {
    const { transmission } = this;
    for (let at = 0; at < bytes.byteLength && !transmission.broken && !transmission.disconnecting; ) {
      at += this.#take(bytes, at);
      do {
        transmission.parse();
        this.target.commitResult = this.target.device.commit();
        transmission.finish(alone);
        transmission.finishReads();
        for (const tag of this.#waiting.splice(0)) transmission.flushed(tag, this.target.device.flush());
        this.#send();
      } while (transmission.hungry && transmission.parse());
    }
  }

  /** What the device has told of meanwhile, as when reads under way ended, is sent. */
  send(): void {
    this.transmission.reads.hasAnswered = false;
    this.#send();
  }

  /** The device has another export, as when its pool was opened anew; false when something is not answered yet. */
  rebind(): boolean {
    const { name, description, device, readOnly } = this.target;
    this.target = new NbdExport(name, description, device, readOnly);
    return this.transmission.rebind(this.target);
  }

  /** All replies so far. */
  get sent(): Buffer {
    return Buffer.concat(this.#sent);
  }

  #take(bytes: Uint8Array, at: number): number {
    const { transmission } = this;
    if (transmission.largeLeft > 0) {
      const count = Math.min(transmission.largeLeft, bytes.byteLength - at);
      transmission.large?.bytes.set(bytes.subarray(at, at + count), transmission.largeAt);
      transmission.largeAt += count;
      transmission.largeLeft -= count;
      return count;
    }
    transmission.compact();
    const count = Math.min(INPUT_SIZE - transmission.inputEnd, bytes.byteLength - at);
    transmission.input.bytes.set(bytes.subarray(at, at + count), transmission.inputEnd);
    transmission.inputEnd += count;
    return count;
  }

  #send(): void {
    const { replies } = this.transmission;
    this.#sent.push(Buffer.from(replies.output.bytes.subarray(replies.outputStart, replies.outputEnd)));
    replies.reset();
  }
}
