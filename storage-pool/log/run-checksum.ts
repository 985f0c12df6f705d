// The checksum of a run of blocks from those of its blocks, so that a run is checked by one native call.
//
//   crc(A B) = shift(crc(A)) xor crc(B),   shift: what 4096 zero bytes do to a crc, a linear map over 32 bits
//
// A run passes when the crc of its bytes is the one that its blocks' crcs imply. An error inside one block is found as
// surely as by that block's own crc; errors in several blocks cancel with a probability of 2⁻³², as for any crc32c.
// Source: zlib's crc32_combine (the method); RFC 3720, B.4 (crc32c, reflected polynomial 0x82f63b78).
// Pure. Thread: any. Hot: yes (runChecksum).
import { BLOCK_SIZE } from "../limits.js";

const POLYNOMIAL = 0x82f6_3b78;
/** The map, for each byte of a crc: four tables of 256. */
const SHIFT = createShift();

/** The crc of a block's successor joined: what the crc so far becomes behind one more block with crc `next`. */
export function runChecksum(before: number, next: number): number {
  const shifted =
    (SHIFT[before & 0xff] as number) ^
    (SHIFT[0x100 | ((before >>> 8) & 0xff)] as number) ^
    (SHIFT[0x200 | ((before >>> 16) & 0xff)] as number) ^
    (SHIFT[0x300 | (before >>> 24)] as number);
  return (shifted ^ next) >>> 0;
}

function createShift(): Uint32Array {
  const tables = new Uint32Array(4 * 256); // cold
  for (let bit = 0; bit < 32; bit++) {
    const table = (bit >>> 3) * 256;
    tables[table + (1 << (bit & 7))] = behindZeroes(2 ** bit);
  }
  for (let table = 0; table < tables.length; table += 256) {
    for (let byte = 1; byte < 256; byte++) {
      const lowest = byte & -byte;
      const rest = tables[table + (byte ^ lowest)] as number;
      tables[table + byte] = rest ^ (tables[table + lowest] as number);
    }
  }
  return tables;
}

/** What a block of zero bytes makes of a crc, bit by bit. */
function behindZeroes(crc: number): number {
  let value = crc;
  for (let i = 0; i < BLOCK_SIZE * 8; i++) value = (value >>> 1) ^ ((value & 1) === 0 ? 0 : POLYNOMIAL);
  return value >>> 0;
}
