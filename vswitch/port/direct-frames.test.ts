import { mkdtempSync, rmSync } from "node:fs";
import { afterEach, beforeEach, expect, it } from "vitest";
import { PacketPool, SLOT_SIZE } from "../../base/packet/index.js";
import { FRONT_END_MEMORY_SIZE } from "../../base/virtio/fake-front-end.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { createDirectFrames, START_SIZE } from "./direct-frames.js";
import { acceptGuest, type FakeGuest, HEADER_SIZE, linkUp, MERGEABLE } from "./fake-guest.js";
import { VhostUserPort } from "./vhost-user-port.js";

let dir = "";
let window: GuestWindow;
let pool: PacketPool;
const guests: FakeGuest[] = [];
const ports: VhostUserPort[] = [];

beforeEach(() => {
  dir = mkdtempSync("/tmp/pl-");
  window = new GuestWindow(128 << 20);
  const arenaOffset = window.reserveAnonymous(4 * SLOT_SIZE);
  pool = new PacketPool({ slots: 4, arena: window.bytes, arenaOffset });
});
afterEach(() => {
  for (const port of ports.splice(0)) port.close();
  for (const guest of guests.splice(0)) guest.close();
  window.close();
  rmSync(dir, { recursive: true });
});

async function connected(): Promise<{ readonly port: VhostUserPort; readonly guest: FakeGuest }> {
  const path = `${dir}/${ports.length}`;
  const port = new VhostUserPort({ name: "vm", pool, window, path, role: "dial" });
  ports.push(port);
  const guest = await acceptGuest(path, () => port.tick(performance.now()), { features: MERGEABLE });
  guests.push(guest);
  await guest.start();
  await linkUp(port);
  return { port, guest };
}

/** Everything that the guest's transmit buffers hold. */
function scribble(guest: FakeGuest, value: number): void {
  const from = guest.frontEnd.bufferAt(1, 0);
  guest.frontEnd.bytes.fill(value, from, Math.min(FRONT_END_MEMORY_SIZE, from + 64 * 2048));
}

it("delivers the start of a frame as it was judged, whatever its sender writes there meanwhile", async () => {
  const [sender, receiver] = [await connected(), await connected()];
  const direct = createDirectFrames(pool, window);
  const frames = [60, 61, 64, 66, 200, 1514].map((size) =>
    Uint8Array.from({ length: size }, (_, i) => i + size),
  );
  for (const frame of frames) await sender.guest.send(frame, () => undefined);
  expect(sender.port.look()).toBe(true);
  const taken = sender.port.beginDirect(0, 64);
  const place = pool.allocate();
  expect(direct.receive(sender.port.directSource(0), taken, false, place)).toBe(frames.length);
  scribble(sender.guest, 0xee);

  const target = receiver.port.directTarget(0);
  const given = direct.deliver(target, 0, frames.length, 9216);
  expect(receiver.port.giveDirect(0, given, 0, 0)).toBe(true);
  expect(receiver.port.giveDirect(0, 0, 0, 1)).toBe(false);
  receiver.port.settleDirect();
  const packet = direct.toPacket(4);
  const judged = frames.map((frame) => frame.map((byte, i) => (i < START_SIZE ? byte : 0xee)));
  expect(receiver.guest.receive()).toEqual(judged);
  expect(pool.frame(packet)).toEqual(judged[4]);
  expect(direct.sizeOf(1, 3)).toBe(61 + 64);
});

it("writes no byte behind a frame, and leaves what does not fit", async () => {
  const [sender, receiver] = [await connected(), await connected()];
  const direct = createDirectFrames(pool, window);
  for (const size of [61, 300]) await sender.guest.send(new Uint8Array(size).fill(7), () => undefined);
  expect(sender.port.look()).toBe(true);
  const taken = sender.port.beginDirect(0, 64);
  direct.receive(sender.port.directSource(0), taken, false, pool.allocate());
  const target = receiver.port.directTarget(0);
  target.available();
  target.unpop(target.takeBurst(2, true));
  const at = target.burstOffsets[0]!;
  window.bytes.fill(0xaa, at, at + 100);
  expect(direct.deliver(target, 0, 2, 299)).toBe(1);
  expect(direct.hasRunDry).toBe(false);
  expect([...window.bytes.subarray(at + HEADER_SIZE + 60, at + HEADER_SIZE + 65)]).toEqual([
    7, 0xaa, 0xaa, 0xaa, 0xaa,
  ]);
});

it("takes a frame whose buffer ends behind its header for none", async () => {
  const { port, guest } = await connected();
  const direct = createDirectFrames(pool, window);
  guest.layout = "two";
  await guest.send(new Uint8Array(60), () => undefined);
  expect(port.look()).toBe(true);
  const taken = port.beginDirect(0, 64);
  expect([taken, direct.receive(port.directSource(0), taken, false, pool.allocate())]).toEqual([1, 0]);
});
