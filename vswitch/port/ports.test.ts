import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import { Epoll, probeFacility } from "../../base/linux/index.js";
import { Batch, PacketPool, TX_DROPPED } from "../../base/packet/index.js";
import { describePort, frameOf } from "../../base/packet/port.suite.js";
import { InternalPort, PatchPort, TapPort } from "./index.js";

describePort(
  "PatchPort",
  async () => {
    // More than the queue between the two holds: nobody empties it while the suite sends.
    const pool = new PacketPool({ slots: 2048 });
    const [port, peer] = [new PatchPort({ name: "a", pool }), new PatchPort({ name: "b", pool })];
    port.connect(peer);
    const batch = new Batch();
    return {
      pool,
      port,
      send(frame: Uint8Array) {
        batch.push(pool.allocateFrom(frame));
        peer.tx(batch);
      },
      receive() {
        peer.rx(batch);
        const frames = Array.from(batch.packets.subarray(0, batch.length), (packet) => pool.frame(packet));
        batch.freeAll(pool);
        return frames;
      },
      close: () => peer.close(),
    };
  },
  9216,
);

describe("PatchPort", () => {
  it("without a peer drops and counts; taking a joint apart frees what is on its way", () => {
    const pool = new PacketPool({ slots: 16 });
    const [a, b] = [new PatchPort({ name: "a", pool }), new PatchPort({ name: "b", pool })];
    const batch = new Batch();
    batch.push(pool.allocateFrom(frameOf(60, 1)));
    a.tx(batch);
    expect([a.linkUp, a.stats[TX_DROPPED]]).toEqual([false, 1]);
    a.connect(b);
    batch.push(pool.allocateFrom(frameOf(60, 1)));
    a.tx(batch);
    expect([a.linkUp, b.linkUp, pool.available]).toEqual([true, true, 15]);
    expect(b.beginSleep()).toBe(false);
    b.disconnect();
    expect([a.linkUp, b.linkUp, pool.available]).toEqual([false, false, 16]);
  });

  it("tells who answers for what it hands out, whoever may have sent before and afterwards", () => {
    const origin = fc.option(fc.integer({ min: 0, max: 3 }));
    const step = fc.record({
      sent: fc.integer({ min: 0, max: 40 }),
      origin,
      taken: fc.integer({ min: 0, max: 5 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const pool = new PacketPool({ slots: 2048 });
        const [a, b] = [new PatchPort({ name: "a", pool }), new PatchPort({ name: "b", pool })];
        a.connect(b);
        const people = [0, 1, 2, 3].map((name) => ({ name }));
        const [expected, found]: (object | null)[][] = [[], []];
        const batch = new Batch();
        const take = (): void => {
          const count = b.rx(batch);
          expect(batch.length).toBe(count);
          for (let i = 0; i < count; i++) found!.push(b.origin);
          batch.freeAll(pool);
        };
        for (const { sent, origin, taken } of steps) {
          const who = origin === null ? null : people[origin]!;
          b.assign(null);
          for (let i = 0; i < sent; i++) {
            batch.push(pool.allocateFrom(frameOf(60, 1)));
            expected!.push(who);
          }
          a.tx(batch);
          if (who !== null) b.assign(who);
          for (let i = 0; i < taken; i++) take();
        }
        while (b.waiting > 0) take();
        expect(found).toEqual(expected);
      }),
    );
  });
});

describe("InternalPort", () => {
  it("without a device is down, says why, and counts what is sent to it", () => {
    const pool = new PacketPool({ slots: 16 });
    const port = new InternalPort({ name: "br0", pool });
    const batch = new Batch();
    batch.push(pool.allocateFrom(frameOf(60, 1)));
    port.tx(batch);
    expect([port.linkUp, port.stats[TX_DROPPED], pool.available]).toEqual([false, 1, 16]);
    expect(port.rx(batch)).toBe(0);
    expect(port.lastError).toContain("--host-devices");
  });
});

describe("TapPort", () => {
  it("makes a device, carries what the host says on it, and leaves nothing behind; else it is refused", () => {
    const pool = new PacketPool({ slots: 64 });
    if (!probeFacility("tap").available) {
      expect(() => new TapPort({ name: "plinth0", pool })).toThrow(PlinthError);
      return;
    }
    const name = `pl${process.pid % 100000}`;
    const port = new TapPort({ name, pool, mac: Uint8Array.of(0x52, 0x54, 0, 0, 0, 9), mtu: 1400 });
    const epoll = new Epoll();
    epoll.add(port.wakeFd, 1);
    const batch = new Batch();
    // Coming up, the host's IPv6 announces itself without being asked.
    expect(port.beginSleep()).toBe(true);
    if (epoll.wait(5000) > 0) {
      port.endSleep();
      expect(port.rx(batch)).toBeGreaterThan(0);
      expect(pool.frame(batch.packets[0]!).slice(6, 12)).toEqual(Uint8Array.of(0x52, 0x54, 0, 0, 0, 9));
      batch.freeAll(pool);
    }
    batch.push(pool.allocateFrom(frameOf(60, 1)));
    port.tx(batch);
    expect(pool.available).toBe(64);
    port.close();
    port.close();
    epoll.close();
    expect(() => new TapPort({ name: "lo", pool })).toThrow();
  });
});
