// A TAP device of the host: frames to and from the host's own network stack. What the stack leaves to hardware comes
// through as it is, whole segments and open checksums, and goes back the same way.
//
//   rx: a reader per queue, by io_uring or by reads (tap-queues.ts); some queues may be lent to other port workers
//   tx: the virtio-net header is written into the headroom, then one write per frame
//
// Needs CAP_NET_ADMIN; the device disappears with the port unless it is persistent. Several queues let several of the
// host's processors send at once. Thread: the datapath worker's. Hot: yes.
import {
  addressOf,
  closeFile,
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
  Coalescer,
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
  TX_BYTES,
  TX_DROPPED,
  TX_ERRORS,
  TX_PACKETS,
  writeNetHeader,
} from "../../base/packet/index.js";
import { DeviceWatch } from "./device-watch.js";
import { flowHash } from "./flow-spread.js";
import type { TapLoan } from "./lent-device-queues.js";
import type { QueueLoan } from "./queue-loan.js";
import { areAmong, lendable, QueueLoans } from "./queue-loans.js";
import { createTapQueues, type TapQueues } from "./tap-queues.js";

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

/** Segments of both kinds may be put together for it. */
const TSO = OFFLOAD_TSO4 | OFFLOAD_TSO6;
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
  readonly #pool: PacketPool;
  readonly #coalescer: Coalescer;
  readonly #arena: number;
  /** An iovec, where a call takes its address without garbage: that of a packet is no small integer. */
  readonly #vectorBlock = new MemoryBlock(IOVEC_SIZE, { isLow: true });
  readonly #vector = new Uint32Array(this.#vectorBlock.buffer, 0, IOVEC_SIZE / 4);
  readonly #epoll: Epoll;
  readonly #watch: DeviceWatch;
  readonly #fds: readonly number[];
  /** Those that are served here. */
  readonly #queues: TapQueues;
  /** Who may still have the others. */
  readonly #loans = new QueueLoans();
  #generation = 0;
  #isGone = false;
  #closed = false;

  /** Makes the device and sets it up. Throws with the errno's name, e.g. EPERM, or HANDED_PORT_INVALID. */
  constructor(options: TapPortOptions) {
    const { name, pool, mac, mtu, queues = 1, persistent = false, handed } = options;
    this.name = name;
    this.#pool = pool;
    this.#coalescer = new Coalescer(pool);
    this.#arena = addressOf(pool.bytes);
    if (handed !== undefined && handed.fds.length !== queues)
      throw handedInvalid("fds", `one for each of ${queues} queues`);
    this.#fds = handed?.fds ?? openTapQueues({ name, queues, persistent, vnetHeader: true });
    this.#epoll = new Epoll(queues);
    this.wakeFd = this.#epoll.fd;
    this.#queues = createTapQueues(pool, this.stats, this.#epoll);
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
      this.#queues.add(this.#fds.map((fd, queue) => ({ queue, fd })));
    } catch (thrown) {
      this.close();
      throw thrown;
    }
    pool.holdsOffloads = true;
  }

  /** Frames that have come in by the queues that are served here, by queue. */
  get queueFrames(): Float64Array {
    return this.#queues.frames;
  }

  /** Of the queues that are served here, whether each is in use. */
  get queuesInUse(): ReadonlyMap<number, boolean> {
    return new Map(this.#queues.numbers.map((queue) => [queue, this.linkUp])); // cold
  }

  /** Bits by queue: which of them another thread could serve. All but the first that is served here. */
  get lendableQueues(): number {
    return this.#closed || this.#isGone ? 0 : lendable(this.#queues.bits);
  }

  /** Another one for every change of what lendableQueues says that others have not made themselves. */
  get generation(): number {
    return this.#generation;
  }

  /** Has somebody else serve these queues, after stop(); undefined when that cannot be, as things are now. */
  lendQueues(queues: readonly number[], loan: QueueLoan): TapLoan | undefined {
    if (!areAmong(queues, this.lendableQueues)) return undefined;
    this.#queues.remove(queues);
    this.#loans.add(queues, loan);
    return { tapQueues: queues.map((queue) => ({ queue, fd: this.#fds[queue] as number })) };
  }

  /** Nobody else serves queues of the device any more. Throws with the errno's name. */
  recallQueues(): void {
    const queues = this.#loans.recall();
    this.#queues.add(queues.map((queue) => ({ queue, fd: this.#fds[queue] as number })));
  }

  rx(batch: Batch): number {
    return this.#queues.rx(batch);
  }

  tx(batch: Batch): void {
    const { stats } = this;
    if ((this.offloads & TSO) === TSO) this.#coalescer.merge(batch);
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
    const isThere = isTapThere(this.#fds[0] as number);
    if (this.#loans.areStale || (!isThere && this.#loans.areAny)) {
      this.recallQueues();
      this.#generation++;
    }
    if (!isThere) {
      this.#isGone = true;
      this.linkUp = false;
      this.lastError = `${this.name} was removed`;
      this.#queues.silence();
      return;
    }
    // One that was moved to another network namespace cannot be asked.
    const { index, flags } = this.#watch;
    this.linkUp = index === 0 || (flags & IFF_UP) !== 0;
    this.lastError = this.linkUp ? "" : `${this.name} is down`;
  }

  beginSleep(): boolean {
    return this.#queues.mayWait();
  }

  endSleep(): void {}

  /** The port is wanted no longer: a persistent device goes too. */
  discard(): void {
    endTapPersistence(this.#fds[0] as number);
  }

  /** Takes no more frames than rx() has at hand, by these queues; false while it has some. To be called until it is true. */
  stop(queues: readonly number[] = this.#queues.numbers): boolean {
    return this.#queues.stop(queues);
  }

  /** The device's queues, for another process; after stop(). What was not taken waits in them. */
  handOver(): HandedPort | undefined {
    if (this.#closed || this.#isGone) return undefined;
    this.#loans.recall();
    this.#queues.close();
    return { state: {}, fds: this.#fds };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.linkUp = false;
    this.#loans.recall();
    this.#queues.close();
    for (let i = 0; i < this.#fds.length; i++) closeFile(this.#fds[i] as number);
    this.#watch.close();
    this.#vectorBlock.free();
    this.#epoll.close();
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
