// A TAP device of the host: frames to and from the host's own network stack. What the stack leaves to hardware comes
// through as it is, whole segments and open checksums, and goes back the same way.
//
//   rx: read ─► small slot │ what does not fit there goes on behind, in a large slot
//   tx: the virtio-net header is written into the headroom, then one write per frame
//
// Needs CAP_NET_ADMIN; the device disappears with the port unless it is persistent. Several queues let several of the
// host's processors send at once. Thread: the datapath worker's. Hot: yes.
import {
  addressOf,
  closeFile,
  EAGAIN,
  EPOLLIN,
  Epoll,
  endTapPersistence,
  IFF_UP,
  IoVectors,
  isTapThere,
  openTapQueues,
  setTapOffloads,
  sysReadv,
  sysWrite,
  withNetDevices,
} from "../../base/linux/index.js";
import {
  type Batch,
  createPortCounters,
  FRAME_SIZE_MAX,
  FRAME_SIZE_MIN,
  HEADROOM,
  LARGE_FRAME_SIZE_MAX,
  NET_HEADER_SIZE,
  OFFLOAD_CHECKSUM,
  OFFLOAD_TSO4,
  OFFLOAD_TSO6,
  OFFLOAD_USO,
  type PacketPool,
  type Port,
  RX_BYTES,
  RX_DROPPED,
  RX_ERRORS,
  RX_PACKETS,
  readNetHeader,
  SLOT_SIZE,
  TX_BYTES,
  TX_DROPPED,
  TX_ERRORS,
  TX_PACKETS,
  writeNetHeader,
} from "../../base/packet/index.js";
import { DeviceWatch } from "./device-watch.js";
import { flowHash } from "./flow-spread.js";

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
}

export const TAP_QUEUES_MAX = 16;
/** What of a frame goes into a small slot. */
const SMALL = SLOT_SIZE - HEADROOM;

export class TapPort implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly wakeFd: number;
  readonly offloads: number;
  linkUp = true;
  lastError = "";
  readonly #pool: PacketPool;
  readonly #arena: number;
  readonly #epoll: Epoll;
  readonly #watch: DeviceWatch;
  readonly #fds: readonly number[];
  readonly #vectors = new IoVectors(2);
  /** The queue that is asked first, in turn. */
  #turn = 0;
  /** A large packet for the next frame that needs it; −1 when there is none. */
  #spare = -1;
  #isGone = false;
  #closed = false;

  /** Makes the device and sets it up. Throws with the errno's name, e.g. EPERM. */
  constructor(options: TapPortOptions) {
    const { name, pool, mac, mtu, queues = 1, persistent = false } = options;
    this.name = name;
    this.#pool = pool;
    this.#arena = addressOf(pool.bytes);
    this.#fds = openTapQueues({ name, queues, persistent, vnetHeader: true });
    this.#epoll = new Epoll(queues);
    this.wakeFd = this.#epoll.fd;
    this.#watch = new DeviceWatch(name);
    try {
      this.offloads = offloadsOf(this.#fds);
      withNetDevices((devices) => {
        if (mac !== undefined) devices.setMac(name, mac);
        if (mtu !== undefined) devices.setMtu(name, mtu);
        devices.setUp(name, true);
      });
      for (let i = 0; i < queues; i++) this.#epoll.add(this.#fds[i] as number, EPOLLIN);
    } catch (thrown) {
      this.close();
      throw thrown;
    }
    pool.holdsOffloads = true;
  }

  rx(batch: Batch): number {
    const fds = this.#fds;
    if (fds.length === 1) return this.#receive(fds[0] as number, batch);
    let count = 0;
    const first = this.#turn++;
    for (let i = 0; i < fds.length; i++)
      count += this.#receive(fds[(first + i) % fds.length] as number, batch);
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
      if (sysWrite(fds[queue] as number, this.#arena + at, size) === size) {
        sent++;
        bytes += length;
      } else stats[TX_DROPPED] = (stats[TX_DROPPED] as number) + 1;
    }
    stats[TX_PACKETS] = (stats[TX_PACKETS] as number) + sent;
    stats[TX_BYTES] = (stats[TX_BYTES] as number) + bytes;
    batch.freeAll(pool);
  }

  tick(nowMs: number): void {
    if (this.#closed || this.#isGone || !this.#watch.poll(nowMs)) return;
    if (!isTapThere(this.#fds[0] as number)) {
      this.#isGone = true;
      this.linkUp = false;
      this.lastError = `${this.name} was removed`;
      // What is left of it would wake us for ever.
      for (let i = 0; i < this.#fds.length; i++) this.#epoll.remove(this.#fds[i] as number);
      return;
    }
    // One that was moved to another network namespace cannot be asked.
    const { index, flags } = this.#watch;
    this.linkUp = index === 0 || (flags & IFF_UP) !== 0;
    this.lastError = this.linkUp ? "" : `${this.name} is down`;
  }

  /** The descriptors are level-triggered: a frame that is there already makes them readable at once. */
  beginSleep(): boolean {
    return true;
  }

  endSleep(): void {}

  /** The port is wanted no longer: a persistent device goes too. */
  discard(): void {
    endTapPersistence(this.#fds[0] as number);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.linkUp = false;
    for (let i = 0; i < this.#fds.length; i++) closeFile(this.#fds[i] as number);
    this.#watch.close();
    this.#epoll.close();
    if (this.#spare >= 0) this.#pool.free(this.#spare);
  }

  #receive(fd: number, batch: Batch): number {
    const { stats } = this;
    const pool = this.#pool;
    let count = 0;
    let bytes = 0;
    while (batch.length < batch.capacity) {
      const packet = pool.allocate();
      if (packet < 0) break;
      const result = sysReadv(fd, this.#vectors.address, this.#aim(packet));
      if (result < 0) {
        pool.free(packet);
        if (result !== -EAGAIN) this.linkUp = false;
        break;
      }
      const taken = this.#take(packet, result - NET_HEADER_SIZE);
      if (taken < 0) continue;
      batch.packets[batch.length++] = taken;
      bytes += pool.length[taken] as number;
      count++;
    }
    stats[RX_PACKETS] = (stats[RX_PACKETS] as number) + count;
    stats[RX_BYTES] = (stats[RX_BYTES] as number) + bytes;
    return count;
  }

  /** Aims the next read at the packet, and behind what it holds at the spare one; returns the number of vectors. */
  #aim(packet: number): number {
    const pool = this.#pool;
    const start = this.#arena + (pool.offset[packet] as number);
    this.#vectors.set(0, start - NET_HEADER_SIZE, NET_HEADER_SIZE + SMALL);
    if (this.#spare < 0) {
      this.#spare = pool.allocateLarge();
      if (this.#spare < 0) return 1;
      const rest = this.#arena + (pool.offset[this.#spare] as number) + SMALL;
      this.#vectors.set(1, rest, LARGE_FRAME_SIZE_MAX - SMALL);
    }
    return 2;
  }

  /** The packet that holds the frame of `length` bytes just read; −1 when it was dropped. */
  #take(packet: number, length: number): number {
    const { stats } = this;
    const pool = this.#pool;
    const from = pool.offset[packet] as number;
    let whole = packet;
    if (length > SMALL) {
      whole = this.#spare;
      if (whole < 0 || length > LARGE_FRAME_SIZE_MAX) return this.#drop(packet, RX_DROPPED);
      this.#spare = -1;
      const to = pool.offset[whole] as number;
      pool.bytes.copyWithin(to - NET_HEADER_SIZE, from - NET_HEADER_SIZE, from + SMALL);
      pool.free(packet);
    }
    pool.length[whole] = length;
    const isGood =
      length >= FRAME_SIZE_MIN &&
      readNetHeader(pool, whole, (pool.offset[whole] as number) - NET_HEADER_SIZE) &&
      (length <= FRAME_SIZE_MAX || (pool.checksumStart[whole] !== 0 && pool.segmentSize[whole] !== 0));
    if (isGood) return whole;
    stats[RX_ERRORS] = (stats[RX_ERRORS] as number) + 1;
    pool.free(whole);
    return -1;
  }

  #drop(packet: number, counter: number): number {
    this.stats[counter] = (this.stats[counter] as number) + 1;
    this.#pool.free(packet);
    return -1;
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
