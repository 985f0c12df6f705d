// A vhost-user connection that is handed over again and again: the driver, its rings and the front-end notice nothing,
// every chain is given back once and in order, and no descriptor or memory is left behind.
import { readdirSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  closeFile,
  createMemfd,
  createSocketPair,
  duplicateFile,
  Epoll,
  preadFile,
  sealShrink,
} from "../linux/index.js";
import { FakeFrontEnd, FRONT_END_GUEST_BASE } from "./fake-front-end.js";
import { GuestWindow } from "./guest-window.js";
import { VhostUserBackend } from "./vhost-user-backend.js";
import type { HandedVhostUser } from "./vhost-user-hand-over.js";
import type { MessageWithFds } from "./vhost-user-socket.js";
import * as wire from "./vhost-user-wire.js";

const bit = (n: number): bigint => 1n << BigInt(n);
const MODERN = bit(wire.VIRTIO_F_VERSION_1);
const LAYOUTS = {
  split: MODERN,
  "split, event index": MODERN | bit(wire.VIRTIO_RING_F_EVENT_IDX),
  packed: MODERN | bit(wire.VIRTIO_F_RING_PACKED),
  "packed, in order": MODERN | bit(wire.VIRTIO_F_RING_PACKED) | bit(wire.VIRTIO_F_IN_ORDER),
};
const ALL = Object.values(LAYOUTS).reduce((bits, one) => bits | one, bit(wire.VHOST_F_LOG_ALL));
const device = {
  features: ALL,
  protocolFeatures: bit(wire.VHOST_USER_PROTOCOL_F_LOG_SHMFD),
  ringCount: 2,
  queueCount: 1,
};
const RING_SIZE = 8;
const BUFFER = 64;

/** A back-end in a "process" of its own: its window and its descriptors are nobody else's. */
class Process {
  readonly window = new GuestWindow(64 << 20);
  readonly epoll = new Epoll();
  readonly backend: VhostUserBackend;

  constructor(fd: number, handed?: Omit<HandedVhostUser, "fd">) {
    const more = handed === undefined ? {} : { handed };
    this.backend = new VhostUserBackend({ fd, device, window: this.window, epoll: this.epoll, ...more });
  }

  /** What the kernel does with descriptors that are sent. */
  successor(): Process {
    const handed = this.backend.handOver() as HandedVhostUser;
    const copy = ({ bytes, fds }: MessageWithFds) => ({ bytes, fds: fds.map(duplicateFile) });
    const fd = duplicateFile(handed.fd);
    const next = new Process(fd, { messages: handed.messages.map(copy), begun: copy(handed.begun) });
    this.close();
    return next;
  }

  close(): void {
    this.backend.close();
    this.epoll.close();
    expect(this.window.reservedBytes).toBe(0);
    this.window.close();
  }
}

const step = fc.oneof(
  fc.record({ kind: fc.constant("offer" as const), ring: fc.nat(1), count: fc.integer({ min: 1, max: 6 }) }),
  fc.record({ kind: fc.constant("serve" as const), ring: fc.nat(1), count: fc.integer({ min: 1, max: 8 }) }),
  fc.record({ kind: fc.constant("take" as const), ring: fc.nat(1) }),
  fc.record({ kind: fc.constant("hand" as const) }),
  fc.record({ kind: fc.constant("enable" as const), ring: fc.nat(1), on: fc.boolean() }),
  fc.record({ kind: fc.constant("half" as const), ring: fc.nat(1), cut: fc.integer({ min: 1, max: 19 }) }),
);

test.each(Object.entries(LAYOUTS))("%s: nothing is lost, doubled or noticed", async (_name, features) => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.boolean(), async (steps, tracks) => {
      const before = readdirSync("/proc/self/fd").length;
      const [near, far] = createSocketPair();
      let process = new Process(near);
      const frontEnd = new FakeFrontEnd({
        fd: far,
        ringCount: 2,
        ringSize: RING_SIZE,
        features,
        ...(tracks ? { inflight: "ask" as const } : {}),
        pump: () => process.backend.poll(),
      });
      await frontEnd.start();
      process.backend.poll();
      /** Of each ring: heads that are with the device, oldest first. */
      const offered: number[][] = [[], []];
      const next = [0, 0];
      const served: number[][] = [[], []];
      const isOn = [true, true];
      const reap = (ring: number): void => {
        for (let used = frontEnd.takeUsed(ring); used !== undefined; used = frontEnd.takeUsed(ring))
          expect(used.head).toBe(served[ring]!.shift());
      };
      for (const one of steps) {
        if (one.kind === "hand") process = process.successor();
        else if (one.kind === "offer") {
          reap(one.ring);
          const free = RING_SIZE - offered[one.ring]!.length - served[one.ring]!.length;
          for (let i = 0; i < Math.min(one.count, free); i++) {
            const head = next[one.ring]!++ % RING_SIZE;
            const address = FRONT_END_GUEST_BASE + frontEnd.bufferAt(one.ring, head);
            frontEnd.bytes[address - FRONT_END_GUEST_BASE] = head;
            frontEnd.offerChain(one.ring, [head], [{ address, length: BUFFER, flags: 0 }]);
            offered[one.ring]!.push(head);
          }
        } else if (one.kind === "serve") {
          process.backend.poll();
          const queue = process.backend.queues[one.ring]!;
          const { window } = process;
          expect(queue.enabled).toBe(isOn[one.ring]);
          const waiting = queue.available();
          if (isOn[one.ring]) expect(waiting).toBe(offered[one.ring]!.length);
          for (let i = 0; i < Math.min(one.count, waiting); i++) {
            expect(queue.pop()).toBe(1);
            const head = offered[one.ring]!.shift() as number;
            expect(window.bytes[queue.chain.offset[0]!]).toBe(head);
            queue.pushRead(queue.head);
            served[one.ring]!.push(head);
          }
          if (queue.publish()) process.backend.call(one.ring);
        } else if (one.kind === "take") reap(one.ring);
        else if (one.kind === "enable") {
          isOn[one.ring] = one.on;
          frontEnd.enableRing(one.ring, one.on);
        } else {
          // Another process reads the other half.
          const bytes = wire.encodeVhostUserMessage({
            request: wire.VHOST_USER_SET_VRING_ENABLE,
            flags: wire.VHOST_USER_VERSION,
            payload: { kind: "vringState", index: one.ring, num: isOn[one.ring] ? 1 : 0 },
          });
          frontEnd.sendBytes(bytes.subarray(0, one.cut));
          process.backend.poll();
          process = process.successor();
          frontEnd.sendBytes(bytes.subarray(one.cut));
        }
      }
      for (const ring of [0, 1]) {
        reap(ring);
        expect(served[ring]).toEqual([]);
      }
      // No answer that was not asked for has been sent; this one is.
      process = process.successor();
      expect(process.backend.poll()).toBe(true);
      expect(await frontEnd.ask(wire.VHOST_USER_GET_QUEUE_NUM)).toBe(1n);
      const heldBack = offered[0]!.length;
      expect(
        frontEnd.has(wire.VIRTIO_F_RING_PACKED) ||
          (await frontEnd.stopRing(0)) === ((next[0]! - heldBack) & 0xffff),
      ).toBe(true);
      process.close();
      if (frontEnd.inflight !== undefined) closeFile(frontEnd.inflight.fd);
      frontEnd.close();
      expect(readdirSync("/proc/self/fd").length).toBe(before);
    }),
    { numRuns: 15 },
  );
});

test("the log of a guest that is being moved goes along, and a kick that nobody saw", async () => {
  const [near, far] = createSocketPair();
  let process = new Process(near);
  const features = MODERN | bit(wire.VHOST_F_LOG_ALL);
  const frontEnd = new FakeFrontEnd({
    fd: far,
    ringCount: 2,
    ringSize: RING_SIZE,
    features: MODERN,
    pump: () => process.backend.poll(),
  });
  await frontEnd.start();
  const log = createMemfd("log", 1 << 16);
  sealShrink(log);
  await frontEnd.logWrites(log, 1 << 16, true);
  process.backend.poll();
  process.backend.queues[1]!.wantKicks(true);
  const address = FRONT_END_GUEST_BASE + frontEnd.bufferAt(1, 0);
  frontEnd.offerChain(1, [0], [{ address, length: BUFFER, flags: 2 }]);
  process = process.successor();
  const { backend, epoll } = process;
  expect(backend.features & features).toBe(features);
  expect(epoll.wait(0)).toBeGreaterThan(0);
  const queue = backend.queues[1]!;
  expect(queue.available()).toBe(1);
  expect(queue.pop()).toBe(1);
  queue.markWritten(queue.chain.offset[0]!, BUFFER);
  queue.push(queue.head, BUFFER);
  queue.publish();
  expect(frontEnd.takeUsed(1)).toEqual({ head: 0, length: BUFFER });
  const marks = Buffer.alloc(1 << 16);
  preadFile(log, marks, 0);
  const page = address / 4096;
  expect((marks[Math.floor(page / 8)]! >> (page % 8)) & 1).toBe(1);
  process.close();
  closeFile(log);
  frontEnd.close();
});

test("messages that make no sense end the connection and nothing else", () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ bytes: fc.uint8Array({ maxLength: 60 }), fds: fc.nat(2) }), { maxLength: 8 }),
      fc.uint8Array({ maxLength: 400 }),
      (messages, begun) => {
        const before = readdirSync("/proc/self/fd").length;
        const [near, far] = createSocketPair();
        const fds = (count: number) => Array.from({ length: count }, () => duplicateFile(far));
        const process = new Process(near, {
          messages: messages.map((one) => ({ bytes: one.bytes, fds: fds(one.fds) })),
          begun: { bytes: begun, fds: fds(1) },
        });
        process.backend.poll();
        process.close();
        closeFile(far);
        expect(readdirSync("/proc/self/fd").length).toBe(before);
      },
    ),
    { numRuns: 30 },
  );
});
