// A network device of the host by AF_XDP sockets, one per receive queue: frames pass by the host's stack, in either
// direction. By the driver itself where it can (native), else behind it (generic); without copies where both can.
// No offloads: senders on the same machine must complete their checksums (`ethtool -K DEV tx off` at the other end of a
// veth pair). Needs CAP_NET_ADMIN, CAP_BPF and CAP_NET_RAW. Thread: the datapath worker's. Hot: yes.
import { assert } from "../../base/assert/index.js";
import { PlinthError } from "../../base/errors/index.js";
import {
  EPOLLIN,
  Epoll,
  type RingMapping,
  XDP_FRAME_SIZE_MAX,
  type XdpAttachment,
  XdpProgram,
  XdpSocket,
} from "../../base/linux/index.js";
import {
  type Batch,
  createPortCounters,
  FRAME_SIZE_MIN,
  type PacketPool,
  type Port,
  RX_BYTES,
  RX_DROPPED,
  RX_ERRORS,
  RX_PACKETS,
  TX_BYTES,
  TX_DROPPED,
  TX_ERRORS,
  TX_PACKETS,
} from "../../base/packet/index.js";
import type { GuestWindow } from "../../base/virtio/index.js";
import { DeviceLink } from "./device-link.js";
import { flowHash } from "./flow-spread.js";

/** The ways that Open vSwitch names, best first. */
export const XDP_MODES = ["native-with-zerocopy", "native", "generic"] as const;
export type XdpMode = (typeof XDP_MODES)[number];
export const XDP_QUEUES_MAX = 16;

export interface AfxdpPortOptions {
  /** Also the device's name. */
  readonly name: string;
  /** Its arena must be the window's: both sides of every copy lie in one array. */
  readonly pool: PacketPool;
  readonly window: GuestWindow;
  readonly mtu?: number;
  /** Receive queues of the device to take, from 0 on; 1 when absent. */
  readonly queues?: number;
  /** The best of all that works when absent. */
  readonly mode?: XdpMode;
}

export class AfxdpPort implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly wakeFd: number;
  /** How the device is used; undefined while there is none. */
  mode: XdpMode | undefined = undefined;
  readonly #pool: PacketPool;
  readonly #window: GuestWindow;
  readonly #options: AfxdpPortOptions;
  readonly #epoll: Epoll;
  /** Frames that have come in, by queue. */
  readonly queueFrames: Float64Array;
  readonly #link: DeviceLink;
  #program: XdpProgram | undefined = undefined;
  #sockets: readonly XdpSocket[] = [];
  #turn = 0;
  #closed = false;

  /** Throws DEVICE_UNKNOWN, or with the errno's name: EBUSY for a device with an XDP program, EPERM. */
  constructor(options: AfxdpPortOptions) {
    const { name, pool, window, mtu, queues = 1 } = options;
    assert(pool.bytes.buffer === window.bytes.buffer, "packets and the sockets' memory share one window");
    this.name = name;
    this.#options = options;
    this.#pool = pool;
    this.#window = window;
    this.queueFrames = new Float64Array(queues);
    this.#epoll = new Epoll(queues);
    this.wakeFd = this.#epoll.fd;
    try {
      this.#link = new DeviceLink({
        name,
        ...(mtu === undefined ? {} : { mtu }),
        open: (index) => this.#open(index),
        close: () => this.#leave(),
      });
    } catch (thrown) {
      this.#epoll.close();
      throw thrown;
    }
  }

  get linkUp(): boolean {
    return this.#link.isUp;
  }

  get lastError(): string {
    return this.#link.lastError;
  }

  /** Whether each queue is in use; all that were asked for are, or none. */
  get queuesInUse(): ReadonlyMap<number, boolean> {
    const isInUse = this.linkUp && this.#sockets.length > 0;
    return new Map([...this.queueFrames.keys()].map((queue) => [queue, isInUse])); // cold
  }

  rx(batch: Batch): number {
    const sockets = this.#sockets;
    let count = 0;
    const first = this.#turn++;
    for (let i = 0; i < sockets.length; i++) {
      const queue = (first + i) % sockets.length;
      const taken = this.#receive(sockets[queue] as XdpSocket, batch);
      if (taken === 0) continue;
      this.queueFrames[queue] = (this.queueFrames[queue] as number) + taken;
      count += taken;
    }
    return count;
  }

  tx(batch: Batch): void {
    const { stats } = this;
    const pool = this.#pool;
    const { copy } = this.#window;
    const sockets = this.#sockets;
    for (let i = 0; i < batch.length; i++) {
      const packet = batch.packets[i] as number;
      const length = pool.length[packet] as number;
      const offset = pool.offset[packet] as number;
      const queue = sockets.length < 2 ? 0 : flowHash(pool.bytes, offset, length) % sockets.length;
      const socket = sockets[queue];
      const room = socket === undefined ? -1 : socket.room();
      if (length > XDP_FRAME_SIZE_MAX) stats[TX_ERRORS] = (stats[TX_ERRORS] as number) + 1;
      else if (socket === undefined || room < 0) stats[TX_DROPPED] = (stats[TX_DROPPED] as number) + 1;
      else {
        // Both ends lie alike in their words of eight bytes: they are copied whole.
        const skip = offset & 7;
        copy(room + skip, offset, length);
        socket.commit(skip, length);
        stats[TX_PACKETS] = (stats[TX_PACKETS] as number) + 1;
        stats[TX_BYTES] = (stats[TX_BYTES] as number) + length;
      }
    }
    for (let i = 0; i < sockets.length; i++) (sockets[i] as XdpSocket).flush();
    batch.freeAll(pool);
  }

  tick(nowMs: number): void {
    if (this.#closed) return;
    // What was left with the kernel in a full moment.
    for (let i = 0; i < this.#sockets.length; i++) (this.#sockets[i] as XdpSocket).flush();
    if (!this.#link.poll(nowMs)) return;
    for (let i = 0; i < this.#sockets.length; i++)
      this.stats[RX_DROPPED] =
        (this.stats[RX_DROPPED] as number) + (this.#sockets[i] as XdpSocket).takeDrops();
  }

  /** The sockets are level-triggered: a frame that is there already makes them readable at once. */
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

  #receive(socket: XdpSocket, batch: Batch): number {
    const { stats } = this;
    const pool = this.#pool;
    const { copy } = this.#window;
    let waiting = socket.waiting();
    if (waiting === 0) return 0;
    let count = 0;
    let bytes = 0;
    for (; waiting > 0 && batch.length < batch.capacity; waiting--) {
      const packet = pool.allocate();
      if (packet < 0) break;
      socket.next();
      const length = socket.frameLength;
      if (length < FRAME_SIZE_MIN) {
        pool.free(packet);
        stats[RX_ERRORS] = (stats[RX_ERRORS] as number) + 1;
        continue;
      }
      copy(pool.offset[packet] as number, socket.frameAt, length);
      pool.length[packet] = length;
      batch.packets[batch.length++] = packet;
      bytes += length;
      count++;
    }
    socket.release();
    stats[RX_PACKETS] = (stats[RX_PACKETS] as number) + count;
    stats[RX_BYTES] = (stats[RX_BYTES] as number) + bytes;
    return count;
  }

  /** Tries the modes, best first. */
  #open(index: number): void {
    const { name, mode: wanted } = this.#options;
    const modes = wanted === undefined ? XDP_MODES : [wanted];
    let problem: unknown;
    for (let i = 0; i < modes.length; i++) {
      const mode = modes[i] as XdpMode;
      try {
        this.#openAs(mode, index);
        this.mode = mode;
        return;
      } catch (thrown) {
        if (!(thrown instanceof PlinthError)) throw thrown;
        problem = thrown;
      }
    }
    throw new PlinthError(
      "XDP_REFUSED",
      `could not open network device ${name} for AF_XDP: ${(problem as PlinthError).message}`,
      { cause: problem },
    );
  }

  #openAs(mode: XdpMode, index: number): void {
    const { name, queues = 1 } = this.#options;
    const attachment: XdpAttachment = mode === "generic" ? "generic" : "native";
    const program = new XdpProgram(name, index, queues, [attachment]);
    const sockets: XdpSocket[] = [];
    try {
      for (let queue = 0; queue < queues; queue++) {
        const zeroCopy = mode === "native-with-zerocopy";
        const takeMemory = (sizeBytes: number): RingMapping => this.#takeMemory(sizeBytes);
        const socket = new XdpSocket({ name, index, queue, zeroCopy, takeMemory });
        sockets.push(socket);
        program.direct(queue, socket.fd);
      }
    } catch (thrown) {
      program.close();
      for (let i = 0; i < sockets.length; i++) (sockets[i] as XdpSocket).close();
      throw thrown;
    }
    for (let i = 0; i < queues; i++) this.#epoll.add((sockets[i] as XdpSocket).fd, EPOLLIN);
    this.#program = program;
    this.#sockets = sockets;
  }

  /** Throws NO_WINDOW_ROOM. */
  #takeMemory(sizeBytes: number): RingMapping {
    const window = this.#window;
    const at = window.reserveAnonymous(sizeBytes);
    if (at < 0)
      throw new PlinthError(
        "NO_WINDOW_ROOM",
        `no room for the frames of ${this.name} beside the memory of guests`,
      );
    return { buffer: window.bytes.buffer as ArrayBuffer, byteOffset: at, unmap: () => window.giveBack(at) };
  }

  #leave(): void {
    this.#program?.close();
    this.#program = undefined;
    this.mode = undefined;
    const sockets = this.#sockets;
    this.#sockets = [];
    for (let i = 0; i < sockets.length; i++) {
      this.#epoll.remove((sockets[i] as XdpSocket).fd);
      (sockets[i] as XdpSocket).close();
    }
  }
}
