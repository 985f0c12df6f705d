// Blocks of zeros: some to write, and whether one is. Hot: yes.
import { DataBuffer } from "../disk/data-buffer.js";
import { BLOCK_SIZE } from "../limits.js";

/** Blocks in ZEROES. */
export const ZERO_BLOCKS = 64;
export const ZEROES = new DataBuffer(ZERO_BLOCKS * BLOCK_SIZE);

/** Most blocks that are not zero differ in their first word. */
export function isZeroBlock(source: DataBuffer, at: number): boolean {
  if (source.view.getUint32(at) !== 0) return false;
  return source.bytes.compare(ZEROES.bytes, 0, BLOCK_SIZE, at, at + BLOCK_SIZE) === 0;
}
