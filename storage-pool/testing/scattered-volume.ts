// A volume on real files whose blocks lie all over them, and how to make them come from the disk.
import { execFileSync } from "node:child_process";
import { closeSync, fsyncSync, openSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { assert } from "../../base/assert/index.js";
import { cachedPages, closeFile, O_RDONLY, openFile } from "../../base/linux/index.js";
import { Random } from "../../base/random/index.js";
import { DataBuffer } from "../disk/data-buffer.js";
import { formatDisk, openDisk } from "../disk/disk.js";
import { openDiskFile } from "../disk/disk-file.js";
import { OK } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { DirectoryMapFiles } from "../log/map-files.js";
import { PACKING, type Packing } from "../log/packer.js";
import { Pool } from "../pool/pool.js";
import type { Volume } from "../volume/volume.js";

export const SCATTERED_BLOCKS = 512;
const FILE_BYTES = 64 * 1024 * 1024;

/**
 * A volume on one or two files in `dir`, written a few blocks at a time out of order, with holes, and flushed; and what it
 * must hold.
 */
export function scatteredVolume(
  dir: string,
  copies: number,
  packing: Packing = PACKING,
): { pool: Pool; volume: Volume; expected: Buffer } {
  const paths = Array.from({ length: copies }, (_, i) => join(dir, `disk${i}`));
  const disks = paths.map((path, diskIndex) => {
    writeFileSync(path, "");
    truncateSync(path, FILE_BYTES);
    const file = openDiskFile(path);
    formatDisk(file, { poolId: "p", poolName: "p", diskId: `d${diskIndex}`, diskIndex, diskCount: copies });
    return openDisk(file, "p", diskIndex);
  });
  const maps = new DirectoryMapFiles(join(dir, "maps"));
  const pool = new Pool(
    disks,
    maps,
    [],
    { epoch: 1, clean: false, nextVolumeId: 2 },
    { wallClock: () => 1e12, packing },
  );
  const volume = pool.createVolume({
    ...{
      id: 1,
      name: "v",
      sizeBytes: SCATTERED_BLOCKS * BLOCK_SIZE,
      copies,
      epoch: 1,
      mapFile: "",
      checkpointSequence: 0,
    },
    ...{ durableSequence: 0, originVolume: 0, snapshots: [], diskClass: "", keyId: "", rewindMs: 0 },
    ...{ keyframes: [], clockMs: 0, deletedAtMs: 0, compression: "none" as const },
  });
  const random = new Random(7);
  const expected = Buffer.alloc(SCATTERED_BLOCKS * BLOCK_SIZE);
  const source = new DataBuffer(4 * BLOCK_SIZE);
  for (let n = 0; n < 700; n++) {
    const count = 1 + random.below(3);
    const block = random.below(SCATTERED_BLOCKS - count);
    for (let i = 0; i < count; i++)
      source.bytes.fill(1 + random.below(255), i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE);
    check(volume.stageWrite(source, 0, block * BLOCK_SIZE, count * BLOCK_SIZE));
    source.bytes.copy(expected, block * BLOCK_SIZE, 0, count * BLOCK_SIZE);
  }
  check(volume.stageUnmap(100 * BLOCK_SIZE, 7 * BLOCK_SIZE));
  expected.fill(0, 100 * BLOCK_SIZE, 107 * BLOCK_SIZE);
  check(volume.flush());
  return { pool, volume, expected };
}

/** True when the pages of the file are gone from the cache; a file system in memory keeps them. */
export function dropCache(path: string): boolean {
  const written = openSync(path, "r+");
  fsyncSync(written);
  closeSync(written);
  execFileSync("dd", [`if=${path}`, "iflag=nocache", "count=0", "status=none"]);
  const fd = openFile(path, O_RDONLY);
  const pages = cachedPages(fd, 0, FILE_BYTES);
  closeFile(fd);
  return pages === 0;
}

function check(result: number): void {
  assert(result === OK, "the pool has room and its disks are good");
}
