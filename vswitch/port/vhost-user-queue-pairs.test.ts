// Several queue pairs of one guest: see vhost-user-port.test.ts for all that holds for one.
import { mkdtempSync, rmSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Epoll } from "../../base/linux/index.js";
import { Batch, PacketPool, SLOT_SIZE } from "../../base/packet/index.js";
import { frameOf } from "../../base/packet/port.suite.js";
import { waitFor } from "../../base/time/index.js";
import * as wire from "../../base/virtio/index.js";
import { udpFrame } from "../testing/frames.js";
import { acceptGuest, asleep, EVENT_INDEX, linkUp, MERGEABLE } from "./fake-guest.js";
import { VhostUserPort } from "./vhost-user-port.js";

const SLOTS = 512;
let dir = "";
let window: wire.GuestWindow;
let pool: PacketPool;
beforeEach(() => {
  dir = mkdtempSync("/tmp/pl-");
  window = new wire.GuestWindow(256 << 20);
  const arenaOffset = window.reserveAnonymous(SLOTS * SLOT_SIZE);
  pool = new PacketPool({ slots: SLOTS, arena: window.bytes, arenaOffset });
});
afterEach(() => {
  window.close();
  rmSync(dir, { recursive: true });
});

function send(port: VhostUserPort, frames: readonly Uint8Array[]): void {
  const batch = new Batch();
  for (const frame of frames) batch.push(pool.allocateFrom(frame));
  port.tx(batch);
}

test("serves several queue pairs: takes from all in turn, gives each flow one queue, and forgets disabled ones", async () => {
  const PAIRS = 3;
  const port = new VhostUserPort({ name: "vm", pool, window, path: `${dir}/q`, role: "dial" });
  const tick = (): void => port.tick(performance.now());
  const guest = await acceptGuest(`${dir}/q`, tick, { pairs: PAIRS, features: MERGEABLE, ringSize: 64 });
  expect(await guest.frontEnd.ask(wire.VHOST_USER_GET_QUEUE_NUM)).toBe(8n);
  await guest.start();
  await linkUp(port);
  await waitFor(
    () => {
      tick();
      return port.beginSleep();
    },
    "silence",
    5000,
    1,
  );
  port.endSleep();

  // A queue that is full must not keep the others waiting.
  for (let i = 0; i < 40; i++) await guest.send(frameOf(60, 0), tick, 0);
  await guest.send(frameOf(60, 1), tick, 1);
  await guest.send(frameOf(60, 2), tick, 2);
  const seen = new Set<string>();
  for (let i = 0; i < PAIRS; i++) {
    const batch = new Batch(2);
    port.rx(batch);
    for (let k = 0; k < batch.length; k++)
      seen.add(Buffer.from(pool.frame(batch.packets[k]!)).toString("hex"));
    batch.freeAll(pool);
  }
  expect(seen.size).toBe(PAIRS);
  const rest = new Batch();
  while (port.rx(rest) > 0) rest.freeAll(pool);
  expect([...port.queueFrames.subarray(0, PAIRS)]).toEqual([40, 1, 1]);
  expect([...port.queuesInUse.values()]).toEqual([true, true, true]);

  const frames = Array.from({ length: 60 }, (_, i) =>
    udpFrame(
      { source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 1000 + (i % 20) },
      Uint8Array.of(i, 0, 0, 0),
    ),
  );
  send(port, frames);
  const received = Array.from({ length: PAIRS }, (_, pair) => guest.receive(pair));
  expect(received.flat().length).toBe(60);
  for (const [queue, own] of received.entries()) {
    expect(own.length).toBeGreaterThan(0);
    // In order, and no other queue has a frame of these flows.
    const numbers = own.map((frame) => frame[42]!);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    const flows = new Set(numbers.map((number) => number % 20));
    const others = received.filter((_, other) => other !== queue).flat();
    expect(others.some((frame) => flows.has(frame[42]! % 20))).toBe(false);
  }

  // The driver goes down to one pair: all flows meet there, and what it still puts elsewhere goes nowhere.
  for (const ring of [2, 3, 4, 5]) guest.frontEnd.enableRing(ring, false);
  tick();
  await guest.send(frameOf(60, 7), tick, 2);
  await guest.send(frameOf(60, 8), tick, 0);
  tick();
  expect(port.rx(rest)).toBe(1);
  expect([...port.queueFrames.subarray(0, PAIRS)]).toEqual([41, 1, 1]);
  expect([...port.queuesInUse.values()]).toEqual([true, false, false]);
  expect(pool.frame(rest.packets[0]!)).toEqual(frameOf(60, 8));
  rest.freeAll(pool);
  expect(guest.frontEnd.takeUsed(5)).toBeDefined();
  send(port, frames.slice(0, 30));
  expect(guest.receive(0)).toEqual(frames.slice(0, 30));
  expect(port.linkUp).toBe(true);
  port.close();
  expect([...port.queuesInUse.values()]).toEqual([false]);
  guest.close();
  expect(pool.available).toBe(SLOTS);
});

test("wakes for a kick of any queue", async () => {
  const port = new VhostUserPort({ name: "vm", pool, window, path: `${dir}/w`, role: "dial" });
  const tick = (): void => port.tick(performance.now());
  const guest = await acceptGuest(`${dir}/w`, tick, { pairs: 8, features: EVENT_INDEX, ringSize: 32 });
  await guest.start();
  await linkUp(port);
  const epoll = new Epoll();
  epoll.add(port.wakeFd, 1);
  const batch = new Batch();
  for (let pair = 0; pair < 8; pair++) {
    await asleep(port, epoll);
    await guest.send(frameOf(60, pair), tick, pair);
    expect(epoll.wait(1000)).toBe(1);
    port.endSleep();
    expect(port.rx(batch)).toBe(1);
    batch.freeAll(pool);
  }
  epoll.close();
  port.close();
  guest.close();
});
