// Looks at the files of a level database before it is opened, for what LevelDB passes over: without CURRENT it begins anew,
// without its log it opens as it was before, and of a log with a bad block it leaves that block out.
// Source: LevelDB's documents "Log format" and "Files". Thread: any.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { crc32c } from "../wire/index.js";
import { storeError } from "./errors.js";

const BLOCK_SIZE = 32_768;
/** checksum u32 · length u16 · type u8 (little endian). */
const HEADER_SIZE = 7;
const [FULL, , MIDDLE, LAST] = [1, 2, 3, 4] as const;
const CRC_MASK_DELTA = 0xa282ead8;
/** Made before anything is written: a process that is killed then leaves no more than this. */
const FIRST_MANIFEST = "MANIFEST-000001";

/** Files come and go under a process that has the store open: what is wrong then is so for a moment. */
const CHECKS = 4;
const CHECK_AGAIN_MS = 100;

/** Throws STORE_CORRUPT, naming the file. A directory that is not there, or empty, is fine. */
export async function checkLevelFiles(directory: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await check(directory);
      return;
    } catch (thrown) {
      if (attempt === CHECKS) throw thrown;
      await setTimeout(CHECK_AGAIN_MS);
    }
  }
}

async function check(directory: string): Promise<void> {
  const names = await readdir(directory).catch(() => [] as string[]);
  const own = names.filter((name) => /^(MANIFEST-\d+|\d+\.(ldb|sst|log))$/.test(name));
  if (!names.includes("CURRENT")) {
    const others = own.filter((name) => name !== FIRST_MANIFEST);
    if (others.length > 0)
      throw damaged(directory, "CURRENT", `is missing beside ${others.sort().join(", ")}`);
    return;
  }
  const current = await readFile(join(directory, "CURRENT"), "latin1");
  const manifest = /^(MANIFEST-\d+)\n$/.exec(current)?.[1];
  if (manifest === undefined) throw damaged(directory, "CURRENT", "does not name a MANIFEST file");
  if (!own.includes(manifest)) throw damaged(directory, manifest, "is missing, and CURRENT names it");
  const logs = own.filter((name) => name.endsWith(".log"));
  if (logs.length === 0 && manifest !== FIRST_MANIFEST)
    throw damaged(directory, "NUMBER.log", "is missing: the file with the newest writes");
  for (const name of [manifest, ...logs.sort()]) {
    const bytes = await readFile(join(directory, name));
    if (name === manifest && bytes.byteLength === 0) throw damaged(directory, name, "is empty");
    const offset = findDamage(bytes);
    if (offset !== undefined) throw damaged(directory, name, `is damaged at byte ${offset}`);
  }
}

/**
 * The offset of the first bad record of a log behind which a later write is intact: as every write waits for the one before, that
 * is no torn end. Undefined for a log that is whole, or was torn off while its last write was under way.
 */
export function findDamage(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let bad: number | undefined;
  let offset = 0;
  while (offset + HEADER_SIZE <= bytes.byteLength) {
    const blockEnd = offset - (offset % BLOCK_SIZE) + BLOCK_SIZE;
    if (blockEnd - offset < HEADER_SIZE) {
      offset = blockEnd;
      continue;
    }
    const end = offset + HEADER_SIZE + view.getUint16(offset + 4, true);
    const type = bytes[offset + 6] as number;
    const fits = end <= blockEnd && end <= bytes.byteLength && type >= FULL && type <= LAST;
    if (fits && view.getUint32(offset, true) === maskedCrc(bytes, offset + 6, end)) {
      if (bad !== undefined && type !== MIDDLE && type !== LAST) return bad;
      offset = end;
      continue;
    }
    bad ??= offset;
    // The length may be what is bad: then only the next block can be read.
    offset = fits ? end : blockEnd;
  }
  return undefined;
}

/** LevelDB's form of a CRC32c, over the type and what follows. */
function maskedCrc(bytes: Uint8Array, start: number, end: number): number {
  const crc = crc32c(bytes, start, end - start);
  return (((crc >>> 15) | (crc << 17)) + CRC_MASK_DELTA) >>> 0;
}

/** STORE_CORRUPT about one file of the store. */
export function damaged(directory: string, name: string, what: string, cause?: unknown): Error {
  const file = join(directory, name);
  return storeError("STORE_CORRUPT", `cannot open the store: ${file} ${what}`, { directory, file }, cause);
}
