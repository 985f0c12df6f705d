// A guest with a virtio network card for tests: the net driver on top of a fake vhost-user front-end.
// Rings 0, 2, … receive, rings 1, 3, … transmit. Not for production. Thread: one. Hot: no.
import { closeFile, type Epoll, listenUnix, sysAccept, sysConnectUnix } from "../../base/linux/index.js";
import type { Port } from "../../base/packet/index.js";
import { waitFor } from "../../base/time/index.js";
import {
  BUFFER_SIZE,
  FakeFrontEnd,
  FRONT_END_GUEST_BASE,
  type FrontEndOptions,
} from "../../base/virtio/fake-front-end.js";
import {
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_RING_F_EVENT_IDX,
} from "../../base/virtio/index.js";

export const HEADER_SIZE = 12;
export const MODERN = 1n << BigInt(VIRTIO_F_VERSION_1);
export const MERGEABLE = MODERN | (1n << BigInt(VIRTIO_NET_F_MRG_RXBUF));

export const EVENT_INDEX = MERGEABLE | (1n << BigInt(VIRTIO_RING_F_EVENT_IDX));
export const PACKED = MERGEABLE | (1n << BigInt(VIRTIO_F_RING_PACKED));
export const IN_ORDER = 1n << BigInt(VIRTIO_F_IN_ORDER);

/** Above every head: chains of all rings are in one map. */
const CHAIN_KEY = 0x1_0000;

/** How the guest lays a frame out in descriptors. */
export type Layout = "one" | "two" | "scattered";

export class FakeGuest {
  readonly frontEnd: FakeFrontEnd;
  layout: Layout = "one";

  readonly #pairs: number;

  constructor(options: Omit<FrontEndOptions, "ringCount"> & { readonly pairs?: number }) {
    this.#pairs = options.pairs ?? 1;
    this.frontEnd = new FakeFrontEnd({ ...options, ringCount: 2 * this.#pairs });
  }

  async start(bases: readonly number[] = []): Promise<void> {
    await this.frontEnd.start(bases);
    for (let pair = 0; pair < this.#pairs; pair++) {
      for (let i = 0; i < this.frontEnd.ringSize; i++) this.#offerBuffer(i, pair);
    }
  }

  /**
   * The guest transmits by queue `pair`; waits for free descriptors by calling `pump`. What no buffer holds lies in as
   * many as it takes.
   */
  async send(
    frame: Uint8Array,
    pump: () => void,
    pair = 0,
    header: Uint8Array = new Uint8Array(HEADER_SIZE),
  ): Promise<void> {
    const index = 2 * pair + 1;
    const cuts = cutsOf(this.layout, HEADER_SIZE + frame.byteLength);
    const needed = cuts.length - 1;
    const ring = this.frontEnd.rings[index]!;
    await waitFor(
      () => {
        this.#reclaim(index);
        if (ring.free.length >= needed) return true;
        pump();
        return false;
      },
      "free transmit descriptors",
      5000,
      1,
    );
    const slots = ring.free.splice(0, needed);
    const all = Buffer.concat([header, frame]);
    const { bytes } = this.frontEnd;
    const buffers = slots.map((slot, i) => {
      const [from, to] = [cuts[i]!, cuts[i + 1]!];
      const at = this.frontEnd.bufferAt(index, slot);
      bytes.set(all.subarray(from, to), at);
      return { address: FRONT_END_GUEST_BASE + at, length: to - from, flags: 0 };
    });
    this.#chains.set(index * CHAIN_KEY + slots[0]!, slots);
    this.frontEnd.offerChain(index, slots, buffers);
  }

  /** Frames that arrived by queue `pair` since the last call; their buffers are offered again. */
  receive(pair = 0): Uint8Array[] {
    return this.receiveWithHeaders(pair).map(({ frame }) => frame);
  }

  /** As receive(), with the header before each frame. */
  receiveWithHeaders(pair = 0): { readonly header: Buffer; readonly frame: Uint8Array }[] {
    const index = 2 * pair;
    const received: { readonly header: Buffer; readonly frame: Uint8Array }[] = [];
    for (;;) {
      const used = this.frontEnd.takeUsed(index);
      if (used === undefined) return received;
      const at = this.frontEnd.bufferAt(index, used.head);
      const count = this.frontEnd.view.getUint16(at + 10, true);
      const header = Buffer.from(this.frontEnd.bytes.slice(at, at + HEADER_SIZE));
      const parts = [this.frontEnd.bytes.slice(at + HEADER_SIZE, at + used.length)];
      this.#offerBuffer(used.head, pair);
      for (let i = 1; i < count; i++) {
        const next = this.frontEnd.takeUsed(index);
        if (next === undefined) throw new Error("a frame's buffers were published one by one");
        const from = this.frontEnd.bufferAt(index, next.head);
        parts.push(this.frontEnd.bytes.slice(from, from + next.length));
        this.#offerBuffer(next.head, pair);
      }
      received.push({ header, frame: Uint8Array.from(Buffer.concat(parts)) });
    }
  }

  close(): void {
    this.frontEnd.close();
  }

  readonly #chains = new Map<number, number[]>();

  #offerBuffer(slot: number, pair: number): void {
    const address = FRONT_END_GUEST_BASE + this.frontEnd.bufferAt(2 * pair, slot);
    this.frontEnd.offerChain(2 * pair, [slot], [{ address, length: BUFFER_SIZE, flags: 2 }]);
  }

  #reclaim(index: number): void {
    for (;;) {
      const used = this.frontEnd.takeUsed(index);
      if (used === undefined) return;
      const key = index * CHAIN_KEY + used.head;
      this.frontEnd.rings[index]!.free.push(...(this.#chains.get(key) ?? []));
      this.#chains.delete(key);
    }
  }
}

function cutsOf(layout: Layout, size: number): number[] {
  if (size > BUFFER_SIZE) {
    const count = Math.ceil(size / BUFFER_SIZE);
    return Array.from({ length: count + 1 }, (_, i) => Math.min(size, i * BUFFER_SIZE));
  }
  if (layout === "one") return [0, size];
  if (layout === "two") return [0, HEADER_SIZE, size];
  return [0, 5, HEADER_SIZE + 3, HEADER_SIZE + 10, size];
}

/** A guest whose QEMU listens at `path`: resolves when the port has dialled. */
export async function acceptGuest(
  path: string,
  tick: () => void,
  options: Partial<FrontEndOptions> & { readonly pairs?: number } = {},
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
  options: Partial<FrontEndOptions> & { readonly pairs?: number } = {},
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

/** Ticks `port` until it sleeps, with nothing in `epoll` that would wake it. */
export async function asleep(port: Port, epoll: Epoll): Promise<void> {
  await waitFor(
    () => {
      port.tick(performance.now());
      const isAsleep = port.beginSleep() && epoll.wait(0) === 0;
      if (!isAsleep) port.endSleep();
      return isAsleep;
    },
    "silence",
    5000,
    1,
  );
}

/** Ticks `port` until its link is up. */
export async function linkUp(port: Port & { readonly lastError: string }): Promise<void> {
  await waitFor(
    () => {
      port.tick(performance.now());
      return port.linkUp;
    },
    () => `link: ${port.lastError}`,
    5000,
    1,
  );
}
