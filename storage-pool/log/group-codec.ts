// Packing groups of blocks: raw deflate (RFC 1951) of node:zlib. What comes out of unpacking is bounded before it is there,
// whatever the stream says. Thread: any. Hot: no (a group at a time; the library allocates).
import { deflateRawSync, inflateRawSync } from "node:zlib";
import type { DataBuffer } from "../disk/data-buffer.js";
import { BLOCK_SIZE } from "../limits.js";
import { GROUP_BLOCKS, GROUP_PACKED_MAX, GROUP_SIZE } from "./format.js";

/** The cheapest: what a higher one wins of text is a tenth, for twice the time and more. */
const LEVEL = 1;
/** A little more than a group, so that one that ends at its end needs no second piece. */
const CHUNK_SIZE = GROUP_SIZE + 64;

/** So much of each block tells whether it is worth looking at all of them: of what does not shrink a twentieth of the time. */
const SAMPLE_SIZE = 256;
const sample = Buffer.alloc(GROUP_BLOCKS * SAMPLE_SIZE);
/** Share of a sample that it may take. */
const SAMPLE_SHARE = 15 / 16;

/** Whether a little of each block of the group from `at` on, of those in `stored`, shrinks. */
export function seemsToShrink(source: DataBuffer, at: number, stored: number): boolean {
  let size = 0;
  for (let i = 0; i < GROUP_BLOCKS; i++) {
    if (((stored >>> i) & 1) === 0) continue;
    const from = at + i * BLOCK_SIZE + (BLOCK_SIZE - SAMPLE_SIZE) / 2;
    size += source.bytes.copy(sample, size, from, from + SAMPLE_SIZE);
  }
  const packed = deflateRawSync(sample.subarray(0, size), { level: LEVEL, chunkSize: sample.byteLength });
  return packed.byteLength < size * SAMPLE_SHARE;
}

/** The GROUP_SIZE bytes from `at` on, packed; undefined when they would take more than GROUP_PACKED_MAX blocks. */
export function packGroup(source: DataBuffer, at: number): Uint8Array | undefined {
  const options = { level: LEVEL, chunkSize: CHUNK_SIZE, maxOutputLength: GROUP_PACKED_MAX * BLOCK_SIZE };
  try {
    return deflateRawSync(source.bytes.subarray(at, at + GROUP_SIZE), options);
  } catch {
    return undefined;
  }
}

/** Puts what `size` bytes from `from` on hold into `target` from `at` on; false when that is no group. */
export function unpackGroup(
  source: DataBuffer,
  from: number,
  size: number,
  target: DataBuffer,
  at: number,
): boolean {
  try {
    const packed = source.bytes.subarray(from, from + size);
    const group = inflateRawSync(packed, { chunkSize: CHUNK_SIZE, maxOutputLength: GROUP_SIZE });
    if (group.byteLength !== GROUP_SIZE) return false;
    target.bytes.set(group, at);
    return true;
  } catch {
    return false;
  }
}
