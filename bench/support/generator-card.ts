// One virtio card of the bench's generator: a vhost-user front end whose rings are kept full by a few stores per frame.
// The conversation's words are written into the buffer as a guest's driver would, so the switch finds lines that another
// processor has just changed. Buffers are taken for given back in the order of the ring, as both switches do.
//
//   frame at buffer + 12: words 6–9 (IP checksum … UDP length) differ from conversation to conversation
//
// Thread: one. Hot: yes (pump).
import { closeFile, listenUnix, ringEventfd, sysAccept } from "../../base/linux/index.js";
import { waitFor } from "../../base/time/index.js";
import { BUFFER_SIZE, FakeFrontEnd, FRONT_END_GUEST_BASE } from "../../base/virtio/fake-front-end.js";
import { VIRTIO_F_VERSION_1, VIRTIO_NET_F_MRG_RXBUF } from "../../base/virtio/index.js";
import { frameOf, type TrafficSpec } from "./traffic.js";

const HEADER_SIZE = 12;
const RING_SIZE = 1024;
const RECEIVE = 0;
const TRANSMIT = 1;
const FEATURES = (1n << BigInt(VIRTIO_F_VERSION_1)) | (1n << BigInt(VIRTIO_NET_F_MRG_RXBUF));
/** REPLY_ACK; what else a switch offers would oblige us to things that a bench does not need. */
const PROTOCOL_FEATURES = 1n << 3n;
/** Words of the frame that tell conversations apart, and where they begin. */
const WORDS = 4;
const WORDS_AT = HEADER_SIZE + 24;
/** Where the time stamp lies in the payload. */
const STAMP_AT = HEADER_SIZE + 44;
const DEADLINE_MS = 30_000;

export class GeneratorCard {
  /** Frames that arrived, and that the switch took. */
  received = 0;
  taken = 0;
  readonly #frontEnd: FakeFrontEnd;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #conversations: Uint32Array;
  /** By slot: where its size begins in `#conversations`. */
  readonly #bySize = new Uint32Array(RING_SIZE);
  #order: Uint32Array;
  readonly #transmitBase: number;
  readonly #receiveBase: number;
  #next = 0;
  #offered = 0;
  #reaped = 0;
  #accepted = 0;

  private constructor(frontEnd: FakeFrontEnd, card: number, spec: TrafficSpec, order: Uint32Array) {
    this.#frontEnd = frontEnd;
    const { buffer, byteOffset, byteLength } = frontEnd.bytes;
    this.#u16 = new Uint16Array(buffer, byteOffset, byteLength >>> 1);
    this.#u32 = new Uint32Array(buffer, byteOffset, byteLength >>> 2);
    this.#order = order;
    const sizes = [...new Set(spec.sizes)];
    this.#conversations = new Uint32Array(sizes.length * spec.flows * WORDS);
    this.#transmitBase = frontEnd.bufferAt(TRANSMIT, 0);
    this.#receiveBase = frontEnd.bufferAt(RECEIVE, 0);
    for (const [which, size] of sizes.entries()) {
      for (let n = 0; n < spec.flows; n++) {
        const words = frameOf(spec, n, card, size).slice(24, 24 + 4 * WORDS);
        this.#conversations.set(new Uint32Array(words.buffer), (which * spec.flows + n) * WORDS);
      }
    }
    for (let i = 0; i < RING_SIZE; i++) {
      this.#bySize[i] = sizes.indexOf(spec.sizes[i % spec.sizes.length]!) * spec.flows;
    }
    // Not each card with the same conversation at the same time.
    this.#next = Math.floor((card * order.length) / 16);
  }

  /** Listens at `path` until a switch dials, and lays its rings out. */
  static async accept(
    path: string,
    card: number,
    spec: TrafficSpec,
    order: Uint32Array,
  ): Promise<GeneratorCard> {
    const listener = listenUnix(path);
    let fd = -1;
    try {
      await waitFor(
        () => {
          fd = sysAccept(listener);
          return fd >= 0;
        },
        `a switch to dial ${path}`,
        DEADLINE_MS,
        5,
      );
    } finally {
      closeFile(listener);
    }
    const frontEnd = new FakeFrontEnd({
      fd,
      ringCount: 2,
      ringSize: RING_SIZE,
      features: FEATURES,
      protocolFeatures: PROTOCOL_FEATURES,
    });
    const one = new GeneratorCard(frontEnd, card, spec, order);
    one.#layOut(card, spec);
    await frontEnd.start();
    return one;
  }

  /** Every slot of both rings gets its descriptor, once and for all. */
  #layOut(card: number, spec: TrafficSpec): void {
    const frontEnd = this.#frontEnd;
    for (const ring of [RECEIVE, TRANSMIT]) {
      const at = frontEnd.availableAt(ring) >>> 1;
      this.#u16[at] = 1; // No interrupts: both sides poll.
      for (let i = 0; i < RING_SIZE; i++) this.#u16[at + 2 + i] = i;
    }
    for (let i = 0; i < RING_SIZE; i++) {
      const size = spec.sizes[i % spec.sizes.length]!;
      const at = frontEnd.bufferAt(TRANSMIT, i);
      frontEnd.bytes.set(frameOf(spec, 0, card, size), at + HEADER_SIZE);
      frontEnd.setDescriptor(TRANSMIT, i, FRONT_END_GUEST_BASE + at, HEADER_SIZE + size, 0);
      const to = FRONT_END_GUEST_BASE + frontEnd.bufferAt(RECEIVE, i);
      frontEnd.setDescriptor(RECEIVE, i, to, BUFFER_SIZE, 2);
    }
  }

  get #kickFd(): number {
    return this.#frontEnd.rings[TRANSMIT]!.kickFd;
  }

  /** Gives every receive buffer to the switch again and counts what arrived. */
  reap(): number {
    const u16 = this.#u16;
    const used = u16[(this.#frontEnd.usedAt(RECEIVE) >>> 1) + 1]!;
    const count = (used - this.#reaped) & 0xffff;
    this.#reaped = used;
    this.received += count;
    u16[(this.#frontEnd.availableAt(RECEIVE) >>> 1) + 1] = used + RING_SIZE;
    return count;
  }

  /** As reap(), and calls `stamp` with the time stamp of each. */
  reapStamps(stamp: (hundredthsUs: number) => void): void {
    const first = this.#reaped;
    const count = this.reap();
    for (let i = 0; i < count; i++) {
      const at = this.#receiveBase + ((first + i) & (RING_SIZE - 1)) * BUFFER_SIZE;
      stamp(this.#u32[(at + STAMP_AT) >>> 2]!);
    }
  }

  /** Offers as many frames as there are free buffers, at most `most`; each has `stamp` in it. Returns how many. */
  offer(most: number, stamp = 0): number {
    const u16 = this.#u16;
    const u32 = this.#u32;
    const order = this.#order;
    const conversations = this.#conversations;
    const bySize = this.#bySize;
    const used = u16[(this.#frontEnd.usedAt(TRANSMIT) >>> 1) + 1]!;
    this.taken += (used - this.#accepted) & 0xffff;
    this.#accepted = used;
    const free = RING_SIZE - ((this.#offered - used) & 0xffff);
    const count = Math.min(free, most);
    if (count === 0) return 0;
    let next = this.#next;
    for (let i = 0; i < count; i++) {
      const slot = (this.#offered + i) & (RING_SIZE - 1);
      const at = this.#transmitBase + slot * BUFFER_SIZE;
      const from = (bySize[slot]! + order[next]!) * WORDS;
      if (++next === order.length) next = 0;
      const to = (at + WORDS_AT) >>> 2;
      u32[to] = conversations[from]!;
      u32[to + 1] = conversations[from + 1]!;
      u32[to + 2] = conversations[from + 2]!;
      u32[to + 3] = conversations[from + 3]!;
      if (stamp !== 0) u32[(at + STAMP_AT) >>> 2] = stamp;
    }
    this.#next = next;
    this.#offered = (this.#offered + count) & 0xffff;
    // The index must be there before the flags are read, or a switch that falls asleep meanwhile is not woken.
    Atomics.store(u16, (this.#frontEnd.availableAt(TRANSMIT) >>> 1) + 1, this.#offered);
    if ((Atomics.load(u16, this.#frontEnd.usedAt(TRANSMIT) >>> 1) & 1) === 0) ringEventfd(this.#kickFd);
    return count;
  }

  /** From now on frames come in this order, from its beginning. */
  follow(order: Uint32Array): void {
    this.#order = order;
    this.#next = 0;
  }

  close(): void {
    this.#frontEnd.close();
  }
}
