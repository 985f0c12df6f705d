// Frames in the order in which a case sends them.
import fc from "fast-check";
import type { FrameIn } from "../compare.js";
import { NIGHTLY } from "../fuzz.js";

const BURST_LENGTH_MAX = NIGHTLY ? 32 : 8;
const BURST_LENGTH_MEAN = (1 + BURST_LENGTH_MAX) / 2;

/** Up to about `framesMax` frames, a few after each other into the same port: these need not be waited for one by one. */
export function inBursts(frame: fc.Arbitrary<FrameIn>, framesMax: number): fc.Arbitrary<readonly FrameIn[]> {
  const burst = fc
    .array(frame, { minLength: 1, maxLength: BURST_LENGTH_MAX, size: "max" })
    .map((frames) => frames.map((one) => ({ ...one, port: (frames[0] as FrameIn).port })));
  const maxLength = Math.ceil(framesMax / BURST_LENGTH_MEAN);
  const minLength = Math.ceil(maxLength / 4);
  return fc.array(burst, { minLength, maxLength, size: "max" }).map((bursts) => bursts.flat());
}
