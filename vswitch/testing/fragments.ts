// Untagged IP frames cut into fragments, and their payload put together again, for tests.
import { checksum } from "../../base/wire/index.js";

/** Cuts an unfragmented frame at these offsets of its IP payload, multiples of 8. */
export function cut(frame: Uint8Array, at: readonly number[], identification = 7): Uint8Array[] {
  return frame[14] === 0x45 ? cut4(frame, at, identification) : cut6(frame, at, identification);
}

function cut4(frame: Uint8Array, at: readonly number[], identification: number): Uint8Array[] {
  const payload = frame.subarray(34);
  return [0, ...at].map((start, i) => {
    const end = at[i] ?? payload.byteLength;
    const piece = new Uint8Array(34 + end - start);
    piece.set(frame.subarray(0, 34));
    piece.set(payload.subarray(start, end), 34);
    const view = new DataView(piece.buffer);
    view.setUint16(16, 20 + end - start);
    view.setUint16(18, identification);
    view.setUint16(20, (start >>> 3) | (end < payload.byteLength ? 0x2000 : 0));
    view.setUint16(24, 0);
    view.setUint16(24, checksum(piece, 14, 20));
    return piece;
  });
}

function cut6(frame: Uint8Array, at: readonly number[], identification: number): Uint8Array[] {
  const payload = frame.subarray(54);
  return [0, ...at].map((start, i) => {
    const end = at[i] ?? payload.byteLength;
    const piece = new Uint8Array(62 + end - start);
    piece.set(frame.subarray(0, 54));
    piece.set(payload.subarray(start, end), 62);
    const view = new DataView(piece.buffer);
    view.setUint16(18, 8 + end - start);
    piece[54] = piece[20] as number;
    piece[20] = 44;
    view.setUint16(56, start | (end < payload.byteLength ? 1 : 0));
    view.setUint32(58, identification);
    return piece;
  });
}

/** The payload that the fragments carry, put together again. */
export function join(frames: readonly Uint8Array[]): Uint8Array {
  const pieces = frames.map((frame) => {
    const view = new DataView(frame.buffer, frame.byteOffset);
    const v4 = frame[14] === 0x45;
    const start = v4 ? (view.getUint16(20) & 0x1fff) << 3 : view.getUint16(56) & 0xfff8;
    return { start, bytes: frame.subarray(v4 ? 34 : 62) };
  });
  const whole = new Uint8Array(Math.max(...pieces.map(({ start, bytes }) => start + bytes.byteLength)));
  for (const { start, bytes } of pieces) whole.set(bytes, start);
  return whole;
}
