// What TRIM and WRITE_ZEROES do to a device: give space back, or write zeros, in slices, so that others get their turn.
//
//   stage ─► OK, an errno: the request is over ─► end
//         ─► EAGAIN: the same request again when there is room
//         ─► STAGE_MORE: the same request again in the next breath, after the commit ─► committed
//
// Invariant: what is set aside for zeros is given back when their request is over. Pure but for the device.
// Source: NBD protocol, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES. Thread: the pool's worker. Hot: yes.
import { ENOTSUP, OK } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import type { BlockDevice } from "../volume/block-device.js";
import { NBD_CMD_FLAG_FAST_ZERO, NBD_CMD_FLAG_NO_HOLE, NBD_CMD_TRIM } from "./nbd-wire.js";

/** Instead of an errno. */
export const STAGE_MORE = -1;
/** Zeroes written in one breath: a request may ask for 4 GiB, and everybody else would have to wait. */
const ZERO_SLICE = 4 * 1024 * 1024;

export class ZeroStager {
  readonly #device: BlockDevice;
  /** Of the request under way: bytes already written in earlier breaths, and what failed there. */
  #zeroed = 0;
  #error: number = OK;
  /** Room is set aside for the range of zeros that is under way. */
  #reservedFrom = 0;
  #reservedLength = 0;

  constructor(device: BlockDevice) {
    this.#device = device;
  }

  /** A request has been begun and is to be staged again. */
  get isUnderWay(): boolean {
    return this.#zeroed > 0;
  }

  /** Stages a request whose range and flags are right, or its next slice. */
  stage(type: number, flags: number, offset: number, length: number): number {
    if (length === 0) return OK;
    if (type === NBD_CMD_TRIM) return this.#trim(offset, length);
    if ((flags & NBD_CMD_FLAG_NO_HOLE) === 0) return this.#device.stageUnmap(offset, length);
    if ((flags & NBD_CMD_FLAG_FAST_ZERO) !== 0) return ENOTSUP;
    return this.#writeSlice(offset, length);
  }

  /** How the commit of the last slice ended. */
  committed(result: number): void {
    if (this.#zeroed > 0 && this.#error === OK) this.#error = result;
  }

  /** The request is over, or its connection is. */
  end(): void {
    this.#zeroed = 0;
    this.#error = OK;
    if (this.#reservedLength === 0) return;
    this.#device.unreserve(this.#reservedFrom, this.#reservedLength);
    this.#reservedLength = 0;
  }

  /** May round inwards: parts of blocks stay as they are. */
  #trim(offset: number, length: number): number {
    const first = Math.ceil(offset / BLOCK_SIZE) * BLOCK_SIZE;
    const end = Math.floor((offset + length) / BLOCK_SIZE) * BLOCK_SIZE;
    return end > first ? this.#device.stageUnmap(first, end - first) : OK;
  }

  #writeSlice(offset: number, length: number): number {
    const slice = Math.min(length - this.#zeroed, ZERO_SLICE);
    if (this.#error !== OK) return this.#error;
    // Refused before the first slice rather than half way.
    if (this.#reservedLength === 0 && slice < length) {
      const reserved = this.#device.reserve(offset, length);
      if (reserved !== OK) return reserved;
      this.#reservedFrom = offset;
      this.#reservedLength = length;
    }
    const result = this.#device.stageZeroes(offset + this.#zeroed, slice);
    if (result !== OK || this.#zeroed + slice === length) return result;
    this.#zeroed += slice;
    return STAGE_MORE;
  }
}
