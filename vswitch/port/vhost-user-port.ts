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
import type { LentQueuesLoan } from "./lent-queues.js";
import type { QueueLoan } from "./queue-loan.js";
import { rarpFrame } from "./rarp-frame.js";
import { type ActiveQueue, TransmitQueues } from "./transmit-queues.js";
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

/** QEMU connects before its guest has booted. */
const NOT_STARTED = "connected, and no driver has started the queues yet";

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
  /** The guest's receive queues in use, and its transmit queues that are served here. */
  #receives: readonly ActiveQueue[] = [];
  readonly #transmits: TransmitQueues;
  readonly #kicks = (ring: number): boolean => (this.#backend as VhostUserBackend).kicks(ring);
  /** Who may still have queues of the guest. */
  #loans: readonly QueueLoan[] = [];
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
    const call = (ring: number): void => (this.#backend as VhostUserBackend).call(ring);
    this.#transmits = new TransmitQueues({ pool: options.pool, fromGuest: this.#fromGuest, call });
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
    const { lastError } = this.#link;
    return lastError === "" && this.#backend !== undefined && !this.linkUp ? NOT_STARTED : lastError;
  }

  /** The feature bits that the driver chose; undefined while nobody is connected. */
  get features(): bigint | undefined {
    return this.#backend?.features;
  }

  /** Of the transmit queues that the driver has set up, whether each is in use; one that is not, while there are none. */
  get queuesInUse(): ReadonlyMap<number, boolean> {
    const inUse = new Map<number, boolean>();
    const backend = this.#backend;
    for (let ring = 1; ring < (backend?.queues.length ?? 0); ring += 2) {
      const { size, enabled } = backend!.queues[ring]!;
      if (size > 0 && !backend!.isLent(ring)) inUse.set(ring >> 1, this.linkUp && enabled);
    }
    return inUse.size === 0 ? new Map([[0, false]]) : inUse;
  }

  /** Frames that have come in by the queues that are served here, by queue pair. */
  get queueFrames(): Float64Array {
    return this.#transmits.frames;
  }

  /** Bits by queue pair: whose transmit queues another thread could serve. All but the first one that is in use. */
  get lendableQueues(): number {
    let queues = 0;
    for (let i = 0; i < this.#transmits.all.length; i++) {
      const { ring, queue } = this.#transmits.at(i);
      if (queue.log === undefined && !queue.broken) queues |= 1 << (ring >> 1);
    }
    return queues & (queues - 1);
  }

  /** Another one for every change of what lendableQueues says that others have not made themselves. */
  get generation(): number {
    return this.#generation;
  }

  /** Has somebody else serve the transmit queues of these pairs; undefined when that cannot be, as things are now. */
  lendQueues(pairs: readonly number[], loan: QueueLoan): LentQueuesLoan | undefined {
    const backend = this.#backend;
    if (backend === undefined || this.#generation !== backend.generation) return undefined;
    if (pairs.some((pair) => ((this.lendableQueues >>> pair) & 1) === 0)) return undefined;
    const rings = backend.lendRings(
      pairs.map((pair) => 2 * pair + 1),
      loan,
    );
    if (rings === undefined) return undefined;
    loan.offer(rings);
    this.#loans = [...this.#loans.filter(({ isOver }) => !isOver), loan];
    this.#transmits.all = this.#transmits.all.filter(({ ring }) => !backend.isLent(ring));
    return { ...rings, mtu: this.#mtu };
  }

  /** Nobody else serves queues of the guest any more. */
  recallQueues(): void {
    this.#backend?.recallRings();
    this.#loans = [];
    this.tick(0);
  }

  rx(batch: Batch): number {
    if (this.#announcement !== undefined) return this.#announce(batch, this.#announcement);
    return this.#transmits.rx(batch);
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
    return this.#announcement !== undefined || this.#transmits.look();
  }

  /** How many queues there are whose frames may be taken where they lie; 0: they cannot. Their numbers are below that. */
  get directSources(): number {
    if (this.#announcement !== undefined || this.#format.headerSize !== HEADER_SIZE) return 0;
    return this.#transmits.all.length;
  }

  /** The queue whose turn it is; the others follow by their numbers. */
  get firstSource(): number {
    return this.#transmits.first;
  }

  directSource(source: number): Virtqueue {
    return this.#transmits.at(source).queue;
  }

  /** The next turn is another queue's. */
  turn(): void {
    this.#transmits.turn();
  }

  /**
   * Begins to take frames where they lie: takes up to `limit` chains from the source and returns how many. Only when there
   * were any are they to be given back, by endDirect().
   */
  beginDirect(source: number, limit: number): number {
    const { queue } = this.#transmits.at(source);
    // look() has counted, and where there is but one, it was that one's.
    if (this.#transmits.all.length > 1 && queue.available() === 0) return 0;
    return this.#fromGuest.begin(queue, limit);
  }

  /**
   * Copies the frames from the chain `from` on into packets, counts those before it, and gives all chains back. True when
   * settleDirect() is to follow that was not to follow before; it must before the breath ends.
   */
  endDirect(source: number, batch: Batch, from: number, taken: number, sizeBytes: number): boolean {
    const one = this.#transmits.at(source);
    const before = this.stats[RX_PACKETS] as number;
    this.stats[RX_PACKETS] = before + from;
    this.stats[RX_BYTES] = (this.stats[RX_BYTES] as number) + sizeBytes;
    this.#fromGuest.end(one.queue, batch, from, taken);
    this.#transmits.count(one.ring, (this.stats[RX_PACKETS] as number) - before);
    return this.#show(one);
  }

  /** Takes up to `limit` frames of the source as rx() does. */
  takeFrom(source: number, batch: Batch, limit: number): number {
    return this.#transmits.take(this.#transmits.at(source), batch, limit);
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
    this.#settle(this.#transmits.all);
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
    else if (this.#hasLost) this.#disconnect("the thread that served its queues has ended");
    else if (backend.generation !== this.#generation) this.#refresh(backend);
    else if (this.linkUp) this.#lookForBroken(backend);
    for (let ring = 1; ring < backend.queues.length; ring += 2) this.#discard(backend, ring);
  }

  get #hasLost(): boolean {
    for (let i = 0; i < this.#loans.length; i++) if ((this.#loans[i] as QueueLoan).isLost) return true;
    return false;
  }

  beginSleep(): boolean {
    if (this.#announcement !== undefined) return false;
    return this.#transmits.beginSleep(this.#kicks);
  }

  endSleep(): void {
    this.#transmits.endSleep();
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
    this.#transmits.all = [];
    this.#loans = [];
    this.#generation = -1;
    this.#mtu = 0;
    this.#announcement = undefined;
    this.offloads = NO_FORMAT.offloads;
    this.linkUp = false;
    this.#link.lost(reason);
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
      .filter(({ queue, ring }) => queue.size > 0 && queue.enabled && !backend.isLent(ring));
    this.#receives = active.filter(({ ring }) => ring % 2 === 0);
    this.#transmits.all = active.filter(({ ring }) => ring % 2 === 1);
    this.linkUp = this.#receives.length > 0 && this.#transmits.all.length > 0;
    if (this.linkUp) this.#link.settled();
  }
}
