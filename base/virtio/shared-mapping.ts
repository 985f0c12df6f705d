// A range of another process's file, mapped into the window.
// A file must be sealed against shrinking, or a peer that truncates it could kill us with SIGBUS.
// Thread: the owner of the window. Hot: no.
import { fstatSync } from "node:fs";
import { alignUp } from "../bytes/index.js";
import { PlinthError } from "../errors/index.js";
import { hasSealShrink, PAGE_SIZE_BYTES, sealShrink } from "../linux/index.js";
import type { GuestWindow } from "./guest-window.js";

const HUGE_PAGE_SIZE_MAX = 2 ** 30;

export interface SharedMapping {
  /** For GuestWindow.giveBack(). */
  readonly windowOffset: number;
  /** Where the range itself starts in the window. */
  readonly start: number;
}

export interface SharedRange {
  readonly fd: number;
  readonly fileOffset: number;
  readonly sizeBytes: number;
}

/**
 * Maps `range`; the descriptor stays the caller's and is not needed any more. `allowUnsealed` takes files that can be
 * truncated under us. Throws GUEST_MEMORY_INVALID or GUEST_MEMORY_TOO_LARGE.
 */
export function mapShared(window: GuestWindow, range: SharedRange, allowUnsealed: boolean): SharedMapping {
  const { fd, fileOffset, sizeBytes } = range;
  const stat = fstatSync(fd);
  if (!stat.isFile() || stat.size < fileOffset + sizeBytes) {
    throw memoryInvalid(`a region of ${sizeBytes} bytes at ${fileOffset} in a file of ${stat.size}`);
  }
  if (!allowUnsealed && !hasSealShrink(fd) && !sealShrink(fd)) {
    throw memoryInvalid(
      "its file is not sealed against shrinking; use memory-backend-memfd, or allow-unsealed-memory",
    );
  }
  const pageSize = pageSizeOf(stat.blksize);
  const from = Math.floor(fileOffset / pageSize) * pageSize;
  const length = alignUp(fileOffset + sizeBytes - from, pageSize);
  const windowOffset = window.reserve(length, pageSize);
  if (windowOffset < 0) {
    throw new PlinthError(
      "GUEST_MEMORY_TOO_LARGE",
      `no room for ${length} bytes of guest memory beside ${window.reservedBytes} bytes in use`,
      { context: { length, reservedBytes: window.reservedBytes } },
    );
  }
  try {
    window.memory.mapFile(windowOffset, length, fd, from);
  } catch (thrown) {
    window.giveBack(windowOffset);
    throw thrown;
  }
  return { windowOffset, start: windowOffset + (fileOffset - from) };
}

/** Huge pages must be mapped whole; anything odd counts as ordinary pages. */
function pageSizeOf(blockSize: number): number {
  const isHuge = blockSize > PAGE_SIZE_BYTES && blockSize <= HUGE_PAGE_SIZE_MAX;
  return isHuge && (blockSize & (blockSize - 1)) === 0 ? blockSize : PAGE_SIZE_BYTES;
}

export function memoryInvalid(found: string): PlinthError {
  return new PlinthError("GUEST_MEMORY_INVALID", `guest memory refused: ${found}`);
}
