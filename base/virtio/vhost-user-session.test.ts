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
  expect(say(wire.VHOST_USER_GET_PROTOCOL_FEATURES, none)).toMatchObject([{ message: { payload: u64(8n) } }]);
  expect(say(wire.VHOST_USER_SET_PROTOCOL_FEATURES, u64(8n))).toEqual([]);
  expect(say(wire.VHOST_USER_SET_OWNER, none)).toEqual([]);
  expect(say(wire.VHOST_USER_SET_FEATURES, u64(offered))).toEqual([{ kind: "features", features: offered }]);
  const region = { guestAddress: 0, sizeBytes: 4096, userAddress: 4096, fileOffset: 0 };
  const table = { kind: "memoryTable" as const, regions: [region] };
  expect(say(wire.VHOST_USER_SET_MEM_TABLE, table, [7], 9)).toEqual([
    { kind: "mapMemory", regions: [region], fds: [7] },
    { kind: "reply", message: { request: 5, flags: 5, payload: u64(0n) } },
  ]);
  expect(say(wire.VHOST_USER_SET_VRING_NUM, state(1, 256))).toEqual([]);
  expect(say(wire.VHOST_USER_SET_VRING_BASE, state(1, 9))).toEqual([]);
  expect(say(wire.VHOST_USER_SET_VRING_ADDR, address(1))).toEqual([]);
  expect(say(wire.VHOST_USER_SET_VRING_CALL, u64(1n), [8])).toEqual([{ kind: "setCall", index: 1, fd: 8 }]);
  const addresses = { descriptors: 0x1000, available: 0x2000, used: 0x3000 };
  expect(say(wire.VHOST_USER_SET_VRING_KICK, u64(1n), [9])).toEqual([
    { kind: "startRing", index: 1, size: 256, base: 9, addresses, kickFd: 9 },
  ]);
  expect(say(wire.VHOST_USER_SET_VRING_ENABLE, state(1, 1))).toEqual([
    { kind: "enableRing", index: 1, enabled: true },
  ]);
  expect(say(wire.VHOST_USER_SET_VRING_ADDR, address(1, 0x5000))).toMatchObject([{ kind: "moveRing" }]);
  expect(say(wire.VHOST_USER_GET_VRING_BASE, state(1, 0), [], 9)).toEqual([
    { kind: "stopRing", index: 1, answer: true },
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
  expect(say(wire.VHOST_USER_RESET_OWNER, none)).toEqual([{ kind: "stopRing", index: 0, answer: false }]);
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
  ["an unknown request", 99, { kind: "opaque", bytes: new Uint8Array(0) }, [5, 6]],
] as const)("%s ends the connection and closes the descriptors", (_name, request, payload, fds) => {
  const say = open();
  const effects = say(request, payload, [...fds]) as { kind: string; fds?: number[] }[];
  expect(effects.filter((effect) => effect.kind === "close")).toHaveLength(1);
  expect(effects.flatMap((effect) => effect.fds ?? [])).toEqual([...fds]);
  expect(say(wire.VHOST_USER_GET_FEATURES, none, [3])).toMatchObject([{ kind: "close" }, { fds: [3] }]);
});
