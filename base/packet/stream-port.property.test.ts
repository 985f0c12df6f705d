// A hostile stream peer: whatever bytes it sends, in whatever pieces, the port hands out only well-formed packets,
// loses none of the pool, and ends at worst the connection. Well-formed input comes through whole.
import { mkdtempSync, rmSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { concatBytes } from "../bytes/index.js";
import { addressOf, closeFile, listenUnix, sysAccept, sysSend } from "../linux/index.js";
import { Batch } from "./batch.js";
import { FRAME_SIZE_MAX, FRAME_SIZE_MIN } from "./limits.js";
import { RX_ERRORS, RX_PACKETS } from "./port.js";
import { StreamPort } from "./stream-port.js";
import { createWindowPool } from "./window-pool.js";

const SLOTS = 64;
const { pool, window } = createWindowPool(SLOTS, 8 << 20);

/** Runs `pieces` through a fresh connection; returns the frames that came out and the port. */
function receive(dir: string, pieces: readonly Uint8Array[]): { frames: Uint8Array[]; port: StreamPort } {
  const path = `${dir}/s`;
  const listener = listenUnix(path);
  const reserved = window.reservedBytes;
  const port = new StreamPort({ name: "s", pool, window, path });
  port.tick(0);
  const peer = sysAccept(listener);
  const batch = new Batch(16);
  const frames: Uint8Array[] = [];
  for (const piece of pieces) {
    if (piece.byteLength > 0) sysSend(peer, addressOf(piece), piece.byteLength);
    do {
      port.rx(batch);
      for (let i = 0; i < batch.length; i++) {
        const length = pool.length[batch.packets[i]!]!;
        expect(length >= FRAME_SIZE_MIN && length <= FRAME_SIZE_MAX).toBe(true);
        frames.push(pool.frame(batch.packets[i]!));
      }
      if (batch.length === 0) break;
      batch.freeAll(pool);
    } while (port.linkUp);
  }
  expect(port.stats[RX_PACKETS]).toBe(frames.length);
  port.close();
  closeFile(peer);
  closeFile(listener);
  rmSync(path);
  expect(pool.available).toBe(SLOTS);
  expect(window.reservedBytes).toBe(reserved);
  return { frames, port };
}

const framed = (frame: Uint8Array): Uint8Array => {
  const out = new Uint8Array(4 + frame.byteLength);
  new DataView(out.buffer).setUint32(0, frame.byteLength);
  out.set(frame, 4);
  return out;
};

test("any bytes in any pieces end at worst the connection", () => {
  const dir = mkdtempSync("/tmp/pl-");
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 100 }),
    fc.uint8Array({ maxLength: 100 }).map(framed),
    fc.tuple(fc.constantFrom(0, 1, 13, 14, 9216, 9217, 69_632, 69_633, 0xffff_ffff)).map(([length]) => {
      const out = new Uint8Array(4);
      new DataView(out.buffer).setUint32(0, length);
      return out;
    }),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
      receive(dir, pieces);
    }),
    { numRuns: 500 },
  );
  rmSync(dir, { recursive: true });
});

test("frames come out as they went in, however the stream is cut", () => {
  const dir = mkdtempSync("/tmp/pl-");
  const frame = fc.uint8Array({ minLength: FRAME_SIZE_MIN, maxLength: 300 });
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 20 }),
      fc.array(fc.nat(400), { maxLength: 30 }),
      (frames, cuts) => {
        const stream = concatBytes(frames.map(framed));
        const pieces: Uint8Array[] = [];
        let at = 0;
        for (const cut of cuts) {
          pieces.push(stream.slice(at, at + cut));
          at += cut;
        }
        pieces.push(stream.slice(at));
        const { frames: got, port } = receive(dir, pieces);
        expect(got).toEqual(frames);
        expect(port.stats[RX_ERRORS]).toBe(0);
      },
    ),
    { numRuns: 300 },
  );
  rmSync(dir, { recursive: true });
});
