// What becomes of a network device of the host while a port uses it, asked now and then.
// Thread: the datapath worker's.
import { NetDevices } from "../../base/linux/index.js";

const INTERVAL_MS = 100;

export class DeviceWatch {
  readonly #name: string;
  readonly #devices = new NetDevices();
  #askedMs = Number.NEGATIVE_INFINITY;
  /** IFF_* bits; 0 for a device that is not there. */
  flags = 0;
  /** 0 when there is no such device. */
  index = 0;

  constructor(name: string) {
    this.#name = name;
    this.look();
  }

  /** Asks when it is time to; true when it did. */
  poll(nowMs: number): boolean {
    if (nowMs - this.#askedMs < INTERVAL_MS) return false;
    this.#askedMs = nowMs;
    this.look();
    return true;
  }

  look(): void {
    const flags = this.#devices.flags(this.#name);
    const index = flags < 0 ? 0 : this.#devices.index(this.#name);
    this.index = index > 0 ? index : 0;
    this.flags = this.index > 0 ? flags : 0;
  }

  close(): void {
    this.#devices.close();
  }
}
