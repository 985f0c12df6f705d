import fc from "fast-check";
import { expect, it } from "vitest";
import { toHex } from "../bytes/index.js";
import { addToSum, finishSum } from "../wire/index.js";
import { Batch, Coalescer, forEachWireFrame, PacketPool } from "./index.js";

const SIZE = 100;
const pool = new PacketPool({ slots: 256, largeSlots: 16 });

interface Segment {
  readonly flow: number;
  readonly ipv6: boolean;
  readonly tagged: boolean;
  readonly options: number;
  readonly sequence: number;
  readonly id: number;
  readonly dontFragment: boolean;
  readonly flags: number;
  readonly window: number;
  readonly ttl: number;
  readonly payload: number;
  /** Bytes behind the datagram. */
  readonly padding: number;
  /** What is spoilt after the checksums were made: an offset in the frame, or nothing. */
  readonly spoilt: number;
  readonly protocol: number;
}

const PLAIN: Segment = {
  ...{
    flow: 0,
    ipv6: false,
    tagged: false,
    options: 3,
    sequence: 0,
    id: 0,
    dontFragment: false,
    flags: 0x10,
  },
  ...{ window: 500, ttl: 64, payload: SIZE, padding: 0, spoilt: -1, protocol: 6 },
};

function frameOf(of: Segment): Uint8Array {
  const l3 = of.tagged ? 18 : 14;
  const l4 = l3 + (of.ipv6 ? 40 : 20);
  const header = 20 + 4 * of.options;
  const size = header + of.payload;
  const frame = Buffer.alloc(l4 + size + of.padding);
  frame.fill(0x22, 0, 12);
  if (of.tagged) frame.writeUInt32BE(0x81000005, 12);
  frame.writeUInt16BE(of.ipv6 ? 0x86dd : 0x0800, l3 - 2);
  if (of.ipv6) {
    frame[l3] = 0x60;
    frame.writeUInt16BE(size, l3 + 4);
    frame[l3 + 6] = of.protocol;
    frame[l3 + 7] = of.ttl;
    frame.fill(0x20, l3 + 8, l4);
  } else {
    frame[l3] = 0x45;
    frame.writeUInt16BE(20 + size, l3 + 2);
    frame.writeUInt16BE(of.id & 0xffff, l3 + 4);
    if (of.dontFragment) frame[l3 + 6] = 0x40;
    frame[l3 + 8] = of.ttl;
    frame[l3 + 9] = of.protocol;
    frame.fill(0x0a, l3 + 12, l4);
    frame.writeUInt16BE(finishSum(addToSum(frame, l3, 20, 0)), l3 + 10);
  }
  frame.writeUInt16BE(1000 + of.flow, l4);
  frame.writeUInt16BE(80, l4 + 2);
  frame.writeUInt32BE(of.sequence >>> 0, l4 + 4);
  frame.writeUInt32BE(77, l4 + 8);
  frame[l4 + 12] = (5 + of.options) << 4;
  frame[l4 + 13] = of.flags;
  frame.writeUInt16BE(of.window, l4 + 14);
  frame.fill(1, l4 + 20, l4 + header);
  for (let i = 0; i < of.payload; i++) frame[l4 + header + i] = (of.sequence + i) * 7;
  const pseudo = addToSum(frame, of.ipv6 ? l3 + 8 : l3 + 12, of.ipv6 ? 32 : 8, of.protocol + size);
  frame.writeUInt16BE(finishSum(addToSum(frame, l4, size, pseudo)), l4 + 16);
  if (of.spoilt >= 0 && of.spoilt < frame.byteLength) frame[of.spoilt] = (frame[of.spoilt] as number) ^ 0x41;
  return frame;
}

/** What leaves by the port, put together, and what that is on a wire. */
function merge(frames: readonly Uint8Array[]): { readonly packets: number; readonly wire: Uint8Array[] } {
  const batch = new Batch();
  for (const frame of frames) batch.push(pool.allocateFrom(frame));
  new Coalescer(pool).merge(batch);
  const packets = batch.length;
  const wire: Uint8Array[] = [];
  for (let i = 0; i < packets; i++) {
    const packet = batch.packets[i] as number;
    const take = (one: number): void => void wire.push(pool.frame(one));
    if (pool.checksumStart[packet] === 0) take(packet);
    else expect(forEachWireFrame(pool, packet, take)).toBe(true);
  }
  batch.freeAll(pool);
  expect([pool.available, pool.availableLarge]).toEqual([256, 16]);
  return { packets, wire };
}

/** Without padding, which nobody misses, and without the identification of what must not be fragmented. */
function essence(frame: Uint8Array): { readonly flow: string; readonly hex: string } {
  const copy = Buffer.from(frame);
  const l3 = copy.readUInt16BE(12) === 0x8100 ? 18 : 14;
  const isIpv6 = copy.readUInt16BE(l3 - 2) === 0x86dd;
  if (!isIpv6 && copy.readUInt16BE(l3 - 2) === 0x0800 && ((copy[l3 + 6] as number) & 0x40) !== 0) {
    copy.fill(0, l3 + 4, l3 + 6);
    copy.fill(0, l3 + 10, l3 + 12);
  }
  const l4 = l3 + (isIpv6 ? 40 : 20);
  const end = isIpv6 ? l4 + copy.readUInt16BE(l3 + 4) : l3 + copy.readUInt16BE(l3 + 2);
  return { flow: toHex(copy.subarray(l4, l4 + 2)), hex: toHex(copy.subarray(0, Math.max(54, end))) };
}

function expectSame(sent: readonly Uint8Array[], wire: readonly Uint8Array[]): void {
  const [before, after] = [sent.map(essence), wire.map(essence)];
  expect(after.length).toBe(before.length);
  for (const flow of new Set(before.map((one) => one.flow)))
    expect(after.filter((one) => one.flow === flow)).toEqual(before.filter((one) => one.flow === flow));
}

it.each([
  ["IPv4", {}],
  ["IPv6", { ipv6: true }],
  ["tagged", { tagged: true }],
  ["without options", { options: 0 }],
])("segments that follow each other are one packet: %s", (_, kind) => {
  const frames = Array.from({ length: 40 }, (_each, n) =>
    frameOf({
      ...PLAIN,
      ...kind,
      sequence: 0xfffffff0 + n * SIZE,
      id: 0xfff0 + n,
      flags: n === 39 ? 0x18 : 0x10,
    }),
  );
  const { packets, wire } = merge(frames);
  expect(packets).toBe(1);
  expectSame(frames, wire);
});

it("connections that take turns are one packet each, and a short segment is the last of its packet", () => {
  const frames = Array.from({ length: 30 }, (_, n) => {
    const turn = (n / 3) >>> 0;
    return frameOf({ ...PLAIN, flow: n % 3, sequence: turn * SIZE, id: turn, payload: n === 14 ? 10 : SIZE });
  });
  const { packets, wire } = merge(frames);
  expect(packets).toBe(4);
  expectSame(frames, wire);
});

it("is full at the size of a datagram", () => {
  const frames = Array.from({ length: 60 }, (_, n) =>
    frameOf({ ...PLAIN, sequence: n * 1448, id: n, payload: 1448 }),
  );
  const { packets, wire } = merge(frames);
  expect(packets).toBe(2);
  expectSame(frames, wire);
});

const change = fc.oneof(
  { weight: 8, arbitrary: fc.constant({}) },
  fc.record({ flags: fc.constantFrom(0x18, 0x11, 0x12, 0x14, 0x30, 0x50, 0x90, 0, 0x10) }),
  fc.record({ payload: fc.constantFrom(0, 1, 50, 99, 101, 200) }),
  fc.record({ spoilt: fc.integer({ min: 0, max: 170 }) }),
  fc.record({ padding: fc.constantFrom(1, 6) }),
  fc.record({ window: fc.constantFrom(500, 501) }),
  fc.record({ ttl: fc.constantFrom(63, 64) }),
  fc.record({ options: fc.constantFrom(0, 3, 4, 10) }),
  fc.record({ protocol: fc.constantFrom(6, 17) }),
  fc.record({ dontFragment: fc.boolean() }),
  fc.record({ id: fc.nat(0xffff) }),
);

it("what is put together is cut into what it was, in the order of each connection", () => {
  const step = fc.record({ flow: fc.nat(9), change, skip: fc.constantFrom(0, 0, 0, 0, 0, 0, 1, -SIZE) });
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 2, maxLength: 64 }),
      fc.boolean(),
      fc.boolean(),
      (steps, ipv6, tagged) => {
        const at = new Map<number, { sequence: number; id: number }>();
        const frames = steps.map(({ flow, change: changed, skip }) => {
          const state = at.get(flow) ?? { sequence: flow * 1000, id: flow };
          const segment = {
            ...PLAIN,
            ipv6,
            tagged,
            flow,
            sequence: state.sequence + skip,
            id: state.id,
            ...changed,
          };
          at.set(flow, { sequence: segment.sequence + segment.payload, id: state.id + 1 });
          return frameOf(segment);
        });
        expectSame(frames, merge(frames).wire);
      },
    ),
  );
});

it("no bytes make it read outside of a frame, or lose one", () => {
  const noise = fc.record({ n: fc.nat(40), at: fc.nat(80), byte: fc.nat(255), cut: fc.nat(160) });
  fc.assert(
    fc.property(fc.array(noise, { minLength: 2, maxLength: 40 }), (all) => {
      const frames = all.map(({ n, at, byte, cut }) => {
        const frame = frameOf({ ...PLAIN, sequence: n * SIZE, id: n });
        frame[at] = byte;
        return cut < 14 ? frame : frame.subarray(0, Math.max(14, cut * 2));
      });
      const { wire } = merge(frames);
      expect(wire.length).toBe(frames.length);
    }),
  );
});
