import fc from "fast-check";
import { expect, it } from "vitest";
import { addToSum, finishSum } from "../wire/index.js";
import {
  completeChecksum,
  FRAME_SIZE_MAX,
  LARGE_FRAME_SIZE_MAX,
  NET_HEADER_SIZE,
  PacketPool,
  readNetHeader,
  Segmenter,
  wireLength,
  writeNetHeader,
} from "./index.js";

const TCP = 6;
const UDP = 17;

/** A frame of `payload` bytes of TCP or UDP, its transport checksum left open, and where that header starts. */
function datagram(of: {
  ipv6: boolean;
  protocol: number;
  tags: number;
  options: number;
  payload: Uint8Array;
}) {
  const { ipv6, protocol, tags, options, payload } = of;
  const l3 = 14 + 4 * tags;
  const l4 = l3 + (ipv6 ? 40 : 20);
  const headerSize = protocol === TCP ? 20 + 4 * options : 8;
  const frame = Buffer.alloc(l4 + headerSize + payload.byteLength);
  for (let i = 0; i < tags; i++) frame.writeUInt16BE(0x8100, 12 + 4 * i);
  frame.writeUInt16BE(ipv6 ? 0x86dd : 0x0800, l3 - 2);
  if (ipv6) {
    frame[l3] = 0x60;
    frame.writeUInt16BE(headerSize + payload.byteLength, l3 + 4);
    frame[l3 + 6] = protocol;
    frame.fill(0x20, l3 + 8, l4);
  } else {
    frame[l3] = 0x45;
    frame.writeUInt16BE(20 + headerSize + payload.byteLength, l3 + 2);
    frame.writeUInt16BE(0xfffe, l3 + 4);
    frame[l3 + 9] = protocol;
    frame.fill(0x0a, l3 + 12, l4);
    frame.writeUInt16BE(finishSum(addToSum(frame, l3, 20, 0)), l3 + 10);
  }
  if (protocol === TCP) {
    frame.writeUInt32BE(0xfffffff0, l4 + 4);
    frame[l4 + 12] = (5 + options) << 4;
    frame[l4 + 13] = 0x80 | 0x18 | 0x01;
  } else frame.writeUInt16BE(8 + payload.byteLength, l4 + 4);
  frame.set(payload, l4 + headerSize);
  return { frame, l3, l4, headerSize };
}

/** Puts the frame into the pool behind a virtio-net header. */
function packetWith(
  pool: PacketPool,
  frame: Uint8Array,
  header: Uint8Array,
): { packet: number; good: boolean } {
  const packet = pool.allocateFrom(frame);
  const at = (pool.offset[packet] as number) - NET_HEADER_SIZE;
  pool.bytes.set(header, at);
  return { packet, good: readNetHeader(pool, packet, at) };
}

const shapes = fc.record({
  ipv6: fc.boolean(),
  protocol: fc.constantFrom(TCP, UDP),
  tags: fc.integer({ min: 0, max: 2 }),
  options: fc.integer({ min: 0, max: 10 }),
  payload: fc.uint8Array({ minLength: 1, maxLength: 5000 }),
});

it("segments carry the payload in order, each with lengths, sequence and checksums of its own", () => {
  fc.assert(
    fc.property(shapes, fc.integer({ min: 200, max: 3000 }), (shape, size) => {
      const { frame, l3, l4, headerSize } = datagram(shape);
      const type = shape.protocol === UDP ? 5 : shape.ipv6 ? 4 : 1;
      const header = Buffer.alloc(NET_HEADER_SIZE);
      header.set([1, type | (shape.protocol === TCP ? 0x80 : 0)]);
      header.writeUInt16LE(size, 4);
      header.writeUInt16LE(l4, 6);
      header.writeUInt16LE(shape.protocol === TCP ? 16 : 6, 8);
      const pool = new PacketPool({ slots: 64, largeSlots: 1 });
      const { packet, good } = packetWith(pool, frame, header);
      expect(good).toBe(true);
      expect(wireLength(pool, packet)).toBe(Math.min(frame.byteLength, l4 + headerSize + size));
      const segments = new Segmenter(pool);
      expect(segments.start(packet)).toBe(true);
      const payload: number[] = [];
      for (let index = 0; !segments.isDone; index++) {
        const piece = segments.next();
        completeChecksum(pool, piece);
        const one = Buffer.from(pool.frame(piece));
        const body = one.subarray(l4 + headerSize);
        if (shape.protocol === TCP) {
          expect(one.readUInt32BE(l4 + 4)).toBe((0xfffffff0 + payload.length) % 2 ** 32);
          expect(one[l4 + 13]).toBe((index === 0 ? 0x80 : 0) | 0x10 | (segments.isDone ? 0x09 : 0));
        } else expect(one.readUInt16BE(l4 + 4)).toBe(8 + body.byteLength);
        if (shape.ipv6) expect(one.readUInt16BE(l3 + 4)).toBe(headerSize + body.byteLength);
        else {
          expect(one.readUInt16BE(l3 + 4)).toBe((0xfffe + index) & 0xffff);
          expect(finishSum(addToSum(one, l3, 20, 0))).toBe(0);
        }
        const pseudo = addToSum(one, shape.ipv6 ? l3 + 8 : l3 + 12, shape.ipv6 ? 32 : 8, 0);
        const length = one.byteLength - l4;
        expect(finishSum(addToSum(one, l4, length, pseudo + shape.protocol + length))).toBe(0);
        payload.push(...body);
        pool.free(piece);
      }
      expect(payload).toEqual([...shape.payload]);
      pool.free(packet);
      expect(pool.available).toBe(64);
    }),
  );
});

it("a header written for a packet says what was read, whatever was pushed before the frame meanwhile", () => {
  fc.assert(
    fc.property(shapes, fc.integer({ min: 0, max: 2 }), (shape, pushed) => {
      const { frame, l3, l4 } = datagram(shape);
      const header = Buffer.alloc(NET_HEADER_SIZE);
      header[0] = 1;
      header.writeUInt16LE(l4, 6);
      header.writeUInt16LE(shape.protocol === TCP ? 16 : 6, 8);
      const pool = new PacketPool({ slots: 2 });
      const { packet } = packetWith(pool, frame, header);
      const offset = pool.offset[packet] as number;
      for (let i = 0; i < pushed; i++) pool.bytes.set([0x81, 0, 0, 1], offset - 4 * pushed + 12 + 4 * i);
      pool.bytes.set(frame.subarray(0, 12), offset - 4 * pushed);
      pool.offset[packet] = offset - 4 * pushed;
      pool.length[packet] = frame.byteLength + 4 * pushed;
      const twin = pool.copy(packet);
      for (const one of [packet, twin]) {
        const at = (pool.offset[one] as number) - NET_HEADER_SIZE;
        writeNetHeader(pool, one, at);
        header.writeUInt16LE(l4 + 4 * pushed, 6);
        expect([...pool.bytes.subarray(at, at + NET_HEADER_SIZE)]).toEqual([...header]);
        const primed = pool.frame(one);
        const at4 = l4 + 4 * pushed;
        const length = primed.byteLength - at4;
        const from = l3 + 4 * pushed + (shape.ipv6 ? 8 : 12);
        const pseudo = addToSum(primed, from, shape.ipv6 ? 32 : 8, shape.protocol + length);
        const field = at4 + (shape.protocol === TCP ? 16 : 6);
        expect((primed[field]! << 8) | primed[field + 1]!).toBe(~finishSum(pseudo) & 0xffff);
      }
    }),
  );
});

it("any header before any frame is refused or leaves the pool whole", () => {
  const frames = fc.oneof(
    fc.uint8Array({ minLength: 14, maxLength: 200 }),
    shapes.map((shape) => datagram(shape).frame),
  );
  fc.assert(
    fc.property(
      frames,
      fc.uint8Array({ minLength: 10, maxLength: 10 }),
      fc.boolean(),
      (frame, header, likely) => {
        if (likely) header.set([1, [0, 1, 4, 5, 0x81][header[1]! % 5]!, 0, 0, header[4]!, 1, 34, 0, 16, 0]);
        const pool = new PacketPool({ slots: 300, largeSlots: 2 });
        const { packet, good } = packetWith(pool, frame, header);
        if (!good) return;
        const segments = new Segmenter(pool);
        if (segments.start(packet)) {
          while (!segments.isDone) {
            const piece = segments.next();
            if (piece < 0) break;
            expect(pool.length[piece]).toBeLessThanOrEqual(FRAME_SIZE_MAX);
            completeChecksum(pool, piece);
            pool.free(piece);
          }
        } else if (pool.checksumStart[packet] !== 0) completeChecksum(pool, packet);
        expect(pool.length[packet]).toBe(frame.byteLength);
      },
    ),
  );
});

it("the largest datagram there is goes into a large packet, and its copy too", () => {
  const pool = new PacketPool({ slots: 1, largeSlots: 2 });
  const packet = pool.allocateFrom(new Uint8Array(LARGE_FRAME_SIZE_MAX).fill(7));
  const twin = pool.copy(packet);
  expect([packet, twin]).toEqual([1, 2]);
  expect(pool.frame(twin)).toEqual(pool.frame(packet));
  expect([pool.headroom(twin), pool.allocateLarge()]).toEqual([pool.headroom(packet), -1]);
  pool.free(packet);
  pool.free(twin);
  expect([pool.allocateLarge(), pool.available]).toEqual([2, 1]);
});
