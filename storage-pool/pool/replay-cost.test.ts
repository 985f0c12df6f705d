import { expect, test } from "vitest";
import { CHECKPOINT_COST_BYTES, CHECKPOINT_COST_LEAST, CHECKPOINT_RECORD_BYTES } from "../limits.js";
import type { Volume } from "../volume/volume.js";
import { longestTail, replayCostOf } from "./replay-cost.js";

const MIB = 1024 * 1024;

function volume(writtenBytes: number, records = 0, checkpointSequence = 100): Volume {
  const writer = { writtenBytes, sequence: checkpointSequence + records };
  return { writer, checkpointSequence } as unknown as Volume;
}

test("replayCostOf() counts what was written, and each record since the checkpoint", () => {
  expect(replayCostOf(volume(5 * MIB, 3))).toBe(5 * MIB + 3 * CHECKPOINT_RECORD_BYTES);
});

test("no checkpoint is due before all volumes together cost too much", () => {
  const half = CHECKPOINT_COST_BYTES / 2;
  expect(longestTail([volume(half), volume(half - MIB)])).toBeUndefined();
  const longer = volume(half + MIB);
  expect(longestTail([volume(half), longer, volume(0)])).toBe(longer);
});

test("many small writes cost as much as few large ones", () => {
  const small = volume(0, CHECKPOINT_COST_BYTES / CHECKPOINT_RECORD_BYTES);
  expect(longestTail([small])).toBe(small);
});

test("a volume with next to nothing to replay is left alone, however many there are", () => {
  const count = (2 * CHECKPOINT_COST_BYTES) / CHECKPOINT_COST_LEAST;
  const all = Array.from({ length: count }, () => volume(CHECKPOINT_COST_LEAST - MIB));
  expect(longestTail(all)).toBeUndefined();
});
