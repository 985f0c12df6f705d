// One of the four rings of an AF_XDP socket, which user space and kernel share: we are producer of two of them and consumer
// of the others. Source: linux/if_xdp.h. Invariant: one thread at a time works on a ring. Thread: that one. Hot: yes.

/** Entries of every ring: a power of two. */
export const XDP_RING_ENTRIES = 1024;
const RING_NEED_WAKEUP = 1;

/** Where the parts of a ring lie, in words behind the beginning of its mapping. */
export interface XdpRingPlace {
  /** Of the mapping. */
  readonly address: number;
  readonly sizeBytes: number;
  readonly producerAt: number;
  readonly consumerAt: number;
  readonly entriesAt: number;
  readonly flagsAt: number;
  readonly entryWords: number;
}

export class XdpRing {
  readonly place: XdpRingPlace;
  readonly words: Uint32Array;
  readonly #signed: Int32Array;
  readonly #producerAt: number;
  readonly #consumerAt: number;
  readonly #entriesAt: number;
  readonly #flagsAt: number;
  readonly #entryWords: number;
  /** Our end, not published yet. */
  #ours = 0;

  /** `buffer`: the mapping. */
  constructor(buffer: ArrayBuffer, place: XdpRingPlace) {
    this.place = place;
    this.words = new Uint32Array(buffer);
    this.#signed = new Int32Array(buffer);
    this.#producerAt = place.producerAt;
    this.#consumerAt = place.consumerAt;
    this.#entriesAt = place.entriesAt;
    this.#flagsAt = place.flagsAt;
    this.#entryWords = place.entryWords;
  }

  /** Goes on where another thread has left the ring, as its consumer. */
  resumeConsuming(): void {
    this.#ours = Atomics.load(this.#signed, this.#consumerAt);
  }

  /** The same as its producer. */
  resumeProducing(): void {
    this.#ours = Atomics.load(this.#signed, this.#producerAt);
  }

  /** As consumer: entries to take. */
  filled(): number {
    return (Atomics.load(this.#signed, this.#producerAt) - this.#ours) | 0;
  }

  /** As producer: entries that may be put. */
  room(): number {
    return XDP_RING_ENTRIES - ((this.#ours - Atomics.load(this.#signed, this.#consumerAt)) | 0);
  }

  /** As producer: whether the kernel has not taken everything. */
  isPending(): boolean {
    return Atomics.load(this.#signed, this.#consumerAt) !== this.#ours;
  }

  /** Where the next entry to take is, which is taken by this. */
  consumeAt(): number {
    return this.#advance();
  }

  produceAt(): number {
    return this.#advance();
  }

  publishConsumed(): void {
    Atomics.store(this.#signed, this.#consumerAt, this.#ours);
  }

  publishProduced(): void {
    Atomics.store(this.#signed, this.#producerAt, this.#ours);
  }

  needsWakeup(): boolean {
    return (Atomics.load(this.#signed, this.#flagsAt) & RING_NEED_WAKEUP) !== 0;
  }

  #advance(): number {
    const at = this.#entriesAt + (this.#ours & (XDP_RING_ENTRIES - 1)) * this.#entryWords;
    this.#ours = (this.#ours + 1) | 0;
    return at;
  }
}
