// One guest's block device over vhost-user: chains out of its queues, statuses back in.
//
//   breath:  take chains ─► (long reads done, writes staged) ─► commit ─► short reads ─► statuses, or wait for a flush
//                                                                                               ─► publish, call
//
// Invariants: a chain is given back exactly once, after the commit (and the sync, for a flush or a write-through device)
// that its status speaks of; before rings stop or memory moves nothing is under way. What a crash interrupts the guest's
// front-end keeps (inflight-table.ts), and the next connection takes it again.
// Source: VIRTIO 1.2, 5.2. Thread: the pool's worker. Hot: yes.
import type { Epoll } from "../../base/linux/index.js";
import {
  type GuestWindow,
  POP_BAD,
  VHOST_F_LOG_ALL,
  VHOST_USER_PROTOCOL_F_BACKEND_REQ,
  VHOST_USER_PROTOCOL_F_CONFIG,
  VHOST_USER_PROTOCOL_F_LOG_SHMFD,
  VHOST_USER_PROTOCOL_F_MQ,
  VhostUserBackend,
  type VhostUserDevice,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
  VIRTIO_RING_F_EVENT_IDX,
  VIRTIO_RING_F_INDIRECT_DESC,
  type Virtqueue,
} from "../../base/virtio/index.js";
import { EIO, OK } from "../errors.js";
import { OP_FLUSH, OP_READ } from "../metrics/volume-counters.js";
import type { FlushQueue, FlushWaiter } from "../nbd/flush-rounds.js";
import type { NbdExport } from "../nbd/nbd-export.js";
import {
  BLK_AGAIN,
  BLK_DONE,
  BLK_FLUSH,
  BLK_LATER,
  BLK_MALFORMED,
  BLK_READ,
  BLK_STAGED,
  BLK_WAIT,
  BlkRequests,
} from "./blk-requests.js";
import {
  BLK_CONFIG_WRITEBACK,
  BLK_QUEUES_MAX,
  encodeBlkConfig,
  VIRTIO_BLK_F_BLK_SIZE,
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_MQ,
  VIRTIO_BLK_F_RO,
  VIRTIO_BLK_F_SEG_MAX,
  VIRTIO_BLK_F_TOPOLOGY,
  VIRTIO_BLK_F_WRITE_ZEROES,
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  writeCapacity,
} from "./virtio-blk-wire.js";

/** Chains of one queue in a breath: another guest waits for its turn. */
const CHAINS_PER_BREATH = 64;
const PENDING_MAX = CHAINS_PER_BREATH * BLK_QUEUES_MAX;
/** Chains that wait for a sync; a queue has at most 1024 descriptors with the front-ends that there are. */
const FLUSHES_MAX = 16 * 1024;
/** Tags are slots, told apart from those of before the last quiesce(). */
const EPOCH = 0x1_0000;

export interface BlkConnectionOptions {
  /** A connected socket; the connection's from now on. */
  readonly fd: number;
  readonly target: NbdExport;
  /** As GuestMemoryOptions.allowUnsealed. */
  readonly unsealedMemory: boolean;
}

export interface BlkModules {
  /** Empty, and empty again after close(). */
  readonly window: GuestWindow;
  readonly epoll: Epoll;
  readonly flushes: FlushQueue;
}

export class BlkConnection implements FlushWaiter {
  target: NbdExport;
  readonly backend: VhostUserBackend;
  /** A write waits for the cleaner. */
  stalled = false;
  /** The next chain waits for the limits of its volume. */
  throttled = false;
  /** Rings run, and no other guest that writes to the volume is at work; until then what is in the rings waits. */
  isServed = false;
  /** Its volume's pool is being opened anew: chains stay in the rings until it is there again; see park(). */
  parked = false;
  /** It waits for the next round. */
  #later = false;
  /** Chains were taken in this breath; see finish(). */
  busy = false;
  readonly #window: GuestWindow;
  #requests: BlkRequests;
  readonly #flushes: FlushQueue;
  readonly #config: Uint8Array;
  readonly #touched = new Uint8Array(BLK_QUEUES_MAX);
  /** Chains of this breath that a commit decides on: queue, head, where the status goes, BLK_STAGED, _FLUSH or _READ. */
  readonly #queueOf = new Uint8Array(PENDING_MAX);
  readonly #headOf = new Uint16Array(PENDING_MAX);
  readonly #statusOf = new Float64Array(PENDING_MAX);
  readonly #kindOf = new Uint8Array(PENDING_MAX);
  /** What each counts as. */
  readonly #opOf = new Uint8Array(PENDING_MAX);
  #pending = 0;
  /** The same of chains that wait for a sync, by slot. */
  readonly #flushQueue = new Uint8Array(FLUSHES_MAX);
  readonly #flushHead = new Uint16Array(FLUSHES_MAX);
  readonly #flushStatus = new Float64Array(FLUSHES_MAX);
  readonly #flushBusy = new Uint8Array(FLUSHES_MAX);
  #flushNext = 0;
  #flushCount = 0;
  #epoch = 0;
  /** Of the backend, when the driver's features were looked at. */
  #generation = -1;
  #canSwitch = false;
  #canFlush = true;

  constructor({ fd, target, unsealedMemory }: BlkConnectionOptions, modules: BlkModules) {
    const { window, epoll, flushes } = modules;
    this.target = target;
    this.#window = window;
    this.#flushes = flushes;
    this.#config = encodeBlkConfig(target.sizeBytes);
    this.#requests = new BlkRequests(target, this.#window);
    this.backend = new VhostUserBackend({
      fd,
      device: blkDevice(target, this.#config),
      window: this.#window,
      epoll,
      allowUnsealed: unsealedMemory,
      onConfig: (offset, bytes) => this.#setConfig(offset, bytes),
      quiesce: () => this.#quiesce(),
    });
  }

  /** Takes the chains that wait. True when finish() is to follow a commit. */
  take(): boolean {
    if (this.parked || this.stalled || this.throttled || !this.isServed) return false;
    this.#requests.begin();
    this.#later = false;
    const { queues } = this.backend;
    this.busy = false;
    for (let index = 0; index < queues.length; index++) {
      const queue = queues[index] as Virtqueue;
      // What is in a ring that was disabled stays there: all are disabled before one after the other is stopped, and a request
      // that came back untouched would count as done.
      if (queue.size > 0 && queue.enabled && !queue.broken) this.#takeFrom(index, queue);
    }
    return this.busy;
  }

  #takeFrom(index: number, queue: Virtqueue): void {
    const limit = Math.min(queue.available(), CHAINS_PER_BREATH);
    for (let i = 0; i < limit && this.#mayGoOn && this.#flushCount < FLUSHES_MAX - PENDING_MAX; i++) {
      const count = queue.pop();
      if (count === POP_BAD) {
        queue.push(queue.head, 0);
        this.#touch(index);
      } else if (count > 0) this.#carryOut(index, queue);
      else break;
    }
    // Nothing is taken from it any more, until it is started anew.
    if (queue.broken) this.backend.reportBroken(index);
  }

  get #mayGoOn(): boolean {
    return !this.stalled && !this.throttled && !this.#later;
  }

  #touch(index: number): void {
    this.#touched[index] = 1;
    this.busy = true;
  }

  #carryOut(index: number, queue: Virtqueue): void {
    const requests = this.#requests;
    switch (requests.take(queue)) {
      case BLK_DONE:
        this.#giveBack(index, queue.head, requests.memory.statusOffset, requests.status, requests.written);
        return;
      case BLK_STAGED:
        this.#note(index, queue, BLK_STAGED);
        return;
      case BLK_FLUSH:
        this.#note(index, queue, BLK_FLUSH);
        return;
      case BLK_READ:
        this.#note(index, queue, BLK_READ);
        return;
      case BLK_AGAIN:
        queue.unpop(1);
        this.stalled = true;
        return;
      case BLK_LATER:
        queue.unpop(1);
        this.#later = true;
        return;
      case BLK_WAIT:
        queue.unpop(1);
        this.throttled = true;
        return;
      case BLK_MALFORMED:
        queue.push(queue.head, 0);
        this.#touch(index);
    }
  }

  #note(index: number, queue: Virtqueue, kind: number): void {
    const n = this.#pending++;
    this.#queueOf[n] = index;
    this.#headOf[n] = queue.head;
    this.#statusOf[n] = this.#requests.memory.statusOffset;
    this.#kindOf[n] = kind;
    this.#opOf[n] = this.#requests.op;
    this.busy = true;
  }

  #giveBack(index: number, head: number, statusAt: number, status: number, written: number): void {
    const queue = this.backend.queues[index] as Virtqueue;
    this.#window.bytes[statusAt] = status;
    if (queue.log !== undefined) queue.markWritten(statusAt, 1);
    queue.push(head, written);
    this.#touch(index);
  }

  /** Some ring runs. */
  get isRunning(): boolean {
    return this.backend.queues.some(({ size }) => size > 0); // cold
  }

  /** Answers what take() took; `committed`: how the commit ended. True when something waits for a sync now. */
  finish(committed: number): boolean {
    const through = this.#isWriteThrough;
    this.#requests.runReads();
    let waits = false;
    let read = 0;
    for (let n = 0; n < this.#pending; n++) {
      const index = this.#queueOf[n] as number;
      const head = this.#headOf[n] as number;
      const statusAt = this.#statusOf[n] as number;
      if (this.#kindOf[n] === BLK_READ) this.#endRead(index, head, statusAt, read++);
      else if (committed !== OK) {
        this.target.share.counters.fail(this.#opOf[n] as number);
        this.#giveBack(index, head, statusAt, VIRTIO_BLK_S_IOERR, 1);
      } else if (!through && this.#kindOf[n] === BLK_STAGED) {
        this.#giveBack(index, head, statusAt, VIRTIO_BLK_S_OK, 1);
      } else {
        this.#waitForFlush(index, head, statusAt);
        waits = true;
      }
    }
    this.#pending = 0;
    this.#requests.reads.clear();
    this.#publish();
    return waits;
  }

  #endRead(index: number, head: number, statusAt: number, read: number): void {
    const { reads } = this.#requests;
    if (reads.results[read] !== OK) {
      this.target.share.counters.fail(OP_READ);
      this.#giveBack(index, head, statusAt, VIRTIO_BLK_S_IOERR, 1);
      return;
    }
    const queue = this.backend.queues[index] as Virtqueue;
    const length = reads.lengths[read] as number;
    if (queue.log !== undefined) queue.markWritten(reads.places[read] as number, length);
    this.#giveBack(index, head, statusAt, VIRTIO_BLK_S_OK, length + 1);
  }

  /** What is answered must survive: the driver cannot flush, or chose to have no cache. */
  get #isWriteThrough(): boolean {
    const { generation, features } = this.backend;
    if (generation !== this.#generation) {
      this.#generation = generation;
      const canFlush = hasFeature(features, VIRTIO_BLK_F_FLUSH);
      // Source: VIRTIO 1.2, 5.2.5.2: such a driver begins without a cache.
      if (this.#canFlush && !canFlush) this.#config[BLK_CONFIG_WRITEBACK] = 0;
      this.#canSwitch = hasFeature(features, VIRTIO_BLK_F_CONFIG_WCE);
      this.#canFlush = canFlush;
    }
    return this.#canSwitch ? this.#config[BLK_CONFIG_WRITEBACK] === 0 : !this.#canFlush;
  }

  #waitForFlush(index: number, head: number, statusAt: number): void {
    while (this.#flushBusy[this.#flushNext] === 1) this.#flushNext = (this.#flushNext + 1) % FLUSHES_MAX;
    const slot = this.#flushNext;
    this.#flushNext = (slot + 1) % FLUSHES_MAX;
    this.#flushBusy[slot] = 1;
    this.#flushCount++;
    this.#flushQueue[slot] = index;
    this.#flushHead[slot] = head;
    this.#flushStatus[slot] = statusAt;
    this.#flushes.wait(this, this.#epoch * EPOCH + slot);
  }

  flushed(tag: number, error: number): void {
    const slot = tag % EPOCH;
    if (Math.floor(tag / EPOCH) !== this.#epoch) return;
    this.#endFlush(slot, error || this.target.device.syncError);
    this.#publish();
  }

  #endFlush(slot: number, error: number): void {
    this.#flushBusy[slot] = 0;
    this.#flushCount--;
    if (error !== OK) this.target.share.counters.fail(OP_FLUSH);
    const status = error === OK ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
    this.#giveBack(
      this.#flushQueue[slot] as number,
      this.#flushHead[slot] as number,
      this.#flushStatus[slot] as number,
      status,
      1,
    );
  }

  #publish(): void {
    const { queues } = this.backend;
    for (let index = 0; index < queues.length; index++) {
      if (this.#touched[index] === 0) continue;
      this.#touched[index] = 0;
      if ((queues[index] as Virtqueue).publish()) this.backend.call(index);
    }
  }

  /** Asks for kicks before a sleep. False when something came meanwhile. */
  beginSleep(): boolean {
    const { queues } = this.backend;
    for (let index = 0; index < queues.length; index++) {
      const queue = queues[index] as Virtqueue;
      if (queue.size === 0) continue;
      queue.wantKicks(true);
      if (this.parked || this.stalled || this.throttled || !this.isServed) continue;
      // A driver without a descriptor to kick wants to be looked at all the time.
      if (queue.available() > 0 || (queue.enabled && !queue.broken && !this.backend.kicks(index)))
        return false;
    }
    return true;
  }

  endSleep(): void {
    const { queues } = this.backend;
    for (let index = 0; index < queues.length; index++) {
      if ((queues[index] as Virtqueue).size > 0) (queues[index] as Virtqueue).wantKicks(false);
    }
  }

  /** The device is larger now: the driver is told. */
  resized(): void {
    writeCapacity(this.#config, this.target.sizeBytes);
    this.backend.announceConfig();
  }

  /** No chain is taken from now on; what was taken is answered when this returns, and durable if it asked for that. */
  park(): void {
    this.#quiesce();
    this.parked = true;
    this.stalled = false;
  }

  /** Goes on with another export of the same name; false when the guest would have to learn what a device cannot tell it. */
  rebind(target: NbdExport): boolean {
    if (target.readOnly !== this.target.readOnly) return false;
    const isResized = target.sizeBytes !== this.target.sizeBytes;
    this.target = target;
    this.#requests.release();
    this.#requests = new BlkRequests(target, this.#window);
    this.parked = false;
    if (isResized) this.resized();
    return true;
  }

  close(): void {
    this.#epoch++;
    this.#flushCount = 0;
    this.#requests.release();
    this.backend.close();
  }

  /** Nothing is in flight afterwards. A sync under way answers later, to nobody. */
  #quiesce(): void {
    this.#requests.release();
    if (this.#flushCount === 0) return;
    const result = this.target.device.flush();
    for (let slot = 0; slot < FLUSHES_MAX; slot++) {
      if (this.#flushBusy[slot] === 1) this.#endFlush(slot, result === OK ? OK : EIO);
    }
    this.#epoch++;
    this.#publish();
  }

  /** Only the write cache can be changed. */
  #setConfig(offset: number, bytes: Uint8Array): boolean {
    if (offset !== BLK_CONFIG_WRITEBACK || bytes.byteLength !== 1 || (bytes[0] as number) > 1) return false;
    this.#config[BLK_CONFIG_WRITEBACK] = bytes[0] as number;
    return true;
  }
}

const FEATURES = [
  VIRTIO_BLK_F_SEG_MAX,
  VIRTIO_BLK_F_BLK_SIZE,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_TOPOLOGY,
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_MQ,
  VIRTIO_F_VERSION_1,
  VIRTIO_F_RING_PACKED,
  VIRTIO_RING_F_INDIRECT_DESC,
  VIRTIO_RING_F_EVENT_IDX,
  VHOST_F_LOG_ALL,
];
const WRITE_FEATURES = [VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES];
const PROTOCOL_FEATURES = [
  VHOST_USER_PROTOCOL_F_MQ,
  VHOST_USER_PROTOCOL_F_LOG_SHMFD,
  VHOST_USER_PROTOCOL_F_BACKEND_REQ,
  VHOST_USER_PROTOCOL_F_CONFIG,
];

function blkDevice(target: NbdExport, config: Uint8Array): VhostUserDevice {
  const more = target.readOnly ? [VIRTIO_BLK_F_RO] : WRITE_FEATURES;
  return {
    features: bits([...FEATURES, ...more]),
    protocolFeatures: bits(PROTOCOL_FEATURES),
    ringCount: BLK_QUEUES_MAX,
    queueCount: BLK_QUEUES_MAX,
    config,
  };
}

function hasFeature(features: bigint, bit: number): boolean {
  return ((features >> BigInt(bit)) & 1n) === 1n; // cold
}

function bits(numbers: readonly number[]): bigint {
  return numbers.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n); // cold
}
