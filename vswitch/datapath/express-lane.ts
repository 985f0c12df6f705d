// The express lane: a burst from one guest straight into the rings of others, without packets, for frames whose verdict
// is known and is only where they go, or little more (flow/short-rewrite.ts).
//
//   chains of the sender ─► starts of the frames ─► verdicts ─► runs to one port ─► chains of the receiver
//                                                      └──► the first that is not so simple, and all behind it, become
//                                                           packets and go the usual way
//
// It does nothing that the usual way would do otherwise: same counters, same order, same drops. Where anybody looks at
// single packets (captures, mirrors, policers, queues, dirty logs), it is closed.
// Invariants: frames of a burst leave in the order in which they came; a chain is given back when its frame is no
// longer read. Thread: datapath worker. Hot: yes.
import { assert } from "../../base/assert/index.js";
import { BATCH_SIZE, type Batch, type PacketPool } from "../../base/packet/index.js";
import { fence } from "../../base/virtio/index.js";
import { KEY_BYTES, NOT_FOUND, type ShortRewriter, shortRewriterOf, type Verdict } from "../flow/index.js";
import { createDirectFrames, type DirectFrames, START_SIZE, VhostUserPort } from "../port/index.js";
import type { Bridge } from "./bridge.js";
import { EXPRESS_MISSES_MAX } from "./limits.js";
import type { PortSlot } from "./port-slot.js";

export class ExpressLane {
  /** Frames that went by it. */
  frames = 0;
  readonly #pool: PacketPool;
  #direct: DirectFrames | undefined;
  readonly #rest = new Int32Array(BATCH_SIZE);
  readonly #rewrite: ShortRewriter;
  /** Ports whose guests have been shown something in this breath. */
  readonly #unsettled: VhostUserPort[] = [];
  #unsettledCount = 0;

  constructor(pool: PacketPool) {
    assert(START_SIZE >= KEY_BYTES, "what a frame is judged by is in its start");
    this.#pool = pool;
    this.#rewrite = shortRewriterOf(pool);
  }

  /** Takes a burst from the port as its rx() does, and forwards what it can; the rest is in the batch, still to be
   *  judged. Returns how many frames came in. */
  receive(bridge: Bridge, slot: PortSlot, batch: Batch, nowMs: number): number {
    const { port } = slot;
    if (slot.expressPause > 0) {
      slot.expressPause--;
      return port.rx(batch);
    }
    if (!(port instanceof VhostUserPort)) return port.rx(batch);
    if (!port.look()) return 0;
    if (!isUnseen(bridge, slot)) return port.rx(batch);
    const sources = port.directSources;
    const pool = this.#pool;
    // For the rest of a burst, a packet that is asked about, and the place of the starts.
    if (sources === 0 || pool.available < 2 * BATCH_SIZE) return port.rx(batch);
    this.#direct ??= createDirectFrames(pool, port.window);
    const place = pool.allocate();
    let gone = 0;
    // From all queues as much as one burst holds.
    let source = port.firstSource;
    for (let i = 0; i < sources && gone + batch.length < BATCH_SIZE; i++) {
      const limit = BATCH_SIZE - gone - batch.length;
      // Behind what is to go the usual way goes all.
      if (batch.length > 0) port.takeFrom(source, batch, limit);
      else gone += this.#take(bridge, slot, source, batch, limit, place, nowMs);
      source = source + 1 === sources ? 0 : source + 1;
    }
    pool.free(place);
    const count = gone + batch.length;
    if (count > 0) port.turn();
    this.frames += gone;
    // Where little comes through, both ways are gone for most frames.
    if (gone * 2 >= count) slot.expressMisses = 0;
    else {
      slot.expressMisses = Math.min(EXPRESS_MISSES_MAX, slot.expressMisses * 2 + 1);
      slot.expressPause = slot.expressMisses;
    }
    return count;
  }

  /** Takes up to `limit` frames from the source and forwards the first, as many as are simple; the others are in the batch.
   *  Returns how many went. */
  #take(
    bridge: Bridge,
    slot: PortSlot,
    source: number,
    batch: Batch,
    limit: number,
    place: number,
    nowMs: number,
  ): number {
    const port = slot.port as VhostUserPort;
    const direct = this.#direct!;
    const taken = port.beginDirect(source, limit);
    if (taken === 0) return 0;
    const plain = direct.receive(port.directSource(source), taken, port.format.sendsUndone, place);
    const gone = plain === 0 ? 0 : this.#forward(bridge, slot, direct, plain, nowMs);
    if (port.endDirect(source, batch, gone, taken, direct.sizeOf(0, gone))) this.#noteUnsettled(port);
    return gone;
  }

  /** Ends what a breath has begun: one fence for all rings, then whoever wants to be called is. */
  settle(): void {
    if (this.#unsettledCount === 0) return;
    fence();
    for (let i = 0; i < this.#unsettledCount; i++) this.#unsettled[i]!.settleDirect();
    this.#unsettledCount = 0;
  }

  #noteUnsettled(port: VhostUserPort): void {
    this.#unsettled[this.#unsettledCount++] = port;
  }

  /** Forwards the first of the frames, as many as are simple; returns how many. */
  #forward(bridge: Bridge, slot: PortSlot, direct: DirectFrames, count: number, nowMs: number): number {
    const { bursts } = bridge;
    const { ofport } = slot;
    bridge.turnTo(slot, nowMs);
    const found = bursts.lookUpFrames(direct.starts, direct.lengths, count, ofport, false);
    const { verdicts } = bursts.cache;
    let i = 0;
    while (i < count && (found[i]! >= 0 || this.#findByLess(bridge, direct, found, i, ofport))) {
      const verdict = verdicts[found[i]!]!;
      const { onlyPort } = verdict;
      if (onlyPort >= 0) {
        const target = this.#target(bridge, onlyPort);
        if (target === null) break;
        const from = i;
        while (i < count && found[i]! >= 0 && verdicts[found[i]!]!.onlyPort === onlyPort)
          i = this.#countRun(bridge, direct, found, i, count);
        this.#deliver(bridge, direct, target, from, i);
        continue;
      }
      if (verdict.rewrite !== null) {
        const end = this.#rewritten(bridge, slot, direct, verdict.rewrite.port, found, i, count);
        if (end === i) break;
        i = end;
        continue;
      }
      if (!verdict.isNormal) break;
      i = this.#normal(bridge, slot, direct, verdict, found, i, count);
    }
    bursts.settle(nowMs);
    return i;
  }

  /** One frame that the caches of whole keys have not, or no longer, must not close the lane to all behind it. */
  #findByLess(bridge: Bridge, direct: DirectFrames, found: Int32Array, i: number, ofport: number): boolean {
    if (found[i] !== NOT_FOUND) return false;
    const packet = direct.toPacket(i);
    if (packet < 0) return false;
    found[i] = bridge.bursts.findByLess(packet, i, ofport);
    this.#pool.free(packet);
    return found[i]! >= 0;
  }

  /** Counts the frames from `from` on that have its verdict; returns the first behind them. */
  #countRun(bridge: Bridge, direct: DirectFrames, found: Int32Array, from: number, count: number): number {
    const id = found[from]!;
    let end = from + 1;
    while (end < count && found[end]! === id) end++;
    const { bursts } = bridge;
    bursts.countFrames(bursts.cache.verdicts[id]!, end - from, direct.sizeOf(from, end));
    return end;
  }

  /** Changes the frames from `from` on that go to the port, whatever is done to each, and delivers them; returns the first
   *  behind them. */
  #rewritten(
    bridge: Bridge,
    slot: PortSlot,
    direct: DirectFrames,
    port: number,
    found: Int32Array,
    from: number,
    count: number,
  ): number {
    const { bursts } = bridge;
    const { verdicts } = bursts.cache;
    // Frames from several ports share a verdict, and back to its own port goes none.
    const target = port === slot.ofport ? null : this.#target(bridge, port);
    if (target === null) return from;
    let end = from;
    while (end < count && found[end]! >= 0) {
      const verdict = verdicts[found[end]!]!;
      const { rewrite } = verdict;
      if (rewrite === null || rewrite.port !== port || !this.#rewrite(direct.starts[end]!, rewrite)) break;
      bursts.countFrames(verdict, 1, direct.lengths[end]!);
      end++;
    }
    if (end > from) this.#deliver(bridge, direct, target, from, end);
    return end;
  }

  /** The first frame of a run with the same addresses is asked about as a packet; the others follow it. */
  #normal(
    bridge: Bridge,
    slot: PortSlot,
    direct: DirectFrames,
    verdict: Verdict,
    found: Int32Array,
    from: number,
    count: number,
  ): number {
    const { bursts } = bridge;
    bursts.countFrames(verdict, 1, direct.lengths[from]!);
    const port = bursts.forwardNormally(direct.toPacket(from), slot.ofport);
    let end = from + 1;
    if (port < 0) return end;
    while (end < count && found[end]! === found[from]! && bursts.isSameLink(from, end)) end++;
    if (end === from + 1) return end;
    bursts.countFrames(verdict, end - from - 1, direct.sizeOf(from + 1, end));
    const target = this.#target(bridge, port);
    if (target === null) this.#give(bridge, direct, port, from + 1, end);
    else this.#deliver(bridge, direct, target, from + 1, end);
    return end;
  }

  /** The port with this number when it takes frames as they lie; null when it does not. */
  #target(bridge: Bridge, ofport: number): PortSlot | null {
    const slot = bridge.slot(ofport);
    if (slot === null || !slot.forwards || !slot.takesRuns || slot.tapOut !== null) return null;
    return slot.port instanceof VhostUserPort && slot.port.directTargets > 0 ? slot : null;
  }

  /** Delivers the frames from `from` up to `end`, which are counted for their flows. */
  #deliver(bridge: Bridge, direct: DirectFrames, slot: PortSlot, from: number, end: number): void {
    const { directTargets: targets } = slot.port as VhostUserPort;
    slot.batches++;
    if (targets === 1) {
      this.#deliverTo(bridge, direct, slot, 0, from, end);
      return;
    }
    const bounds = direct.spread(from, end, targets);
    for (let target = 0; target < targets; target++)
      this.#deliverTo(bridge, direct, slot, target, bounds[target]!, bounds[target + 1]!);
  }

  /** The same to one of the port's queues. */
  #deliverTo(
    bridge: Bridge,
    direct: DirectFrames,
    slot: PortSlot,
    target: number,
    from: number,
    end: number,
  ): void {
    const wanted = end - from;
    if (wanted === 0) return;
    const port = slot.port as VhostUserPort;
    // What came before leaves before.
    if (slot.out.length > 0) bridge.delivery.handOver(slot);
    const lengthMax = Math.min(slot.sizeMax, port.format.lengthMax);
    const given = direct.deliver(port.directTarget(target), from, end, lengthMax);
    // A chain or frame that does not do leaves the rest to the usual way; a ring without chains loses it.
    const isLost = direct.hasRunDry && direct.longest(from + given, end) <= lengthMax;
    if (port.giveDirect(target, given, direct.sizeOf(from, from + given), isLost ? wanted - given : 0))
      this.#noteUnsettled(port);
    if (given < wanted && !isLost) this.#give(bridge, direct, slot.ofport, from + given, end);
  }

  /** Sends judged frames as packets. */
  #give(bridge: Bridge, direct: DirectFrames, ofport: number, from: number, end: number): void {
    const rest = this.#rest;
    for (let i = from; i < end; i++) rest[i - from] = direct.toPacket(i);
    bridge.delivery.forward(rest, 0, end - from, ofport);
  }
}

/** Whether frames that came in by `slot` may be judged together, unseen by anybody. */
function isUnseen({ forwarding, bursts }: Bridge, slot: PortSlot): boolean {
  const isLookedAt = slot.tapIn !== null || slot.policer !== undefined || forwarding.mirrors !== null;
  return slot.receives && !isLookedAt && bursts.isUnattended;
}
