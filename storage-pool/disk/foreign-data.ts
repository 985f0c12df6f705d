// What others keep on a disk whose first 4 KiB are empty, known by its signature. What has one in there needs no list: it is
// not zero. Source: the on-disk formats of btrfs, Linux md 1.2, bcache and bcachefs, ZFS, ISO 9660 and ECMA-119, GFS2,
// JFS and ReiserFS. Thread: any. Hot: no.
import { BLOCK_SIZE } from "../limits.js";
import { DataBuffer } from "./data-buffer.js";
import type { DiskFile } from "./disk-file.js";

interface Signature {
  readonly what: string;
  readonly offset: number;
  readonly bytes: Buffer;
}

const ascii = (what: string, offset: number, text: string): Signature => ({
  what,
  offset,
  bytes: Buffer.from(text, "ascii"),
});
const hex = (what: string, offset: number, digits: string): Signature => ({
  what,
  offset,
  bytes: Buffer.from(digits, "hex"),
});

const SIGNATURES: readonly Signature[] = [
  hex("a member of a Linux RAID", 4096, "fc4e2ba9"),
  hex("bcache or bcachefs", 4096 + 24, "c68573f64e1a45ca8265f57f48ba6d81"),
  // The head of the list of names and values in the first label of a vdev.
  hex("ZFS", 16_384, "010100000000000000000001"),
  ascii("JFS", 32_768, "JFS1"),
  ascii("an ISO 9660 image", 32_769, "CD001"),
  hex("GFS2", 65_536, "01161970"),
  ascii("ReiserFS", 65_536 + 52, "ReIsEr"),
  ascii("btrfs", 65_536 + 64, "_BHRfS_M"),
];

/** What the file holds that is not ours, for people; undefined when nothing is known there, or it cannot be read. */
export function foreignData(file: DiskFile): string | undefined {
  const scratch = new DataBuffer(BLOCK_SIZE);
  return SIGNATURES.find(({ offset, bytes }) => {
    const within = offset % BLOCK_SIZE;
    if (offset + bytes.byteLength > file.sizeBytes) return false;
    if (file.read(scratch, 0, BLOCK_SIZE, offset - within) !== 0) return false;
    return bytes.equals(scratch.bytes.subarray(within, within + bytes.byteLength));
  })?.what;
}
