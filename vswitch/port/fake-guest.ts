// A guest with a virtio network card for tests: the net driver on top of a fake vhost-user front-end.
// Ring 0 receives, ring 1 transmits. Not for production. Thread: one. Hot: no.
import { closeFile, listenUnix, sysAccept, sysConnectUnix } from "../../base/linux/index.js";
import { waitFor } from "../../base/time/index.js";
import {
  BUFFER_SIZE,
  FakeFrontEnd,
  FRONT_END_GUEST_BASE,
  type FrontEndOptions,
} from "../../base/virtio/fake-front-end.js";
import {
  VIRTIO_F_VERSION_1,
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_RING_F_EVENT_IDX,
} from "../../base/virtio/index.js";

export const HEADER_SIZE = 12;
export const MODERN = 1n << BigInt(VIRTIO_F_VERSION_1);
export const MERGEABLE = MODERN | (1n << BigInt(VIRTIO_NET_F_MRG_RXBUF));

export const EVENT_INDEX = MERGEABLE | (1n << BigInt(VIRTIO_RING_F_EVENT_IDX));

/** How the guest lays a frame out in descriptors. */
export type Layout = "one" | "two" | "scattered";

export class FakeGuest {
  readonly frontEnd: FakeFrontEnd;
  layout: Layout = "one";

  constructor(options: Omit<FrontEndOptions, "ringCount">) {
    this.frontEnd = new FakeFrontEnd({ ...options, ringCount: 2 });
  }

  async start(bases: readonly number[] = []): Promise<void> {
    await this.frontEnd.start(bases);
    for (let i = 0; i < this.frontEnd.ringSize; i++) this.#offerBuffer(i);
  }

  /** The guest transmits; waits for free descriptors by calling `pump`. */
  async send(frame: Uint8Array, pump: () => void): Promise<void> {
    const needed = this.layout === "one" ? 1 : this.layout === "two" ? 2 : 4;
    const ring = this.frontEnd.rings[1]!;
    await waitFor(
      () => {
        this.#reclaim();
        if (ring.free.length >= needed) return true;
        pump();
        return false;
      },
      "free transmit descriptors",
      5000,
      1,
    );
    const slots = ring.free.splice(0, needed);
    const at = this.frontEnd.bufferAt(1, slots[0]!);
    const room = HEADER_SIZE + frame.byteLength;
    const { bytes } = this.frontEnd;
    bytes.fill(0, at, at + HEADER_SIZE);
    bytes.set(frame, at + HEADER_SIZE);
    const cuts = cutsOf(this.layout, room);
    for (let i = 0; i < needed; i++) {
      const [from, to] = [cuts[i]!, cuts[i + 1]!];
      const last = i === needed - 1;
      const address = FRONT_END_GUEST_BASE + at + from;
      this.frontEnd.setDescriptor(1, slots[i]!, address, to - from, last ? 0 : 1, slots[i + 1] ?? 0);
    }
    this.#chains.set(slots[0]!, slots);
    this.frontEnd.offer(1, slots[0]!);
  }

  /** Frames that arrived since the last call; their buffers are offered again. */
  receive(): Uint8Array[] {
    const frames: Uint8Array[] = [];
    for (;;) {
      const used = this.frontEnd.takeUsed(0);
      if (used === undefined) return frames;
      const at = this.frontEnd.bufferAt(0, used.head);
      const count = this.frontEnd.view.getUint16(at + 10, true);
      const parts = [this.frontEnd.bytes.slice(at + HEADER_SIZE, at + used.length)];
      this.#offerBuffer(used.head);
      for (let i = 1; i < count; i++) {
        const next = this.frontEnd.takeUsed(0);
        if (next === undefined) throw new Error("a frame's buffers were published one by one");
        const from = this.frontEnd.bufferAt(0, next.head);
        parts.push(this.frontEnd.bytes.slice(from, from + next.length));
        this.#offerBuffer(next.head);
      }
      frames.push(Uint8Array.from(Buffer.concat(parts)));
    }
  }

  close(): void {
    this.frontEnd.close();
  }

  readonly #chains = new Map<number, number[]>();

  #offerBuffer(slot: number): void {
    const address = FRONT_END_GUEST_BASE + this.frontEnd.bufferAt(0, slot);
    this.frontEnd.setDescriptor(0, slot, address, BUFFER_SIZE, 2);
    this.frontEnd.offer(0, slot);
  }

  #reclaim(): void {
    for (;;) {
      const used = this.frontEnd.takeUsed(1);
      if (used === undefined) return;
      this.frontEnd.rings[1]!.free.push(...(this.#chains.get(used.head) ?? []));
      this.#chains.delete(used.head);
    }
  }
}

function cutsOf(layout: Layout, size: number): number[] {
  if (layout === "one") return [0, size];
  if (layout === "two") return [0, HEADER_SIZE, size];
  return [0, 5, HEADER_SIZE + 3, HEADER_SIZE + 10, size];
}

/** A guest whose QEMU listens at `path`: resolves when the port has dialled. */
export async function acceptGuest(
  path: string,
  tick: () => void,
  options: Partial<FrontEndOptions> = {},
): Promise<FakeGuest> {
  const listener = listenUnix(path);
  try {
    let fd = -1;
    await waitFor(
      () => {
        tick();
        fd = sysAccept(listener);
        return fd >= 0;
      },
      "the port to dial",
      5000,
      1,
    );
    return new FakeGuest({ features: MODERN, pump: tick, ...options, fd });
  } finally {
    closeFile(listener);
  }
}

/** A guest whose QEMU dials `path`. */
export async function dialGuest(
  path: string,
  tick: () => void,
  options: Partial<FrontEndOptions> = {},
): Promise<FakeGuest> {
  let fd = -1;
  await waitFor(
    () => {
      tick();
      fd = sysConnectUnix(path);
      return fd >= 0;
    },
    "the port to listen",
    5000,
    1,
  );
  return new FakeGuest({ features: MODERN, pump: tick, ...options, fd });
}
