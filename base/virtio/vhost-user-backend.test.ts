import { readdirSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  closeFile,
  createEventfd,
  createMemfd,
  createSocketPair,
  drainEventfd,
  Epoll,
} from "../linux/index.js";
import {
  FakeFrontEnd,
  FRONT_END_GUEST_BASE,
  FRONT_END_MEMORY_SIZE,
  FRONT_END_USER_BASE,
} from "./fake-front-end.js";
import { GuestWindow } from "./guest-window.js";
import { VhostUserBackend } from "./vhost-user-backend.js";
import * as wire from "./vhost-user-wire.js";
import { POP_BAD, POP_EMPTY } from "./virtqueue.js";

const device = {
  features:
    (1n << 32n) |
    (1n << BigInt(wire.VIRTIO_RING_F_INDIRECT_DESC)) |
    (1n << BigInt(wire.VIRTIO_RING_F_EVENT_IDX)),
  protocolFeatures: 0n,
  ringCount: 1,
  queueCount: 1,
};
let window: GuestWindow;
let epoll: Epoll;
let backend: VhostUserBackend;
let frontEnd: FakeFrontEnd;
let fdsBefore = 0;

const PLAIN = device.features & ~(1n << BigInt(wire.VIRTIO_RING_F_EVENT_IDX));

function connect(features = PLAIN): void {
  const [near, far] = createSocketPair();
  backend = new VhostUserBackend({ fd: near, device, window, epoll });
  frontEnd = new FakeFrontEnd({ fd: far, ringCount: 1, ringSize: 8, features, pump: () => backend.poll() });
}
beforeEach(() => {
  fdsBefore = readdirSync("/proc/self/fd").length;
  window = new GuestWindow(64 << 20);
  epoll = new Epoll();
  connect();
});
afterEach(() => {
  backend.close();
  backend.close();
  frontEnd.close();
  epoll.close();
  expect(window.reservedBytes).toBe(0);
  window.close();
  expect(readdirSync("/proc/self/fd").length).toBe(fdsBefore);
});

const guest = (offset: number): number => FRONT_END_GUEST_BASE + offset;

test("a chain goes from driver to device and back, with kick and call", async () => {
  await frontEnd.start();
  backend.poll();
  const queue = backend.queues[0]!;
  expect(queue.size).toBe(8);
  expect(queue.available()).toBe(0);
  queue.wantKicks(true);
  while (epoll.wait(0) > 0) backend.poll();
  const data = frontEnd.bufferAt(0, 0);
  frontEnd.bytes.set([1, 2, 3], data);
  frontEnd.setDescriptor(0, 3, guest(data), 3, 1, 5);
  frontEnd.setDescriptor(0, 5, guest(data + 100), 50, 2);
  frontEnd.wasCalled(0);
  frontEnd.offer(0, 3);
  expect(epoll.wait(1000)).toBe(1);
  expect(queue.available()).toBe(1);
  expect(queue.pop()).toBe(2);
  expect([queue.head, queue.chain.readableCount, queue.chain.length[0], queue.chain.length[1]]).toEqual([
    3, 1, 3, 50,
  ]);
  expect(window.bytes[queue.chain.offset[0]! + 2]).toBe(3);
  window.bytes[queue.chain.offset[1]!] = 99;
  queue.push(queue.head, 1);
  if (queue.publish()) backend.call(0);
  expect(frontEnd.takeUsed(0)).toEqual({ head: 3, length: 1 });
  expect(frontEnd.wasCalled(0)).toBe(true);
  expect(frontEnd.bytes[data + 100]).toBe(99);
  expect(queue.pop()).toBe(POP_EMPTY);
  expect(await frontEnd.stopRing(0)).toBe(1);
  expect(queue.available()).toBe(0);
});

test("an indirect table is followed once, nested ones are bad", async () => {
  await frontEnd.start();
  backend.poll();
  const queue = backend.queues[0]!;
  const table = frontEnd.bufferAt(0, 7);
  for (const [slot, flags] of [
    [0, 1],
    [1, 4],
  ] as const) {
    frontEnd.view.setBigUint64(table + slot * 16, BigInt(guest(frontEnd.bufferAt(0, slot))), true);
    frontEnd.view.setUint32(table + slot * 16 + 8, 16, true);
    frontEnd.view.setUint16(table + slot * 16 + 12, flags, true);
    frontEnd.view.setUint16(table + slot * 16 + 14, 1, true);
  }
  frontEnd.setDescriptor(0, 0, guest(table), 32, 4);
  frontEnd.offer(0, 0);
  expect(queue.available()).toBe(1);
  expect(queue.pop()).toBe(POP_BAD);
  frontEnd.view.setUint16(table + 16 + 12, 0, true);
  frontEnd.offer(0, 0);
  expect(queue.available()).toBe(1);
  expect(queue.pop()).toBe(2);
});

test("a ring that does not run is answered the base that was given, and one that was stopped where it stopped", async () => {
  const { VHOST_USER_SET_VRING_BASE } = wire;
  frontEnd.send(VHOST_USER_SET_VRING_BASE, { kind: "vringState", index: 0, num: 12 });
  expect(await frontEnd.stopRing(0)).toBe(12);
  frontEnd.view.setUint16(frontEnd.usedAt(0) + 2, 7, true);
  await frontEnd.start([7]);
  expect(await frontEnd.stopRing(0)).toBe(7);
  expect(await frontEnd.stopRing(0)).toBe(7);
  // As QEMU does it when a machine is moved.
  frontEnd.restartRing(0, 7);
  frontEnd.send(wire.VHOST_USER_SET_STATUS, { kind: "u64", value: 15n });
  frontEnd.send(wire.VHOST_USER_SET_STATUS, { kind: "u64", value: 0n });
  frontEnd.enableRing(0, false);
  expect(await frontEnd.stopRing(0)).toBe(7);
});

test("a ring continues at the used index when the base given is wrong", async () => {
  frontEnd.view.setUint16(frontEnd.usedAt(0) + 2, 7, true);
  await frontEnd.start([3]);
  backend.poll();
  expect(backend.queues[0]!.base).toBe(7);
  expect(await frontEnd.stopRing(0)).toBe(7);
});

test("an impossible available index breaks the ring and nothing else", async () => {
  await frontEnd.start();
  backend.poll();
  frontEnd.view.setUint16(frontEnd.availableAt(0) + 2, 9, true);
  const queue = backend.queues[0]!;
  expect(queue.available()).toBe(0);
  expect(queue.broken).toBe(true);
  expect(backend.poll()).toBe(true);
});

test("memory that goes away takes its rings along, and they come back with it", async () => {
  await frontEnd.start();
  backend.poll();
  const tiny = createMemfd("tiny", 4096);
  const region = { guestAddress: 0, sizeBytes: 4096, userAddress: 0x1000, fileOffset: 0 };
  frontEnd.send(wire.VHOST_USER_SET_MEM_TABLE, { kind: "memoryTable", regions: [region] }, [tiny]);
  closeFile(tiny);
  expect(backend.poll()).toBe(true);
  expect(backend.queues[0]!.size).toBe(0);
  expect(backend.queues[0]!.available()).toBe(0);
  frontEnd.shareMemory();
  expect(backend.poll()).toBe(true);
  expect(backend.queues[0]!.size).toBe(8);
  frontEnd.setDescriptor(0, 0, guest(frontEnd.bufferAt(0, 0)), 16, 0);
  frontEnd.offer(0, 0);
  expect(backend.queues[0]!.available()).toBe(1);
});

test("a front-end that vanishes is noticed, its late memory harmless", async () => {
  await frontEnd.start();
  backend.poll();
  frontEnd.setDescriptor(0, 0, guest(frontEnd.bufferAt(0, 0)), 16, 0);
  frontEnd.offer(0, 0);
  frontEnd.close();
  const queue = backend.queues[0]!;
  expect(queue.available()).toBe(1);
  expect(queue.pop()).toBe(1);
  expect(backend.poll()).toBe(false);
  expect(backend.closedReason).toBe("the peer has gone");
  backend.close();
  expect(queue.available()).toBe(0);
});

test.each([
  ["garbage", () => frontEnd.sendBytes(new Uint8Array(40).fill(0xee))],
  [
    "a header with an impossible length",
    () => frontEnd.sendBytes(new Uint8Array(Uint32Array.of(1, 1, 0xffff_ffff).buffer)),
  ],
  [
    "a kick descriptor that could block",
    () => {
      frontEnd.send(wire.VHOST_USER_SET_VRING_CALL, { kind: "u64", value: 0n }, [0]);
    },
  ],
  [
    "a ring outside its memory",
    () => {
      frontEnd.send(wire.VHOST_USER_SET_VRING_NUM, { kind: "vringState", index: 0, num: 8 });
      const at = 0xdead_0000;
      frontEnd.send(wire.VHOST_USER_SET_VRING_ADDR, {
        kind: "vringAddress",
        index: 0,
        flags: 0,
        descriptors: at,
        available: at,
        used: at,
        log: 0,
      });
      const kick = createEventfd();
      frontEnd.send(wire.VHOST_USER_SET_VRING_KICK, { kind: "u64", value: 0n }, [kick]);
      closeFile(kick);
    },
  ],
])("%s closes the connection and leaks nothing", (_name, misbehave) => {
  misbehave();
  expect(backend.poll()).toBe(false);
  backend.close();
  expect(frontEnd.isClosed()).toBe(true);
});

test("a message that arrives byte by byte is one message", () => {
  const bytes = wire.encodeVhostUserMessage({ request: 1, flags: 1, payload: { kind: "none" } });
  for (const byte of bytes) {
    frontEnd.sendBytes(Uint8Array.of(byte));
    expect(backend.poll()).toBe(true);
  }
  return expect(frontEnd.answer()).resolves.toMatchObject({ request: 1, flags: 5 });
});

test("with EVENT_IDX a sleeping device is kicked once, and a busy one not at all", async () => {
  backend.close();
  frontEnd.close();
  connect(device.features);
  await frontEnd.start();
  backend.poll();
  const queue = backend.queues[0]!;
  expect(queue.eventIndex).toBe(true);
  const offer = (): void => {
    frontEnd.setDescriptor(0, 1, guest(frontEnd.bufferAt(0, 0)), 16, 0);
    frontEnd.offer(0, 1);
  };
  const takeAll = (): void => {
    while (queue.available() > 0 && queue.pop() > 0) queue.push(queue.head, 0);
    if (queue.publish()) backend.call(0);
    while (frontEnd.takeUsed(0) !== undefined);
  };
  while (epoll.wait(0) > 0) backend.poll();
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 5; i++) offer();
    expect(epoll.wait(0)).toBe(0);
    takeAll();
    expect(frontEnd.wasCalled(0)).toBe(true);
    queue.wantKicks(true);
    expect(queue.available()).toBe(0);
    offer();
    expect(epoll.wait(1000)).toBe(1);
    queue.wantKicks(false);
    takeAll();
    expect(epoll.wait(0)).toBe(0);
  }
  frontEnd.wasCalled(0);
  expect(queue.publish()).toBe(false);
  // Flags mean nothing now, and the device's stays clear.
  expect(frontEnd.view.getUint16(frontEnd.usedAt(0), true)).toBe(0);
});

test("memory comes and goes region by region, and what is refused changes nothing", async () => {
  await frontEnd.start();
  backend.poll();
  const queue = backend.queues[0]!;
  const more = createMemfd("more", 8192);
  const region = { guestAddress: 0x1000, sizeBytes: 8192, userAddress: 0x1000, fileOffset: 0 };
  const add = (changes: object) =>
    frontEnd.acknowledged(
      wire.VHOST_USER_ADD_MEM_REG,
      { kind: "memoryRegion", region: { ...region, ...changes } },
      [more],
    );
  const remove = (changes: object) =>
    frontEnd.acknowledged(wire.VHOST_USER_REM_MEM_REG, {
      kind: "memoryRegion",
      region: { ...region, ...changes },
    });
  expect(await add({})).toBe(0n);
  expect(backend.memory.regionCount).toBe(2);
  expect(backend.memory.translate(0x1800, 0, 16)).toBeGreaterThanOrEqual(0);
  for (const changes of [
    { guestAddress: 0x2000 },
    { userAddress: 0x9000 },
    { guestAddress: FRONT_END_GUEST_BASE + 4096 },
  ]) {
    expect(await add(changes)).toBe(1n);
  }
  expect(await add({ guestAddress: 0x10_0000, sizeBytes: 1 << 20 })).toBe(1n);
  expect(backend.memory.regionCount).toBe(2);
  expect(queue.size).toBe(8);
  for (const changes of [{ guestAddress: 0 }, { userAddress: 0 }, { sizeBytes: 4096 }]) {
    expect(await remove(changes)).toBe(1n);
  }
  // The region with the rings: they are away as long as it is.
  const own = {
    guestAddress: FRONT_END_GUEST_BASE,
    userAddress: FRONT_END_USER_BASE,
    sizeBytes: FRONT_END_MEMORY_SIZE,
  };
  expect(await remove(own)).toBe(0n);
  expect(queue.size).toBe(0);
  expect(queue.available()).toBe(0);
  expect(backend.memory.translate(0x1800, 0, 16)).toBeGreaterThanOrEqual(0);
  expect(await remove({})).toBe(0n);
  expect(backend.memory.regionCount).toBe(0);
  frontEnd.shareMemory();
  expect(backend.poll()).toBe(true);
  expect(queue.size).toBe(8);
  closeFile(more);
});

test("a table that is refused is answered with an error, and then the connection ends with the reason", async () => {
  await frontEnd.negotiate();
  const file = createMemfd("short", 4096);
  const region = { guestAddress: 0, sizeBytes: 8192, userAddress: 0x1000, fileOffset: 0 };
  const answer = frontEnd.acknowledged(
    wire.VHOST_USER_SET_MEM_TABLE,
    { kind: "memoryTable", regions: [region] },
    [file],
  );
  expect(await answer).toBe(1n);
  expect(backend.closedReason).toContain("a region of 8192 bytes");
  closeFile(file);
});

test("a broken ring is told by its error descriptor and in the device's status", async () => {
  await frontEnd.start();
  const error = createEventfd();
  frontEnd.send(wire.VHOST_USER_SET_VRING_ERR, { kind: "u64", value: 0n }, [error]);
  expect(await frontEnd.acknowledged(wire.VHOST_USER_SET_STATUS, { kind: "u64", value: 15n })).toBe(0n);
  expect(await frontEnd.ask(wire.VHOST_USER_GET_STATUS)).toBe(15n);
  frontEnd.view.setUint16(frontEnd.availableAt(0) + 2, 9, true);
  expect(backend.queues[0]!.available()).toBe(0);
  expect(await frontEnd.ask(wire.VHOST_USER_GET_STATUS)).toBe(15n | 64n);
  backend.reportBroken(0);
  expect(drainEventfd(error)).toBe(true);
  expect(await frontEnd.acknowledged(wire.VHOST_USER_RESET_DEVICE, { kind: "none" })).toBe(0n);
  expect(backend.queues[0]!.size).toBe(0);
  closeFile(error);
});
