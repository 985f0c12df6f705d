// The back-end's end of one vhost-user connection: reads messages from the socket, runs the session, maps guest memory
// and starts virtqueues. Devices (net, blk) sit on top and use `queues`.
// Invariant: whatever the peer sends or however it vanishes, the worst that happens is `closedReason`; all its
// descriptors are closed and all its memory is gone after close(). Descriptors to be polled and rung must be
// eventfds and are made non-blocking; kicks are watched edge-triggered and never read.
// Thread: the owner of the window. Hot: no (control messages; call() is one system call).
import { PlinthError } from "../errors/index.js";
import {
  addressOf,
  closeFile,
  EPOLLET,
  EPOLLIN,
  type Epoll,
  MessageChannel,
  ringEventfd,
} from "../linux/index.js";
import { DirtyLog } from "./dirty-log.js";
import { GuestMemory } from "./guest-memory.js";
import type { GuestWindow } from "./guest-window.js";
import { createInflight, InflightMemory } from "./inflight-memory.js";
import { hasFeature, negotiate } from "./negotiated-queue.js";
import { PackedVirtqueue } from "./packed-virtqueue.js";
import type { RingLender, RingLoan } from "./ring-loan.js";
import { SplitVirtqueue } from "./split-virtqueue.js";
import {
  LEAVES_LOANS,
  MOVING,
  type RingAddresses,
  type VhostUserDevice,
  type VhostUserEffect,
} from "./vhost-user-effects.js";
import { closeAll, prepareEventfd, replaceFd } from "./vhost-user-fds.js";
import { describeConnection, type HandedVhostUser } from "./vhost-user-hand-over.js";
import { CONFIG_CHANGE, u64Reply, VhostUserSession, vringBaseReply } from "./vhost-user-session.js";
import { type MessageWithFds, VhostUserSocket } from "./vhost-user-socket.js";
import {
  encodeVhostUserMessage,
  parseVhostUserMessage,
  VHOST_F_LOG_ALL,
  VHOST_USER_GET_STATUS,
  VIRTIO_F_RING_PACKED,
  VIRTIO_STATUS_DEVICE_NEEDS_RESET,
} from "./vhost-user-wire.js";
import type { Virtqueue } from "./virtqueue.js";

export interface VhostUserBackendOptions {
  /** A connected, non-blocking unix socket; the backend owns it from now on. */
  readonly fd: number;
  /** The connection was another process's, which handed it over; its descriptors are ours from now on. */
  readonly handed?: Omit<HandedVhostUser, "fd">;
  readonly device: VhostUserDevice;
  readonly window: GuestWindow;
  /** Where kick descriptors and the socket are registered, so that the owner can sleep. */
  readonly epoll: Epoll;
  /** Accept guest memory whose file could be truncated under us; see GuestMemory. */
  readonly allowUnsealed?: boolean;
  /** Carries out one of the device's own requests; false: refused. */
  readonly onRequest?: (request: number, value: bigint) => boolean;
  /** Takes a write to the configuration space; false: refused. */
  readonly onConfig?: (offset: number, bytes: Uint8Array) => boolean;
  /**
   * Called before rings stop or memory moves: every chain that was taken has to be given back, and no offset may be
   * kept. A device that works on nothing between two calls needs none.
   */
  readonly quiesce?: () => void;
}

type Effect<Kind extends VhostUserEffect["kind"]> = Extract<VhostUserEffect, { kind: Kind }>;

interface RunningRing {
  readonly size: number;
  addresses: RingAddresses;
  kickFd: number;
  /** Who gets it back from another thread that works on it. */
  lender: RingLender | undefined;
}

/** Messages handled per poll(); a peer that floods must not hold up the data path. */
const MESSAGES_PER_POLL_MAX = 64;

export class VhostUserBackend {
  readonly memory: GuestMemory;
  /** Replaced when the driver chooses another layout of rings; that is a new generation. */
  queues: readonly Virtqueue[];
  /** What the driver chose. */
  features = 0n;
  /** Why the connection is no more; undefined while it is. The owner then calls close(). */
  closedReason: string | undefined = undefined;
  /** Counts every change of memory, rings or features, so that the owner can notice one cheaply. */
  generation = 0;
  readonly #socket: VhostUserSocket;
  readonly #session: VhostUserSession;
  readonly #epoll: Epoll;
  #packed = false;
  readonly #device: Pick<VhostUserBackendOptions, "onRequest" | "onConfig" | "quiesce">;
  readonly #channel = new MessageChannel();
  readonly #rings: (RunningRing | undefined)[];
  readonly #log: DirtyLog;
  readonly #inflight: InflightMemory;
  readonly #allowUnsealed: boolean;
  readonly #callFds: Int32Array;
  readonly #errorFds: Int32Array;
  /** One descriptor, in a column like the others. */
  readonly #logFd = new Int32Array(1).fill(-1);
  readonly #backendFd = new Int32Array(1).fill(-1);
  /** Something that the current message asked for was refused. */
  #refused = false;
  #released = false;

  constructor(options: VhostUserBackendOptions) {
    this.#epoll = options.epoll;
    this.#device = options;
    this.#session = new VhostUserSession(options.device);
    this.#allowUnsealed = options.allowUnsealed ?? false;
    this.memory = new GuestMemory(options.window, { allowUnsealed: this.#allowUnsealed });
    this.#log = new DirtyLog(options.window);
    this.#inflight = new InflightMemory(options.window);
    this.queues = Array.from({ length: options.device.ringCount }, () => new SplitVirtqueue(this.memory));
    this.#rings = this.queues.map(() => undefined);
    this.#callFds = new Int32Array(this.queues.length).fill(-1);
    this.#errorFds = new Int32Array(this.queues.length).fill(-1);
    const { fd, epoll, handed } = options;
    this.#socket = new VhostUserSocket(fd, epoll, handed?.begun);
    if (handed !== undefined) this.#repeat(handed.messages);
  }

  /** What another process needs to go on with the connection; undefined when it cannot. Descriptors stay ours. */
  handOver(): HandedVhostUser | undefined {
    this.recallRings();
    if (this.closedReason !== undefined || this.#backendFd[0]! >= 0) return undefined;
    const regions = this.memory.list();
    const rings = this.queues.map(({ base, enabled, discarding }, index) => ({
      ...{ base, enabled, discarding },
      kickFd: this.#rings[index]?.kickFd ?? -1,
      callFd: this.#callFds[index]!,
      errorFd: this.#errorFds[index]!,
    }));
    const held = { regions, rings, inflight: this.#inflight.opened, log: this.#log.range };
    const messages = describeConnection(this.#session.agreed, { ...held, logFd: this.#logFd[0]! });
    return { fd: this.#socket.fd, messages, begun: this.#socket.begun };
  }

  /**
   * What another thread needs to work on these rings, which run, until `lender` gets them back; nobody works on them here
   * meanwhile. Undefined while what is written is to be noted.
   */
  lendRings(indices: readonly number[], lender: RingLender): RingLoan | undefined {
    if (this.closedReason !== undefined || this.#inflight.opened !== undefined) return undefined;
    const isAble = (index: number): boolean => {
      const { size = 0, log, broken } = this.queues[index] ?? {};
      return size > 0 && log === undefined && broken === false && this.#rings[index]?.lender === undefined;
    };
    if (!indices.every(isAble)) return undefined;
    const rings = indices.map((index) => {
      const ring = this.#rings[index]!;
      ring.lender = lender;
      if (ring.kickFd >= 0) this.#epoll.remove(ring.kickFd);
      const { size, addresses, kickFd } = ring;
      const { base } = this.queues[index]!;
      return { index, size, base, addresses, kickFd, callFd: this.#callFds[index]! };
    });
    const regions = this.memory.list();
    return { features: this.features, allowUnsealed: this.#allowUnsealed, regions, rings };
  }

  /** Whether another thread works on the ring. */
  isLent(index: number): boolean {
    return this.#rings[index]?.lender !== undefined;
  }

  /** Gets every ring back that another thread works on. */
  recallRings(): void {
    this.#rings.forEach((ring, index) => {
      if (ring?.lender === undefined) return;
      const { lender } = ring;
      ring.lender = undefined;
      if (!lender.recall()) this.#fail("the thread that worked on its rings has ended");
      if (ring.kickFd >= 0) this.#epoll.add(ring.kickFd, EPOLLIN | EPOLLET);
      this.generation++;
      const queue = this.queues[index]!;
      this.#attach(index, ring, lender.base(index));
      queue.broken = lender.isBroken(index);
      queue.wantKicks(false);
      this.call(index);
    });
  }

  /** Does what the messages say; the front-end has its answers already. */
  #repeat(messages: readonly MessageWithFds[]): void {
    this.#socket.isMute = true;
    for (const { bytes, fds } of messages) {
      try {
        this.#apply(this.#session.receive(parseVhostUserMessage(bytes), fds));
      } catch (thrown) {
        closeAll(fds);
        this.#failBecause(thrown);
      }
    }
    this.#socket.isMute = false;
  }

  /** Handles what the peer sent. False when the connection is over. */
  poll(): boolean {
    for (let i = 0; i < MESSAGES_PER_POLL_MAX && this.closedReason === undefined; i++) {
      const message = this.#socket.read();
      if (message !== undefined) this.#apply(this.#session.receive(message, this.#socket.takeFds()));
      if (this.#socket.failure !== undefined) this.#fail(this.#socket.failure);
      if (message === undefined) break;
    }
    if (this.#log.marked) {
      this.#log.marked = false;
      if (this.#logFd[0]! >= 0) ringEventfd(this.#logFd[0]!);
    }
    return this.closedReason === undefined;
  }

  /** Calls the driver for queue `index`, if it gave a descriptor for that. */
  call(index: number): void {
    const fd = this.#callFds[index]!;
    if (fd >= 0) ringEventfd(fd);
  }

  /** Tells the front-end that queue `index` is broken, if it gave a descriptor for that. */
  reportBroken(index: number): void {
    const fd = this.#errorFds[index]!;
    if (fd >= 0) ringEventfd(fd);
  }

  /** Tells the driver to read the configuration space again, if the front-end gave a channel for that. */
  announceConfig(): void {
    const fd = this.#backendFd[0]!;
    if (fd < 0) return;
    const bytes = encodeVhostUserMessage(CONFIG_CHANGE);
    this.#channel.send(fd, addressOf(bytes), bytes.byteLength);
  }

  /** Whether the driver kicks queue `index`; otherwise it wants to be polled. */
  kicks(index: number): boolean {
    return (this.#rings[index]?.kickFd ?? -1) >= 0;
  }

  /** Stops all rings, unmaps all memory and closes everything. */
  close(): void {
    if (this.#released) return;
    this.#released = true;
    this.closedReason ??= "closed";
    this.recallRings();
    for (let index = 0; index < this.queues.length; index++) {
      this.#haltRing(index);
      replaceFd(this.#callFds, index, -1);
      replaceFd(this.#errorFds, index, -1);
    }
    replaceFd(this.#logFd, 0, -1);
    replaceFd(this.#backendFd, 0, -1);
    this.#log.close();
    this.#inflight.close();
    this.memory.unmap();
    this.#socket.close();
  }

  #apply(effects: readonly VhostUserEffect[]): undefined {
    this.#refused = false;
    for (const effect of effects) {
      try {
        this.#carryOut(effect);
      } catch (thrown) {
        this.#failBecause(thrown);
      }
    }
  }

  /** After the connection failed, remaining effects only release what they hold. */
  #carryOut(effect: VhostUserEffect): undefined {
    if (!LEAVES_LOANS.has(effect.kind)) this.recallRings();
    const over = this.closedReason !== undefined;
    if (!over && MOVING.has(effect.kind)) this.#device.quiesce?.();
    switch (effect.kind) {
      case "reply":
        if (!over) this.#socket.send(effect.message);
        return;
      case "acknowledge":
        this.#socket.send(u64Reply(effect.request, over || this.#refused ? 1n : 0n));
        return;
      case "replyStatus":
        if (!over) this.#replyStatus(effect.status);
        return;
      case "features":
        return this.#setFeatures(effect.features);
      case "mapMemory":
        return this.#mapMemory(effect, over);
      case "addRegion":
        if (over) return closeAll([effect.fd]);
        return this.#addRegion(effect);
      case "removeRegion":
        if (over) return;
        return this.#changeMemory(effect.acknowledged, () => this.memory.remove(effect.region));
      case "openLog":
        return this.#withFd(effect.fd, over, () => this.#log.open(effect, this.#allowUnsealed));
      case "setLogFd":
        if (over) return closeAll([effect.fd]);
        replaceFd(this.#logFd, 0, effect.fd);
        prepareEventfd(effect.fd, "log");
        return;
      case "createInflight":
        if (!over) createInflight(effect.queueCount, effect.queueSize, this.#socket);
        return;
      case "openInflight":
        return this.#openInflight(effect, over);
      case "startRing":
        if (over) return closeAll([effect.kickFd]);
        return this.#startRing(effect);
      case "moveRing":
        return this.#moveRing(effect.index, effect.addresses);
      case "stopRing":
        return this.#stopRing(effect, over);
      case "setCall":
        if (over) return closeAll([effect.fd]);
        return this.#setCall(effect.index, effect.fd);
      case "setError":
        if (over) return closeAll([effect.fd]);
        replaceFd(this.#errorFds, effect.index, effect.fd);
        if (effect.fd >= 0) prepareEventfd(effect.fd, "error");
        return;
      case "deviceRequest":
        if (!over && this.#device.onRequest?.(effect.request, effect.value) !== true) this.#refused = true;
        return;
      case "setConfig":
        if (!over && this.#device.onConfig?.(effect.offset, effect.bytes) !== true) this.#refused = true;
        return;
      case "setBackendChannel":
        if (over) return closeAll([effect.fd]);
        replaceFd(this.#backendFd, 0, effect.fd);
        return;
      case "enableRing":
        this.queues[effect.index]!.enabled = effect.enabled;
        this.queues[effect.index]!.discarding = !effect.enabled;
        this.generation++;
        return;
      case "closeFds":
        return closeAll(effect.fds);
      case "close":
        return this.#fail(effect.reason);
    }
  }

  #setFeatures(features: bigint): undefined {
    this.features = features;
    this.#layOut(hasFeature(features, VIRTIO_F_RING_PACKED));
    for (const queue of this.queues) {
      negotiate(queue, features);
      queue.log = hasFeature(features, VHOST_F_LOG_ALL) ? this.#log : undefined;
    }
    this.generation++;
  }

  /** No ring runs. Whether they are enabled may have been said already. */
  #layOut(packed: boolean): void {
    if (packed === this.#packed) return;
    this.#packed = packed;
    this.queues = this.queues.map(({ enabled, discarding }) => {
      const queue = packed ? new PackedVirtqueue(this.memory) : new SplitVirtqueue(this.memory);
      queue.enabled = enabled;
      queue.discarding = discarding;
      return queue;
    });
  }

  #mapMemory(effect: Effect<"mapMemory">, over: boolean): undefined {
    try {
      if (!over) this.memory.map(effect.regions, effect.fds);
    } finally {
      closeAll(effect.fds);
      this.#moveRings();
    }
  }

  #addRegion({ region, fd, acknowledged }: Effect<"addRegion">): undefined {
    this.#changeMemory(acknowledged, () => this.#withFd(fd, false, () => this.memory.add(region, fd)));
  }

  #openInflight({ inflight, fd }: Effect<"openInflight">, over: boolean): undefined {
    // The tables of rings that run lie in the memory that is to be replaced.
    for (const queue of this.queues) queue.inflight = undefined;
    this.#withFd(fd, over, () => this.#inflight.open(inflight, fd, this.#allowUnsealed));
  }

  /** Does something with a descriptor that is closed afterwards. */
  #withFd(fd: number, over: boolean, use: () => void): undefined {
    try {
      if (!over) use();
    } finally {
      closeFile(fd);
    }
  }

  /** A change that is refused leaves all as it was: fatal only when the front-end does not hear of it. */
  #changeMemory(acknowledged: boolean, change: () => void): undefined {
    try {
      change();
    } catch (thrown) {
      if (!acknowledged || !(thrown instanceof PlinthError)) throw thrown;
      this.#refused = true;
      return;
    }
    this.#moveRings();
  }

  #moveRings(): void {
    this.generation++;
    this.#rings.forEach((ring, index) => {
      if (ring !== undefined) this.#moveRing(index, ring.addresses);
    });
  }

  #replyStatus(status: number): void {
    const broken = this.queues.some((queue) => queue.broken);
    const value = broken ? status | VIRTIO_STATUS_DEVICE_NEEDS_RESET : status;
    this.#socket.send(u64Reply(VHOST_USER_GET_STATUS, BigInt(value)));
  }

  #startRing(effect: Effect<"startRing">): undefined {
    const { index, size, base, addresses, kickFd } = effect;
    const queue = this.queues[index]!;
    this.#haltRing(index);
    const ring: RunningRing = { size, addresses, kickFd: -1, lender: undefined };
    this.#rings[index] = ring;
    if (kickFd >= 0) {
      ring.kickFd = kickFd;
      prepareEventfd(kickFd, "kick");
      this.#epoll.add(kickFd, EPOLLIN | EPOLLET);
    }
    if (!this.#attach(index, ring, base)) {
      this.#fail(`ring ${index} is not in guest memory`);
      return;
    }
    queue.wantKicks(false);
    // What an earlier life gave back without a call, or attach() did.
    this.call(index);
    this.generation++;
  }

  #moveRing(index: number, addresses: RingAddresses): undefined {
    const ring = this.#rings[index];
    if (ring === undefined) return;
    ring.addresses = addresses;
    this.generation++;
    const queue = this.queues[index]!;
    if (queue.size === 0) {
      // Its memory was away for a while.
      this.#attach(index, ring, queue.base);
      return;
    }
    queue.usedLog = addresses.usedLog;
    queue.move(addresses.descriptors, addresses.available, addresses.used);
  }

  #attach(index: number, { size, addresses }: RunningRing, base: number): boolean {
    const queue = this.queues[index]!;
    queue.usedLog = addresses.usedLog;
    // Chains of a packed ring are given back in order, so that the ring itself tells what is in flight.
    queue.inflight = this.#packed ? undefined : this.#inflight.table(index, size);
    return queue.attach(size, addresses.descriptors, addresses.available, addresses.used, base);
  }

  #stopRing({ index, answer, base }: Effect<"stopRing">, over: boolean): undefined {
    const ran = this.#rings[index] !== undefined;
    this.#haltRing(index);
    const stopped = ran ? this.queues[index]!.base : base;
    // QEMU resets the device first, and asks then.
    this.#session.stoppedAt(index, stopped);
    if (answer && !over) this.#socket.send(vringBaseReply(index, stopped));
  }

  #haltRing(index: number): undefined {
    const ring = this.#rings[index];
    this.queues[index]!.detach();
    this.generation++;
    if (ring === undefined) return;
    this.#rings[index] = undefined;
    if (ring.kickFd < 0) return;
    this.#epoll.remove(ring.kickFd);
    closeFile(ring.kickFd);
  }

  #setCall(index: number, fd: number): undefined {
    replaceFd(this.#callFds, index, fd);
    if (fd >= 0) prepareEventfd(fd, "call");
    // What the driver missed between the two descriptors: one spurious call is allowed, a lost one is not.
    if (fd >= 0) ringEventfd(fd);
  }

  #failBecause(thrown: unknown): undefined {
    if (!(thrown instanceof PlinthError)) throw thrown;
    return this.#fail(thrown.message);
  }

  #fail(reason: string): undefined {
    this.closedReason ??= reason;
  }
}
