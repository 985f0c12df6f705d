// The way out of a bridge: to the batches of its ports, and from there to the ports.
// Invariant: a port's batch is handed over when it is full, and at the latest by flush().
// Thread: datapath worker. Hot: yes.
import { completeChecksum, OFFLOAD_CHECKSUM, type PacketPool, Segmenter } from "../../base/packet/index.js";
import {
  DROP_BAD_PORT,
  DROP_NO_BUFFER,
  DROP_NO_OUTPUT,
  DROP_PROTECTED,
  DROP_QUEUE_FULL,
  DROP_TOO_LONG,
  type Pipeline,
} from "../flow/index.js";
import { withDscp } from "./dscp-mark.js";
import type { Forwarding } from "./forwarding.js";
import type { PortSlot } from "./port-slot.js";
import { FRAME_DROPPED, FRAME_HELD, type PortQueues } from "./queues.js";
import { Refragmenter } from "./refragment.js";

export interface DeliveryModules {
  readonly pool: PacketPool;
  readonly slots: readonly PortSlot[];
  readonly find: (ofport: number) => PortSlot | null;
  readonly pipeline: Pipeline;
  readonly forwarding: Forwarding;
}

export class Delivery {
  /** The packets in hand came in by a protected port. */
  fromProtected = false;
  readonly #modules: DeliveryModules;
  readonly #refragmenter: Refragmenter;
  readonly #segmenter: Segmenter;

  constructor(modules: DeliveryModules) {
    this.#modules = modules;
    this.#refragmenter = new Refragmenter(modules.pool);
    this.#segmenter = new Segmenter(modules.pool);
  }

  /** Hands what waits in every port's batch to the port. */
  flush(): void {
    for (let i = 0; i < this.#modules.slots.length; i++) {
      const slot = this.#modules.slots[i]!;
      if (slot.out.length > 0) this.handOver(slot);
    }
  }

  /** Hands what waits in the port's batch to the port. */
  handOver(slot: PortSlot): void {
    if (slot.tapOut !== null) slot.tapOut.burst(slot.out, slot.ofport);
    slot.batches++;
    slot.port.tx(slot.out);
  }

  /** To the port with this number, if there is one that sends. */
  output(packet: number, port: number): void {
    const slot = this.#modules.find(port);
    if (slot === null || !slot.forwards) this.#modules.pipeline.onlookers.drop(DROP_BAD_PORT);
    else this.send(packet, slot);
  }

  /** As output() for packets[from] up to packets[to], whose references it takes. */
  forward(packets: Int32Array, from: number, to: number, port: number): void {
    const pool = this.#modules.pool;
    const slot = this.#modules.find(port);
    if (slot === null || !slot.forwards || !slot.takesRuns || pool.holdsWholes) {
      for (let i = from; i < to; i++) {
        this.output(packets[i]!, port);
        pool.free(packets[i]!);
      }
      return;
    }
    const { out } = slot;
    for (let i = from; i < to; i++) {
      const packet = packets[i]!;
      if (pool.holdsOffloads && pool.checksumStart[packet] !== 0 && !slot.takesUndone(pool, packet)) {
        this.send(packet, slot);
        pool.free(packet);
        continue;
      }
      if (!slot.fits(pool, packet)) {
        this.#modules.pipeline.onlookers.drop(DROP_TOO_LONG);
        pool.free(packet);
        continue;
      }
      out.push(packet);
      if (out.room === 0) this.handOver(slot);
    }
  }

  /** To every port but `inPort`; with `all` also to those that do not take part in flooding. */
  flood(packet: number, inPort: number, all: boolean): void {
    let reason = DROP_NO_OUTPUT;
    for (let i = 0; i < this.#modules.slots.length; i++) {
      const slot = this.#modules.slots[i]!;
      if (slot.ofport === inPort || !slot.forwards || !(all || slot.floods)) continue;
      if (!slot.isProtected || !this.fromProtected) {
        this.send(packet, slot);
        reason = -1;
      } else if (reason === DROP_NO_OUTPUT) reason = DROP_PROTECTED;
    }
    if (reason >= 0) this.#modules.pipeline.onlookers.drop(reason);
  }

  /** Takes the caller's reference. */
  #push(packet: number, slot: PortSlot): void {
    slot.out.push(packet);
    if (slot.out.room === 0) this.handOver(slot);
  }

  /** The same for what its queue has let leave, which may want another DSCP; false when there is no room for that. */
  #leave(packet: number, slot: PortSlot, dscp: number): boolean {
    const { pool, pipeline } = this.#modules;
    const leaving = dscp < 0 ? packet : withDscp(pool, packet, dscp);
    if (leaving >= 0) this.#push(leaving, slot);
    else pipeline.onlookers.dropOf(-1, DROP_NO_BUFFER);
    return leaving >= 0;
  }

  /** Lets the packet leave by its queue, now or later; false when it is dropped. */
  #queue(packet: number, slot: PortSlot, queues: PortQueues): boolean {
    const { pool, pipeline } = this.#modules;
    const fate = queues.take(pipeline.queueId, packet, pipeline.nowMs);
    if (fate === FRAME_DROPPED) {
      pipeline.onlookers.dropOf(packet, DROP_QUEUE_FULL);
      return false;
    }
    pool.retain(packet);
    return fate === FRAME_HELD || this.#leave(packet, slot, queues.leavingDscp);
  }

  /** Sends what has waited in the port's queues for its time; returns how much. */
  release(slot: PortSlot, queues: PortQueues, nowMs: number): number {
    let released = 0;
    for (let packet = queues.next(nowMs); packet >= 0; packet = queues.next(nowMs)) {
      this.#leave(packet, slot, queues.leavingDscp);
      released++;
    }
    return released;
  }

  /** Queues the packet at the port, with a reference of its own, in the form that the port can carry. */
  send(packet: number, slot: PortSlot): void {
    if (slot.isProtected && this.fromProtected) {
      this.#modules.pipeline.onlookers.dropOf(packet, DROP_PROTECTED);
      return;
    }
    if (
      this.#modules.pool.holdsWholes &&
      this.#modules.pool.fragmentSize[packet] !== 0 &&
      this.#sendPieces(packet, slot)
    )
      return;
    if (
      this.#modules.pool.holdsOffloads &&
      this.#modules.pool.checksumStart[packet] !== 0 &&
      !slot.takesUndone(this.#modules.pool, packet)
    ) {
      if (this.#modules.pool.segmentSize[packet] !== 0) {
        this.#sendSegments(packet, slot);
        return;
      }
      completeChecksum(this.#modules.pool, packet);
    }
    if (!slot.fits(this.#modules.pool, packet)) {
      this.#modules.pipeline.onlookers.dropOf(packet, DROP_TOO_LONG);
      return;
    }
    if (slot.queues !== undefined) {
      if (!this.#queue(packet, slot, slot.queues)) return;
    } else {
      this.#modules.pool.retain(packet);
      this.#push(packet, slot);
    }
    if (slot.mirrorsOut !== 0) this.#modules.forwarding.mirrors!.egress(packet, slot);
  }

  /** Sends what was left to hardware to cut, cut here. */
  #sendSegments(packet: number, slot: PortSlot): void {
    const { pool, pipeline } = this.#modules;
    const segments = this.#segmenter;
    if (!segments.start(packet)) {
      pipeline.onlookers.dropOf(packet, DROP_TOO_LONG);
      return;
    }
    const completes = ((slot.port.offloads ?? 0) & OFFLOAD_CHECKSUM) === 0;
    while (!segments.isDone) {
      const piece = segments.next();
      if (piece < 0) {
        pipeline.onlookers.dropOf(packet, DROP_NO_BUFFER);
        return;
      }
      if (completes) completeChecksum(pool, piece);
      this.send(piece, slot);
      pool.free(piece);
    }
  }

  /** Sends what was put together of fragments as fragments; false when there is nothing to cut. */
  #sendPieces(packet: number, slot: PortSlot): boolean {
    const pieces = this.#refragmenter;
    if (!pieces.start(packet, slot.mtu)) return false;
    while (!pieces.isDone) {
      const piece = pieces.next();
      if (piece < 0) {
        this.#modules.pipeline.onlookers.dropOf(packet, DROP_NO_BUFFER);
        return true;
      }
      this.send(piece, slot);
      this.#modules.pool.free(piece);
    }
    return true;
  }
}
