// Looks at the files of a level database before it is opened, for what LevelDB passes over: without CURRENT it begins anew,
// without its log it opens as it was before, and of a log with a bad block it leaves that block out. What ends in the middle
// of a write may be so since its process ended; it is no damage, but told.
// Source: LevelDB's documents "Log format" and "Files". Thread: any.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { crc32c } from "../wire/index.js";
import { storeError } from "./errors.js";

const BLOCK_SIZE = 32_768;
/** checksum u32 · length u16 · type u8 (little endian). */
const HEADER_SIZE = 7;
const [FULL, FIRST, MIDDLE, LAST] = [1, 2, 3, 4] as const;
const CRC_MASK_DELTA = 0xa282ead8;
/** Made before anything is written: a process that is killed then leaves no more than this. */
const FIRST_MANIFEST = "MANIFEST-000001";

/** Files come and go under a process that has the store open: what is wrong then is so for a moment. */
const CHECKS = 4;
const CHECK_AGAIN_MS = 100;

/**
 * Throws STORE_CORRUPT, naming the file. A directory that is not there, or empty, is fine. Answers what is not as it should be
 * in files that can be opened all the same, for people.
 */
export async function checkLevelFiles(directory: string): Promise<string[]> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await check(directory);
    } catch (thrown) {
      if (attempt === CHECKS) throw thrown;
      await setTimeout(CHECK_AGAIN_MS);
    }
  }
}

async function check(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch(() => [] as string[]);
  const own = names.filter((name) => /^(MANIFEST-\d+|\d+\.(ldb|sst|log))$/.test(name));
  if (!names.includes("CURRENT")) {
    const others = own.filter((name) => name !== FIRST_MANIFEST);
    if (others.length > 0)
      throw damaged(directory, "CURRENT", `is missing beside ${others.sort().join(", ")}`);
    return [];
  }
  const current = await readFile(join(directory, "CURRENT"), "latin1");
  const manifest = /^(MANIFEST-\d+)\n$/.exec(current)?.[1];
  if (manifest === undefined) throw damaged(directory, "CURRENT", "does not name a MANIFEST file");
  if (!own.includes(manifest)) throw damaged(directory, manifest, "is missing, and CURRENT names it");
  const logs = own.filter((name) => name.endsWith(".log"));
  if (logs.length === 0 && manifest !== FIRST_MANIFEST)
    throw damaged(directory, "NUMBER.log", "is missing: the file with the newest writes");
  const remarks: string[] = [];
  for (const name of [manifest, ...logs.sort()]) {
    const bytes = await readFile(join(directory, name));
    if (name === manifest && bytes.byteLength === 0) throw damaged(directory, name, "is empty");
    const offset = findDamage(bytes);
    if (offset !== undefined) throw damaged(directory, name, `is damaged at byte ${offset}`);
    const loose = findLooseEnd(bytes);
    if (loose !== undefined) remarks.push(`${join(directory, name)} ${looseText(name === manifest, loose)}`);
  }
  return remarks;
}

function looseText(isManifest: boolean, offset: number): string {
  const what = `is bad or cut short from byte ${offset} on`;
  return isManifest
    ? `${what}; nothing that it counts is missing, and the next start writes it anew`
    : `${what}: the last write was under way when its process ended, and is left out, or it went bad`;
}

/**
 * The offset of the first bad record of a log behind which a later write is intact: as every write waits for the one before, that
 * is no torn end. Undefined for a log that is whole, or was torn off while its last write was under way.
 */
export function findDamage(bytes: Uint8Array): number | undefined {
  return scan(bytes).damage;
}

/**
 * The offset from which on a log without damage is not as it was written: its last record is bad or not whole, or something
 * stands where nothing is written. LevelDB reads nothing there.
 */
export function findLooseEnd(bytes: Uint8Array): number | undefined {
  return scan(bytes).loose;
}

function scan(bytes: Uint8Array): { readonly damage?: number; readonly loose?: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let bad: number | undefined;
  let padding: number | undefined;
  /** Where the write begins that is not whole yet. */
  let begun: number | undefined;
  let offset = 0;
  while (offset + HEADER_SIZE <= bytes.byteLength) {
    const blockEnd = offset - (offset % BLOCK_SIZE) + BLOCK_SIZE;
    if (blockEnd - offset < HEADER_SIZE) {
      // No record begins so near to the end of a block.
      if (bytes.subarray(offset, blockEnd).some((byte) => byte !== 0)) padding ??= offset;
      offset = blockEnd;
      continue;
    }
    const end = offset + HEADER_SIZE + view.getUint16(offset + 4, true);
    const type = bytes[offset + 6] as number;
    const fits = end <= blockEnd && end <= bytes.byteLength && type >= FULL && type <= LAST;
    if (fits && view.getUint32(offset, true) === maskedCrc(bytes, offset + 6, end)) {
      if (bad !== undefined && type !== MIDDLE && type !== LAST) return { damage: bad };
      if (type === FIRST) begun = offset;
      else if (type !== MIDDLE) begun = undefined;
      offset = end;
      continue;
    }
    bad ??= offset;
    // The length may be what is bad: then only the next block can be read.
    offset = fits ? end : blockEnd;
  }
  const rest = offset < bytes.byteLength ? offset : undefined;
  const found = [begun, bad, padding, rest].filter((each) => each !== undefined);
  return found.length === 0 ? {} : { loose: Math.min(...found) };
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
