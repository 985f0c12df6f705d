// A guest that means harm: speaks vhost-user as QEMU would, and then fills its rings, descriptor tables and headers with
// whatever a seed says, while the switch works on them.
//
//   connect with random features ─► random writes and kicks ─► vanish, or stop and start a ring, or another table ─► …
//
// Not for production. Thread: one. Hot: no.
import type { Random } from "../../base/random/index.js";
import {
  BUFFER_SIZE,
  FRONT_END_GUEST_BASE,
  FRONT_END_MEMORY_SIZE,
  FRONT_END_USER_BASE,
} from "../../base/virtio/fake-front-end.js";
import * as virtio from "../../base/virtio/index.js";
import { acceptGuest, type FakeGuest } from "../../vswitch/port/fake-guest.js";

const RING_SIZE = 256;
const RINGS = [0, 1];
const STEPS_PER_LIFE = 400;
const NO_FDS: readonly number[] = [];
const FEATURES = [
  virtio.VIRTIO_F_VERSION_1,
  virtio.VIRTIO_F_RING_PACKED,
  virtio.VIRTIO_F_IN_ORDER,
  virtio.VIRTIO_RING_F_EVENT_IDX,
  virtio.VIRTIO_RING_F_INDIRECT_DESC,
  virtio.VIRTIO_NET_F_MRG_RXBUF,
  virtio.VIRTIO_NET_F_CSUM,
  virtio.VIRTIO_NET_F_GUEST_CSUM,
  virtio.VIRTIO_NET_F_HOST_TSO4,
  virtio.VIRTIO_NET_F_GUEST_TSO4,
  virtio.VIRTIO_NET_F_HOST_USO,
];

export class HostileGuest {
  /** Lives so far, and things written. */
  lives = 0;
  writes = 0;
  readonly #path: string;
  readonly #random: Random;
  #guest: FakeGuest | undefined;

  constructor(path: string, random: Random) {
    this.#path = path;
    this.#random = random;
  }

  /** Goes on until `done`. */
  async rage(done: () => boolean): Promise<void> {
    while (!done()) {
      const chosen = FEATURES.filter(() => this.#random.chance(0.6));
      const features = chosen.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);
      const guest = await acceptGuest(this.#path, () => undefined, { features });
      this.#guest = guest;
      // The switch hangs up on what breaks the protocol; that may be in the midst of anything.
      await this.#live(guest, done).catch(() => undefined);
      this.close();
      this.lives++;
    }
  }

  close(): void {
    this.#guest?.close();
    this.#guest = undefined;
  }

  async #live(guest: FakeGuest, done: () => boolean): Promise<void> {
    const { frontEnd } = guest;
    await frontEnd.start();
    const random = this.#random;
    for (let i = 0; i < STEPS_PER_LIFE && !done() && !frontEnd.isClosed(); i++) {
      const ring = random.pick(RINGS);
      for (let n = random.below(60); n > 0; n--) this.#write(guest, ring);
      if (random.chance(0.03)) await this.#meddle(guest, ring);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #write({ frontEnd }: FakeGuest, ring: number): void {
    this.writes++;
    const random = this.#random;
    const { view } = frontEnd;
    const at = frontEnd.descriptorsAt(ring);
    const kind = random.below(8);
    if (kind < 4) this.#descriptor(view, at + random.below(RING_SIZE) * 16, ring);
    else if (kind === 4) {
      const available = frontEnd.availableAt(ring);
      view.setUint16(available + 4 + random.below(RING_SIZE) * 2, random.below(RING_SIZE + 2), true);
      const step = random.chance(0.98) ? random.below(8) : random.below(0x10000);
      view.setUint16(available + 2, (view.getUint16(available + 2, true) + step) & 0xffff, true);
    } else if (kind === 5) {
      // What the device writes: used elements, flags, what it waits for.
      view.setUint16(frontEnd.usedAt(ring) + random.below(RING_SIZE * 4) * 2, random.uint32(), true);
    } else if (kind === 6) {
      // Headers before frames.
      const buffer = frontEnd.bufferAt(ring, random.below(RING_SIZE));
      for (let i = 0; i < 12; i++) if (random.chance(0.3)) view.setUint8(buffer + i, random.below(256));
    } else frontEnd.bytes.set(random.bytes(8), random.below(FRONT_END_MEMORY_SIZE - 8));
  }

  /** A descriptor of either layout, most often one that makes sense. */
  #descriptor(view: DataView, at: number, ring: number): void {
    const random = this.#random;
    const inside = FRONT_END_GUEST_BASE + random.below(FRONT_END_MEMORY_SIZE);
    const edge = FRONT_END_GUEST_BASE + random.pick([0, FRONT_END_MEMORY_SIZE]) + random.below(40) - 20;
    const address = random.pick([inside, inside, inside, inside, edge, random.uint32() * 0x20_0000]);
    const length = random.pick([
      random.below(BUFFER_SIZE),
      random.below(100),
      16 * random.below(20),
      random.uint32(),
    ]);
    const state = random.pick([0x80, 0x80, 0x8000, 0x8000, 0x8080, 0]);
    const flags = random.chance(0.6) ? (ring === 0 ? 2 : 0) : random.below(8);
    view.setBigUint64(at, BigInt(address), true);
    view.setUint32(at + 8, length, true);
    // Split: flags and next; packed: id and flags.
    view.setUint16(at + 12, random.chance(0.5) ? flags : random.below(0x10000), true);
    view.setUint16(at + 14, random.chance(0.5) ? random.below(RING_SIZE + 2) : state | flags, true);
  }

  async #meddle({ frontEnd }: FakeGuest, ring: number): Promise<void> {
    const random = this.#random;
    switch (random.below(6)) {
      case 0:
        await frontEnd.stopRing(ring);
        frontEnd.startRing(ring, random.uint32() & 0x7fff);
        return;
      case 1:
        frontEnd.enableRing(ring, random.chance(0.5));
        return;
      case 2:
        frontEnd.shareMemory();
        return;
      case 3:
        frontEnd.send(virtio.VHOST_USER_SET_VRING_ADDR, {
          kind: "vringAddress",
          index: ring,
          flags: 0,
          descriptors: FRONT_END_USER_BASE + 16 * random.below(FRONT_END_MEMORY_SIZE / 16),
          available: FRONT_END_USER_BASE + 16 * random.below(FRONT_END_MEMORY_SIZE / 16),
          used: FRONT_END_USER_BASE + 16 * random.below(FRONT_END_MEMORY_SIZE / 16),
          log: 0,
        });
        return;
      case 4:
        frontEnd.send(virtio.VHOST_USER_SET_MEM_TABLE, { kind: "memoryTable", regions: [] }, NO_FDS);
        return;
      default:
        frontEnd.sendBytes(random.bytes(random.below(60)));
    }
  }
}
