// The switch that is about to leave: forwards until its successor asks for the ports, then stops between two bursts and
// gives them away. What was under way in it goes out before. Thread: datapath worker, between breaths.

import { beforeOthers } from "../../base/linux/index.js";
import type { HandedPort, Port } from "../../base/packet/index.js";
import type { Bridge } from "./bridge.js";
import type { Datapath } from "./datapath.js";
import { HandOverGiver } from "./hand-over.js";
import { encodeHandedSwitch, type HandedBridge, type HandedSlot } from "./handed-switch.js";
import { STOP_MAX_MS } from "./limits.js";
import type { PortFactory } from "./port-factory.js";
import type { PortSlot } from "./port-slot.js";

export interface LeavingModules {
  readonly datapath: Datapath;
  readonly factory: Pick<PortFactory, "kindOf">;
}

/** "stays": forwards on; "left": the successor has the ports; "abandoned": it has gone, and cannot take them. */
export type LeavingState = "stays" | "left" | "abandoned";

/** What a port may have beside its contract. */
interface LeavingPort extends Port {
  /** Takes in nothing new; false while rx() still has something. */
  stop?(): boolean;
  handOver?(): HandedPort | undefined;
}

/** More than any shaped queue makes a frame wait. */
const QUEUE_STEP_MS = 1000;

export class Leaving {
  readonly #giver: HandOverGiver;
  readonly #modules: LeavingModules;

  /** Dials the successor. Throws with the errno's name. */
  constructor(socket: string, modules: LeavingModules) {
    this.#giver = new HandOverGiver(socket);
    this.#modules = modules;
  }

  /** To be slept on. */
  get fd(): number {
    return this.#giver.fd;
  }

  /** Gives everything away if the successor wants it now; then nothing is to be taken from any port any more. */
  poll(nowMs: number): LeavingState {
    const answer = this.#giver.ask();
    if (answer === "waits") return "stays";
    if (answer === "gone") return "abandoned";
    return beforeOthers(() => this.#giveEverything(nowMs)) ? "left" : "abandoned";
  }

  #giveEverything(nowMs: number): boolean {
    this.#empty(nowMs);
    const pausedAtMs = monotonicMs();
    const bridges = this.#modules.datapath.bridges.map((bridge) => this.#describe(bridge, nowMs));
    return this.#giver.give(encodeHandedSwitch({ pausedAtMs, bridges }));
  }

  close(): void {
    this.#giver.close();
  }

  /** Frames that the kernel has given us, or that wait for their queue's time, go out. */
  #empty(nowMs: number): void {
    const { datapath } = this.#modules;
    const slots = datapath.bridges.flatMap((bridge) => bridge.slots);
    const untilMs = performance.now() + STOP_MAX_MS; // cold
    for (;;) {
      const stopped = slots.map(({ port }) => (port as LeavingPort).stop?.() !== false);
      if (stopped.every(Boolean) || performance.now() > untilMs) break; // cold
      datapath.breathe(nowMs);
    }
    for (const bridge of datapath.bridges) {
      for (const slot of bridge.slots)
        for (let at = nowMs; bridge.release(slot, at) > 0; at += QUEUE_STEP_MS) bridge.flush();
      bridge.flush();
    }
    datapath.deliver();
  }

  #describe({ name, slots, forwarding }: Bridge, nowMs: number): HandedBridge {
    const ports = slots.map((slot) => this.#giveAway(slot));
    return { name, ports, stations: forwarding.macs.entries(nowMs) };
  }

  #giveAway({ port }: PortSlot): HandedSlot {
    const handed = (port as LeavingPort).handOver?.();
    // What cannot be handed over has to be free before the successor opens it.
    if (handed === undefined) port.close();
    return { name: port.name, kind: this.#modules.factory.kindOf(port), stats: [...port.stats], handed };
  }
}

/** The same in every process. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6; // cold
}
