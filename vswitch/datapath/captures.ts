// The captures of one bridge: which ports and which pipeline events they look at.
// Invariant: a port or pipeline that nobody captures from has null in its place, and that is all it costs.
// Thread: datapath worker, between breaths. Hot: yes (hit, dropped), while something is captured.
import { PlinthError } from "../../base/errors/index.js";
import type { Batch, PacketPool } from "../../base/packet/index.js";
import { type Flow, FlowKey, type PacketWatch, type Pipeline } from "../flow/index.js";
import { type CaptureCount, type CaptureSpec, CaptureTap } from "./capture-tap.js";
import type { PortSlot } from "./port-slot.js";

/** At one time, of one bridge. */
export const CAPTURES_MAX = 8;

/** The captures that look at one port, in one direction. */
export class PortTaps {
  readonly #taps: readonly CaptureTap[];
  readonly #outbound: boolean;

  constructor(taps: readonly CaptureTap[], outbound: boolean) {
    this.#taps = taps;
    this.#outbound = outbound;
  }

  burst(batch: Batch, ofport: number): void {
    for (let i = 0; i < this.#taps.length; i++) this.#taps[i]!.burst(batch, ofport, this.#outbound);
  }
}

export interface CapturesModules {
  readonly pool: PacketPool;
  readonly slots: readonly PortSlot[];
  readonly find: (ofport: number) => PortSlot | null;
  readonly pipeline: Pipeline;
}

export class Captures implements PacketWatch {
  readonly #modules: CapturesModules;
  readonly #taps = new Map<number, CaptureTap>();
  /** Those of flows and drops. */
  #watching: readonly CaptureTap[] = [];

  constructor(modules: CapturesModules) {
    this.#modules = modules;
  }

  /** Throws CAPTURES_FULL, CAPTURE_EXISTS. */
  start(id: number, spec: CaptureSpec): void {
    if (this.#taps.size >= CAPTURES_MAX)
      throw new PlinthError("CAPTURES_FULL", `a bridge has at most ${CAPTURES_MAX} captures at a time`);
    if (this.#taps.has(id)) throw new PlinthError("CAPTURE_EXISTS", `there is a capture ${id}`);
    const wallMs = (): number => performance.timeOrigin + performance.now(); // cold
    this.#taps.set(id, new CaptureTap(spec, { pool: this.#modules.pool, wallMs }));
    this.#arrange();
  }

  /** What it has counted; nothing when there is no such capture. */
  stop(id: number): readonly CaptureCount[] {
    const counts = this.#taps.get(id)?.counts() ?? [];
    this.#taps.delete(id);
    this.#arrange();
    return counts;
  }

  /** A port has come: the captures that want it look at it. */
  attach(slot: PortSlot): void {
    slot.tapIn = this.#tapsOf(slot, false);
    slot.tapOut = this.#tapsOf(slot, true);
  }

  hit(packet: number, key: Int32Array, tableId: number, flow: Flow): void {
    for (let i = 0; i < this.#watching.length; i++) {
      const tap = this.#watching[i]!;
      if (this.#cameInBy(tap, key)) tap.hit(packet, key, tableId, flow);
    }
  }

  dropped(packet: number, key: Int32Array, reason: number, tableId: number, flow: Flow | null): void {
    for (let i = 0; i < this.#watching.length; i++) {
      const tap = this.#watching[i]!;
      if (this.#cameInBy(tap, key)) tap.dropped(packet, key, reason, tableId, flow);
    }
  }

  #cameInBy(tap: CaptureTap, key: Int32Array): boolean {
    const { ports } = tap.spec;
    if (ports === undefined) return true;
    const slot = this.#modules.find(key[FlowKey.K_IN_PORT]! >>> 0);
    return slot !== null && ports.includes(slot.port.name);
  }

  #arrange(): void {
    for (let i = 0; i < this.#modules.slots.length; i++) this.attach(this.#modules.slots[i]!);
    this.#watching = [...this.#taps.values()].filter(({ spec }) => spec.point.at !== "ports");
    this.#modules.pipeline.onlookers.watch = this.#watching.length === 0 ? null : this;
  }

  #tapsOf({ port }: PortSlot, outbound: boolean): PortTaps | null {
    const without = outbound ? "in" : "out";
    const taps = [...this.#taps.values()].filter(({ spec: { point, ports } }) => {
      if (point.at !== "ports" || point.direction === without) return false;
      return ports === undefined || ports.includes(port.name);
    });
    return taps.length === 0 ? null : new PortTaps(taps, outbound);
  }
}
