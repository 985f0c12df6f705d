// From what the catalogue keeps of a volume to what the worker opens it by. Pure. Thread: main.
import type { VolumeSpec } from "../pool/open-pool.js";
import { type Compression, knownCompression } from "../volume/compression.js";
import type { VolumeEntry } from "./catalogue.js";

/** How the volume is compressed. */
export function compressionOf({ compression }: VolumeEntry): Compression {
  return knownCompression(compression) ?? "none";
}

/** What the worker needs of an entry, and how far its log was noted to be on the medium. */
export function specOf(entry: VolumeEntry, durableSequence = 0): VolumeSpec {
  const { id, name, sizeBytes, copies, diskClass, epoch, mapFile, checkpointSequence, originVolume } = entry;
  const { keyId, snapshots, rewindMs, keyframes, clockMs, deletedAtMs, endLost = false } = entry;
  const content = {
    keyId,
    epoch,
    mapFile,
    checkpointSequence,
    originVolume,
    snapshots,
    durableSequence,
    endLost,
  };
  const compression = compressionOf(entry);
  const past = { rewindMs, keyframes, clockMs, deletedAtMs };
  return { id, name, sizeBytes, copies, diskClass, ...content, ...past, compression };
}
