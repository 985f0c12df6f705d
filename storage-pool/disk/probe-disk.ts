// Whether a disk that was away is back, asked without keeping anybody waiting: a disk that is going may take half a minute to
// answer. Thread: main. Hot: no.
import { statSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { describeError } from "../../base/errors/index.js";
import { BLOCK_SIZE } from "../limits.js";
import { parseSuperblock } from "../log/format.js";
import { ageReason, foreignReason } from "./disk.js";
import { isDiskPresent, SEGMENTS_FILE } from "./disk-file.js";

export const NOT_THERE = "not there, or the file system on it is not mounted";

export interface WantedDisk {
  readonly path: string;
  readonly index: number;
  /** "": it was never noted. */
  readonly diskId: string;
  /** The opening of the pool that it was used in, as far as was noted. */
  readonly usedEpoch?: number;
}

/** Why what stands at the path is not this disk of the pool; "" when it is. Nothing is changed. */
export async function probeDisk(
  poolId: string,
  { path, index, diskId, usedEpoch = 0 }: WantedDisk,
): Promise<string> {
  try {
    if (!isDiskPresent(path)) return NOT_THERE;
    const file = await open(statSync(path).isDirectory() ? join(path, SEGMENTS_FILE) : path, "r");
    try {
      const head = Buffer.alloc(BLOCK_SIZE);
      await file.read(head, 0, BLOCK_SIZE, 0);
      return foreignReason(parseSuperblock(head, path), poolId, index, diskId) || ageReason(head, usedEpoch);
    } finally {
      await file.close();
    }
  } catch (thrown) {
    return describeError(thrown);
  }
}
