// The conformance suite of the Port contract: every implementation passes it, each with its own kind of peer.
// Call describePort() from the implementation's test file.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { waitFor } from "../time/index.js";
import { Batch } from "./batch.js";
import { FRAME_SIZE_MIN, HEADROOM } from "./limits.js";
import type { PacketPool } from "./packet-pool.js";
import { type Port, RX_BYTES, RX_PACKETS, TX_BYTES, TX_DROPPED, TX_ERRORS, TX_PACKETS } from "./port.js";

export interface PortFixture {
  readonly port: Port;
  readonly pool: PacketPool;
  /** The peer sends one frame towards the port. */
  send(frame: Uint8Array): void | Promise<void>;
  /** The peer takes what arrived since the last call; may be called again and again. */
  receive(): Uint8Array[] | Promise<Uint8Array[]>;
  /** Closes the peer; the suite closes the port. */
  close(): void | Promise<void>;
}

const DEADLINE_MS = 5000;

/** `open` resolves when the link is up. `frameSizeMax`: the longest frame that both sides carry. */
export function describePort(name: string, open: () => Promise<PortFixture>, frameSizeMax = 1514): void {
  describe(`${name} keeps the port contract`, () => {
    let fixture: PortFixture;
    let slotsFree: number;
    beforeEach(async () => {
      fixture = await open();
      slotsFree = fixture.pool.available;
    });
    afterEach(async () => {
      fixture.port.close();
      await fixture.close();
    });

    it("rx() hands over frames whole, in order, with headroom, and counts them", async () => {
      const frames = [FRAME_SIZE_MIN, 60, 64, 65, 1000, frameSizeMax].map((size, i) => frameOf(size, i));
      for (const frame of frames) await fixture.send(frame);
      const got = await rxFrames(fixture, frames.length);
      expect(got).toEqual(frames);
      expect(fixture.port.stats[RX_PACKETS]).toBe(frames.length);
      expect(fixture.port.stats[RX_BYTES]).toBe(frames.reduce((sum, frame) => sum + frame.byteLength, 0));
      expect(fixture.pool.available).toBe(slotsFree);
    });

    it("rx() never overfills the batch", async () => {
      for (let i = 0; i < 10; i++) await fixture.send(frameOf(64, i));
      const batch = new Batch(4);
      const got: Uint8Array[] = [];
      await waitFor(
        () => {
          fixture.port.tick(performance.now());
          fixture.port.rx(batch);
          expect(batch.length).toBeLessThanOrEqual(4);
          for (let i = 0; i < batch.length; i++) got.push(fixture.pool.frame(batch.packets[i] as number));
          batch.freeAll(fixture.pool);
          return got.length >= 10;
        },
        "ten frames in batches of four",
        DEADLINE_MS,
        1,
      );
      expect(got).toEqual(Array.from({ length: 10 }, (_, i) => frameOf(64, i)));
    });

    it("tx() delivers frames whole and in order, empties the batch and frees the packets", async () => {
      const frames = [FRAME_SIZE_MIN, 60, 64, 65, 1000, frameSizeMax].map((size, i) => frameOf(size, i));
      const batch = new Batch();
      for (const frame of frames) batch.push(fixture.pool.allocateFrom(frame));
      fixture.port.tx(batch);
      expect(batch.length).toBe(0);
      expect(await received(fixture, frames.length)).toEqual(frames);
      expect(fixture.port.stats[TX_PACKETS]).toBe(frames.length);
      expect(fixture.port.stats[TX_BYTES]).toBe(frames.reduce((sum, frame) => sum + frame.byteLength, 0));
      await slotsReturn(fixture, slotsFree);
    });

    it("tx() accounts for every packet of many bursts: sent, dropped or failed", async () => {
      const batch = new Batch();
      const total = 40 * 32;
      for (let burst = 0; burst < 40; burst++) {
        for (let i = 0; i < 32; i++) {
          const packet = fixture.pool.allocateFrom(frameOf(200, burst * 32 + i));
          if (packet >= 0) batch.push(packet);
          else await slotsReturn(fixture, slotsFree);
        }
        while (batch.length < 32)
          batch.push(fixture.pool.allocateFrom(frameOf(200, burst * 32 + batch.length)));
        fixture.port.tx(batch);
      }
      const { stats } = fixture.port;
      let arrived = 0;
      await waitFor(
        async () => {
          fixture.port.tick(performance.now());
          arrived += (await fixture.receive()).length;
          const known =
            (stats[TX_PACKETS] as number) + (stats[TX_DROPPED] as number) + (stats[TX_ERRORS] as number);
          return known === total && arrived === stats[TX_PACKETS];
        },
        () => `arrived ${arrived}, counters ${Array.from(stats).join(" ")}`,
        DEADLINE_MS,
        1,
      );
      await slotsReturn(fixture, slotsFree);
    });

    it("tx() leaves a shared packet untouched", async () => {
      const frame = frameOf(100, 7);
      const packet = fixture.pool.allocateFrom(frame);
      fixture.pool.retain(packet);
      const batch = new Batch();
      batch.push(packet);
      fixture.port.tx(batch);
      expect(await received(fixture, 1)).toEqual([frame]);
      expect(fixture.pool.frame(packet)).toEqual(frame);
      fixture.pool.free(packet);
      await slotsReturn(fixture, slotsFree);
    });

    it("beginSleep() answers false, or the descriptor becomes readable, when a frame is there", async () => {
      await fixture.send(frameOf(64, 1));
      fixture.port.tick(performance.now());
      if (fixture.port.beginSleep()) expect(fixture.port.wakeFd).toBeGreaterThanOrEqual(0);
      fixture.port.endSleep();
      expect(await rxFrames(fixture, 1)).toEqual([frameOf(64, 1)]);
    });

    it("close() returns every packet to the pool", async () => {
      for (let i = 0; i < 5; i++) await fixture.send(frameOf(64, i));
      fixture.port.tick(performance.now());
      fixture.port.close();
      expect(fixture.pool.available).toBe(slotsFree);
    });
  });
}

/** A frame of `size` bytes with a valid-looking Ethernet header and contents that depend on `seed`. */
export function frameOf(size: number, seed: number): Uint8Array {
  const frame = new Uint8Array(size);
  for (let i = 0; i < size; i++) frame[i] = (seed * 31 + i * 7) & 0xff;
  frame.set([0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2, 0x88, 0xb5]);
  return frame;
}

async function rxFrames(fixture: PortFixture, count: number): Promise<Uint8Array[]> {
  const batch = new Batch();
  const got: Uint8Array[] = [];
  await waitFor(
    () => {
      fixture.port.tick(performance.now());
      fixture.port.rx(batch);
      for (let i = 0; i < batch.length; i++) {
        const packet = batch.packets[i] as number;
        expect(fixture.pool.headroom(packet)).toBeGreaterThanOrEqual(HEADROOM);
        got.push(fixture.pool.frame(packet));
      }
      batch.freeAll(fixture.pool);
      return got.length >= count;
    },
    () => `${got.length} of ${count} frames received`,
    DEADLINE_MS,
    1,
  );
  return got;
}

async function received(fixture: PortFixture, count: number): Promise<Uint8Array[]> {
  const got: Uint8Array[] = [];
  await waitFor(
    async () => {
      fixture.port.tick(performance.now());
      got.push(...(await fixture.receive()));
      return got.length >= count;
    },
    () => `${got.length} of ${count} frames at the peer`,
    DEADLINE_MS,
    1,
  );
  return got;
}

async function slotsReturn(fixture: PortFixture, slots: number): Promise<void> {
  await waitFor(
    () => {
      fixture.port.tick(performance.now());
      return fixture.pool.available === slots;
    },
    () => `${fixture.pool.available} of ${slots} slots free`,
    DEADLINE_MS,
    1,
  );
}
