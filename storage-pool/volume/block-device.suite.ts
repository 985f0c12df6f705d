// What every BlockDevice must do, checked against an array of bytes. Every implementation runs it.
import fc from "fast-check";
import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import type { BlockDevice } from "./block-device.js";

const SIZE = 64 * 4096;

type Step =
  | {
      readonly kind: "write" | "unmap" | "zeroes";
      readonly offset: number;
      readonly length: number;
      readonly fill: number;
    }
  | { readonly kind: "read" | "prepared" | "extents"; readonly offset: number; readonly length: number }
  | { readonly kind: "commit" | "flush" };

const range = fc
  .record({ offset: fc.nat(SIZE - 1), length: fc.integer({ min: 1, max: 5 * 4096 }), aligned: fc.boolean() })
  .map(({ offset, length, aligned }) => {
    const from = aligned ? offset - (offset % 4096) : offset;
    const to = Math.min(SIZE, from + (aligned ? Math.ceil(length / 4096) * 4096 : length));
    return { offset: from, length: to - from };
  });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.tuple(range, fc.nat(255)).map(([at, fill]) => ({ kind: "write" as const, ...at, fill })),
  },
  { weight: 2, arbitrary: range.map((at) => ({ kind: "unmap" as const, ...at, fill: 0 })) },
  { weight: 1, arbitrary: range.map((at) => ({ kind: "zeroes" as const, ...at, fill: 0 })) },
  { weight: 3, arbitrary: range.map((at) => ({ kind: "read" as const, ...at })) },
  { weight: 2, arbitrary: range.map((at) => ({ kind: "prepared" as const, ...at })) },
  { weight: 1, arbitrary: range.map((at) => ({ kind: "extents" as const, ...at })) },
  { weight: 1, arbitrary: fc.constantFrom<Step>({ kind: "commit" }, { kind: "flush" }) },
);

/** `make` gives an empty writable device of `sizeBytes`; `after` is called between steps, e.g. to clean. */
export function blockDeviceSuite(
  name: string,
  make: (sizeBytes: number) => { device: BlockDevice; after?: () => void },
): void {
  test(`${name}: reads as zeros, one hole, until written`, () => {
    const { device } = make(SIZE);
    const buffer = new DataBuffer(SIZE);
    buffer.bytes.fill(1);
    expect(device.sizeBytes).toBe(SIZE);
    expect(device.read(buffer, 0, 0, SIZE)).toBe(0);
    expect(buffer.bytes.every((byte) => byte === 0)).toBe(true);
    expect(extentsOf(device, 0, SIZE)).toEqual([[SIZE, false]]);
  });

  test(`${name}: source buffers may be reused after staging`, () => {
    const { device } = make(SIZE);
    const buffer = new DataBuffer(SIZE);
    buffer.bytes.fill(5, 0, 100 + 32 * 4096);
    expect(device.stageWrite(buffer, 100, 0, 4096)).toBe(0);
    expect(device.stageWrite(buffer, 100, 4096, 32 * 4096 - 4096)).toBe(0);
    buffer.bytes.fill(9);
    expect(device.commit()).toBe(0);
    expect(device.read(buffer, 0, 0, 32 * 4096)).toBe(0);
    expect(buffer.bytes.subarray(0, 32 * 4096).every((byte) => byte === 5)).toBe(true);
    expect(extentsOf(device, 4096, SIZE - 4096)).toEqual([
      [31 * 4096, true],
      [SIZE - 32 * 4096, false],
    ]);
  });

  test(`${name}: any sequence of calls does what an array of bytes does`, () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { device, after } = make(SIZE);
        const model = new Uint8Array(SIZE);
        const buffer = new DataBuffer(SIZE);
        for (const each of steps) {
          play(device, model, buffer, each);
          after?.();
        }
        device.commit();
        expect(device.read(buffer, 0, 0, SIZE)).toBe(0);
        expect(Buffer.compare(buffer.bytes, model)).toBe(0);
      }),
      { numRuns: 60 },
    );
  });
}

function play(device: BlockDevice, model: Uint8Array, buffer: DataBuffer, each: Step): void {
  switch (each.kind) {
    case "write":
      buffer.bytes.fill(each.fill, 3, 3 + each.length);
      expect(device.stageWrite(buffer, 3, each.offset, each.length)).toBe(0);
      model.fill(each.fill, each.offset, each.offset + each.length);
      return;
    case "unmap":
      expect(device.stageUnmap(each.offset, each.length)).toBe(0);
      model.fill(0, each.offset, each.offset + each.length);
      return;
    case "zeroes":
      expect(device.reserve(each.offset, each.length)).toBe(0);
      device.unreserve(each.offset, each.length);
      expect(device.stageZeroes(each.offset, each.length)).toBe(0);
      model.fill(0, each.offset, each.offset + each.length);
      expect(device.commit()).toBe(0);
      expect(extentsOf(device, each.offset, each.length)).toEqual([[each.length, true]]);
      return;
    case "read":
      expect(device.commit()).toBe(0);
      expect(device.read(buffer, 7, each.offset, each.length)).toBe(0);
      expect(
        Buffer.compare(
          buffer.bytes.subarray(7, 7 + each.length),
          model.subarray(each.offset, each.offset + each.length),
        ),
      ).toBe(0);
      return;
    case "prepared":
      expect(device.commit()).toBe(0);
      checkPrepared(device, model, each.offset, each.length);
      return;
    case "extents":
      checkExtents(device, model, each.offset, each.length);
      return;
    case "commit":
      expect(device.commit()).toBe(0);
      return;
    case "flush":
      expect(device.flush()).toBe(0);
  }
}

/** The range in parts that are read together, each into its own place. */
function checkPrepared(device: BlockDevice, model: Uint8Array, offset: number, length: number): void {
  const target = new DataBuffer(length);
  const parts: { at: number; size: number; ticket: number }[] = [];
  for (let at = 0; at < length; ) {
    const size = Math.min(length - at, 4096 * (1 + (parts.length % 2)));
    parts.push({ at, size, ticket: device.prepareRead(target, at, offset + at, size) });
    at += size;
  }
  for (const { at, size, ticket } of parts) {
    expect(ticket < 0 ? device.read(target, at, offset + at, size) : device.finishRead(ticket)).toBe(0);
  }
  expect(Buffer.compare(target.bytes, model.subarray(offset, offset + length))).toBe(0);
}

/** Runs cover the range exactly, alternate, and a hole holds nothing but zeros. */
function checkExtents(device: BlockDevice, model: Uint8Array, offset: number, length: number): void {
  device.commit();
  let at = offset;
  let last: boolean | undefined;
  for (const [run, mapped] of extentsOf(device, offset, length)) {
    expect(run).toBeGreaterThan(0);
    expect(mapped).not.toBe(last);
    last = mapped;
    if (!mapped) expect(model.subarray(at, at + run).every((byte) => byte === 0)).toBe(true);
    at += run;
  }
  expect(at).toBe(offset + length);
}

function extentsOf(device: BlockDevice, offset: number, length: number): [number, boolean][] {
  const found: [number, boolean][] = [];
  device.extents(offset, length, (run, mapped) => {
    found.push([run, mapped]);
    return true;
  });
  return found;
}
