// The bridge's own port where no host device is wanted or allowed: it has a number and counters, and no network behind
// it. Frames sent to it are dropped and counted; nothing ever comes in. With a device: tap-port.ts.
// Thread: the datapath worker's. Hot: yes.
import {
  type Batch,
  createPortCounters,
  type PacketPool,
  type Port,
  TX_DROPPED,
} from "../../base/packet/index.js";

export interface InternalPortOptions {
  readonly name: string;
  readonly pool: PacketPool;
}

export class InternalPort implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly wakeFd = -1;
  readonly linkUp = false;
  readonly lastError = "this port has no device; start vswitchd with --host-devices to give it one";
  readonly #pool: PacketPool;

  constructor(options: InternalPortOptions) {
    this.name = options.name;
    this.#pool = options.pool;
  }

  rx(_batch: Batch): number {
    return 0;
  }

  tx(batch: Batch): void {
    this.stats[TX_DROPPED] = (this.stats[TX_DROPPED] as number) + batch.length;
    batch.freeAll(this.#pool);
  }

  tick(_nowMs: number): void {}

  /** Nothing ever arrives, so there is nothing to miss. */
  beginSleep(): boolean {
    return true;
  }

  endSleep(): void {}

  close(): void {}
}
