// A network device of the host, physical or not, by a packet socket: everything that it receives comes in, everything
// that is sent leaves by it. Offloads pass as they are, both ways; a VLAN tag that the device took off is put back.
//
//   rx: ring slot ─► small slot; longer frames: socket queue ─► large slot
//   tx: the virtio-net header is written into the headroom, then one sendmmsg per batch
//
// The device may go and come back under the same name: the port then opens it anew. Needs CAP_NET_RAW. The host's own
// stack sees the frames too, so the device should have no addresses. Thread: the datapath worker's. Hot: yes.
import { assert } from "../../base/assert/index.js";
import { PlinthError } from "../../base/errors/index.js";
import {
  addressOf,
  closeFile,
  EAGAIN,
  EPOLLIN,
  Epoll,
  PacketSocket,
  type RingMapping,
  sysReceive,
  TP_STATUS_COPY,
  TP_STATUS_VLAN_VALID,
} from "../../base/linux/index.js";
import {
  BATCH_SIZE,
  type Batch,
  Coalescer,
  createPortCounters,
  FRAME_SIZE_MAX,
  FRAME_SIZE_MIN,
  type HandedPort,
  HandedReader,
  LARGE_FRAME_SIZE_MAX,
  NET_HEADER_SIZE,
  OFFLOAD_ALL,
  OFFLOAD_CHECKSUM,
  type PacketPool,
  type Port,
  RX_BYTES,
  RX_DROPPED,
  RX_ERRORS,
  RX_PACKETS,
  readNetHeader,
  TX_BYTES,
  TX_DROPPED,
  TX_ERRORS,
  TX_PACKETS,
  writeNetHeader,
} from "../../base/packet/index.js";
import type { GuestWindow } from "../../base/virtio/index.js";
import { DeviceLink } from "./device-link.js";

export interface SystemPortOptions {
  /** Also the device's name. */
  readonly name: string;
  /** Its arena must be the window's: both sides of every copy lie in one array. */
  readonly pool: PacketPool;
  readonly window: GuestWindow;
  /** The device's, when it is to be changed. */
  readonly mtu?: number;
  /** Frames leave past the device's queueing discipline: faster for small ones, and segments are cut here. */
  readonly qdiscBypass?: boolean;
  /** The port was another process's; its descriptors are ours from now on, unless the constructor throws. */
  readonly handed?: HandedPort;
}

const RING_SLOTS = 2048;
const TAG_SIZE = 4;
const ADDRESSES_SIZE = 12;
const ERRORS_IN_ROW_MAX = 4;

export class SystemPort implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly wakeFd: number;
  readonly offloads: number;
  readonly #pool: PacketPool;
  readonly #coalescer: Coalescer;
  readonly #window: GuestWindow;
  /** Where in the window the socket's ring begins. */
  #ringAt = 0;
  readonly #arena: number;
  readonly #epoll = new Epoll(1);
  readonly #link: DeviceLink;
  readonly #qdiscBypass: boolean;
  /** Of the frames about to be sent. */
  readonly #lengths = new Int32Array(BATCH_SIZE);
  #socket: PacketSocket | undefined = undefined;
  /** Of another process, for the device with that index. */
  #handed: { readonly fd: number; readonly next: number; readonly index: number } | undefined;
  #index = 0;
  #closed = false;

  /** Throws DEVICE_UNKNOWN, HANDED_PORT_INVALID, or with the errno's name, e.g. EPERM. */
  constructor(options: SystemPortOptions) {
    const { name, pool, window, mtu, qdiscBypass = false, handed } = options;
    assert(pool.bytes.buffer === window.bytes.buffer, "packets and the ring share one window");
    this.#handed = handed === undefined ? undefined : decode(handed);
    this.#qdiscBypass = qdiscBypass;
    // The kernel does in software what the device cannot, but cuts nothing past the queueing discipline.
    this.offloads = qdiscBypass ? OFFLOAD_CHECKSUM : OFFLOAD_ALL;
    this.name = name;
    this.#pool = pool;
    this.#coalescer = new Coalescer(pool);
    this.#window = window;
    this.#arena = addressOf(pool.bytes);
    this.wakeFd = this.#epoll.fd;
    try {
      this.#link = new DeviceLink({
        name,
        ...(mtu === undefined ? {} : { mtu }),
        open: (index) => this.#open(index),
        close: () => this.#leave(),
      });
    } catch (thrown) {
      if (this.#handed !== undefined) closeFile(this.#handed.fd);
      this.#epoll.close();
      throw thrown;
    }
    pool.holdsOffloads = true;
  }

  get linkUp(): boolean {
    return this.#link.isUp;
  }

  get lastError(): string {
    return this.#link.lastError;
  }

  rx(batch: Batch): number {
    const socket = this.#socket;
    if (socket === undefined) return 0;
    const { stats } = this;
    const pool = this.#pool;
    let count = 0;
    let bytes = 0;
    while (batch.length < batch.capacity && socket.next()) {
      const isLong = (socket.status & TP_STATUS_COPY) !== 0;
      const packet = isLong ? pool.allocateLarge() : pool.allocate();
      const isTagged = (socket.status & TP_STATUS_VLAN_VALID) !== 0;
      if (isTagged && packet >= 0) pool.offset[packet] = (pool.offset[packet] as number) + TAG_SIZE;
      const isHere = isLong ? this.#receiveLong(socket, packet) : this.#copy(socket, packet);
      socket.release();
      if (packet < 0) stats[RX_DROPPED] = (stats[RX_DROPPED] as number) + 1;
      else if (isHere) {
        batch.packets[batch.length++] = packet;
        bytes += pool.length[packet] as number;
        count++;
      } else {
        pool.free(packet);
        stats[RX_ERRORS] = (stats[RX_ERRORS] as number) + 1;
      }
    }
    if (bytes === 0) return 0;
    stats[RX_PACKETS] = (stats[RX_PACKETS] as number) + count;
    stats[RX_BYTES] = (stats[RX_BYTES] as number) + bytes;
    return count;
  }

  tx(batch: Batch): void {
    const socket = this.#socket;
    const { stats } = this;
    const pool = this.#pool;
    if (socket === undefined) {
      stats[TX_DROPPED] = (stats[TX_DROPPED] as number) + batch.length;
      batch.freeAll(pool);
      return;
    }
    if (!this.#qdiscBypass) this.#coalescer.merge(batch);
    let ready = 0;
    for (let i = 0; i < batch.length; i++) {
      const packet = batch.packets[i] as number;
      if (pool.headroom(packet) < NET_HEADER_SIZE) {
        stats[TX_ERRORS] = (stats[TX_ERRORS] as number) + 1;
        continue;
      }
      const length = pool.length[packet] as number;
      const at = (pool.offset[packet] as number) - NET_HEADER_SIZE;
      writeNetHeader(pool, packet, at);
      this.#lengths[ready] = length;
      socket.setMessage(ready++, this.#arena + at, length + NET_HEADER_SIZE);
    }
    this.#send(socket, ready);
    batch.freeAll(pool);
  }

  tick(nowMs: number): void {
    if (this.#closed || !this.#link.poll(nowMs)) return;
    const socket = this.#socket;
    if (socket === undefined) return;
    // A device that went down has left an error, which would keep the socket readable for ever.
    socket.takeError();
    this.stats[RX_DROPPED] = (this.stats[RX_DROPPED] as number) + socket.takeDrops();
  }

  /** The socket is level-triggered: a frame that is there already makes it readable at once. */
  beginSleep(): boolean {
    return true;
  }

  endSleep(): void {}

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#link.close();
    this.#epoll.close();
  }

  #open(index: number): void {
    const { name } = this;
    const qdiscBypass = this.#qdiscBypass;
    const handed = this.#takeHanded(index);
    const socket = new PacketSocket({
      ...{ name, index, slots: RING_SLOTS, burst: BATCH_SIZE, qdiscBypass },
      mapRing: (fd, sizeBytes) => this.#mapRing(fd, sizeBytes),
      ...(handed === undefined ? {} : { handed }),
    });
    this.#index = index;
    this.#epoll.add(socket.fd, EPOLLIN);
    this.#socket = socket;
  }

  /** Throws NO_WINDOW_ROOM. */
  #mapRing(fd: number, sizeBytes: number): RingMapping {
    const window = this.#window;
    const at = window.reserveShared(fd, sizeBytes);
    if (at < 0)
      throw new PlinthError(
        "NO_WINDOW_ROOM",
        `no room for the ring of ${this.name} beside the memory of guests`,
      );
    this.#ringAt = at;
    return { buffer: window.bytes.buffer, byteOffset: at, unmap: () => window.giveBack(at) };
  }

  /** The socket of another process, if it is for the device with this index. */
  #takeHanded(index: number): { readonly fd: number; readonly next: number } | undefined {
    const handed = this.#handed;
    this.#handed = undefined;
    if (handed === undefined || handed.index === index) return handed;
    closeFile(handed.fd);
    return undefined;
  }

  /** The socket with the frames that were not taken yet, for another process. */
  handOver(): HandedPort | undefined {
    const socket = this.#socket;
    if (socket === undefined) return undefined;
    return { state: { next: socket.position, index: this.#index }, fds: [socket.fd] };
  }

  #leave(): void {
    const socket = this.#socket as PacketSocket;
    this.#socket = undefined;
    this.#epoll.remove(socket.fd);
    socket.close();
  }

  /** Copies the frame of the slot at hand into the packet, its tag too. False when it is no frame for us. */
  #copy(socket: PacketSocket, packet: number): boolean {
    const { captured } = socket;
    if (packet < 0 || captured < FRAME_SIZE_MIN || captured !== socket.length) return false;
    const pool = this.#pool;
    const to = (pool.offset[packet] as number) - NET_HEADER_SIZE;
    const from = this.#ringAt + socket.frameAt - NET_HEADER_SIZE;
    pool.bytes.copyWithin(to, from, from + captured + NET_HEADER_SIZE);
    return this.#settle(socket, packet, captured);
  }

  /** Takes the frame of the slot at hand from the socket's queue, also when there is no packet for it. */
  #receiveLong(socket: PacketSocket, packet: number): boolean {
    const pool = this.#pool;
    if (packet < 0) {
      // Reading nothing of it takes it all the same.
      sysReceive(socket.fd, this.#arena, 0);
      return false;
    }
    const to = this.#arena + (pool.offset[packet] as number) - NET_HEADER_SIZE;
    const count = sysReceive(socket.fd, to, NET_HEADER_SIZE + LARGE_FRAME_SIZE_MAX);
    return this.#settle(socket, packet, count - NET_HEADER_SIZE);
  }

  /** The frame, `length` bytes, is in the packet behind its header; false when the two do not agree. */
  #settle(socket: PacketSocket, packet: number, length: number): boolean {
    if (length < FRAME_SIZE_MIN) return false;
    const pool = this.#pool;
    pool.length[packet] = length;
    if (!readNetHeader(pool, packet, (pool.offset[packet] as number) - NET_HEADER_SIZE)) return false;
    const isUncut = pool.checksumStart[packet] !== 0 && pool.segmentSize[packet] !== 0;
    if (length > FRAME_SIZE_MAX && !isUncut) return false;
    if ((socket.status & TP_STATUS_VLAN_VALID) !== 0) this.#pushTag(packet, socket.vlanTpid, socket.vlanTci);
    return true;
  }

  #pushTag(packet: number, tpid: number, tci: number): void {
    const pool = this.#pool;
    const { bytes, view } = pool;
    const from = pool.offset[packet] as number;
    const to = from - TAG_SIZE;
    bytes.copyWithin(to, from, from + ADDRESSES_SIZE);
    view.setUint16(to + ADDRESSES_SIZE, tpid);
    view.setUint16(to + ADDRESSES_SIZE + 2, tci);
    pool.offset[packet] = to;
    pool.length[packet] = (pool.length[packet] as number) + TAG_SIZE;
  }

  /** Sends the first `count` messages and counts what became of them. */
  #send(socket: PacketSocket, count: number): void {
    const { stats } = this;
    let next = 0;
    let row = 0;
    while (next < count) {
      const result = socket.send(next, count);
      if (result > 0) {
        for (let i = 0; i < result; i++)
          stats[TX_BYTES] = (stats[TX_BYTES] as number) + (this.#lengths[next + i] as number);
        stats[TX_PACKETS] = (stats[TX_PACKETS] as number) + result;
        next += result;
        row = 0;
        continue;
      }
      // A full device stays full for the rest of the batch; any other trouble may be this frame's own.
      const lost = result === -EAGAIN || ++row === ERRORS_IN_ROW_MAX ? count - next : 1;
      stats[TX_DROPPED] = (stats[TX_DROPPED] as number) + lost;
      next += lost;
    }
  }
}

/** What another process's handOver() says. Throws HANDED_PORT_INVALID. */
function decode(handed: HandedPort): { readonly fd: number; readonly next: number; readonly index: number } {
  const reader = new HandedReader(handed);
  const fd = reader.fd();
  const next = reader.number("next", RING_SLOTS - 1);
  const index = reader.number("index", 0x7fff_ffff);
  reader.end();
  return { fd, next, index };
}
