// What the catalogue says of keyframes: how checkpoints and reverts change it. Pure. Thread: any.
import type { CheckpointRecord } from "./checkpoint.js";
import type { KeyframeSpec, VolumeSpec } from "./open-pool.js";

/** The keyframes of a volume after a checkpoint: those that it says, with new files or those that they had. */
export function recordedKeyframes(
  { keyframes }: Pick<VolumeSpec, "keyframes">,
  record: CheckpointRecord,
): KeyframeSpec[] {
  const files = new Map(keyframes.map(({ name, mapFile }) => [name, mapFile]));
  return record.keyframes.map((keyframe) => ({
    ...keyframe,
    mapFile: record.files[keyframe.name] ?? files.get(keyframe.name) ?? "",
  }));
}

/** The keyframes of a volume after a revert: those that it made or wrote take the place of what was known of them. */
export function mergedKeyframes(
  { keyframes }: Pick<VolumeSpec, "keyframes">,
  changed: readonly KeyframeSpec[],
): KeyframeSpec[] {
  const others = keyframes.filter(({ name }) => !changed.some((each) => each.name === name));
  return [...others, ...changed].sort((a, b) => a.sequence - b.sequence || a.timeMs - b.timeMs);
}
