// A hostile front-end: any sequence of messages, well-formed or not, with any descriptors, and any queue work in
// between, ends at worst in a closed connection. Nothing throws, nothing leaks, the neighbour's memory is untouched.
import { readdirSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  addressOf,
  closeFile,
  createEventfd,
  createMemfd,
  createSocketPair,
  Epoll,
  MessageChannel,
  pwriteFile,
} from "../linux/index.js";
import { GuestWindow } from "./guest-window.js";
import { VhostUserBackend } from "./vhost-user-backend.js";
import * as wire from "./vhost-user-wire.js";

const device = {
  features: [
    32,
    wire.VIRTIO_RING_F_EVENT_IDX,
    wire.VHOST_F_LOG_ALL,
    wire.VIRTIO_F_RING_PACKED,
    wire.VIRTIO_F_IN_ORDER,
  ].reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n),
  protocolFeatures: 1n | 2n | (1n << 4n) | (1n << 5n) | (1n << 9n),
  config: new Uint8Array(16),
  ringCount: 2,
  queueCount: 1,
  requests: new Map([[wire.VHOST_USER_NET_SET_MTU, wire.VHOST_USER_PROTOCOL_F_NET_MTU]]),
};
const USER = 0x1000_0000;
const index = fc.oneof({ weight: 9, arbitrary: fc.nat(1) }, { weight: 1, arbitrary: fc.nat(0xffff_ffff) });
const where = fc.oneof(
  { weight: 8, arbitrary: fc.nat(0x30).map((page) => USER + page * 0x100) },
  { weight: 1, arbitrary: fc.nat(Number.MAX_SAFE_INTEGER) },
);
const state = (requests: number[], num: fc.Arbitrary<number>) =>
  fc.record({
    request: fc.constantFrom(...requests),
    payload: fc.record({ kind: fc.constant("vringState" as const), index, num }),
  });
const region = fc.record({
  guestAddress: fc.nat(4).map((page) => page * 0x1000),
  sizeBytes: fc.constantFrom(0x1000, 0x4000, 0x4000, 0x4000, 7, 2 ** 40),
  userAddress: fc.constant(USER),
  fileOffset: fc.constantFrom(0, 0, 0, 0x1000, 3),
});
const message = fc.oneof(
  fc.record({
    request: fc.constantFrom(1, 3, 4, 7, 15, 17, 21, 34, 36, 40),
    payload: fc.constant({ kind: "none" as const }),
  }),
  state([wire.VHOST_USER_SET_VRING_NUM], fc.oneof(fc.constantFrom(1, 8, 256), fc.nat(70_000))),
  state([wire.VHOST_USER_SET_VRING_BASE, wire.VHOST_USER_GET_VRING_BASE], fc.nat(65_536)),
  state([wire.VHOST_USER_SET_VRING_ENABLE], fc.nat(2)),
  fc.record({
    request: fc.constant(wire.VHOST_USER_SET_VRING_ADDR),
    payload: fc.record({
      kind: fc.constant("vringAddress" as const),
      index,
      flags: fc.nat(1),
      descriptors: where,
      used: where,
      available: where,
      log: fc.oneof(fc.nat(0x8000), fc.nat(Number.MAX_SAFE_INTEGER)),
    }),
  }),
  fc.record({
    request: fc.constant(wire.VHOST_USER_SET_MEM_TABLE),
    payload: fc.record({
      kind: fc.constant("memoryTable" as const),
      regions: fc.array(region, { maxLength: 2 }),
    }),
  }),
  fc.record({
    request: fc.constant(wire.VHOST_USER_SET_LOG_BASE),
    payload: fc.record({
      kind: fc.constant("log" as const),
      sizeBytes: fc.constantFrom(1, 64, 0x1000, 0, 2 ** 40),
      offset: fc.constantFrom(0, 0, 8, 0x1000, 0x9000),
    }),
  }),
  fc.record({
    request: fc.constantFrom(wire.VHOST_USER_GET_INFLIGHT_FD, wire.VHOST_USER_SET_INFLIGHT_FD),
    payload: fc.record({
      kind: fc.constant("inflight" as const),
      inflight: fc.record({
        sizeBytes: fc.constantFrom(0x1000, 0x1000, 10, 2 ** 40),
        fileOffset: fc.constantFrom(0, 0, 64, 0x1000, 3),
        queueCount: fc.nat(3),
        queueSize: fc.constantFrom(8, 8, 256, 1, 7, 0),
      }),
    }),
  }),
  fc.record({
    request: fc.constantFrom(wire.VHOST_USER_GET_CONFIG, wire.VHOST_USER_SET_CONFIG),
    payload: fc.record({
      kind: fc.constant("config" as const),
      offset: fc.oneof(fc.nat(20), fc.nat(0xffff_ffff)),
      flags: fc.nat(1),
      bytes: fc.uint8Array({ maxLength: 20 }),
    }),
  }),
  fc.record({
    request: fc.constantFrom(wire.VHOST_USER_ADD_MEM_REG, wire.VHOST_USER_REM_MEM_REG),
    payload: fc.record({ kind: fc.constant("memoryRegion" as const), region }),
  }),
  fc.record({
    request: fc.constant(wire.VHOST_USER_SET_FEATURES),
    payload: fc.record({
      kind: fc.constant("u64" as const),
      value: fc
        .subarray([32, 30, wire.VIRTIO_RING_F_EVENT_IDX, wire.VIRTIO_F_RING_PACKED, wire.VIRTIO_F_IN_ORDER])
        .map((bits) => bits.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n)),
    }),
  }),
  fc.record({
    request: fc.constantFrom(2, 12, 13, 14, 16, 19, 20, 39),
    payload: fc.record({
      kind: fc.constant("u64" as const),
      value: fc.oneof(fc.bigInt(0n, 1n), fc.constantFrom(0x100n, 0x101n), fc.bigInt(0n, 2n ** 64n - 1n)),
    }),
  }),
);
const step = fc.record({
  message,
  needReply: fc.boolean(),
  /** 0 memory, 1 eventfd, 2 standard input. */
  fds: fc.oneof(
    fc.constant<number[]>([0]),
    fc.constant<number[]>([1]),
    fc.array(fc.nat(2), { maxLength: 9 }),
  ),
  garbage: fc.oneof({ weight: 15, arbitrary: fc.constant(undefined) }, fc.uint8Array({ maxLength: 40 })),
});

/** A correct start, so that what follows meets rings in use. */
const handshake = [0, 1].flatMap((ring) => [
  { request: wire.VHOST_USER_SET_VRING_NUM, payload: { kind: "vringState", index: ring, num: 8 }, fds: [] },
  {
    request: wire.VHOST_USER_SET_VRING_ADDR,
    payload: {
      kind: "vringAddress",
      index: ring,
      flags: 0,
      descriptors: USER + ring * 0x1000,
      available: USER + ring * 0x1000 + 0x200,
      used: USER + ring * 0x1000 + 0x400,
      log: 0,
    },
    fds: [],
  },
  { request: wire.VHOST_USER_SET_VRING_KICK, payload: { kind: "u64", value: BigInt(ring) }, fds: [1] },
  { request: wire.VHOST_USER_SET_VRING_CALL, payload: { kind: "u64", value: BigInt(ring) }, fds: [1] },
  {
    request: wire.VHOST_USER_SET_VRING_ENABLE,
    payload: { kind: "vringState", index: ring, num: 1 },
    fds: [],
  },
]) satisfies { request: number; payload: wire.VhostUserPayload; fds: number[] }[];
const chosen = (value: bigint) => ({
  request: wire.VHOST_USER_SET_FEATURES,
  payload: { kind: "u64" as const, value },
  fds: [] as number[],
});
const protocol = {
  request: wire.VHOST_USER_SET_PROTOCOL_FEATURES,
  payload: { kind: "u64" as const, value: 1n | 2n | (1n << 3n) | (1n << 5n) | (1n << 9n) | (1n << 12n) },
  fds: [] as number[],
};
const memoryTable = {
  request: wire.VHOST_USER_SET_MEM_TABLE,
  payload: {
    kind: "memoryTable" as const,
    regions: [{ guestAddress: 0, sizeBytes: 0x4000, userAddress: USER, fileOffset: 0 }],
  },
  fds: [0],
};

test("any sequence of messages ends at worst in a closed connection, and leaks nothing", () => {
  const window = new GuestWindow(1 << 24);
  const neighbour = window.reserveAnonymous(0x4000);
  const epoll = new Epoll();
  const channel = new MessageChannel();
  const own = [createMemfd("guest", 0x8000), createEventfd(), 0];
  const fdsBefore = readdirSync("/proc/self/fd").length;
  let closed = 0;
  let started = 0;
  fc.assert(
    fc.property(
      fc.boolean(),
      fc.constantFrom(0n, device.features),
      fc.array(step, { maxLength: 25 }),
      fc.uint8Array({ size: "+2" }),
      (start, features, steps, ring) => {
        pwriteFile(own[0]!, new Uint8Array(0x4000), 0);
        for (const at of [0, 0x200, 0x1000, 0x1200]) pwriteFile(own[0]!, ring.subarray(0, 0x80), at);
        const [near, far] = createSocketPair();
        const backend = new VhostUserBackend({
          fd: near,
          device,
          window,
          epoll,
          onRequest: (_request, value) => value < 9000n,
          onConfig: (offset) => offset < 9,
        });
        const send = (bytes: Uint8Array, fds: readonly number[]): void => {
          if (bytes.byteLength === 0) return;
          const numbers = fds.map((kind) => own[kind]!);
          channel.send(far, addressOf(bytes), bytes.byteLength, numbers);
        };
        if (start) {
          for (const { fds, ...message } of [protocol, chosen(features), memoryTable, ...handshake]) {
            send(wire.encodeVhostUserMessage({ flags: 1, ...message }), fds);
          }
          expect(backend.poll()).toBe(true);
          expect(backend.queues.every((queue) => queue.size === 8 && queue.enabled)).toBe(true);
        }
        for (const { message, needReply, fds, garbage } of steps) {
          send(garbage ?? wire.encodeVhostUserMessage({ flags: needReply ? 9 : 1, ...message }), fds);
          if (!backend.poll()) break;
          backend.announceConfig();
          for (let i = 0; i < 2; i++) {
            const queue = backend.queues[i]!;
            if (queue.size > 0) started++;
            queue.available();
            for (let count = queue.pop(); count !== 0 && !queue.broken; count = queue.pop()) {
              for (let k = queue.chain.readableCount; k < count; k++) {
                queue.markWritten(queue.chain.offset[k]!, queue.chain.length[k]!);
              }
              queue.push(queue.head, 0);
            }
            queue.wantKicks(true);
            if (queue.publish()) backend.call(i);
          }
        }
        if (backend.closedReason !== undefined) closed++;
        backend.close();
        closeFile(far);
        expect(backend.memory.regionCount).toBe(0);
      },
    ),
    { numRuns: 1500 },
  );
  expect(readdirSync("/proc/self/fd").length).toBe(fdsBefore);
  expect(window.reservedBytes).toBe(0x4000);
  expect(window.bytes.slice(neighbour, neighbour + 0x4000).every((byte) => byte === 0)).toBe(true);
  expect(closed).toBeGreaterThan(100);
  expect(started).toBeGreaterThan(100);
  for (const fd of own.slice(0, 2)) closeFile(fd);
  epoll.close();
  window.close();
});
