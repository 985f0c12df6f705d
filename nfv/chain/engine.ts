// The engine: polls every function's port, pushes bursts through the function, sends what comes out, and sleeps when
// there is nothing to do. One function per port for now; a chain is functions joined by links on the same engine.
//
//   breathe():  for each function   port.rx → push → port.tx
//   every TICK_MS:                  port.tick, function.tick → port.tx
//
// Thread: the engine's worker. Hot: yes (breathe).
import { Batch, type PacketPool, type Port } from "../../base/packet/index.js";
import { TICK_MS } from "../limits.js";
import type { NetworkFunction } from "./network-function.js";

interface Attached {
  readonly name: string;
  readonly port: Port;
  readonly run: NetworkFunction;
}

export class Engine {
  readonly #pool: PacketPool;
  readonly #attached: Attached[] = [];
  readonly #input = new Batch();
  readonly #output = new Batch();
  #nextTickMs = 0;

  constructor(pool: PacketPool) {
    this.#pool = pool;
  }

  get names(): readonly string[] {
    return this.#attached.map(({ name }) => name);
  }

  /** Takes `port` over: it is closed with detach(). */
  attach(name: string, port: Port, run: NetworkFunction): void {
    this.#attached.push({ name, port, run });
  }

  find(name: string): NetworkFunction | undefined {
    return this.#attached.find((entry) => entry.name === name)?.run;
  }

  /** True when there was one of that name. */
  detach(name: string): boolean {
    const index = this.#attached.findIndex((entry) => entry.name === name);
    if (index < 0) return false;
    this.#attached[index]?.port.close();
    this.#attached.splice(index, 1);
    return true;
  }

  /** One round over all ports; returns how many packets came in. */
  breathe(nowMs: number): number {
    const due = nowMs >= this.#nextTickMs;
    if (due) this.#nextTickMs = nowMs + TICK_MS;
    let received = 0;
    for (let i = 0; i < this.#attached.length; i++) {
      const { port, run } = this.#attached[i] as Attached;
      if (due) port.tick(nowMs);
      const count = port.rx(this.#input);
      if (count > 0) {
        received += count;
        run.push(this.#input, this.#output, nowMs);
      }
      if (due) run.tick(this.#output, nowMs);
      if (this.#output.length > 0) port.tx(this.#output);
    }
    return received;
  }

  /** True when every port will wake us; then endSleep() must follow. On false nothing is left begun. */
  beginSleep(): boolean {
    for (let i = 0; i < this.#attached.length; i++) {
      if (this.#attached[i]?.port.beginSleep()) continue;
      for (let j = 0; j <= i; j++) this.#attached[j]?.port.endSleep();
      return false;
    }
    return true;
  }

  endSleep(): void {
    for (let i = 0; i < this.#attached.length; i++) this.#attached[i]?.port.endSleep();
  }

  close(): void {
    for (const { port } of this.#attached.splice(0)) port.close(); // cold
    this.#input.freeAll(this.#pool);
    this.#output.freeAll(this.#pool);
  }
}
