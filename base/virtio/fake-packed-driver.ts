// The driver's side of a packed ring for tests, written down from the specification: makes chains available, takes used
// elements. Not for production. Source: VIRTIO 1.2, 2.8. Thread: one. Hot: no.

/** One buffer of a chain; flags: WRITE or INDIRECT. */
export interface FakeBuffer {
  readonly address: number;
  readonly length: number;
  readonly flags: number;
}

export interface FakePackedDriverOptions {
  readonly view: DataView;
  /** Offsets in `view`. */
  readonly descriptors: number;
  readonly driverEvent: number;
  readonly deviceEvent: number;
  readonly size: number;
  readonly inOrder?: boolean;
  readonly eventIndex?: boolean;
}

const NEXT = 1;
const AVAIL = 0x80;
const USED = 0x8000;
const EVENT_DISABLE = 1;
const EVENT_DESC = 2;

export class FakePackedDriver {
  readonly #options: FakePackedDriverOptions;
  #next = 0;
  #wrap = 1;
  #used = 0;
  #usedWrap = 1;
  /** Chains with the device, oldest first. */
  readonly #chains: { readonly id: number; readonly length: number }[] = [];
  /** Chains that one element gave back, still to be told. */
  readonly #run: { head: number; length: number }[] = [];

  constructor(options: FakePackedDriverOptions) {
    this.#options = options;
    this.callMeAtNext();
  }

  /** Descriptors that are not with the device. */
  get free(): number {
    return this.#options.size - this.#chains.reduce((sum, { length }) => sum + length, 0);
  }

  /** Makes a chain available under `id`; the first descriptor's flags are written last. */
  offer(id: number, buffers: readonly FakeBuffer[]): void {
    const { view, descriptors, size } = this.#options;
    if (buffers.length > this.free) throw new Error("the ring is full");
    const writes: (() => void)[] = [];
    buffers.forEach(({ address, length, flags }, i) => {
      const at = descriptors + this.#next * 16;
      const next = i === buffers.length - 1 ? 0 : NEXT;
      const state = this.#wrap === 1 ? AVAIL : USED;
      view.setBigUint64(at, BigInt(address), true);
      view.setUint32(at + 8, length, true);
      view.setUint16(at + 12, id, true);
      writes.push(() => view.setUint16(at + 14, flags | next | state, true));
      if (++this.#next < size) return;
      this.#next = 0;
      this.#wrap ^= 1;
    });
    for (const write of writes.reverse()) write();
    this.#chains.push({ id, length: buffers.length });
  }

  /** The next chain that the device has given back, or undefined. */
  takeUsed(): { head: number; length: number } | undefined {
    const told = this.#run.shift();
    if (told !== undefined) return told;
    const { view, descriptors, inOrder = false } = this.#options;
    const at = descriptors + this.#used * 16;
    const flags = view.getUint16(at + 14, true);
    if ((flags & (AVAIL | USED)) !== (this.#usedWrap === 1 ? AVAIL | USED : 0)) return undefined;
    const id = view.getUint16(at + 12, true);
    const position = this.#chains.findIndex((chain) => chain.id === id);
    if (position < 0) throw new Error(`the device gives back ${id}, which it does not have`);
    if (inOrder) for (let i = 0; i < position; i++) this.#run.push({ head: this.#reclaim(0), length: 0 });
    this.#run.push({ head: this.#reclaim(inOrder ? 0 : position), length: view.getUint32(at + 8, true) });
    this.callMeAtNext();
    return this.#run.shift();
  }

  /** Whether the device wants to be kicked for what was offered last. */
  get wantsKick(): boolean {
    return (this.#options.view.getUint16(this.#options.deviceEvent + 2, true) & 3) !== EVENT_DISABLE;
  }

  /** Asks for a call with the next used element. */
  callMeAtNext(): void {
    const { view, driverEvent, eventIndex = false } = this.#options;
    view.setUint16(driverEvent, this.#used | (this.#usedWrap << 15), true);
    view.setUint16(driverEvent + 2, eventIndex ? EVENT_DESC : 0, true);
  }

  #reclaim(position: number): number {
    const [chain] = this.#chains.splice(position, 1);
    this.#used += chain!.length;
    if (this.#used >= this.#options.size) {
      this.#used -= this.#options.size;
      this.#usedWrap ^= 1;
    }
    return chain!.id;
  }
}
