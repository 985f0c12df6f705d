// Whether the next request of a connection may go on: its volume's turn and limits. Asked once per request, however often
// it is looked at before it is complete. Thread: the pool's worker. Hot: yes.
import { TAKE_LATER, TAKE_OK, TAKE_WAIT, type VolumeShare } from "../qos/volume-share.js";
import { NBD_CMD_READ, NBD_CMD_WRITE } from "./nbd-wire.js";

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
    const taken = this.#share.take(type === NBD_CMD_READ || type === NBD_CMD_WRITE ? length : 0);
    this.throttled = taken === TAKE_WAIT;
    this.later = taken === TAKE_LATER;
    this.#taken = taken === TAKE_OK;
    return this.#taken;
  }

  /** The request is under way; what comes next is another. */
  done(): void {
    this.#taken = false;
  }
}
