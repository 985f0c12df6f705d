// What answers a READ: one reply, or chunks with the holes told from the data.
// Source: NBD protocol, "Structured reply messages". Thread: the pool's worker. Hot: yes.
import { EAGAIN, OK } from "../errors.js";
import type { BlockDevice } from "../volume/block-device.js";
import type { NbdReplies } from "./nbd-replies.js";
import { NBD_CMD_READ, NBD_REPLY_FLAG_DONE } from "./nbd-wire.js";

/** Shorter reads are not looked through for holes. */
const HOLE_MIN = 64 * 1024;

export class ReadReplies {
  readonly #device: BlockDevice;
  readonly #replies: NbdReplies;

  constructor(device: BlockDevice, replies: NbdReplies) {
    this.#device = device;
    this.#replies = replies;
  }

  /** Reads and answers. False when `wait` is false and the disk would have to be waited for: nothing was said. */
  answer(
    echo: Uint32Array,
    e: number,
    offset: number,
    length: number,
    isWhole: boolean,
    wait: boolean,
  ): boolean {
    const replies = this.#replies;
    const device = this.#device;
    if (!replies.chunked) return replies.simpleRead(echo, e, device, offset, length, wait) !== EAGAIN;
    if (length === 0) {
      replies.answer(echo, e, NBD_CMD_READ, OK);
      return true;
    }
    if (isWhole || length < HOLE_MIN) {
      return replies.data(echo, e, device, offset, length, NBD_REPLY_FLAG_DONE, wait) !== EAGAIN;
    }
    const { held } = replies;
    const end = offset + length;
    let at = offset;
    let result: number = OK;
    device.extents(offset, length, (run, mapped) => {
      const last = at + run === end ? NBD_REPLY_FLAG_DONE : 0;
      if (mapped) result = replies.data(echo, e, device, at, run, last, wait);
      else replies.hole(echo, e, at, run, last);
      at += run;
      return result === OK;
    });
    if (result !== EAGAIN) return true;
    replies.rewind(held);
    return false;
  }
}
