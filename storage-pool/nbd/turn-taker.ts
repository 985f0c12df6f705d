// Whether the next request of a connection may go on: its volume's turn and limits. Asked once per request, however often
// it is looked at before it is complete. Thread: the pool's worker. Hot: yes.

import { OP_FLUSH, OP_OTHER, OP_READ, OP_UNMAP, OP_WRITE, OP_ZEROES } from "../metrics/volume-counters.js";
import { TAKE_LATER, TAKE_OK, TAKE_WAIT, type VolumeShare } from "../qos/volume-share.js";
import {
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
} from "./nbd-wire.js";

export class TurnTaker {
  /** The next request waits until the volume's limits allow it. */
  throttled = false;
  /** It waits for the next round. */
  later = false;
  readonly #share: VolumeShare;
  #taken = false;

  constructor(share: VolumeShare) {
    this.#share = share;
  }

  /** The requests are looked at again. */
  begin(): void {
    this.throttled = false;
    this.later = false;
  }

  take(type: number, length: number): boolean {
    if (this.#taken) return true;
    const isWrite = type === NBD_CMD_WRITE;
    const taken = this.#share.take(isWrite || type === NBD_CMD_READ ? length : 0, isWrite);
    this.throttled = taken === TAKE_WAIT;
    this.later = taken === TAKE_LATER;
    this.#taken = taken === TAKE_OK;
    return this.#taken;
  }

  /** The request is under way, and counted; what comes next is another. */
  done(type: number, length: number): void {
    this.#taken = false;
    this.#share.counters.count(opOf(type), length);
  }
}

/** What a request counts as. */
export function opOf(type: number): number {
  switch (type) {
    case NBD_CMD_READ:
      return OP_READ;
    case NBD_CMD_WRITE:
      return OP_WRITE;
    case NBD_CMD_FLUSH:
      return OP_FLUSH;
    case NBD_CMD_TRIM:
      return OP_UNMAP;
    case NBD_CMD_WRITE_ZEROES:
      return OP_ZEROES;
    default:
      return OP_OTHER;
  }
}
