// Frames of a burst that stay in the memory of the guest that sent them until it is known who gets them: from guest to
// guest by one copy, without packets.
//
//   chains taken ─► receive(): the start of each frame to a place of ours ─► judged by that ─► deliver()
//
// What a frame is judged by is what is delivered: its sender may write to it meanwhile, so the start is never read
// there again. Behind it lies nothing that was looked at.
// A closure, one for each pool, and not a class: see base/virtio/window-copy.ts.
// Invariant: nothing is kept from burst to burst. Thread: the datapath worker's. Hot: yes.
import {
  BATCH_SIZE,
  FRAME_SIZE_MAX,
  FRAME_SIZE_MIN,
  HEADROOM,
  type PacketPool,
} from "../../base/packet/index.js";
import { BLOCK_SIZE, type GuestWindow, type SplitFrames, type Virtqueue } from "../../base/virtio/index.js";
import { flowHash } from "./flow-spread.js";
import { HEADER_SIZE, QUEUE_PAIRS_MAX } from "./virtio-net-device.js";

/** Bytes of a frame that are taken out of the guest's memory before it is judged. */
export const START_SIZE = BLOCK_SIZE;
/** The starts lie so far apart, and like frames behind a header in an aligned buffer: a copy moves whole words then. */
const START_STRIDE = 2 * START_SIZE;

/** `starts`: places in the arena. */
export interface DirectFrames extends SplitFrames {
  /**
   * Takes in the starts of the frames in the first `taken` chains of the burst, up to the first that is not whole in one
   * descriptor, or with `undone` has work left to others; returns how many. `place` is a packet whose room may be used.
   */
  receive(queue: Virtqueue, taken: number, undone: boolean, place: number): number;
  /**
   * Writes the frames from `first` up to `end` to the queue, which shows the guest nothing of them yet, one into each
   * chain, up to the first chain or frame that does not do; returns how many. Frames behind them found no chain when
   * `hasRunDry` then.
   */
  deliver(queue: Virtqueue, first: number, end: number, lengthMax: number): number;
  readonly hasRunDry: boolean;
  /**
   * Puts the frames from `first` up to `end`, all plain IPv4 or IPv6, in the order of the queues of `queues` that they go to; of
   * each queue they keep theirs. Queue n's begin at the n-th number of the answer and end at the next.
   */
  spread(first: number, end: number, queues: number): Int32Array;
  /** A packet with the frame, as it was judged; −1 when the pool is empty. */
  toPacket(i: number): number;
  /** Bytes in the frames from `first` up to `end`. */
  sizeOf(first: number, end: number): number;
  /** Bytes in the longest of them; 0 without any. */
  longest(first: number, end: number): number;
}

export function createDirectFrames(pool: PacketPool, { copy, copyBlock }: GuestWindow): DirectFrames {
  const { bytes } = pool;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2);
  const starts = new Int32Array(BATCH_SIZE);
  const sources = new Int32Array(BATCH_SIZE);
  const lengths = new Int32Array(BATCH_SIZE);
  /** Of the lengths of the frames before each. */
  const sums = new Int32Array(BATCH_SIZE + 1);
  const spreadStarts = new Int32Array(BATCH_SIZE);
  const spreadSources = new Int32Array(BATCH_SIZE);
  const spreadLengths = new Int32Array(BATCH_SIZE);
  const queueOf = new Int32Array(BATCH_SIZE);
  const bounds = new Int32Array(QUEUE_PAIRS_MAX + 1);
  const nextOf = new Int32Array(QUEUE_PAIRS_MAX);
  let hasRunDry = false;

  const receive = (queue: Virtqueue, taken: number, undone: boolean, place: number): number => {
    const { burstOffsets, burstLengths } = queue;
    const room = (pool.offset[place]! - HEADROOM + START_SIZE) & -START_SIZE;
    for (let i = 0; i < taken; i = (i + 1) | 0) {
      const at = burstOffsets[i]! | 0;
      const length = (burstLengths[i]! - HEADER_SIZE) | 0;
      if (length < FRAME_SIZE_MIN || length > FRAME_SIZE_MAX || at < 0) return i;
      if (undone && (bytes[at]! | bytes[at + 1]!) !== 0) return i;
      const start = (room + (HEADER_SIZE & 7) + i * START_STRIDE) | 0;
      const source = (at + HEADER_SIZE) | 0;
      if (length >= START_SIZE) copyBlock(start, source);
      else copy(start, source, length);
      starts[i] = start;
      sources[i] = source;
      lengths[i] = length;
      sums[(i + 1) | 0] = (sums[i]! + length) | 0;
    }
    return taken;
  };

  const deliver = (queue: Virtqueue, first: number, end: number, lengthMax: number): number => {
    const wanted = (end - first) | 0;
    const waiting = queue.available();
    hasRunDry = waiting < wanted;
    const most = hasRunDry ? waiting : wanted;
    if (most === 0) return 0;
    const filled = queue.fill(frames, first, most, lengthMax);
    if (filled === most) return filled;
    // What lies elsewhere, or in a packed ring.
    const taken = queue.takeBurst(most - filled, true);
    const given = writeBurst(queue, taken, first + filled, lengthMax);
    queue.pushBurst(given);
    if (given < taken) queue.unpop(taken - given);
    hasRunDry = hasRunDry && filled + given === most;
    return filled + given;
  };

  /** Into the chains of the queue's burst, which are still to be pushed with the lengths that stand in it. */
  const writeBurst = (queue: Virtqueue, chains: number, first: number, lengthMax: number): number => {
    const { burstOffsets, burstLengths } = queue;
    for (let i = 0; i < chains; i = (i + 1) | 0) {
      const length = lengths[(first + i) | 0]!;
      const at = burstOffsets[i]! | 0;
      const whole = (length + HEADER_SIZE) | 0;
      if (burstLengths[i]! < whole || length > lengthMax || (at & 3) !== 0 || at < 0) return i;
      const word = at >>> 2;
      // Nothing is left undone, and one buffer holds it.
      words[word] = 0;
      words[(word + 1) | 0] = 0;
      words[(word + 2) | 0] = 0x10000;
      write((at + HEADER_SIZE) | 0, (first + i) | 0, length);
      burstLengths[i] = whole;
    }
    return chains;
  };

  const write = (to: number, i: number, length: number): void => {
    if (length < START_SIZE) {
      copy(to, starts[i]!, length);
      return;
    }
    copyBlock(to, starts[i]!);
    if (length > START_SIZE)
      copy((to + START_SIZE) | 0, (sources[i]! + START_SIZE) | 0, (length - START_SIZE) | 0);
  };

  const spread = (first: number, end: number, queues: number): Int32Array => {
    for (let q = 0; q <= queues; q++) bounds[q] = 0;
    for (let i = first; i < end; i = (i + 1) | 0) {
      // Its addresses and ports are in what was taken of it.
      const queue = flowHash(bytes, starts[i]!, lengths[i]!) % queues;
      queueOf[i] = queue;
      bounds[queue + 1] = bounds[queue + 1]! + 1;
    }
    bounds[0] = first;
    for (let q = 0; q < queues; q++) {
      bounds[q + 1] = bounds[q + 1]! + bounds[q]!;
      nextOf[q] = bounds[q]!;
    }
    for (let i = first; i < end; i = (i + 1) | 0) {
      const to = nextOf[queueOf[i]!]!;
      nextOf[queueOf[i]!] = to + 1;
      spreadStarts[to] = starts[i]!;
      spreadSources[to] = sources[i]!;
      spreadLengths[to] = lengths[i]!;
    }
    for (let i = first; i < end; i = (i + 1) | 0) {
      starts[i] = spreadStarts[i]!;
      sources[i] = spreadSources[i]!;
      lengths[i] = spreadLengths[i]!;
      sums[(i + 1) | 0] = (sums[i]! + lengths[i]!) | 0;
    }
    return bounds;
  };

  const toPacket = (i: number): number => {
    const packet = pool.allocate();
    if (packet < 0) return -1;
    write(pool.offset[packet]!, i, lengths[i]!);
    pool.length[packet] = lengths[i]!;
    return packet;
  };

  const sizeOf = (first: number, end: number): number => (sums[end]! - sums[first]!) | 0;

  const longest = (first: number, end: number): number => {
    let most = 0;
    for (let i = first; i < end; i = (i + 1) | 0) if (lengths[i]! > most) most = lengths[i]!;
    return most;
  };

  const frames: DirectFrames = {
    starts,
    sources,
    lengths,
    receive,
    deliver,
    get hasRunDry() {
      return hasRunDry;
    },
    spread,
    toPacket,
    sizeOf,
    longest,
  };
  return frames;
}
