import { expect, test } from "vitest";
import { VhostUserSession, vringBaseReply } from "./vhost-user-session.js";
import * as wire from "./vhost-user-wire.js";

const device = { features: 1n << 32n, protocolFeatures: 0n, ringCount: 2, queueCount: 1 };
const state = (index: number, num: number) => ({ kind: "vringState" as const, index, num });
const u64 = (value: bigint) => ({ kind: "u64" as const, value });
const none = { kind: "none" as const };

function open(): (
  request: number,
  payload: wire.VhostUserPayload,
  fds?: number[],
  flags?: number,
) => unknown[] {
  const session = new VhostUserSession(device);
  return (request, payload, fds = [], flags = 1) => session.receive({ request, flags, payload }, fds);
}
const address = (index: number, descriptors = 0x1000) => ({
  kind: "vringAddress" as const,
  index,
  flags: 0,
  descriptors,
  used: 0x3000,
  available: 0x2000,
  log: 0,
});

test("a front-end that follows QEMU's order gets its rings started and stopped", () => {
  const say = open();
  const offered = (1n << 32n) | (1n << 30n);
  expect(say(wire.VHOST_USER_GET_FEATURES, none)).toEqual([
    { kind: "reply", message: { request: 1, flags: 5, payload: u64(offered) } },
  ]);
  expect(say(wire.VHOST_USER_GET_PROTOCOL_FEATURES, none)).toMatchObject([
    { message: { payload: u64(0x1b008n) } },
  ]);
  expect(say(wire.VHOST_USER_SET_PROTOCOL_FEATURES, u64(8n))).toEqual([]);
  expect(say(wire.VHOST_USER_SET_OWNER, none)).toEqual([]);
  expect(say(wire.VHOST_USER_SET_FEATURES, u64(offered))).toEqual([{ kind: "features", features: offered }]);
  const region = { guestAddress: 0, sizeBytes: 4096, userAddress: 4096, fileOffset: 0 };
  const table = { kind: "memoryTable" as const, regions: [region] };
  expect(say(wire.VHOST_USER_SET_MEM_TABLE, table, [7], 9)).toEqual([
    { kind: "mapMemory", regions: [region], fds: [7] },
    { kind: "acknowledge", request: 5 },
  ]);
  expect(say(wire.VHOST_USER_SET_VRING_NUM, state(1, 256))).toEqual([]);
  expect(say(wire.VHOST_USER_SET_VRING_BASE, state(1, 9))).toEqual([]);
  expect(say(wire.VHOST_USER_SET_VRING_ADDR, address(1))).toEqual([]);
  expect(say(wire.VHOST_USER_SET_VRING_CALL, u64(1n), [8])).toEqual([{ kind: "setCall", index: 1, fd: 8 }]);
  const addresses = { descriptors: 0x1000, available: 0x2000, used: 0x3000, usedLog: -1 };
  expect(say(wire.VHOST_USER_SET_VRING_KICK, u64(1n), [9])).toEqual([
    { kind: "startRing", index: 1, size: 256, base: 9, addresses, kickFd: 9 },
  ]);
  expect(say(wire.VHOST_USER_SET_VRING_ENABLE, state(1, 1))).toEqual([
    { kind: "enableRing", index: 1, enabled: true },
  ]);
  expect(say(wire.VHOST_USER_SET_VRING_ADDR, address(1, 0x5000))).toMatchObject([{ kind: "moveRing" }]);
  expect(say(wire.VHOST_USER_GET_VRING_BASE, state(1, 0), [], 9)).toEqual([
    { kind: "stopRing", index: 1, answer: true, base: 9 },
  ]);
  expect(vringBaseReply(1, 12)).toMatchObject({ request: 11, flags: 5, payload: state(1, 12) });
});

test("without PROTOCOL_FEATURES a kicked ring is enabled at once", () => {
  const say = open();
  say(wire.VHOST_USER_SET_FEATURES, u64(1n << 32n));
  say(wire.VHOST_USER_SET_VRING_NUM, state(0, 4));
  say(wire.VHOST_USER_SET_VRING_ADDR, address(0));
  expect(say(wire.VHOST_USER_SET_VRING_KICK, u64(0x100n))).toMatchObject([
    { kind: "startRing", kickFd: -1 },
    { kind: "enableRing", enabled: true },
  ]);
  expect(say(wire.VHOST_USER_RESET_OWNER, none)).toEqual([
    { kind: "enableRing", index: 0, enabled: false },
    { kind: "enableRing", index: 1, enabled: false },
  ]);
});

test.each([
  ["RESET_DEVICE", wire.VHOST_USER_RESET_DEVICE, none],
  ["a device status of 0", wire.VHOST_USER_SET_STATUS, u64(0n)],
])("%s stops every ring and forgets what the driver chose", (_name, request, payload) => {
  const say = open();
  say(wire.VHOST_USER_SET_STATUS, u64(15n));
  say(wire.VHOST_USER_SET_FEATURES, u64(1n << 32n));
  say(wire.VHOST_USER_SET_VRING_NUM, state(1, 4));
  say(wire.VHOST_USER_SET_VRING_ADDR, address(1));
  say(wire.VHOST_USER_SET_VRING_KICK, u64(0x101n));
  expect(say(wire.VHOST_USER_GET_STATUS, none)).toEqual([{ kind: "replyStatus", status: 15 }]);
  expect(say(request, payload)).toEqual([
    { kind: "enableRing", index: 0, enabled: false },
    { kind: "enableRing", index: 1, enabled: false },
    { kind: "stopRing", index: 1, answer: false, base: 0 },
    { kind: "features", features: 0n },
  ]);
  expect(say(wire.VHOST_USER_GET_STATUS, none)).toEqual([{ kind: "replyStatus", status: 0 }]);
  expect(say(wire.VHOST_USER_SET_VRING_KICK, u64(0x101n))).toMatchObject([{ kind: "close" }]);
});

test("every request that asks for it is acknowledged once, even one that ends the connection", () => {
  const say = open();
  expect(say(wire.VHOST_USER_SET_OWNER, none, [], 9)).toEqual([]);
  const acknowledge = (request: number) => ({ kind: "acknowledge", request });
  expect(say(wire.VHOST_USER_SET_PROTOCOL_FEATURES, u64(8n), [], 9)).toEqual([acknowledge(16)]);
  expect(say(wire.VHOST_USER_SET_OWNER, none, [], 9)).toEqual([acknowledge(3)]);
  expect(say(wire.VHOST_USER_SET_OWNER, none)).toEqual([]);
  expect(say(wire.VHOST_USER_GET_FEATURES, none, [], 9)).toHaveLength(1);
  expect(say(wire.VHOST_USER_GET_STATUS, none, [], 9)).toHaveLength(1);
  expect(say(wire.VHOST_USER_GET_MAX_MEM_SLOTS, none, [], 9)).toMatchObject([
    { kind: "reply", message: { payload: u64(32n) } },
  ]);
  expect(say(wire.VHOST_USER_SET_VRING_NUM, state(9, 4), [], 9)).toMatchObject([
    { kind: "close" },
    acknowledge(wire.VHOST_USER_SET_VRING_NUM),
  ]);
});

test("a device's own request needs its protocol feature", () => {
  const requests = new Map([[wire.VHOST_USER_NET_SET_MTU, wire.VHOST_USER_PROTOCOL_F_NET_MTU]]);
  const session = new VhostUserSession({ ...device, protocolFeatures: 1n << 4n, requests });
  const message = { request: wire.VHOST_USER_NET_SET_MTU, flags: 1, payload: u64(1400n) };
  session.receive({ request: wire.VHOST_USER_SET_PROTOCOL_FEATURES, flags: 1, payload: u64(1n << 4n) });
  expect(session.receive(message)).toEqual([{ kind: "deviceRequest", request: 20, value: 1400n }]);
  session.receive({ request: wire.VHOST_USER_SET_PROTOCOL_FEATURES, flags: 1, payload: u64(0n) });
  expect(session.receive(message)).toMatchObject([{ kind: "close" }]);
});

test("one region comes with its descriptor, and goes with or without", () => {
  const say = open();
  const region = { guestAddress: 0, sizeBytes: 4096, userAddress: 4096, fileOffset: 0 };
  const payload = { kind: "memoryRegion" as const, region };
  expect(say(wire.VHOST_USER_ADD_MEM_REG, payload, [4])).toEqual([
    { kind: "addRegion", region, fd: 4, acknowledged: false },
  ]);
  say(wire.VHOST_USER_SET_PROTOCOL_FEATURES, u64(8n));
  expect(say(wire.VHOST_USER_REM_MEM_REG, payload, [5], 9)).toEqual([
    { kind: "removeRegion", region, acknowledged: true },
    { kind: "closeFds", fds: [5] },
    { kind: "acknowledge", request: wire.VHOST_USER_REM_MEM_REG },
  ]);
  expect(say(wire.VHOST_USER_ADD_MEM_REG, payload, [])).toMatchObject([{ kind: "close" }]);
});

test("a dirty log comes with its descriptor and is answered, and a ring says where it is logged", () => {
  const session = new VhostUserSession({ ...device, protocolFeatures: 2n });
  const say = (request: number, payload: wire.VhostUserPayload, fds: number[] = [], flags = 1) =>
    session.receive({ request, flags, payload }, fds);
  say(wire.VHOST_USER_SET_PROTOCOL_FEATURES, u64(2n | 8n));
  const log = { kind: "log" as const, sizeBytes: 4096, offset: 512 };
  expect(say(wire.VHOST_USER_SET_LOG_BASE, log, [7], 9)).toEqual([
    { kind: "openLog", fd: 7, fileOffset: 512, sizeBytes: 4096 },
    { kind: "acknowledge", request: wire.VHOST_USER_SET_LOG_BASE },
  ]);
  expect(say(wire.VHOST_USER_SET_LOG_FD, none, [8])).toEqual([{ kind: "setLogFd", fd: 8 }]);
  say(wire.VHOST_USER_SET_VRING_NUM, state(0, 4));
  say(wire.VHOST_USER_SET_VRING_ADDR, { ...address(0), log: 0x9000 });
  expect(say(wire.VHOST_USER_SET_VRING_KICK, u64(0x100n))).toMatchObject([
    { kind: "startRing", addresses: { usedLog: -1 } },
    { kind: "enableRing" },
  ]);
  expect(say(wire.VHOST_USER_SET_VRING_ADDR, { ...address(0), flags: 1, log: 0x9000 })).toMatchObject([
    { kind: "moveRing", addresses: { usedLog: 0x9000 } },
  ]);
  expect(say(wire.VHOST_USER_SET_LOG_BASE, log)).toMatchObject([{ kind: "close" }]);
});

test("memory to track chains in flight is made for as many queues as there are", () => {
  const say = open();
  const inflight = { sizeBytes: 0, fileOffset: 0, queueCount: 2, queueSize: 256 };
  const payload = { kind: "inflight" as const, inflight };
  say(wire.VHOST_USER_SET_PROTOCOL_FEATURES, u64(1n << 12n));
  expect(say(wire.VHOST_USER_GET_INFLIGHT_FD, payload)).toEqual([
    { kind: "createInflight", queueCount: 2, queueSize: 256 },
  ]);
  expect(say(wire.VHOST_USER_SET_INFLIGHT_FD, payload, [4])).toEqual([
    { kind: "openInflight", inflight, fd: 4 },
  ]);
  for (const wrong of [{ queueCount: 3 }, { queueCount: 0 }, { queueSize: 100 }]) {
    const other = open();
    other(wire.VHOST_USER_SET_PROTOCOL_FEATURES, u64(1n << 12n));
    const message = { ...payload, inflight: { ...inflight, ...wrong } };
    expect(other(wire.VHOST_USER_GET_INFLIGHT_FD, message)).toMatchObject([{ kind: "close" }]);
  }
});

test("an error descriptor belongs to its ring", () => {
  const say = open();
  expect(say(wire.VHOST_USER_SET_VRING_ERR, u64(1n), [6])).toEqual([{ kind: "setError", index: 1, fd: 6 }]);
  expect(say(wire.VHOST_USER_SET_VRING_ERR, u64(0x101n))).toEqual([{ kind: "setError", index: 1, fd: -1 }]);
});

test.each([
  ["a feature that was not offered", wire.VHOST_USER_SET_FEATURES, u64(1n), []],
  ["a protocol feature that was not offered", wire.VHOST_USER_SET_PROTOCOL_FEATURES, u64(1n), []],
  ["a ring that does not exist", wire.VHOST_USER_SET_VRING_NUM, state(2, 256), []],
  ["a ring size that is no power of two", wire.VHOST_USER_SET_VRING_NUM, state(0, 100), []],
  ["a base of more than 16 bits", wire.VHOST_USER_SET_VRING_BASE, state(0, 65536), []],
  ["a ring that is not aligned", wire.VHOST_USER_SET_VRING_ADDR, address(0, 0x1008), []],
  ["a kick before the ring is known", wire.VHOST_USER_SET_VRING_KICK, u64(0n), [5]],
  ["a kick without its descriptor", wire.VHOST_USER_SET_VRING_KICK, u64(0n), []],
  ["regions without descriptors", wire.VHOST_USER_SET_MEM_TABLE, { kind: "memoryTable", regions: [] }, [5]],
  [
    "a dirty log that was not negotiated",
    wire.VHOST_USER_SET_LOG_BASE,
    { kind: "log", sizeBytes: 4096, offset: 0 },
    [5],
  ],
  ["a device status of nine bits", wire.VHOST_USER_SET_STATUS, u64(0x100n), [5]],
  ["a request that this device does not have", wire.VHOST_USER_SEND_RARP, u64(0n), []],
  ["an unknown request", 99, { kind: "opaque", bytes: new Uint8Array(0) }, [5, 6]],
] as const)("%s ends the connection and closes the descriptors", (_name, request, payload, fds) => {
  const say = open();
  const effects = say(request, payload, [...fds]) as { kind: string; fds?: number[] }[];
  expect(effects.filter((effect) => effect.kind === "close")).toHaveLength(1);
  expect(effects.flatMap((effect) => effect.fds ?? [])).toEqual([...fds]);
  expect(say(wire.VHOST_USER_GET_FEATURES, none, [3])).toMatchObject([{ kind: "close" }, { fds: [3] }]);
});
