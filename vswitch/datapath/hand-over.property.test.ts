// What goes from one switch to its successor: the same comes out, and whatever else comes is refused and left behind nowhere.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import { closeFile, createEventfd, drainEventfd, ringEventfd } from "../../base/linux/index.js";
import { PORT_STATS_LENGTH } from "../../base/packet/index.js";
import { MacTable } from "../learn/index.js";
import { decodeHanded } from "../port/vhost-user-handed.js";
import { HandOverGiver, HandOverListener } from "./hand-over.js";
import { decodeHandedSwitch, encodeHandedSwitch, type HandedSwitch } from "./handed-switch.js";

let dir = "";
let fdsBefore = 0;
beforeEach(() => {
  dir = mkdtempSync("/tmp/pl-");
  fdsBefore = readdirSync("/proc/self/fd").length;
});
afterEach(() => {
  expect(readdirSync("/proc/self/fd").length).toBe(fdsBefore);
  rmSync(dir, { recursive: true });
});

const fd = fc.nat(1000);
const handed = fc.option(
  fc.record({ state: fc.dictionary(fc.string(), fc.jsonValue()), fds: fc.array(fd, { maxLength: 5 }) }),
  { nil: undefined },
);
const port = fc.record({
  name: fc.string(),
  kind: fc.string(),
  stats: fc.array(fc.nat(), { minLength: PORT_STATS_LENGTH, maxLength: PORT_STATS_LENGTH }),
  handed,
});
const station = fc.record({
  vlan: fc.nat(4095),
  mac: fc.uint8Array({ minLength: 6, maxLength: 6 }),
  port: fc.constantFrom(1, 7, 0xfffffffe),
  ageMs: fc.nat(300_000),
  isStatic: fc.boolean(),
});
const handedSwitch = fc.record({
  pausedAtMs: fc.nat(),
  bridges: fc.array(
    fc.record({
      name: fc.string(),
      ports: fc.array(port, { maxLength: 4 }),
      stations: fc.array(station, { maxLength: 4 }),
    }),
    { maxLength: 3 },
  ),
});

describe("a switch that is handed over", () => {
  it("is the same on the other side", () => {
    fc.assert(
      fc.property(handedSwitch, (one) => {
        const same = JSON.parse(JSON.stringify(one), (_, value) => value);
        const back = decodeHandedSwitch(encodeHandedSwitch(one as HandedSwitch));
        const plain = JSON.parse(
          JSON.stringify(back, (key, value) => (key === "mac" ? Object.fromEntries(value.entries()) : value)),
        );
        const aged = JSON.parse(
          JSON.stringify(same, (key, value) =>
            key === "stations"
              ? value.map((it: { ageMs: number; isStatic: boolean }) => ({
                  ...it,
                  ageMs: it.isStatic ? 0 : it.ageMs,
                }))
              : value,
          ),
        );
        expect(plain).toEqual(aged);
      }),
    );
  });

  it("is refused when it makes no sense, whatever it is", () => {
    const refuses = (decode: () => unknown): void => {
      try {
        decode();
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(PlinthError);
        expect((thrown as PlinthError).code).toMatch(/^HANDED_(SWITCH|PORT)_INVALID$/);
      }
    };
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), fc.json().map(Buffer.from)), fc.array(fd), (bytes, fds) =>
        refuses(() => decodeHandedSwitch({ bytes, fds })),
      ),
    );
    // One byte is another.
    fc.assert(
      fc.property(handedSwitch, fc.nat(), fc.nat(255), (one, at, byte) => {
        const { bytes, fds } = encodeHandedSwitch(one as HandedSwitch);
        bytes[at % bytes.byteLength] = byte;
        refuses(() => decodeHandedSwitch({ bytes, fds }));
      }),
    );
    const state = fc.record(
      {
        listens: fc.oneof(fc.boolean(), fc.jsonValue()),
        isConnected: fc.oneof(fc.boolean(), fc.jsonValue()),
        messages: fc.oneof(fc.array(fc.tuple(fc.base64String(), fc.nat(3))), fc.jsonValue()),
        mtu: fc.oneof(fc.nat(9000), fc.jsonValue()),
        announcement: fc.jsonValue(),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(state, fc.array(fd, { maxLength: 4 }), (of, fds) =>
        refuses(() => decodeHanded({ state: of, fds })),
      ),
    );
  });
});

describe("the line between two switches", () => {
  it("carries more descriptors than one message holds, in their order", () => {
    const path = join(dir, "s");
    const listener = new HandOverListener(path);
    const giver = new HandOverGiver(path);
    expect(giver.ask()).toBe("waits");
    const fds = Array.from({ length: 70 }, createEventfd);
    expect(giver.give({ bytes: Uint8Array.of(1, 2, 3), fds })).toBe(true);
    const parcel = listener.take();
    expect(giver.ask()).toBe("asks");
    expect(parcel?.bytes).toEqual(Uint8Array.of(1, 2, 3));
    expect(parcel?.fds.length).toBe(70);
    for (const i of [0, 31, 32, 69]) {
      ringEventfd(fds[i] as number);
      expect(parcel?.fds.map(drainEventfd).indexOf(true)).toBe(i);
    }
    for (const one of [...fds, ...(parcel?.fds ?? [])]) closeFile(one);
    expect(giver.ask()).toBe("gone");
    giver.close();
    listener.close();
    expect(readdirSync(dir)).toEqual([]);
  });

  it("gives nothing when the one that forwards dies before, or in the middle", () => {
    const path = join(dir, "s");
    const listener = new HandOverListener(path);
    expect(listener.take(), "nobody has dialled").toBeUndefined();
    const dead = new HandOverGiver(path);
    dead.close();
    expect(listener.take()).toBeUndefined();
    const half = new HandOverGiver(path);
    const fds = Array.from({ length: 40 }, createEventfd);
    half.sendDescriptors(fds);
    half.close();
    expect(listener.take()).toBeUndefined();
    for (const one of fds) closeFile(one);
    listener.close();
    expect(() => new HandOverGiver(path)).toThrow("ENOENT");
  });

  it("tells the one that forwards that its successor has gone", () => {
    const path = join(dir, "s");
    const listener = new HandOverListener(path);
    const giver = new HandOverGiver(path);
    listener.close();
    expect(giver.ask()).toBe("gone");
    giver.close();
  });
});

it("stations are as old in another table as they were, and static ones static", () => {
  const before = new MacTable(4);
  before.learn(0x02000000, 1, 5, 1, 1_000);
  before.learn(0x02000000, 2, 5, 2, 100_000);
  before.addStatic(0x02000000, 3, 0, 0xfffffffe);
  const after = new MacTable(4);
  after.recall(before.entries(200_000), 10_000);
  expect(after.entries(10_000)).toEqual(before.entries(200_000));
  expect(after.find(0x02000000, 1, 5, 10_000)).toBe(1);
  expect(after.find(0x02000000, 1, 5, 111_001)).toBe(-1);
  expect(after.find(0x02000000, 2, 5, 111_001)).toBe(2);
  expect(after.find(0x02000000, 3, 0, 1e9)).toBe(0xfffffffe);
});
