// A TAP device of the host: frames to and from the host's own network stack. What the stack leaves to hardware comes
// through as it is, whole segments and open checksums, and goes back the same way.
//
//   rx: a reader per queue, by io_uring or by reads
//   tx: the virtio-net header is written into the headroom, then one write per frame
//
// Needs CAP_NET_ADMIN; the device disappears with the port unless it is persistent. Several queues let several of the
// host's processors send at once. Thread: the datapath worker's. Hot: yes.
import { PlinthError } from "../../base/errors/index.js";
import {
  addressOf,
  closeFile,
  EPOLLIN,
  Epoll,
  endTapPersistence,
  IFF_UP,
  isTapThere,
  MemoryBlock,
  openTapQueues,
  setTapOffloads,
  sysWritev,
  withNetDevices,
} from "../../base/linux/index.js";
import {
  type Batch,
  createPortCounters,
  type HandedPort,
  handedInvalid,
  NET_HEADER_SIZE,
  OFFLOAD_CHECKSUM,
  OFFLOAD_TSO4,
  OFFLOAD_TSO6,
  OFFLOAD_USO,
  type PacketPool,
  type Port,
  type PortCounters,
  RX_BYTES,
  RX_PACKETS,
  TX_BYTES,
  TX_DROPPED,
  TX_ERRORS,
  TX_PACKETS,
  writeNetHeader,
} from "../../base/packet/index.js";
import { DeviceWatch } from "./device-watch.js";
import { flowHash } from "./flow-spread.js";
import { ReadingTapReader, type TapReader } from "./tap-reader.js";
import { UringTapReader } from "./tap-uring-reader.js";

export interface TapPortOptions {
  /** Also the device's name: at most 15 bytes. */
  readonly name: string;
  readonly pool: PacketPool;
  readonly mac?: Uint8Array;
  readonly mtu?: number;
  /** 1 when absent. */
  readonly queues?: number;
  /** The device stays, addresses and all, when the switch ends. */
  readonly persistent?: boolean;
  /** The port was another process's, and is set up; its descriptors are ours from now on. */
  readonly handed?: HandedPort;
}

export const TAP_QUEUES_MAX = 16;
/** Frames that wait for us: enough for the time that a busy machine keeps us from a processor. */
const QUEUE_LENGTH = 4096;
const IOVEC_SIZE = 16;

export class TapPort implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly wakeFd: number;
  readonly offloads: number;
  linkUp = true;
  lastError = "";
  /** Frames that have come in, by queue. */
  readonly queueFrames: Float64Array;
  readonly #pool: PacketPool;
  readonly #arena: number;
  /** An iovec, where a call takes its address without garbage: that of a packet is no small integer. */
  readonly #vectorBlock = new MemoryBlock(IOVEC_SIZE, { isLow: true });
  readonly #vector = new Uint32Array(this.#vectorBlock.buffer, 0, IOVEC_SIZE / 4);
  readonly #epoll: Epoll;
  readonly #watch: DeviceWatch;
  readonly #fds: readonly number[];
  readonly #readers: TapReader[] = [];
  /** The queue that is asked first, in turn. */
  #turn = 0;
  #isGone = false;
  #closed = false;

  /** Makes the device and sets it up. Throws with the errno's name, e.g. EPERM, or HANDED_PORT_INVALID. */
  constructor(options: TapPortOptions) {
    const { name, pool, mac, mtu, queues = 1, persistent = false, handed } = options;
    this.name = name;
    this.#pool = pool;
    this.#arena = addressOf(pool.bytes);
    if (handed !== undefined && handed.fds.length !== queues)
      throw handedInvalid("fds", `one for each of ${queues} queues`);
    this.#fds = handed?.fds ?? openTapQueues({ name, queues, persistent, vnetHeader: true });
    this.queueFrames = new Float64Array(queues);
    this.#epoll = new Epoll(queues);
    this.wakeFd = this.#epoll.fd;
    this.#watch = new DeviceWatch(name);
    try {
      this.offloads = offloadsOf(this.#fds);
      if (handed === undefined)
        withNetDevices((devices) => {
          if (mac !== undefined) devices.setMac(name, mac);
          if (mtu !== undefined) devices.setMtu(name, mtu);
          devices.setQueueLength(name, QUEUE_LENGTH);
          devices.setUp(name, true);
        });
      for (let i = 0; i < queues; i++) {
        const reader = createReader(this.#fds[i] as number, pool, this.stats);
        this.#readers.push(reader);
        this.#epoll.add(reader.wakeFd, EPOLLIN);
      }
    } catch (thrown) {
      this.close();
      throw thrown;
    }
    pool.holdsOffloads = true;
  }

  /** Whether each queue is in use. */
  get queuesInUse(): ReadonlyMap<number, boolean> {
    return new Map(this.#fds.map((_, queue) => [queue, this.linkUp])); // cold
  }

  rx(batch: Batch): number {
    const readers = this.#readers;
    const before = batch.length;
    let count = 0;
    const first = readers.length === 1 ? 0 : this.#turn++;
    for (let i = 0; i < readers.length; i++) {
      const queue = (first + i) % readers.length;
      const taken = (readers[queue] as TapReader).receive(batch);
      if (taken === 0) continue;
      this.queueFrames[queue] = (this.queueFrames[queue] as number) + taken;
      count += taken;
    }
    if (count === 0) return 0;
    const { stats } = this;
    let bytes = 0;
    for (let i = before; i < batch.length; i++)
      bytes += this.#pool.length[batch.packets[i] as number] as number;
    stats[RX_PACKETS] = (stats[RX_PACKETS] as number) + count;
    stats[RX_BYTES] = (stats[RX_BYTES] as number) + bytes;
    return count;
  }

  tx(batch: Batch): void {
    const { stats } = this;
    const pool = this.#pool;
    const fds = this.#fds;
    let sent = 0;
    let bytes = 0;
    for (let i = 0; i < batch.length; i++) {
      const packet = batch.packets[i] as number;
      if (pool.headroom(packet) < NET_HEADER_SIZE) {
        stats[TX_ERRORS] = (stats[TX_ERRORS] as number) + 1;
        continue;
      }
      const length = pool.length[packet] as number;
      const offset = pool.offset[packet] as number;
      const at = offset - NET_HEADER_SIZE;
      writeNetHeader(pool, packet, at);
      const queue = fds.length === 1 ? 0 : flowHash(pool.bytes, offset, length) % fds.length;
      const size = length + NET_HEADER_SIZE;
      if (this.#write(fds[queue] as number, this.#arena + at, size)) {
        sent++;
        bytes += length;
      } else stats[TX_DROPPED] = (stats[TX_DROPPED] as number) + 1;
    }
    stats[TX_PACKETS] = (stats[TX_PACKETS] as number) + sent;
    stats[TX_BYTES] = (stats[TX_BYTES] as number) + bytes;
    batch.freeAll(pool);
  }

  #write(fd: number, address: number, size: number): boolean {
    const vector = this.#vector;
    vector[0] = address >>> 0;
    vector[1] = (address / 0x1_0000_0000) >>> 0;
    vector[2] = size;
    return sysWritev(fd, this.#vectorBlock.address, 1) === size;
  }

  tick(nowMs: number): void {
    if (this.#closed || this.#isGone || !this.#watch.poll(nowMs)) return;
    if (!isTapThere(this.#fds[0] as number)) {
      this.#isGone = true;
      this.linkUp = false;
      this.lastError = `${this.name} was removed`;
      // What is left of it would wake us for ever.
      for (let i = 0; i < this.#readers.length; i++)
        this.#epoll.remove((this.#readers[i] as TapReader).wakeFd);
      return;
    }
    // One that was moved to another network namespace cannot be asked.
    const { index, flags } = this.#watch;
    this.linkUp = index === 0 || (flags & IFF_UP) !== 0;
    this.lastError = this.linkUp ? "" : `${this.name} is down`;
  }

  beginSleep(): boolean {
    for (let i = 0; i < this.#readers.length; i++)
      if (!(this.#readers[i] as TapReader).mayWait()) return false;
    return true;
  }

  endSleep(): void {}

  /** The port is wanted no longer: a persistent device goes too. */
  discard(): void {
    endTapPersistence(this.#fds[0] as number);
  }

  /** Takes no more frames than rx() has at hand; false while it has some. To be called until it is true. */
  stop(): boolean {
    let hasStopped = true;
    for (let i = 0; i < this.#readers.length; i++)
      if (!(this.#readers[i] as TapReader).stop()) hasStopped = false;
    return hasStopped;
  }

  /** The device's queues, for another process; after stop(). What was not taken waits in them. */
  handOver(): HandedPort | undefined {
    if (this.#closed || this.#isGone) return undefined;
    for (let i = 0; i < this.#readers.length; i++) (this.#readers[i] as TapReader).close();
    this.#readers.length = 0;
    return { state: {}, fds: this.#fds };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.linkUp = false;
    for (let i = 0; i < this.#readers.length; i++) (this.#readers[i] as TapReader).close();
    for (let i = 0; i < this.#fds.length; i++) closeFile(this.#fds[i] as number);
    this.#watch.close();
    this.#vectorBlock.free();
    this.#epoll.close();
  }
}

/** By io_uring where the host lets us. */
function createReader(fd: number, pool: PacketPool, stats: PortCounters): TapReader {
  try {
    return new UringTapReader(fd, pool, stats);
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
    return new ReadingTapReader(fd, pool, stats);
  }
}

/** Asks for every offload on every queue; returns what there is, as bits of Port.offloads. */
function offloadsOf(fds: readonly number[]): number {
  let offloads = 0;
  for (let i = 0; i < fds.length; i++) {
    const { checksum, tso, uso } = setTapOffloads(fds[i] as number);
    offloads =
      (checksum ? OFFLOAD_CHECKSUM : 0) | (tso ? OFFLOAD_TSO4 | OFFLOAD_TSO6 : 0) | (uso ? OFFLOAD_USO : 0);
  }
  return offloads;
}
