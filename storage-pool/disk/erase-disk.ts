// Giving up a disk for good with all that is on it: what a segment's header cell says first, then its space, the
// superblock last. Invariant: as long as anything of the pool is left the superblock says whose it is, so an erasure that
// was interrupted is done again; what is not the pool's is never touched. Thread: main. Hot: no.
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as breathe } from "node:timers/promises";
import { describeError, PlinthError } from "../../base/errors/index.js";
import { storageError } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { CELLS_AT, type Superblock, slotsAt } from "../log/format.js";
import { DataBuffer } from "./data-buffer.js";
import { readSuperblock } from "./disk.js";
import { type DiskFile, isDiskPresent, openDiskFile, SEGMENTS_FILE } from "./disk-file.js";

/** The whole is done in pieces between which others have their turn. */
const CELLS_PIECE = 1 << 20;
const SPACE_PIECE = 1 << 30;

/** Why nobody can say whose disk stands at `path`; "" when that can be said. Nothing is changed. */
export function unknownDisk(path: string): string {
  if (!isDiskPresent(path)) return "not there, or the file system on it is not mounted";
  try {
    const file = openDiskFile(path);
    try {
      ownerOf(file);
      return "";
    } finally {
      file.close();
    }
  } catch (thrown) {
    return describeError(thrown);
  }
}

/** Erases the disk at `path` if it is of the pool. Throws DISK_MISSING, DISK_DAMAGED, and what readSuperblock throws. */
export async function eraseDisk(path: string, poolId: string): Promise<void> {
  if (!isDiskPresent(path)) throw storageError("DISK_MISSING", `${path} is not there`);
  const file = openDiskFile(path);
  try {
    const superblock = ownerOf(file);
    if (superblock?.poolId !== poolId) return;
    await clearCells(file, slotsAt(superblock.slotCount));
    for (let at = CELLS_AT; at < file.sizeBytes; at += SPACE_PIECE) {
      // Space that is not given back stays as it is: nothing says any more that something is there.
      file.punch(at, Math.min(SPACE_PIECE, file.sizeBytes - at));
      await breathe();
    }
    clear(file, new DataBuffer(BLOCK_SIZE), 0, BLOCK_SIZE);
    sync(file);
  } finally {
    file.close();
  }
}

/** A directory that holds nothing but an erased disk becomes as it was before. */
export function removeErasedFile(path: string): void {
  const inner = join(path, SEGMENTS_FILE);
  if (!existsSync(inner)) return;
  const file = openDiskFile(path);
  try {
    if (readSuperblock(file) === undefined) rmSync(inner);
  } finally {
    file.close();
  }
}

/** The superblock; undefined where there is none: the disk is erased, and perhaps somebody else's by now. */
function ownerOf(file: DiskFile): Superblock | undefined {
  try {
    return readSuperblock(file);
  } catch (thrown) {
    if (thrown instanceof PlinthError && thrown.code === "DISK_FOREIGN") return undefined;
    throw thrown;
  }
}

/** Durable when it resolves. */
async function clearCells(file: DiskFile, end: number): Promise<void> {
  const zeros = new DataBuffer(CELLS_PIECE);
  const scratch = new DataBuffer(CELLS_PIECE);
  for (let at = CELLS_AT; at < end; at += CELLS_PIECE) {
    const length = Math.min(CELLS_PIECE, end - at);
    const result = file.read(scratch, 0, length, at);
    if (result !== 0) throw storageError("DISK_DAMAGED", `${file.path} cannot be read (errno ${result})`);
    // Zeros would take space where there is none.
    if (scratch.bytes.subarray(0, length).some((byte) => byte !== 0)) clear(file, zeros, at, length);
    await breathe();
  }
  sync(file);
}

function clear(file: DiskFile, zeros: DataBuffer, at: number, length: number): void {
  const result = file.write(zeros, 0, length, at);
  if (result !== 0) throw storageError("DISK_DAMAGED", `${file.path} cannot be written (errno ${result})`);
}

function sync(file: DiskFile): void {
  const result = file.sync();
  if (result !== 0) throw storageError("DISK_DAMAGED", `${file.path} cannot be written (errno ${result})`);
}
