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
  /** The driver was shown something, and is still to be asked whether it wants to be called. */
  isUnsettled: boolean;
}

/** Kicks of every ring, the connection and the socket that listens: endSleep() takes all of them at once. */
const WAKERS_MAX = 2 * QUEUE_PAIRS_MAX + 2;

export class VhostUserPort implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  /** Frames that have come in, by queue pair. */
  readonly queueFrames = new Float64Array(QUEUE_PAIRS_MAX);
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
  /** One of the queues is unsettled. */
  #isUnsettled = false;

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
    const listenFd = this.#link.handOver();
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

  /** Of the transmit queues that the driver has set up, whether each is in use; one that is not, while there are none. */
  get queuesInUse(): readonly boolean[] {
    const rings = this.#backend?.queues ?? [];
    const inUse = rings
      .filter(({ size }, ring) => ring % 2 === 1 && size > 0) // cold
      .map(({ enabled }) => this.linkUp && enabled); // cold
    return inUse.length === 0 ? [false] : inUse;
  }

  rx(batch: Batch): number {
    if (this.#announcement !== undefined) return this.#announce(batch, this.#announcement);
    const queues = this.#transmits;
    if (queues.length === 1) return this.#take(queues[0] as ActiveQueue, batch, batch.room);
    let count = 0;
    const first = this.#turn;
    for (let i = 0; i < queues.length; i++)
      count += this.#take(queues[(first + i) % queues.length] as ActiveQueue, batch, batch.room);
    if (count > 0) this.#turn = first + 1;
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

  /** How many queues there are whose frames may be taken where they lie; 0: they cannot. Their numbers are below that. */
  get directSources(): number {
    if (this.#announcement !== undefined || this.#format.headerSize !== HEADER_SIZE) return 0;
    return this.#transmits.length;
  }

  /** The queue whose turn it is; the others follow by their numbers. */
  get firstSource(): number {
    const count = this.#transmits.length;
    return count === 1 ? 0 : this.#turn % count;
  }

  directSource(source: number): Virtqueue {
    return (this.#transmits[source] as ActiveQueue).queue;
  }

  /** The next turn is another queue's. */
  turn(): void {
    this.#turn++;
  }

  /**
   * Begins to take frames where they lie: takes up to `limit` chains from the source and returns how many. Only when there
   * were any are they to be given back, by endDirect().
   */
  beginDirect(source: number, limit: number): number {
    const { queue } = this.#transmits[source] as ActiveQueue;
    // look() has counted, and where there is but one, it was that one's.
    if (this.#transmits.length > 1 && queue.available() === 0) return 0;
    return this.#fromGuest.begin(queue, limit);
  }

  /**
   * Copies the frames from the chain `from` on into packets, counts those before it, and gives all chains back. True when
   * settleDirect() is to follow that was not to follow before; it must before the breath ends.
   */
  endDirect(source: number, batch: Batch, from: number, taken: number, sizeBytes: number): boolean {
    const one = this.#transmits[source] as ActiveQueue;
    const before = this.stats[RX_PACKETS] as number;
    this.stats[RX_PACKETS] = before + from;
    this.stats[RX_BYTES] = (this.stats[RX_BYTES] as number) + sizeBytes;
    this.#fromGuest.end(one.queue, batch, from, taken);
    this.#count(one.ring, (this.stats[RX_PACKETS] as number) - before);
    return this.#show(one);
  }

  /** Takes up to `limit` frames of the source as rx() does. */
  takeFrom(source: number, batch: Batch, limit: number): number {
    return this.#take(this.#transmits[source] as ActiveQueue, batch, limit);
  }

  /** Shows the driver what was given back; true when the port was settled before. */
  #show(one: ActiveQueue): boolean {
    one.queue.show();
    one.isUnsettled = true;
    const isFirst = !this.#isUnsettled;
    this.#isUnsettled = true;
    return isFirst;
  }

  /** Calls the driver for what endDirect() and giveDirect() have shown it, where it wants that; behind a fence(). */
  settleDirect(): void {
    this.#isUnsettled = false;
    this.#settle(this.#transmits);
    this.#settle(this.#receives);
  }

  #settle(queues: readonly ActiveQueue[]): void {
    for (let i = 0; i < queues.length; i++) {
      const one = queues[i] as ActiveQueue;
      if (!one.isUnsettled) continue;
      one.isUnsettled = false;
      if (one.queue.wantsCall()) (this.#backend as VhostUserBackend).call(one.ring);
    }
  }

  /**
   * How many queues there are that take frames where they are to lie, those of a flow by flowHash(); 0: they do not.
   * Writing to them is nowhere noted.
   */
  get directTargets(): number {
    const queues = this.#receives;
    if (this.#format.headerSize !== HEADER_SIZE) return 0;
    for (let i = 0; i < queues.length; i++) if ((queues[i] as ActiveQueue).queue.log !== undefined) return 0;
    return queues.length;
  }

  directTarget(target: number): Virtqueue {
    return (this.#receives[target] as ActiveQueue).queue;
  }

  /** Shows the guest what was pushed to the target: `given` frames; `lost` found no chain. As endDirect(). */
  giveDirect(target: number, given: number, sizeBytes: number, lost: number): boolean {
    this.stats[TX_PACKETS] = (this.stats[TX_PACKETS] as number) + given;
    this.stats[TX_BYTES] = (this.stats[TX_BYTES] as number) + sizeBytes;
    this.stats[TX_DROPPED] = (this.stats[TX_DROPPED] as number) + lost;
    return given === 0 ? false : this.#show(this.#receives[target] as ActiveQueue);
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

  #take({ queue, ring }: ActiveQueue, batch: Batch, most: number): number {
    const waiting = queue.available();
    if (waiting === 0) return 0;
    const limit = Math.min(waiting, most, this.#pool.available);
    if (limit === 0) return 0;
    const count = this.#fromGuest.take(queue, batch, limit);
    this.#count(ring, count);
    if (queue.publish()) (this.#backend as VhostUserBackend).call(ring);
    return count;
  }

  #count(ring: number, frames: number): void {
    const { queueFrames } = this;
    queueFrames[ring >> 1] = (queueFrames[ring >> 1] as number) + frames;
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
      .map((queue, ring): ActiveQueue => ({ queue, ring, isUnsettled: false }))
      .filter(({ queue }) => queue.size > 0 && queue.enabled);
    this.#receives = active.filter(({ ring }) => ring % 2 === 0);
    this.#transmits = active.filter(({ ring }) => ring % 2 === 1);
    this.linkUp = this.#receives.length > 0 && this.#transmits.length > 0;
    if (this.linkUp) this.#link.settled();
  }
}
