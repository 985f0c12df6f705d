// A TAP device of the host: frames to and from the host's own network stack, one system call each, no offloads.
// Needs CAP_NET_ADMIN; the device disappears with the port. Thread: the datapath worker's. Hot: yes.
import {
  addressOf,
  closeFile,
  EAGAIN,
  EPOLLIN,
  Epoll,
  openTap,
  setInterfaceMac,
  setInterfaceMtu,
  setInterfaceUp,
  sysRead,
  sysWrite,
} from "../../base/linux/index.js";
import {
  type Batch,
  createPortCounters,
  FRAME_SIZE_MAX,
  FRAME_SIZE_MIN,
  type PacketPool,
  type Port,
  RX_BYTES,
  RX_ERRORS,
  RX_PACKETS,
  TX_BYTES,
  TX_DROPPED,
  TX_PACKETS,
} from "../../base/packet/index.js";

export interface TapPortOptions {
  /** Also the device's name: at most 15 bytes. */
  readonly name: string;
  readonly pool: PacketPool;
  readonly mac?: Uint8Array;
  readonly mtu?: number;
}

export class TapPort implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly wakeFd: number;
  linkUp = true;
  readonly #pool: PacketPool;
  readonly #arena: number;
  readonly #epoll = new Epoll(1);
  readonly #fd: number;
  #closed = false;

  /** Makes the device and sets it up. Throws with the errno's name, e.g. EPERM. */
  constructor(options: TapPortOptions) {
    this.name = options.name;
    this.#pool = options.pool;
    this.#arena = addressOf(options.pool.bytes);
    this.#fd = openTap(options.name);
    this.wakeFd = this.#epoll.fd;
    try {
      if (options.mac !== undefined) setInterfaceMac(options.name, options.mac);
      if (options.mtu !== undefined) setInterfaceMtu(options.name, options.mtu);
      setInterfaceUp(options.name, true);
      this.#epoll.add(this.#fd, EPOLLIN);
    } catch (thrown) {
      this.close();
      throw thrown;
    }
  }

  rx(batch: Batch): number {
    const { stats } = this;
    const pool = this.#pool;
    let count = 0;
    while (batch.length < batch.capacity) {
      const packet = pool.allocate();
      if (packet < 0) return count;
      const length = sysRead(this.#fd, this.#arena + (pool.offset[packet] as number), FRAME_SIZE_MAX);
      if (length < FRAME_SIZE_MIN) {
        pool.free(packet);
        if (length < 0) {
          if (length !== -EAGAIN) this.linkUp = false;
          return count;
        }
        stats[RX_ERRORS] = (stats[RX_ERRORS] as number) + 1;
        continue;
      }
      pool.length[packet] = length;
      batch.push(packet);
      stats[RX_PACKETS] = (stats[RX_PACKETS] as number) + 1;
      stats[RX_BYTES] = (stats[RX_BYTES] as number) + length;
      count++;
    }
    return count;
  }

  tx(batch: Batch): void {
    const { stats } = this;
    const pool = this.#pool;
    for (let i = 0; i < batch.length; i++) {
      const packet = batch.packets[i] as number;
      const length = pool.length[packet] as number;
      const written = sysWrite(this.#fd, this.#arena + (pool.offset[packet] as number), length);
      if (written === length) {
        stats[TX_PACKETS] = (stats[TX_PACKETS] as number) + 1;
        stats[TX_BYTES] = (stats[TX_BYTES] as number) + length;
      } else stats[TX_DROPPED] = (stats[TX_DROPPED] as number) + 1;
    }
    batch.freeAll(pool);
  }

  tick(_nowMs: number): void {}

  /** The descriptor is level-triggered: a frame that is there already makes it readable at once. */
  beginSleep(): boolean {
    return true;
  }

  endSleep(): void {}

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.linkUp = false;
    closeFile(this.#fd);
    this.#epoll.close();
  }
}
