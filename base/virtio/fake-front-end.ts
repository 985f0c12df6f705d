// A vhost-user front-end for tests: real sockets, a real memfd, real rings, one driver in this thread. It plays the
// part of QEMU and of the guest, and can be told to misbehave by writing to `bytes` itself. Not for production.
//
//   memory of one region: ring i at i × RING_SPAN (descriptors, available, used), buffers behind all rings
//
// Thread: one. Hot: no.

import {
  addressOf,
  closeFile,
  createEventfd,
  createMemfd,
  drainEventfd,
  FileMapping,
  MessageChannel,
  ringEventfd,
  sealShrink,
} from "../linux/index.js";
import { waitFor } from "../time/index.js";
import { type FakeBuffer, FakePackedDriver } from "./fake-packed-driver.js";
import * as wire from "./vhost-user-wire.js";

export const FRONT_END_GUEST_BASE = 0x4000_0000;
export const FRONT_END_USER_BASE = 0x7f12_3456_0000;
const RING_SPAN = 0x8000;
export const BUFFER_SIZE = 2048;
/** Both wrap counters of a packed ring that begins. */
const PACKED_BASE = 0x8000_8000;
export const FRONT_END_MEMORY_SIZE = 8 << 20;

export interface FrontEndOptions {
  /** A connected, non-blocking socket; the front-end owns it. */
  readonly fd: number;
  readonly ringCount: number;
  readonly ringSize?: number;
  /** Features to accept, of those offered. */
  readonly features?: bigint;
  /** Protocol features to accept, of those offered; all when absent. */
  readonly protocolFeatures?: bigint;
  /** Memory in which chains in flight are tracked, of an earlier life; "ask": a new one. */
  readonly inflight?: InflightMemory | "ask";
  /** The back-end runs in this thread: called while waiting for an answer. */
  readonly pump?: () => void;
  readonly seal?: boolean;
}

export interface InflightMemory {
  readonly fd: number;
  readonly description: wire.VhostUserInflight;
}

/** One ring as the driver sees it. */
interface DriverRing {
  readonly index: number;
  readonly kickFd: number;
  readonly callFd: number;
  nextAvailable: number;
  nextUsed: number;
  /** Buffer numbers not with the device. */
  readonly free: number[];
  /** Heads with the device in the order of offering, and those that one element gave back in order, to be told. */
  readonly offered: number[];
  readonly run: number[];
  /** Of a packed ring; the indices above are not used then. */
  packed: FakePackedDriver | undefined;
}

export class FakeFrontEnd {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly rings: DriverRing[] = [];
  readonly ringSize: number;
  /** Negotiated. */
  features = 0n;
  readonly #options: FrontEndOptions;
  #fd: number;
  readonly #memfd: number;
  readonly #mapping: FileMapping;
  readonly #channel = new MessageChannel();
  readonly #received = new Uint8Array(1024);
  /** Descriptors that came with the last answer. */
  #answerFds: number[] = [];
  #closed = false;

  constructor(options: FrontEndOptions) {
    this.#options = options;
    this.#fd = options.fd;
    this.ringSize = options.ringSize ?? 256;
    this.#memfd = createMemfd("guest", FRONT_END_MEMORY_SIZE);
    if (options.seal ?? true) sealShrink(this.#memfd);
    this.#mapping = new FileMapping(this.#memfd, FRONT_END_MEMORY_SIZE);
    this.bytes = new Uint8Array(this.#mapping.buffer);
    this.view = new DataView(this.#mapping.buffer);
  }

  /** The whole handshake, as QEMU does it; `bases` continue from an earlier life. */
  async start(bases: readonly number[] = []): Promise<void> {
    await this.negotiate();
    this.shareMemory();
    await this.#shareInflight();
    for (let index = 0; index < this.#options.ringCount; index++) this.startRing(index, bases[index] ?? 0);
    for (let index = 0; index < this.#options.ringCount; index++) {
      this.enableRing(index, true);
    }
  }

  /**
   * The handshake with another back-end over `fd`, as QEMU does it when the one before has died: the guest notices
   * nothing, and its split rings go on where they say. The socket before is closed.
   */
  async reconnect(fd: number): Promise<void> {
    closeFile(this.#fd);
    this.#fd = fd;
    await this.negotiate();
    this.shareMemory();
    for (const ring of this.rings)
      this.#announce(ring, this.view.getUint16(this.usedAt(ring.index) + 2, true));
    for (const { index } of this.rings) this.enableRing(index, true);
  }

  async negotiate(): Promise<void> {
    const offered = await this.ask(wire.VHOST_USER_GET_FEATURES);
    this.send(wire.VHOST_USER_SET_OWNER, { kind: "none" });
    const protocol = await this.ask(wire.VHOST_USER_GET_PROTOCOL_FEATURES);
    const { protocolFeatures = protocol } = this.#options;
    this.send(wire.VHOST_USER_SET_PROTOCOL_FEATURES, { kind: "u64", value: protocol & protocolFeatures });
    const wanted = this.#options.features ?? 1n << BigInt(wire.VIRTIO_F_VERSION_1);
    this.features = offered & (wanted | (1n << BigInt(wire.VHOST_USER_F_PROTOCOL_FEATURES)));
    this.send(wire.VHOST_USER_SET_FEATURES, { kind: "u64", value: this.features });
  }

  /** Starts or stops the marking of writes, as QEMU does when it moves a machine; `fd` holds the log. */
  async logWrites(fd: number, sizeBytes: number, on: boolean): Promise<void> {
    const bit = 1n << BigInt(wire.VHOST_F_LOG_ALL);
    this.features = on ? this.features | bit : this.features & ~bit;
    if (on) {
      this.send(wire.VHOST_USER_SET_LOG_BASE, { kind: "log", sizeBytes, offset: 0 }, [fd]);
      const { payload } = await this.answer();
      if (payload.kind !== "u64" || payload.value !== 0n) throw new Error("the log was refused");
    }
    this.send(wire.VHOST_USER_SET_FEATURES, { kind: "u64", value: this.features });
    for (const ring of this.rings) this.#sendAddresses(ring.index, on);
  }

  shareMemory(): void {
    const region = {
      guestAddress: FRONT_END_GUEST_BASE,
      sizeBytes: FRONT_END_MEMORY_SIZE,
      userAddress: FRONT_END_USER_BASE,
      fileOffset: 0,
    };
    this.send(wire.VHOST_USER_SET_MEM_TABLE, { kind: "memoryTable", regions: [region] }, [this.#memfd]);
  }

  /** The memory in which the back-end tracks what is in flight; the caller's to close. */
  inflight: InflightMemory | undefined = undefined;

  async #shareInflight(): Promise<void> {
    const wanted = this.#options.inflight;
    if (wanted === undefined) return;
    this.inflight = wanted === "ask" ? await this.#askInflight() : wanted;
    const { fd, description } = this.inflight;
    this.send(wire.VHOST_USER_SET_INFLIGHT_FD, { kind: "inflight", inflight: description }, [fd]);
  }

  async #askInflight(): Promise<InflightMemory> {
    const { ringCount } = this.#options;
    const inflight = { sizeBytes: 0, fileOffset: 0, queueCount: ringCount, queueSize: this.ringSize };
    this.send(wire.VHOST_USER_GET_INFLIGHT_FD, { kind: "inflight", inflight });
    const { payload } = await this.answer();
    const fd = this.#answerFds[0];
    if (payload.kind !== "inflight" || fd === undefined) throw new Error(`unexpected answer ${payload.kind}`);
    return { fd, description: payload.inflight };
  }

  startRing(index: number, base: number): void {
    const ring = this.#ring(index);
    if (this.has(wire.VIRTIO_F_RING_PACKED)) {
      this.#startPacked(index, ring, base);
      return;
    }
    ring.nextAvailable = base;
    ring.nextUsed = base;
    this.#announce(ring, base);
  }

  /** A ring of zeroes when the driver is new; else `base` is where another back-end stopped. */
  #startPacked(index: number, ring: DriverRing, base: number): void {
    ring.packed ??= new FakePackedDriver({
      view: this.view,
      descriptors: this.descriptorsAt(index),
      driverEvent: this.availableAt(index),
      deviceEvent: this.usedAt(index),
      size: this.ringSize,
      inOrder: this.has(wire.VIRTIO_F_IN_ORDER),
      eventIndex: this.has(wire.VIRTIO_RING_F_EVENT_IDX),
    });
    this.#announce(ring, base === 0 ? PACKED_BASE : base);
  }

  /** Starts a ring that was stopped where the back-end said; the driver noticed nothing. */
  restartRing(index: number, base: number): void {
    this.#announce(this.rings[index]!, base);
  }

  #announce({ index, callFd, kickFd }: DriverRing, base: number): void {
    this.send(wire.VHOST_USER_SET_VRING_NUM, { kind: "vringState", index, num: this.ringSize });
    this.send(wire.VHOST_USER_SET_VRING_BASE, { kind: "vringState", index, num: base });
    this.#sendAddresses(index, false);
    this.send(wire.VHOST_USER_SET_VRING_CALL, { kind: "u64", value: BigInt(index) }, [callFd]);
    this.send(wire.VHOST_USER_SET_VRING_KICK, { kind: "u64", value: BigInt(index) }, [kickFd]);
  }

  #sendAddresses(index: number, log: boolean): void {
    this.send(wire.VHOST_USER_SET_VRING_ADDR, {
      kind: "vringAddress",
      index,
      flags: log ? wire.VHOST_VRING_F_LOG : 0,
      descriptors: FRONT_END_USER_BASE + this.descriptorsAt(index),
      available: FRONT_END_USER_BASE + this.availableAt(index),
      used: FRONT_END_USER_BASE + this.usedAt(index),
      log: FRONT_END_GUEST_BASE + this.usedAt(index),
    });
  }

  descriptorsAt(index: number): number {
    return index * RING_SPAN;
  }
  availableAt(index: number): number {
    return index * RING_SPAN + 0x4000;
  }
  usedAt(index: number): number {
    return index * RING_SPAN + 0x5000;
  }
  bufferAt(ring: number, buffer: number): number {
    return this.#options.ringCount * RING_SPAN + (ring * this.ringSize + buffer) * BUFFER_SIZE;
  }

  setDescriptor(ring: number, slot: number, address: number, length: number, flags: number, next = 0): void {
    const at = this.descriptorsAt(ring) + slot * 16;
    this.view.setBigUint64(at, BigInt(address), true);
    this.view.setUint32(at + 8, length, true);
    this.view.setUint16(at + 12, flags, true);
    this.view.setUint16(at + 14, next, true);
  }

  /** Makes a chain available that is named by the first of its `slots`, one per buffer, and kicks if that is wanted. */
  offerChain(index: number, slots: readonly number[], buffers: readonly FakeBuffer[]): void {
    const ring = this.rings[index]!;
    if (ring.packed !== undefined) {
      ring.packed.offer(slots[0]!, buffers);
      if (ring.packed.wantsKick) ringEventfd(ring.kickFd);
      return;
    }
    buffers.forEach(({ address, length, flags }, i) => {
      const more = i < buffers.length - 1 ? 1 : 0;
      this.setDescriptor(index, slots[i]!, address, length, flags | more, slots[i + 1] ?? 0);
    });
    this.offer(index, slots[0]!);
  }

  /** Puts chain `head` into the available ring and kicks if the device wants it. */
  offer(index: number, head: number): void {
    const ring = this.rings[index]!;
    const at = this.availableAt(index);
    this.view.setUint16(at + 4 + (ring.nextAvailable & (this.ringSize - 1)) * 2, head, true);
    ring.nextAvailable = (ring.nextAvailable + 1) & 0xffff;
    if (this.has(wire.VIRTIO_F_IN_ORDER)) ring.offered.push(head);
    this.view.setUint16(at + 2, ring.nextAvailable, true);
    if (this.#wantsKick(index, ring.nextAvailable)) ringEventfd(ring.kickFd);
  }

  /** `next`: the available index after one more chain. */
  #wantsKick(index: number, next: number): boolean {
    const used = this.usedAt(index);
    if (!this.has(wire.VIRTIO_RING_F_EVENT_IDX)) return (this.view.getUint16(used, true) & 1) === 0;
    return this.view.getUint16(used + 4 + this.ringSize * 8, true) === ((next - 1) & 0xffff);
  }

  /** Whether feature `bit` was negotiated. */
  has(bit: number): boolean {
    return ((this.features >> BigInt(bit)) & 1n) === 1n;
  }

  /** The next used element, or undefined. */
  takeUsed(index: number): { head: number; length: number } | undefined {
    const ring = this.rings[index]!;
    if (ring.packed !== undefined) return ring.packed.takeUsed();
    const told = ring.run.shift();
    if (told !== undefined) return { head: told, length: 0 };
    const at = this.usedAt(index);
    if (this.view.getUint16(at + 2, true) === ring.nextUsed) return undefined;
    const element = at + 4 + (ring.nextUsed & (this.ringSize - 1)) * 8;
    const last = this.view.getUint32(element, true);
    if (this.has(wire.VIRTIO_F_IN_ORDER)) {
      const count = ring.offered.indexOf(last) + 1;
      if (count === 0) throw new Error(`the device gives back ${last}, which it does not have`);
      ring.run.push(...ring.offered.splice(0, count).slice(0, -1));
    }
    ring.nextUsed = (ring.nextUsed + ring.run.length + 1) & 0xffff;
    // used_event: a call with the next one, please.
    this.view.setUint16(this.availableAt(index) + 4 + this.ringSize * 2, ring.nextUsed, true);
    ring.run.push(last);
    return {
      head: ring.run.shift()!,
      length: ring.run.length > 0 ? 0 : this.view.getUint32(element + 4, true),
    };
  }

  /** True when the device called since the last time. */
  wasCalled(index: number): boolean {
    return drainEventfd(this.rings[index]!.callFd);
  }

  send(request: number, payload: wire.VhostUserPayload, fds: readonly number[] = [], flags = 1): void {
    this.sendBytes(wire.encodeVhostUserMessage({ request, flags, payload }), fds);
  }

  sendBytes(bytes: Uint8Array, fds: readonly number[] = []): number {
    return this.#channel.send(this.#fd, addressOf(bytes), bytes.byteLength, fds);
  }

  /** Sends a request without payload and waits for its u64. */
  async ask(request: number): Promise<bigint> {
    this.send(request, { kind: "none" });
    const { payload } = await this.answer();
    if (payload.kind !== "u64") throw new Error(`unexpected answer ${payload.kind}`);
    return payload.value;
  }

  /** Sends a request that wants an acknowledgement, and waits for it: 0 is success. */
  async acknowledged(
    request: number,
    payload: wire.VhostUserPayload,
    fds: readonly number[] = [],
  ): Promise<bigint> {
    this.send(request, payload, fds, wire.VHOST_USER_VERSION | wire.VHOST_USER_NEED_REPLY_FLAG);
    const answer = await this.answer();
    if (answer.request !== request || answer.payload.kind !== "u64") {
      throw new Error(`unexpected answer to ${answer.request}`);
    }
    return answer.payload.value;
  }

  enableRing(index: number, enabled: boolean): void {
    this.send(wire.VHOST_USER_SET_VRING_ENABLE, { kind: "vringState", index, num: enabled ? 1 : 0 });
  }

  async stopRing(index: number): Promise<number> {
    this.send(wire.VHOST_USER_GET_VRING_BASE, { kind: "vringState", index, num: 0 });
    const { payload } = await this.answer();
    if (payload.kind !== "vringState") throw new Error(`unexpected answer ${payload.kind}`);
    return payload.num;
  }

  /** The next message from the back-end. */
  async answer(): Promise<wire.VhostUserMessage> {
    let have = 0;
    this.#answerFds = [];
    await waitFor(
      () => {
        this.#options.pump?.();
        const need = have < 12 ? 12 - have : 12 + wire.parseVhostUserHeader(this.#received).sizeBytes - have;
        if (need > 0) {
          const count = this.#channel.receive(this.#fd, addressOf(this.#received) + have, need);
          if (count === 0) throw new Error("the back-end has closed");
          for (let i = 0; i < this.#channel.fdCount; i++) this.#answerFds.push(this.#channel.fds[i]!);
          if (count > 0) have += count;
        }
        return have >= 12 && have === 12 + wire.parseVhostUserHeader(this.#received).sizeBytes;
      },
      "an answer of the back-end",
      5000,
      1,
    );
    return wire.parseVhostUserMessage(this.#received.subarray(0, have));
  }

  /** True when the back-end has closed the connection. */
  isClosed(): boolean {
    const count = this.#channel.receive(this.#fd, addressOf(this.#received), 1);
    return count === 0 || count === -104;
  }

  /** Vanishes like a killed process: no message, memory gone. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#mapping.unmap();
    for (const ring of this.rings) {
      closeFile(ring.kickFd);
      closeFile(ring.callFd);
    }
    closeFile(this.#memfd);
    closeFile(this.#fd);
  }

  #ring(index: number): DriverRing {
    const known = this.rings[index];
    if (known !== undefined) return known;
    const free = Array.from({ length: this.ringSize }, (_, i) => i);
    const ring = {
      index,
      kickFd: createEventfd(),
      callFd: createEventfd(),
      nextAvailable: 0,
      nextUsed: 0,
      free,
      offered: [],
      run: [],
      packed: undefined,
    };
    this.rings[index] = ring;
    return ring;
  }
}
