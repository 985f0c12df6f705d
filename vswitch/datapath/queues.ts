// The queues of a port: what leaves by each, and when. A hierarchical token bucket of two levels, as linux-htb makes of
// QoS and Queue rows: each queue has the rate that is its own (min-rate), and may borrow what the port's rate (max-rate
// of the QoS row) has left up to its ceiling (max-rate), first those of the lowest priority number, then in proportion
// to their own rates.
//
//   take() ── tokens for it, nobody before it ──► leaves now
//      └──── else ──► ring of its queue ──► next(), as time passes       a full ring drops
//
// Invariants: frames of one queue leave in the order in which they came; over any time t at most burst + rate · t leave
// by a queue or the port, and never more than rate · t since frames began to wait there, plus burst; what waits and was
// not looked at in time is made up for, so that a loop that is late keeps the rate; a held frame is one reference. Numbers
// that change stand in arrays: in a field a fraction is an object, and a new one each time. Time is a parameter, whole
// milliseconds.
// Source: OpenFlow 1.3.5, 7.2.2 and 7.3.5.8; ovs-vswitchd.conf.db(5), QoS and Queue; tc-htb(8).
// Thread: datapath worker. Hot: yes (take, next).
import type { PacketQueue, QueueProperty, QueueStats } from "../../base/openflow/index.js";
import type { PacketPool } from "../../base/packet/index.js";
import { QUEUE_FRAMES_MAX } from "./limits.js";

export interface QueueConfig {
  readonly queueId: number;
  /** Bits per second; absent when nobody asked for one. */
  readonly minRateBps?: number;
  readonly maxRateBps?: number;
  /** Bits that may leave at once after a pause. */
  readonly burstBits?: number;
  /** 0, which is also what absence means, goes first. */
  readonly priority?: number;
  /** 0–63: of every IP packet that leaves by the queue. Absent: packets keep their own. */
  readonly dscp?: number;
}

export interface QosConfig {
  /** As Open vSwitch names it: "linux-htb" or "linux-hfsc". */
  readonly type: string;
  /** Of the whole port, bits per second. */
  readonly maxRateBps?: number;
  /** Queue 0 is among them. */
  readonly queues: readonly QueueConfig[];
}

/** What became of a frame that take() was given. */
export const FRAME_LEAVES = 0;
export const FRAME_HELD = 1;
export const FRAME_DROPPED = 2;

/** Frames of no queue, and of one that the port does not have, leave by this one. */
const QUEUE_DEFAULT = 0;
/** In 1/10 of a percent of the port's speed; what is larger would mean "none". */
const RATE_SHARE_MAX = 1000;
/** What a queue without a min-rate has for its own: as good as nothing, but a share where all have it. */
const MIN_RATE_BPS = 12_000;
/** A bucket holds what its rate gives in this time: the loop may look away so long and still keep the rate. */
const SLACK_MS = 10;
/** And so long while frames wait: they would have left. */
const SLACK_WAITING_MS = 100;
const FRAME_BITS = 8 * 1514;

/** Bits that may go now; what goes may leave a debt. */
class Bucket {
  /** Tokens | tokens that come in a millisecond | what it holds at most | and while frames wait. */
  readonly #numbers = new Float64Array(4);

  /** With what is left of `before`, if there is one; full otherwise. */
  constructor(rateBps: number, burstBits: number, before: Bucket | undefined) {
    const perMs = rateBps / 1000;
    const max = Math.max(burstBits, perMs * SLACK_MS, FRAME_BITS);
    this.#numbers[0] = before === undefined ? max : Math.min(max, before.#numbers[0]!);
    this.#numbers[1] = perMs;
    this.#numbers[2] = max;
    this.#numbers[3] = Math.max(max, perMs * SLACK_WAITING_MS);
  }

  fill(elapsedMs: number, isWaiting: boolean): void {
    const numbers = this.#numbers;
    const max = isWaiting ? numbers[3]! : numbers[2]!;
    numbers[0] = Math.min(max, numbers[0]! + elapsedMs * numbers[1]!);
  }

  /** Something may go. */
  get hasTokens(): boolean {
    return this.#numbers[0]! >= 0;
  }

  pay(bits: number): void {
    this.#numbers[0] = this.#numbers[0]! - bits;
  }

  /** Adds to totals[0] how many milliseconds of what comes here so many bits are. */
  addShare(bits: number, totals: Float64Array): void {
    totals[0] = totals[0]! + bits / this.#numbers[1]!;
  }

  /** Milliseconds until something may go. */
  get waitMs(): number {
    return this.hasTokens ? 0 : -this.#numbers[0]! / this.#numbers[1]!;
  }
}

/** Places in the totals of a queue. */
const BORROWED = 0;
const PACKETS = 1;
const BYTES = 2;
const DROPPED = 3;

class Queue {
  readonly config: QueueConfig;
  readonly createdMs: number;
  readonly priority: number;
  /** −1: packets keep their own. */
  readonly dscp: number;
  /** What is its own, and what it may have at all. */
  readonly own: Bucket;
  readonly ceiling: Bucket;
  /** What it has borrowed so far by its share: of those alike the one with the least goes first. | Packets, bytes and drops. */
  readonly totals = new Float64Array(4);
  readonly ring: Int32Array;
  head = 0;
  held = 0;

  constructor(config: QueueConfig, portRateBps: number, before: Queue | undefined, nowMs: number) {
    this.config = config;
    this.priority = config.priority ?? 0;
    this.dscp = config.dscp ?? -1;
    const rate = Math.max(MIN_RATE_BPS, config.minRateBps ?? 0);
    const ceiling = Math.max(rate, config.maxRateBps ?? portRateBps);
    const burst = config.burstBits ?? 0;
    this.own = new Bucket(rate, burst, before?.own);
    this.ceiling = new Bucket(ceiling, burst, before?.ceiling);
    this.createdMs = before?.createdMs ?? nowMs;
    for (let i = PACKETS; i <= DROPPED; i++) this.totals[i] = before?.totals[i] ?? 0;
    this.ring = before?.ring ?? new Int32Array(QUEUE_FRAMES_MAX);
    this.head = before?.head ?? 0;
    this.held = before?.held ?? 0;
  }
}

export class PortQueues {
  readonly qos: QosConfig;
  /** Frames that wait. */
  held = 0;
  /** What DSCP the frame is to have that take() or next() let leave last; −1: its own. */
  leavingDscp = -1;
  readonly #pool: PacketPool;
  readonly #queues: readonly Queue[];
  readonly #port: Bucket;
  readonly #filledMs = new Float64Array(1);

  /** Queues that `before` had too go on counting, with the frames that wait in them; the frames of others are freed. */
  constructor(
    pool: PacketPool,
    qos: QosConfig,
    speedKbps: number,
    before: PortQueues | undefined,
    nowMs: number,
  ) {
    this.#pool = pool;
    this.qos = qos;
    const rate = qos.maxRateBps ?? 1000 * speedKbps;
    this.#port = new Bucket(rate, 0, before === undefined ? undefined : before.#port);
    this.#queues = qos.queues.map((config) => new Queue(config, rate, before?.find(config.queueId), nowMs));
    this.#filledMs[0] = nowMs;
    for (let i = 0; i < this.#queues.length; i++) this.held += this.#queues[i]!.held;
    before?.freeAll((queueId) => this.find(queueId) === undefined);
  }

  /** Lets the frame, of which the caller holds one reference, leave now, holds it or drops it. */
  take(queueId: number, packet: number, nowMs: number): number {
    const queue = this.#queueOf(queueId);
    const sizeBytes = this.#pool.length[packet]!;
    this.#fill(nowMs);
    if (queue.held === 0 && this.#port.hasTokens && queue.ceiling.hasTokens) {
      this.#charge(queue, sizeBytes, !queue.own.hasTokens);
      return FRAME_LEAVES;
    }
    // What waits here must not keep others from receiving.
    if (queue.held >= QUEUE_FRAMES_MAX || this.#pool.available < this.#pool.slots >> 2) {
      queue.totals[DROPPED] = queue.totals[DROPPED]! + 1;
      return FRAME_DROPPED;
    }
    queue.ring[(queue.head + queue.held) & (QUEUE_FRAMES_MAX - 1)] = packet;
    // Who has not waited has no claim from before.
    if (queue.held === 0) this.#forgoClaims(queue);
    queue.held++;
    this.held++;
    return FRAME_HELD;
  }

  /** The next frame that may leave now, with its reference; −1 when none may. */
  next(nowMs: number): number {
    if (this.held === 0) return -1;
    this.#fill(nowMs);
    if (!this.#port.hasTokens) return -1;
    let queue = this.#choose(true);
    const borrows = queue === null;
    if (queue === null) queue = this.#choose(false);
    if (queue === null) return -1;
    const packet = queue.ring[queue.head]!;
    queue.head = (queue.head + 1) & (QUEUE_FRAMES_MAX - 1);
    queue.held--;
    this.held--;
    this.#charge(queue, this.#pool.length[packet]!, borrows);
    return packet;
  }

  /** Milliseconds until next() may give something: at least 1; infinite when nothing waits. */
  get waitMs(): number {
    if (this.held === 0) return Number.POSITIVE_INFINITY;
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#queues.length; i++) {
      const queue = this.#queues[i]!;
      if (queue.held > 0) least = Math.min(least, queue.ceiling.waitMs);
    }
    return Math.max(1, Math.ceil(Math.max(least, this.#port.waitMs)));
  }

  /** Frames that found their queue full. */
  get dropped(): number {
    let sum = 0;
    for (let i = 0; i < this.#queues.length; i++) sum += this.#queues[i]!.totals[DROPPED]!;
    return sum;
  }

  /** Frees the frames that wait in the queues that `goes` names; all when absent. */
  freeAll(goes: (queueId: number) => boolean = () => true): void {
    for (let i = 0; i < this.#queues.length; i++) {
      const queue = this.#queues[i]!;
      if (!goes(queue.config.queueId)) continue;
      for (let n = 0; n < queue.held; n++)
        this.#pool.free(queue.ring[(queue.head + n) & (QUEUE_FRAMES_MAX - 1)]!);
      this.held -= queue.held;
      queue.held = 0;
    }
  }

  /** Of those that have frames and tokens: the first by priority, then by share. `own`: of their own tokens. */
  #choose(own: boolean): Queue | null {
    const queues = this.#queues;
    let best: Queue | null = null;
    for (let i = 0; i < queues.length; i++) {
      const queue = queues[i]!;
      if (queue.held === 0 || !queue.ceiling.hasTokens || (own && !queue.own.hasTokens)) continue;
      const isBetter =
        best === null ||
        queue.priority < best.priority ||
        (queue.priority === best.priority && queue.totals[BORROWED]! < best.totals[BORROWED]!);
      if (isBetter) best = queue;
    }
    return best;
  }

  /** The queue, in which nothing waits yet, has borrowed at least as much as that of those that wait with the least. */
  #forgoClaims(queue: Queue): void {
    const queues = this.#queues;
    let least: Queue | null = null;
    for (let i = 0; i < queues.length; i++) {
      const other = queues[i]!;
      if (other.held === 0) continue;
      if (least === null || other.totals[BORROWED]! < least.totals[BORROWED]!) least = other;
    }
    if (least !== null) queue.totals[BORROWED] = Math.max(queue.totals[BORROWED]!, least.totals[BORROWED]!);
  }

  #charge(queue: Queue, sizeBytes: number, borrows: boolean): void {
    const bits = 8 * sizeBytes;
    const { totals } = queue;
    if (borrows) queue.own.addShare(bits, totals);
    else queue.own.pay(bits);
    queue.ceiling.pay(bits);
    this.#port.pay(bits);
    totals[PACKETS] = totals[PACKETS]! + 1;
    totals[BYTES] = totals[BYTES]! + sizeBytes;
    this.leavingDscp = queue.dscp;
  }

  #fill(nowMs: number): void {
    const elapsedMs = nowMs - this.#filledMs[0]!;
    if (elapsedMs <= 0) return;
    this.#filledMs[0] = nowMs;
    this.#port.fill(elapsedMs, this.held > 0);
    for (let i = 0; i < this.#queues.length; i++) {
      const queue = this.#queues[i]!;
      queue.own.fill(elapsedMs, queue.held > 0);
      queue.ceiling.fill(elapsedMs, queue.held > 0);
    }
  }

  #queueOf(queueId: number): Queue {
    const queues = this.#queues;
    let standard = queues[0]!;
    for (let i = 0; i < queues.length; i++) {
      const queue = queues[i]!;
      if (queue.config.queueId === queueId) return queue;
      if (queue.config.queueId === QUEUE_DEFAULT) standard = queue;
    }
    return standard;
  }

  /** What leaves by the queue, or by the one in its place, gets this DSCP; −1: it keeps its own. */
  dscpOf(queueId: number): number {
    return this.#queueOf(queueId).dscp;
  }

  find(queueId: number): Queue | undefined {
    return this.#queues.find(({ config }) => config.queueId === queueId);
  }

  stats(port: number, nowMs: number): QueueStats[] {
    return this.#queues.map(({ config, createdMs, totals }) => {
      const ms = nowMs - createdMs;
      return {
        port,
        queueId: config.queueId,
        txPackets: BigInt(totals[PACKETS]!), // cold
        txBytes: BigInt(totals[BYTES]!), // cold
        txErrors: BigInt(totals[DROPPED]!), // cold
        durationSeconds: Math.floor(ms / 1000),
        durationNanoseconds: Math.floor((ms % 1000) * 1e6),
      };
    });
  }

  descriptions(port: number, speedKbps: number): PacketQueue[] {
    return this.#queues.map(({ config }) => ({
      port,
      queueId: config.queueId,
      properties: [
        ...rate("min_rate", config.minRateBps, speedKbps), // cold
        ...rate("max_rate", config.maxRateBps, speedKbps), // cold
      ],
    }));
  }
}

function rate(type: "min_rate" | "max_rate", bps: number | undefined, speedKbps: number): QueueProperty[] {
  return bps === undefined ? [] : [{ type, rate: Math.min(RATE_SHARE_MAX, Math.round(bps / speedKbps)) }];
}
