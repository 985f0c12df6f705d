// A network device of the host by AF_XDP sockets, one per receive queue: frames pass by the host's stack, in either
// direction. By the driver itself where it can (native), else behind it (generic); without copies where both can.
// Some of the queues that frames come in by may be lent to other port workers; this thread sends by all of them.
// No offloads: senders on the same machine must complete their checksums (`ethtool -K DEV tx off` at the other end of a
// veth pair). Needs CAP_NET_ADMIN, CAP_BPF and CAP_NET_RAW. Thread: the datapath worker's. Hot: yes.
import { assert } from "../../base/assert/index.js";
import { PlinthError } from "../../base/errors/index.js";
import {
  Epoll,
  XDP_FRAME_SIZE_MAX,
  type XdpAttachment,
  XdpProgram,
  XdpSocket,
} from "../../base/linux/index.js";
import {
  type Batch,
  createPortCounters,
  type PacketPool,
  type Port,
  RX_DROPPED,
  TX_BYTES,
  TX_DROPPED,
  TX_ERRORS,
  TX_PACKETS,
} from "../../base/packet/index.js";
import type { GuestWindow } from "../../base/virtio/index.js";
import { DeviceLink } from "./device-link.js";
import { flowHash } from "./flow-spread.js";
import type { XdpLoan } from "./lent-device-queues.js";
import type { QueueLoan } from "./queue-loan.js";
import { areAmong, lendable, QueueLoans } from "./queue-loans.js";
import { createXdpQueues, mapXdpMemory, type XdpQueues } from "./xdp-queues.js";

/** The ways that Open vSwitch names, best first. */
export const XDP_MODES = ["native-with-zerocopy", "native", "generic"] as const;
export type XdpMode = (typeof XDP_MODES)[number];

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
  /** Those that are served here. */
  readonly #queues: XdpQueues;
  /** Who may still have the others. */
  readonly #loans = new QueueLoans();
  #generation = 0;
  readonly #link: DeviceLink;
  #program: XdpProgram | undefined = undefined;
  #sockets: readonly XdpSocket[] = [];
  #closed = false;

  /** Throws DEVICE_UNKNOWN, or with the errno's name: EBUSY for a device with an XDP program, EPERM. */
  constructor(options: AfxdpPortOptions) {
    const { name, pool, window, mtu, queues = 1 } = options;
    assert(pool.bytes.buffer === window.bytes.buffer, "packets and the sockets' memory share one window");
    this.name = name;
    this.#options = options;
    this.#pool = pool;
    this.#window = window;
    this.#epoll = new Epoll(queues);
    this.wakeFd = this.#epoll.fd;
    this.#queues = createXdpQueues({ pool, window, stats: this.stats, epoll: this.#epoll });
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

  /** Frames that have come in by the queues that are served here, by queue. */
  get queueFrames(): Float64Array {
    return this.#queues.frames;
  }

  /** Of the queues that are served here, whether each is in use; of a device that is not there none is. */
  get queuesInUse(): ReadonlyMap<number, boolean> {
    const { queues = 1 } = this.#options;
    const served =
      this.#sockets.length > 0 ? this.#queues.numbers : Array.from({ length: queues }, (_, i) => i); // cold
    const isInUse = this.linkUp && this.#sockets.length > 0;
    return new Map(served.map((queue) => [queue, isInUse])); // cold
  }

  /** Bits by queue: which of them another thread could serve. All but the first that is served here. */
  get lendableQueues(): number {
    return this.#closed ? 0 : lendable(this.#queues.bits);
  }

  /** Another one for every change of what lendableQueues says that others have not made themselves. */
  get generation(): number {
    return this.#generation;
  }

  /** Has somebody else serve these queues; undefined when that cannot be, as things are now. */
  lendQueues(queues: readonly number[], loan: QueueLoan): XdpLoan | undefined {
    if (!areAmong(queues, this.lendableQueues)) return undefined;
    this.#queues.remove(queues);
    this.#loans.add(queues, loan);
    return {
      xdpQueues: queues.map((queue) => ({ queue, share: (this.#sockets[queue] as XdpSocket).share })),
    };
  }

  /** Nobody else serves queues of the device any more. */
  recallQueues(): void {
    const queues = this.#loans.recall();
    this.#queues.add(
      queues.map((queue) => ({ queue, receiver: (this.#sockets[queue] as XdpSocket).receiver })),
    );
  }

  rx(batch: Batch): number {
    return this.#queues.rx(batch);
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
    // What a thread that has ended had in hand of the rings nobody knows: the sockets are opened anew.
    if (this.#loans.hasLost) this.#link.restart("a worker that served some of its queues has ended");
    else if (this.#loans.areStale) {
      this.recallQueues();
      this.#generation++;
    }
    if (!this.#link.poll(nowMs)) return;
    for (let i = 0; i < this.#sockets.length; i++)
      this.stats[RX_DROPPED] =
        (this.stats[RX_DROPPED] as number) + (this.#sockets[i] as XdpSocket).takeDrops();
  }

  beginSleep(): boolean {
    return this.#queues.mayWait();
  }

  endSleep(): void {}

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#link.close();
    this.#epoll.close();
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
    const { name, window, queues = 1 } = this.#options;
    const attachment: XdpAttachment = mode === "generic" ? "generic" : "native";
    const program = new XdpProgram(name, index, queues, [attachment]);
    const sockets: XdpSocket[] = [];
    try {
      for (let queue = 0; queue < queues; queue++) {
        const zeroCopy = mode === "native-with-zerocopy";
        const socket = new XdpSocket({
          ...{ name, index, queue, zeroCopy },
          mapMemory: (fd, sizeBytes) => mapXdpMemory(window, name, fd, sizeBytes),
        });
        sockets.push(socket);
        program.direct(queue, socket.fd);
      }
      this.#queues.add(sockets.map(({ receiver }, queue) => ({ queue, receiver })));
    } catch (thrown) {
      program.close();
      for (let i = 0; i < sockets.length; i++) (sockets[i] as XdpSocket).close();
      throw thrown;
    }
    this.#program = program;
    this.#sockets = sockets;
    this.#generation++;
  }

  #leave(): void {
    this.#loans.recall();
    this.#queues.clear();
    this.#program?.close();
    this.#program = undefined;
    this.mode = undefined;
    const sockets = this.#sockets;
    this.#sockets = [];
    for (let i = 0; i < sockets.length; i++) (sockets[i] as XdpSocket).close();
  }
}
