// crc32c (Castagnoli) of blocks and records, the fastest way that this machine has.
// Source: RFC 3720, B.4. Thread: any; each has its own. Hot: yes (bufferChecksum).
import { crc32c } from "@node-rs/crc32";
import { assert } from "../../base/assert/index.js";
import { type Crc32c, loadCrc32c } from "../../base/linux/index.js";
import type { DataBuffer } from "../disk/data-buffer.js";

let native: Crc32c | undefined | "untried" = "untried";

/** crc32c of a range of bytes. */
export function checksum(bytes: Uint8Array, at: number, length: number): number {
  return crc32c(bytes.subarray(at, at + length)); // cold: one view per call is its price
}

/** The same of a range of a buffer with an address: several times as fast where ISA-L is installed. */
export function bufferChecksum(buffer: DataBuffer, at: number, length: number): number {
  if (native === "untried") native = loadCrc32c();
  if (native === undefined || buffer.address === 0) return checksum(buffer.bytes, at, length);
  assert(at >= 0 && at + length <= buffer.bytes.byteLength, "a checksum is of bytes inside its buffer");
  return native(buffer.address + at, length);
}
