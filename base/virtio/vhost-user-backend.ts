// The back-end's end of one vhost-user connection: reads messages and descriptors from the socket, runs the
// session, maps guest memory and starts virtqueues. Devices (net, blk) sit on top and use `queues`.
// Invariant: whatever the peer sends or however it vanishes, the worst that happens is `closedReason`; all its
// descriptors are closed and all its memory is gone after close(). Descriptors to be polled and rung must be
// eventfds and are made non-blocking; kicks are watched edge-triggered and never read.
// Thread: the owner of the window. Hot: no (control messages; call() is one system call).
import { readlinkSync } from "node:fs";
import { PlinthError } from "../errors/index.js";
import {
  addressOf,
  closeFile,
  EAGAIN,
  EINTR,
  EPOLLET,
  EPOLLIN,
  type Epoll,
  errnoName,
  MessageChannel,
  ringEventfd,
  setNonBlocking,
} from "../linux/index.js";
import { GuestMemory } from "./guest-memory.js";
import type { GuestWindow } from "./guest-window.js";
import {
  type RingAddresses,
  type VhostUserDevice,
  type VhostUserEffect,
  VhostUserSession,
  vringBaseReply,
} from "./vhost-user-session.js";
import {
  encodeVhostUserMessage,
  parseVhostUserHeader,
  parseVhostUserMessage,
  VHOST_USER_HEADER_SIZE,
  VHOST_USER_PAYLOAD_SIZE_MAX,
  VHOST_USER_REGIONS_MAX,
  type VhostUserMessage,
  VIRTIO_RING_F_INDIRECT_DESC,
} from "./vhost-user-wire.js";
import { Virtqueue } from "./virtqueue.js";

export interface VhostUserBackendOptions {
  /** A connected, non-blocking unix socket; the backend owns it from now on. */
  readonly fd: number;
  readonly device: VhostUserDevice;
  readonly window: GuestWindow;
  /** Where kick descriptors and the socket are registered, so that the owner can sleep. */
  readonly epoll: Epoll;
  /** Accept guest memory whose file could be truncated under us; see GuestMemory. */
  readonly allowUnsealed?: boolean;
}

interface RunningRing {
  readonly size: number;
  addresses: RingAddresses;
  kickFd: number;
}

/** Messages handled per poll(); a peer that floods must not hold up the data path. */
const MESSAGES_PER_POLL_MAX = 64;

export class VhostUserBackend {
  readonly memory: GuestMemory;
  readonly queues: readonly Virtqueue[];
  /** What the driver chose. */
  features = 0n;
  /** Why the connection is no more; undefined while it is. The owner then calls close(). */
  closedReason: string | undefined;
  /** Counts every change of memory, rings or features, so that the owner can notice one cheaply. */
  generation = 0;
  readonly #fd: number;
  readonly #session: VhostUserSession;
  readonly #epoll: Epoll;
  readonly #channel = new MessageChannel();
  readonly #buffer = new Uint8Array(VHOST_USER_HEADER_SIZE + VHOST_USER_PAYLOAD_SIZE_MAX);
  readonly #bufferAddress: number;
  readonly #rings: (RunningRing | undefined)[];
  readonly #callFds: Int32Array;
  #have = 0;
  #need = VHOST_USER_HEADER_SIZE;
  #fds: number[] = [];
  #released = false;

  constructor(options: VhostUserBackendOptions) {
    this.#fd = options.fd;
    this.#epoll = options.epoll;
    this.#session = new VhostUserSession(options.device);
    this.memory = new GuestMemory(options.window, { allowUnsealed: options.allowUnsealed ?? false });
    this.queues = Array.from({ length: options.device.ringCount }, () => new Virtqueue(this.memory));
    this.#rings = this.queues.map(() => undefined);
    this.#callFds = new Int32Array(this.queues.length).fill(-1);
    this.#bufferAddress = addressOf(this.#buffer);
    this.#epoll.add(this.#fd, EPOLLIN);
  }

  /** Handles what the peer sent. False when the connection is over. */
  poll(): boolean {
    for (let i = 0; i < MESSAGES_PER_POLL_MAX && this.closedReason === undefined; i++) {
      const message = this.#read();
      if (message === undefined) break;
      const fds = this.#fds;
      this.#fds = [];
      this.#apply(this.#session.receive(message, fds));
    }
    return this.closedReason === undefined;
  }

  /** Calls the driver for queue `index`, if it gave a descriptor for that. */
  call(index: number): void {
    const fd = this.#callFds[index]!;
    if (fd >= 0) ringEventfd(fd);
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
    for (let index = 0; index < this.queues.length; index++) {
      this.#haltRing(index);
      this.#setCall(index, -1);
    }
    this.memory.unmap();
    for (const fd of this.#fds) closeFile(fd);
    this.#fds = [];
    this.#epoll.remove(this.#fd);
    closeFile(this.#fd);
  }

  /** The next whole message, or undefined when there is none (yet, or ever: closedReason). */
  #read(): VhostUserMessage | undefined {
    for (;;) {
      const missing = this.#need - this.#have;
      if (missing > 0) {
        const count = this.#channel.receive(this.#fd, this.#bufferAddress + this.#have, missing);
        for (let i = 0; i < this.#channel.fdCount; i++) this.#fds.push(this.#channel.fds[i]!);
        if (count === -EAGAIN || count === -EINTR) return undefined;
        if (count <= 0) return this.#fail(count === 0 ? "the peer has gone" : errnoName(count));
        if (this.#fds.length > VHOST_USER_REGIONS_MAX) return this.#fail("too many descriptors");
        this.#have += count;
        continue;
      }
      try {
        if (this.#need === VHOST_USER_HEADER_SIZE) {
          this.#need += parseVhostUserHeader(this.#buffer).sizeBytes;
          if (this.#need > this.#have) continue;
        }
        const message = parseVhostUserMessage(this.#buffer.subarray(0, this.#need));
        this.#have = 0;
        this.#need = VHOST_USER_HEADER_SIZE;
        return message;
      } catch (thrown) {
        return this.#failBecause(thrown);
      }
    }
  }

  #apply(effects: readonly VhostUserEffect[]): undefined {
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
    const over = this.closedReason !== undefined;
    switch (effect.kind) {
      case "reply":
        if (!over) this.#send(effect.message);
        return;
      case "features":
        return this.#setFeatures(effect.features);
      case "mapMemory":
        return this.#mapMemory(effect, over);
      case "startRing":
        if (over) return closeAll([effect.kickFd]);
        return this.#startRing(effect);
      case "moveRing":
        return this.#moveRing(effect.index, effect.addresses);
      case "stopRing":
        this.#haltRing(effect.index);
        if (effect.answer && !over) {
          this.#send(vringBaseReply(effect.index, this.queues[effect.index]!.nextAvailable));
        }
        return;
      case "setCall":
        if (over) return closeAll([effect.fd]);
        return this.#setCall(effect.index, effect.fd);
      case "enableRing":
        this.queues[effect.index]!.enabled = effect.enabled;
        this.generation++;
        return;
      case "closeFds":
        return closeAll(effect.fds);
      case "close":
        this.#fail(effect.reason);
        return;
    }
  }

  #setFeatures(features: bigint): undefined {
    this.features = features;
    const indirect = ((features >> BigInt(VIRTIO_RING_F_INDIRECT_DESC)) & 1n) === 1n;
    for (const queue of this.queues) queue.indirect = indirect;
    this.generation++;
  }

  #mapMemory(effect: Extract<VhostUserEffect, { kind: "mapMemory" }>, over: boolean): undefined {
    try {
      if (!over) this.memory.map(effect.regions, effect.fds);
    } finally {
      closeAll(effect.fds);
      this.generation++;
      this.#rings.forEach((ring, index) => {
        if (ring !== undefined) this.#moveRing(index, ring.addresses);
      });
    }
  }

  #startRing(effect: Extract<VhostUserEffect, { kind: "startRing" }>): undefined {
    const { index, size, base, addresses, kickFd } = effect;
    const queue = this.queues[index]!;
    const running = this.#rings[index] !== undefined;
    this.#haltRing(index);
    const ring: RunningRing = { size, addresses, kickFd: -1 };
    this.#rings[index] = ring;
    if (kickFd >= 0) {
      ring.kickFd = kickFd;
      prepareEventfd(kickFd, "kick");
      this.#epoll.add(kickFd, EPOLLIN | EPOLLET);
    }
    const from = running ? queue.nextAvailable : base;
    const { descriptors, available, used } = addresses;
    if (!queue.attach(size, from, descriptors, available, used)) {
      this.#fail(`ring ${index} is not in guest memory`);
      return;
    }
    queue.wantKicks(false);
    this.generation++;
  }

  #moveRing(index: number, addresses: RingAddresses): undefined {
    const ring = this.#rings[index];
    if (ring === undefined) return;
    ring.addresses = addresses;
    this.generation++;
    const { descriptors, available, used } = addresses;
    const queue = this.queues[index]!;
    // A ring whose memory was away for a while comes back where it stopped.
    if (queue.size > 0) queue.move(descriptors, available, used);
    else queue.attach(ring.size, queue.nextAvailable, descriptors, available, used);
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
    const before = this.#callFds[index]!;
    if (before >= 0) closeFile(before);
    this.#callFds[index] = fd;
    if (fd >= 0) prepareEventfd(fd, "call");
    // What the driver missed between the two descriptors: one spurious call is allowed, a lost one is not.
    if (fd >= 0) ringEventfd(fd);
  }

  /** Answers are a few bytes: a peer whose socket has no room for them does not read its answers. */
  #send(message: VhostUserMessage): undefined {
    const bytes = encodeVhostUserMessage(message);
    const count = this.#channel.send(this.#fd, addressOf(bytes), bytes.byteLength);
    if (count !== bytes.byteLength) this.#fail("the peer does not take its answers");
  }

  #failBecause(thrown: unknown): undefined {
    if (!(thrown instanceof PlinthError)) throw thrown;
    return this.#fail(thrown.message);
  }

  #fail(reason: string): undefined {
    this.closedReason ??= reason;
    return undefined;
  }
}

function closeAll(fds: readonly number[]): undefined {
  for (const fd of fds) if (fd >= 0) closeFile(fd);
}

/** Anything but an eventfd (a pipe, a terminal) could block us when written. */
function prepareEventfd(fd: number, purpose: string): void {
  if (readlinkSync(`/proc/self/fd/${fd}`) !== "anon_inode:[eventfd]") {
    throw new PlinthError("VHOST_USER_DESCRIPTOR", `the ${purpose} descriptor is no eventfd`);
  }
  setNonBlocking(fd);
}
