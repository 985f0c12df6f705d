import { describe, expect, it } from "vitest";
import { concatBytes } from "../bytes/index.js";
import { Random } from "../random/index.js";
import { Batch, FaultyPort, MemoryPort, PacketPool, RX_DROPPED, RX_ERRORS } from "./index.js";
import { describePort, frameOf } from "./port.suite.js";

function memoryFixture(wrap: (port: MemoryPort, pool: PacketPool) => import("./port.js").Port) {
  return async () => {
    const pool = new PacketPool({ slots: 256 });
    const memory = new MemoryPort({ name: "m", pool });
    return {
      pool,
      port: wrap(memory, pool),
      send: (frame: Uint8Array) => memory.inject(frame),
      receive: () => memory.takeSent(),
      close() {},
    };
  };
}

describePort(
  "MemoryPort",
  memoryFixture((port) => port),
  9216,
);
describePort(
  "FaultyPort without faults",
  memoryFixture((port, pool) => new FaultyPort({ port, pool, random: new Random(1) })),
);

describe("MemoryPort", () => {
  it("inject() counts what is no frame and what finds no room", () => {
    const pool = new PacketPool({ slots: 4 });
    const port = new MemoryPort({ name: "m", pool, queueLengthMax: 1 });
    port.inject(new Uint8Array(13));
    port.inject(new Uint8Array(9217));
    port.inject(frameOf(60, 0));
    port.inject(frameOf(60, 1));
    expect(port.stats[RX_ERRORS]).toBe(2);
    expect(port.stats[RX_DROPPED]).toBe(1);
  });
});

describe("FaultyPort", () => {
  it("is the same for the same seed and loses no packet of the pool", () => {
    const run = (): string => {
      const pool = new PacketPool({ slots: 256 });
      const memory = new MemoryPort({ name: "m", pool });
      const faults = { drop: 0.2, duplicate: 0.2, corrupt: 0.2, truncate: 0.2, reorder: 0.2 };
      const port = new FaultyPort({ port: memory, pool, random: new Random(7), rx: faults, tx: faults });
      const batch = new Batch();
      for (let i = 0; i < 100; i++) {
        memory.inject(frameOf(60 + i, i));
        port.rx(batch);
        port.tx(batch);
        port.tick(i);
      }
      port.close();
      expect(pool.available).toBe(256);
      const sent = memory.takeSent();
      expect(sent.length).toBeGreaterThan(50);
      return Buffer.from(concatBytes(sent)).toString("hex");
    };
    expect(run()).toBe(run());
  });
});
