import { expect, it } from "vitest";
import {
  findPackedPosition,
  VRING_PACKED_DESC_F_AVAIL,
  VRING_PACKED_STATE_MASK,
} from "./packed-ring-position.js";

const SIZE = 256;
const FIRST_LAP = 1 << 15;
const flagsOf = (slot: number): number => slot * 8 + 7;

/** The flags of a ring, and a driver that writes `then` when the one who looks at it first comes to `slot`. */
function overtaken(u16: Uint16Array, slot: number, then: () => void): Uint16Array {
  let written = false;
  return new Proxy(u16, {
    get(target, key) {
      if (!written && key === String(flagsOf(slot))) {
        written = true;
        then();
      }
      return Reflect.get(target, key);
    },
  });
}

it("is where a driver began that offers its first chains while it is looked for", () => {
  for (const slot of [0, 1, 61, 255]) {
    const u16 = new Uint16Array(SIZE * 8);
    const driver = (): void => {
      for (let i = 0; i < SIZE; i++) u16[flagsOf(i)] = VRING_PACKED_DESC_F_AVAIL;
    };
    expect(findPackedPosition(overtaken(u16, slot, driver), 0, SIZE), `at ${slot}`).toBe(FIRST_LAP);
  }
});

it("is behind what was used, while a driver goes on", () => {
  for (const slot of [20, 40, 41, 60, 99, 100, 101, 200]) {
    const u16 = new Uint16Array(SIZE * 8);
    for (let i = 0; i < 40; i++) u16[flagsOf(i)] = VRING_PACKED_STATE_MASK;
    for (let i = 40; i < 100; i++) u16[flagsOf(i)] = VRING_PACKED_DESC_F_AVAIL;
    const driver = (): void => {
      for (let i = 100; i < SIZE; i++) u16[flagsOf(i)] = VRING_PACKED_DESC_F_AVAIL;
    };
    expect(findPackedPosition(overtaken(u16, slot, driver), 0, SIZE), `at ${slot}`).toBe(40 | FIRST_LAP);
  }
});

it("ends also where a driver never stops writing", () => {
  const u16 = new Uint16Array(SIZE * 8);
  const restless = new Proxy(u16, {
    get: (_, key) => (typeof key === "string" ? Math.imul(Number(key), looked++) & 0xffff : undefined),
  });
  let looked = 1;
  expect(findPackedPosition(restless, 0, SIZE)).toBeTypeOf("number");
});
