import { describe, expect, it } from "vitest";
import { type Batch, MemoryPort, PacketPool } from "../../base/packet/index.js";
import { TICK_MS } from "../limits.js";
import { Engine } from "./engine.js";
import type { NetworkFunction } from "./network-function.js";

/** Sends back every second packet, and one of its own per tick. */
class Halver implements NetworkFunction {
  ticks = 0;
  readonly #pool: PacketPool;

  constructor(pool: PacketPool) {
    this.#pool = pool;
  }

  push(input: Batch, output: Batch): void {
    for (let i = 0; i < input.length; i++) {
      if (i % 2 === 0) output.push(input.packets[i] as number);
      else this.#pool.free(input.packets[i] as number);
    }
    input.length = 0;
  }

  tick(output: Batch): void {
    this.ticks++;
    output.push(this.#pool.allocateFrom(new Uint8Array(14).fill(0xee)));
  }

  status() {
    return { endpoints: [], counters: { ticks: this.ticks } };
  }
}

const frame = (mark: number) => new Uint8Array(60).fill(mark);

describe("Engine", () => {
  it("carries frames through each port's own function and ticks on time", () => {
    const pool = new PacketPool({ slots: 32 });
    const engine = new Engine(pool);
    const port = new MemoryPort({ name: "a", pool });
    const other = new MemoryPort({ name: "b", pool });
    const halver = new Halver(pool);
    engine.attach("a", port, halver);
    engine.attach("b", other, new Halver(pool));
    for (let i = 1; i <= 4; i++) port.inject(frame(i));
    expect(engine.breathe(0)).toBe(4);
    expect(port.takeSent().map((sent) => sent[0])).toEqual([1, 3, 0xee]);
    expect(other.takeSent()).toHaveLength(1);
    engine.breathe(TICK_MS - 1);
    expect(halver.ticks).toBe(1);
    engine.breathe(TICK_MS);
    expect(halver.ticks).toBe(2);
    expect(pool.available).toBe(32);
  });

  it("detaches one function and leaves the others", () => {
    const pool = new PacketPool({ slots: 8 });
    const engine = new Engine(pool);
    engine.attach("a", new MemoryPort({ name: "a", pool }), new Halver(pool));
    engine.attach("b", new MemoryPort({ name: "b", pool }), new Halver(pool));
    expect(engine.detach("a")).toBe(true);
    expect(engine.detach("a")).toBe(false);
    expect(engine.names).toEqual(["b"]);
    engine.close();
    expect(engine.names).toEqual([]);
  });
});
