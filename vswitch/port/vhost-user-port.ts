// A virtio network card of a guest, over vhost-user: frames move between the guest's memory and the packet arena by
// one copyWithin each. QEMU may listen (dpdkvhostuserclient) or dial (dpdkvhostuser).
//
//   rx: rings 1, 3, … (guest transmit) ─► frames-from-guest.ts ─► publish once, call if wanted
//   tx: rings 0, 2, … (guest receive)  ◄─ frames-to-guest.ts, likewise; the queue by the frame's flow
//
// Source: VIRTIO 1.2, 5.1.6. Split and packed rings. What a guest leaves undone, checksums and cutting, goes to the
// other guest undone if that one takes it.
// Invariants: nothing of a chain is kept across calls, so a guest may vanish between any two; indices are published
// only after the bytes. Thread: the datapath worker's. Hot: yes.
import { assert } from "../../base/assert/index.js";
import { Epoll, UnixLink } from "../../base/linux/index.js";
import {
  Batch,
  createPortCounters,
  type HandedPort,
  type PacketPool,
  type Port,
  RX_BYTES,
  RX_PACKETS,
  TX_BYTES,
  TX_DROPPED,
  TX_PACKETS,
} from "../../base/packet/index.js";
import {
  type GuestWindow,
  type HandedVhostUser,
  VHOST_USER_SEND_RARP,
  VhostUserBackend,
  type Virtqueue,
} from "../../base/virtio/index.js";
import { flowHash } from "./flow-spread.js";
import { FramesFromGuest } from "./frames-from-guest.js";
import { FramesToGuest } from "./frames-to-guest.js";
import { rarpFrame } from "./rarp-frame.js";
import { decodeHanded, encodeHanded } from "./vhost-user-handed.js";
import {
  HEADER_SIZE,
  MTU_MAX,
  MTU_MIN,
  NET_DEVICE,
  type NetFormat,
  NO_FORMAT,
  netFormat,
  QUEUE_PAIRS_MAX,
} from "./virtio-net-device.js";

export interface VhostUserPortOptions {
  readonly name: string;
  /** Its arena must be the window's: both sides of every copy lie in one array. */
  readonly pool: PacketPool;
  readonly window: GuestWindow;
  readonly path: string;
  /** "dial": QEMU listens (dpdkvhostuserclient). "listen": QEMU dials (dpdkvhostuser). */
  readonly role: "dial" | "listen";
  /** Permissions of the socket when listening; 0o600 when absent. */
  readonly mode?: number;
  /** Accept guest memory that could be truncated under us (hugetlbfs files, testpmd); only for trusted peers. */
  readonly allowUnsealed?: boolean;
  /** The port was another process's; its descriptors are ours from now on, unless the constructor throws. */
  readonly handed?: HandedPort;
}

/** An active queue and the number of its ring. */
interface ActiveQueue {
  readonly queue: Virtqueue;
  readonly ring: number;
}

/** Kicks of every ring, the connection and the socket that listens: endSleep() takes all of them at once. */
const WAKERS_MAX = 2 * QUEUE_PAIRS_MAX + 2;

export class VhostUserPort implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly wakeFd: number;
  linkUp = false;
  offloads = NO_FORMAT.offloads;
  readonly #options: VhostUserPortOptions;
  readonly #pool: PacketPool;
  readonly #fromGuest: FramesFromGuest;
  readonly #toGuest: FramesToGuest;
  readonly #epoll = new Epoll(WAKERS_MAX);
  readonly #link: UnixLink;
  #backend: VhostUserBackend | undefined = undefined;
  /** The guest's receive and transmit queues in use. */
  #receives: readonly ActiveQueue[] = [];
  #transmits: readonly ActiveQueue[] = [];
  /** Of the transmit queues, the one that is asked first, in turn: a busy one must not keep the others waiting. */
  #turn = 0;
  /** Frames of a batch by receive queue, when there are several. */
  readonly #spread = Array.from({ length: QUEUE_PAIRS_MAX }, () => new Batch());
  #generation = -1;
  #format: NetFormat = NO_FORMAT;
  /** The MTU that the guest was told; 0: none. */
  #mtu = 0;
  /** A frame that the switch is to see as sent by the guest; undefined most of the time. */
  #announcement: Uint8Array | undefined = undefined;
  #closed = false;
  /** Frames were taken, or given, and the driver is still to be asked whether it wants to be called. */
  #hasTaken = false;
  #hasGiven = false;

  /** Throws SOCKET_PATH_TOO_LONG, HANDED_PORT_INVALID. */
  constructor(options: VhostUserPortOptions) {
    assert(options.pool.bytes.buffer === options.window.bytes.buffer, "packets and guests share one window");
    this.name = options.name;
    this.#options = options;
    this.#pool = options.pool;
    this.#fromGuest = new FramesFromGuest(options.pool, options.window, this.stats);
    this.#toGuest = new FramesToGuest(options.pool, options.window, this.stats);
    this.wakeFd = this.#epoll.fd;
    const { path, role, mode, handed } = options;
    const known = handed === undefined ? undefined : decodeHanded(handed);
    const listenFd = known?.listenFd ?? -1;
    const more = mode === undefined ? {} : { mode };
    this.#link = new UnixLink({ path, role, epoll: this.#epoll, listenFd, ...more });
    if (known?.connection === undefined) return;
    this.#mtu = known.mtu;
    this.#announcement = known.announcement;
    this.#backend = this.#attend(known.connection.fd, known.connection);
    this.tick(0);
  }

  /** Everything that another process needs to go on where this one is, unnoticed by the guest. */
  handOver(): HandedPort | undefined {
    const connection = this.#backend?.handOver();
    if (this.#backend !== undefined && connection === undefined) return undefined;
    const { listenFd } = this.#link;
    return encodeHanded({ listenFd, connection, mtu: this.#mtu, announcement: this.#announcement });
  }

  /** Why the link is down, as far as known; empty when it is up. */
  get lastError(): string {
    return this.#link.lastError;
  }

  /** The feature bits that the driver chose; undefined while nobody is connected. */
  get features(): bigint | undefined {
    return this.#backend?.features;
  }

  rx(batch: Batch): number {
    if (this.#announcement !== undefined) return this.#announce(batch, this.#announcement);
    const queues = this.#transmits;
    if (queues.length === 1) return this.#take(queues[0] as ActiveQueue, batch);
    let count = 0;
    const first = this.#turn++;
    for (let i = 0; i < queues.length; i++) {
      count += this.#take(queues[(first + i) % queues.length] as ActiveQueue, batch);
    }
    return count;
  }

  tx(batch: Batch): void {
    const queues = this.#receives;
    if (queues.length === 1) this.#give(queues[0] as ActiveQueue, batch);
    else if (queues.length === 0) this.#drop(batch);
    else this.#giveSpread(queues, batch);
    batch.freeAll(this.#pool);
  }

  /** Looks whether there is anything for rx(), or for beginDirect(), which takes of what was there then. */
  look(): boolean {
    if (this.#announcement !== undefined) return true;
    const queues = this.#transmits;
    for (let i = 0; i < queues.length; i++) if ((queues[i] as ActiveQueue).queue.available() > 0) return true;
    return false;
  }

  /**
   * Begins to take frames where they lie, if that can be done now: takes up to `limit` chains, in `directQueue`, and
   * returns how many. Only when there were any are they to be given back, by endDirect().
   */
  beginDirect(limit: number): number {
    const { queue } = this.#transmits[0] as ActiveQueue;
    return this.#fromGuest.begin(queue, limit);
  }

  /**
   * Copies the frames from the chain `from` on into packets, counts those before it, and gives all chains back. True when
   * settleDirect() is to follow that was not to follow before; it must before the breath ends.
   */
  endDirect(batch: Batch, from: number, taken: number, sizeBytes: number): boolean {
    const isFirst = !(this.#hasTaken || this.#hasGiven);
    const { queue } = this.#transmits[0] as ActiveQueue;
    this.stats[RX_PACKETS] = (this.stats[RX_PACKETS] as number) + from;
    this.stats[RX_BYTES] = (this.stats[RX_BYTES] as number) + sizeBytes;
    this.#fromGuest.end(queue, batch, from, taken);
    queue.show();
    this.#hasTaken = true;
    return isFirst;
  }

  /** Calls the driver for what endDirect() and giveDirect() have shown it, where it wants that; behind a fence(). */
  settleDirect(): void {
    if (this.#hasTaken) this.#ask(this.#transmits[0] as ActiveQueue);
    if (this.#hasGiven) this.#ask(this.#receives[0] as ActiveQueue);
    this.#hasTaken = false;
    this.#hasGiven = false;
  }

  #ask({ queue, ring }: ActiveQueue): void {
    if (queue.wantsCall()) (this.#backend as VhostUserBackend).call(ring);
  }

  /** The queue whose frames may be taken where they lie; null when they cannot. */
  get directSource(): Virtqueue | null {
    if (this.#transmits.length !== 1 || this.#announcement !== undefined) return null;
    return this.#format.headerSize === HEADER_SIZE ? (this.#transmits[0] as ActiveQueue).queue : null;
  }

  /** The queue that takes frames where they are to lie; null when it cannot. Writing to it is nowhere noted. */
  get directTarget(): Virtqueue | null {
    if (this.#receives.length !== 1 || this.#format.headerSize !== HEADER_SIZE) return null;
    const { queue } = this.#receives[0] as ActiveQueue;
    return queue.log === undefined ? queue : null;
  }

  /** Shows the guest what was pushed to directTarget: `given` frames; `lost` found no chain. As endDirect(). */
  giveDirect(given: number, sizeBytes: number, lost: number): boolean {
    const isFirst = !(this.#hasTaken || this.#hasGiven);
    const { queue } = this.#receives[0] as ActiveQueue;
    this.stats[TX_PACKETS] = (this.stats[TX_PACKETS] as number) + given;
    this.stats[TX_BYTES] = (this.stats[TX_BYTES] as number) + sizeBytes;
    this.stats[TX_DROPPED] = (this.stats[TX_DROPPED] as number) + lost;
    if (given === 0) return false;
    queue.show();
    this.#hasGiven = true;
    return isFirst;
  }

  /** Where packets and all guests lie. */
  get window(): GuestWindow {
    return this.#options.window;
  }

  /** What the driver chose. */
  get format(): NetFormat {
    return this.#format;
  }

  tick(nowMs: number): void {
    if (this.#closed) return;
    if (this.#backend === undefined) {
      const fd = this.#link.poll(nowMs);
      if (fd < 0) return;
      this.#backend = this.#attend(fd);
    }
    const backend = this.#backend;
    if (!backend.poll()) this.#disconnect(backend.closedReason ?? "closed");
    else if (backend.generation !== this.#generation) this.#refresh(backend);
    else if (this.linkUp) this.#lookForBroken(backend);
    for (let ring = 1; ring < backend.queues.length; ring += 2) this.#discard(backend, ring);
  }

  beginSleep(): boolean {
    if (this.#announcement !== undefined) return false;
    let quiet = true;
    for (let i = 0; i < this.#transmits.length; i++) {
      const { queue, ring } = this.#transmits[i] as ActiveQueue;
      if (!(this.#backend as VhostUserBackend).kicks(ring)) return false;
      queue.wantKicks(true);
      if (queue.available() > 0) quiet = false;
    }
    return quiet;
  }

  endSleep(): void {
    for (let i = 0; i < this.#transmits.length; i++) {
      (this.#transmits[i] as ActiveQueue).queue.wantKicks(false);
    }
    // Kicks are edge-triggered: taking the events is what makes wakeFd quiet again.
    this.#epoll.wait(0);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#disconnect("closed");
    this.#link.close();
    this.#epoll.close();
  }

  #attend(fd: number, handed?: HandedVhostUser): VhostUserBackend {
    const { window, allowUnsealed = false } = this.#options;
    const onRequest = (request: number, value: bigint): boolean => this.#request(request, value);
    return new VhostUserBackend({
      fd,
      device: NET_DEVICE,
      window,
      epoll: this.#epoll,
      allowUnsealed,
      onRequest,
      ...(handed === undefined ? {} : { handed }),
    });
  }

  #disconnect(reason: string): void {
    this.#backend?.close();
    this.#backend = undefined;
    this.#receives = [];
    this.#transmits = [];
    this.#generation = -1;
    this.#mtu = 0;
    this.#announcement = undefined;
    this.offloads = NO_FORMAT.offloads;
    this.linkUp = false;
    this.#link.lost(reason);
  }

  #take({ queue, ring }: ActiveQueue, batch: Batch): number {
    const waiting = queue.available();
    if (waiting === 0) return 0;
    const limit = Math.min(waiting, batch.capacity - batch.length, this.#pool.available);
    if (limit === 0) return 0;
    const count = this.#fromGuest.take(queue, batch, limit);
    if (queue.publish()) (this.#backend as VhostUserBackend).call(ring);
    return count;
  }

  /** The packets stay the caller's. */
  #give({ queue, ring }: ActiveQueue, batch: Batch): void {
    if (queue.available() === 0) {
      this.#drop(batch);
      return;
    }
    this.#toGuest.give(queue, batch);
    if (queue.publish()) (this.#backend as VhostUserBackend).call(ring);
  }

  #giveSpread(queues: readonly ActiveQueue[], batch: Batch): void {
    const pool = this.#pool;
    for (let i = 0; i < batch.length; i++) {
      const packet = batch.packets[i] as number;
      const hash = flowHash(pool.bytes, pool.offset[packet] as number, pool.length[packet] as number);
      const queue = hash % queues.length;
      const part = this.#spread[queue] as Batch;
      part.push(packet);
      if (part.room === 0) this.#givePart(queues[queue] as ActiveQueue, part);
    }
    for (let i = 0; i < queues.length; i++) {
      const part = this.#spread[i] as Batch;
      if (part.length > 0) this.#givePart(queues[i] as ActiveQueue, part);
    }
  }

  #givePart(queue: ActiveQueue, part: Batch): void {
    this.#give(queue, part);
    part.length = 0;
  }

  #drop(batch: Batch): void {
    this.stats[TX_DROPPED] = (this.stats[TX_DROPPED] as number) + batch.length;
  }

  /** Frames that the guest puts into a queue that it disabled go nowhere. */
  #discard(backend: VhostUserBackend, ring: number): void {
    const queue = backend.queues[ring] as Virtqueue;
    if (!queue.discarding || queue.discard() === 0) return;
    if (queue.publish()) backend.call(ring);
  }

  /** Until the driver resets the device: only it can put its ring right. */
  #lookForBroken(backend: VhostUserBackend): void {
    for (let index = 0; index < backend.queues.length; index++) {
      if (backend.queues[index]?.broken !== true) continue;
      backend.reportBroken(index);
      this.linkUp = false;
      this.#link.lost("the driver broke its ring");
      return;
    }
  }

  /** What only network cards are asked. */
  #request(request: number, value: bigint): boolean {
    if (request === VHOST_USER_SEND_RARP) {
      // The first six bytes of a little-endian number.
      const mac = Uint8Array.from({ length: 6 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn)); // cold
      this.#announcement = rarpFrame(mac);
      return true;
    }
    if (value < MTU_MIN || value > MTU_MAX) return false;
    this.#mtu = Number(value);
    this.#generation = -1;
    return true;
  }

  /** Gives the switch a frame in the guest's name, so that it learns where the guest is now. */
  #announce(batch: Batch, frame: Uint8Array): number {
    if (batch.length === batch.capacity || this.#pool.available === 0) return 0;
    this.#announcement = undefined;
    batch.push(this.#pool.allocateFrom(frame));
    return 1;
  }

  /** The driver changed rings, memory or features. */
  #refresh(backend: VhostUserBackend): void {
    this.#generation = backend.generation;
    const format = netFormat(backend.features, this.#mtu);
    this.#format = format;
    this.#fromGuest.use(format);
    this.#toGuest.use(format);
    this.offloads = format.offloads;
    if (format.sendsUndone) this.#pool.holdsOffloads = true;
    const active = backend.queues
      .map((queue, ring) => ({ queue, ring }))
      .filter(({ queue }) => queue.size > 0 && queue.enabled);
    this.#receives = active.filter(({ ring }) => ring % 2 === 0);
    this.#transmits = active.filter(({ ring }) => ring % 2 === 1);
    this.linkUp = this.#receives.length > 0 && this.#transmits.length > 0;
    if (this.linkUp) this.#link.settled();
  }
}
