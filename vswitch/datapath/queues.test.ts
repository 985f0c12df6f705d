import { describe, expect, it } from "vitest";
import { PacketPool } from "../../base/packet/index.js";
import { FRAME_DROPPED, FRAME_HELD, PortQueues, type QosConfig } from "./queues.js";

const MBIT = 1e6;
const SECONDS = 20;

/**
 * Bits per second that left by each queue while `offered` bits per second came for it, by a clock that is simulated. Steps
 * of the clock are uneven, as those of a loop are.
 */
function shape(
  qos: Omit<QosConfig, "type">,
  offered: Readonly<Record<number, number>>,
  sizeBytes = 1000,
  pauseMs = 0,
): Record<number, number> {
  const pool = new PacketPool({ slots: 4096 });
  const queues = new PortQueues(pool, { type: "linux-htb", ...qos }, 10_000_000, undefined, 0);
  const sent: Record<number, number> = {};
  const due: Record<number, number> = {};
  const owner = new Map<number, number>();
  const leaves = (packet: number): void => {
    const id = owner.get(packet) as number;
    sent[id] = (sent[id] ?? 0) + 8 * sizeBytes;
    pool.free(packet);
  };
  for (let nowMs = 0, step = 0; nowMs < SECONDS * 1000; ) {
    const elapsedMs = 1 + (step++ % 3) + (step % 20 === 0 ? pauseMs : 0);
    nowMs += elapsedMs;
    for (let packet = queues.next(nowMs); packet >= 0; packet = queues.next(nowMs)) leaves(packet);
    for (const [id, rate] of Object.entries(offered)) {
      due[Number(id)] = (due[Number(id)] ?? 0) + (rate * elapsedMs) / 1000;
      while ((due[Number(id)] as number) > 0) {
        due[Number(id)] = (due[Number(id)] as number) - 8 * sizeBytes;
        const packet = pool.allocate();
        pool.length[packet] = sizeBytes;
        owner.set(packet, Number(id));
        const fate = queues.take(Number(id), packet, nowMs);
        if (fate === FRAME_DROPPED) pool.free(packet);
        else if (fate !== FRAME_HELD) leaves(packet);
      }
    }
  }
  queues.freeAll();
  expect(pool.available).toBe(4096);
  return Object.fromEntries(Object.entries(sent).map(([id, bits]) => [id, bits / SECONDS]));
}

function near(measured: number | undefined, wanted: number): void {
  expect((measured ?? 0) / wanted).toBeGreaterThan(0.98);
  expect((measured ?? 0) / wanted).toBeLessThan(1.02);
}

describe("a port's queues", () => {
  it.each([0.5, 1, 10, 100, 1000])("hold a port to %d Mbit/s, to within 2 %%", (mbit) => {
    const sent = shape({ maxRateBps: mbit * MBIT, queues: [{ queueId: 0 }] }, { 0: 2 * mbit * MBIT });
    near(sent[0], mbit * MBIT);
  });

  it.each([20, 50, 90])("keep their rates when the loop comes %d ms late now and then", (pauseMs) => {
    const queues = [{ queueId: 0 }, { queueId: 1, maxRateBps: 5 * MBIT }];
    const rates = { maxRateBps: 10 * MBIT, queues };
    const sent = shape(rates, { 0: 20 * MBIT, 1: 10 * MBIT }, 1000, pauseMs);
    near(sent[0], 5 * MBIT);
    near(sent[1], 5 * MBIT);
  });

  it("let no more leave after a pause without frames than the burst", () => {
    const pool = new PacketPool({ slots: 1024 });
    const qos = { type: "linux-htb", maxRateBps: MBIT, queues: [{ queueId: 0 }] };
    const queues = new PortQueues(pool, qos, 10_000_000, undefined, 0);
    const put = (nowMs: number): number => {
      const packet = pool.allocate();
      pool.length[packet] = 125;
      return queues.take(0, packet, nowMs);
    };
    while (put(0) !== FRAME_HELD);
    while (queues.next(1000) >= 0);
    let leave = 0;
    while (put(10_000) !== FRAME_HELD) leave++;
    // 1514 bytes, and one more frame that leaves a debt.
    expect(leave).toBe(Math.ceil(1514 / 125));
    queues.freeAll();
  });

  it.each([64, 1000, 1514])("hold a queue to its ceiling with frames of %d bytes", (size) => {
    const queues = [{ queueId: 0 }, { queueId: 1, maxRateBps: 5 * MBIT }];
    const sent = shape({ maxRateBps: 100 * MBIT, queues }, { 0: 20 * MBIT, 1: 50 * MBIT }, size);
    near(sent[1], 5 * MBIT);
    near(sent[0], 20 * MBIT);
  });

  it("give each queue what is its own, and share what is left in proportion to that", () => {
    const queues = [
      { queueId: 0, minRateBps: 1 * MBIT },
      { queueId: 1, minRateBps: 6 * MBIT },
      { queueId: 2, minRateBps: 3 * MBIT },
    ];
    const sent = shape({ maxRateBps: 20 * MBIT, queues }, { 0: 50 * MBIT, 1: 50 * MBIT, 2: 50 * MBIT });
    near(sent[0], 2 * MBIT);
    near(sent[1], 12 * MBIT);
    near(sent[2], 6 * MBIT);
  });

  it("let a queue have what others leave", () => {
    const queues = [
      { queueId: 0, minRateBps: 8 * MBIT },
      { queueId: 1, minRateBps: 2 * MBIT },
    ];
    const sent = shape({ maxRateBps: 10 * MBIT, queues }, { 0: 3 * MBIT, 1: 50 * MBIT });
    near(sent[0], 3 * MBIT);
    near(sent[1], 7 * MBIT);
  });

  it("give what is left to the first by priority, but to every queue what is its own", () => {
    const queues = [
      { queueId: 0, minRateBps: 1 * MBIT, priority: 2 },
      { queueId: 1, minRateBps: 1 * MBIT, priority: 1 },
    ];
    const sent = shape({ maxRateBps: 10 * MBIT, queues }, { 0: 50 * MBIT, 1: 50 * MBIT });
    near(sent[0], 1 * MBIT);
    near(sent[1], 9 * MBIT);
  });

  it("keep frames in order, count those that are too many, and say when the next may leave", () => {
    const pool = new PacketPool({ slots: 1024 });
    const qos = { type: "linux-htb", maxRateBps: MBIT, queues: [{ queueId: 0 }] };
    const queues = new PortQueues(pool, qos, 10_000_000, undefined, 0);
    const packets = Array.from({ length: 400 }, () => {
      const packet = pool.allocate();
      pool.length[packet] = 1250;
      return packet;
    });
    const fates = packets.map((packet) => queues.take(0, packet, 0));
    expect(fates.filter((fate) => fate === FRAME_HELD)).toHaveLength(256);
    expect(queues.dropped).toBe(fates.filter((fate) => fate === FRAME_DROPPED).length);
    const held = packets.filter((_, i) => fates[i] === FRAME_HELD);
    const left: number[] = [];
    for (let nowMs = 0; left.length < held.length; ) {
      expect(queues.waitMs).toBeGreaterThanOrEqual(1);
      nowMs += queues.waitMs;
      const before = left.length;
      for (let packet = queues.next(nowMs); packet >= 0; packet = queues.next(nowMs)) left.push(packet);
      expect(left.length).toBeGreaterThan(before);
    }
    expect(left).toEqual(held);
    expect(queues.waitMs).toBe(Number.POSITIVE_INFINITY);
  });

  it("go on through a change of rates with what waits in them, and free what waits in those that go", () => {
    const pool = new PacketPool({ slots: 64 });
    const qos = { type: "linux-htb", maxRateBps: MBIT, queues: [{ queueId: 0 }, { queueId: 1 }] };
    const before = new PortQueues(pool, qos, 10_000_000, undefined, 0);
    const put = (queueId: number): number => {
      const packet = pool.allocate();
      pool.length[packet] = 1250;
      return before.take(queueId, packet, 0) === FRAME_HELD ? packet : -1;
    };
    const first = [put(0), put(0), put(0), put(0)].filter((packet) => packet >= 0);
    expect(put(1)).toBeGreaterThanOrEqual(0);
    const after = new PortQueues(pool, { ...qos, queues: [{ queueId: 0 }] }, 10_000_000, before, 0);
    expect(after.held).toBe(first.length);
    expect(pool.available).toBe(64 - 4);
    expect(after.next(1000)).toBe(first[0]);
  });
});
