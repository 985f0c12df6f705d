// Frames that a poisoned port worker does not survive (poisoned-port-worker.ts).

/** EtherType of such a frame (IEEE 802 local experimental 2); its first byte of payload says how it ends. */
export const POISON_TYPE = 0x88b6;
export const POISON_KILLS = 1;
export const POISON_HANGS = 2;
/** A numbered frame (frames.ts) with this number has the worker hang that sends it. */
export const POISON_NUMBER = 0xdeadbeef;
/** A file that it makes before. */
export const POISON_MARK = `/tmp/pl-poisoned-${process.pid}`;

/** A frame that kills the worker that takes it in, or has it hang. */
export function poisonedFrame(how: number): Uint8Array {
  const frame = new Uint8Array(60);
  frame.fill(0xff, 0, 6);
  frame.set([2, 0, 0, 0, 0, 9], 6);
  new DataView(frame.buffer).setUint16(12, POISON_TYPE);
  frame[14] = how;
  return frame;
}
