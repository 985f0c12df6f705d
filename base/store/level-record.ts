// The records of a level store, and the sum over all of them by which lost ones are noticed. Pure.
//
//   entry:     version u8 = 2 · createRevision u64 · revision u64 · CRC32c u32 of key and all else · value (big endian);
//              version 1 has no checksum
//   revision:  "REVISION COUNT SUM": the newest revision, the number of entries, and SUM, the CRC32c of each entry's key
//              and revision, all joined by exclusive or; earlier stores have the revision alone
import { crc32c } from "../wire/index.js";
import { storeError } from "./errors.js";
import type { StoreEntry } from "./store.js";

const HEADER_SIZE = 21;
const CRC_OFFSET = 17;
const UNCHECKED_HEADER_SIZE = 17;
const [UNCHECKED_VERSION, RECORD_VERSION] = [1, 2] as const;

export function encodeEntry({ key, value, createRevision, revision }: StoreEntry): Uint8Array {
  const record = Buffer.allocUnsafe(HEADER_SIZE + value.byteLength);
  record[0] = RECORD_VERSION;
  record.writeBigUInt64BE(BigInt(createRevision), 1);
  record.writeBigUInt64BE(BigInt(revision), 9);
  record.set(value, HEADER_SIZE);
  record.writeUInt32BE(crcOf(key, record), CRC_OFFSET);
  return record;
}

/** Throws STORE_CORRUPT naming the key. */
export function parseEntry(key: string, record: Uint8Array): StoreEntry {
  const size = record[0] === UNCHECKED_VERSION ? UNCHECKED_HEADER_SIZE : HEADER_SIZE;
  const known = record[0] === UNCHECKED_VERSION || record[0] === RECORD_VERSION;
  if (!known || record.byteLength < size)
    throw storeError("STORE_CORRUPT", `the record of ${key} has an unknown form`, { key });
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  if (record[0] === RECORD_VERSION && view.getUint32(CRC_OFFSET) !== crcOf(key, record))
    throw storeError("STORE_CORRUPT", `the record of ${key} is damaged`, { key });
  return {
    key,
    value: new Uint8Array(record.buffer, record.byteOffset + size, record.byteLength - size),
    createRevision: Number(view.getBigUint64(1)),
    revision: Number(view.getBigUint64(9)),
  };
}

function crcOf(key: string, record: Uint8Array): number {
  const name = Buffer.from(key);
  const head = crc32c(record, 0, CRC_OFFSET, crc32c(name, 0, name.byteLength));
  return crc32c(record, HEADER_SIZE, record.byteLength - HEADER_SIZE, head);
}

/** How many entries there are, and their sum. */
export class Census {
  count = 0;
  #sum = 0;

  add(entry: StoreEntry): void {
    this.count++;
    this.#sum ^= Census.#of(entry);
  }

  remove(entry: StoreEntry): void {
    this.count--;
    this.#sum ^= Census.#of(entry);
  }

  copy(): Census {
    const copy = new Census();
    copy.count = this.count;
    copy.#sum = this.#sum;
    return copy;
  }

  encode(revision: number): Uint8Array {
    return Buffer.from(`${revision} ${this.count} ${this.#sum >>> 0}`);
  }

  static #of({ key, revision }: StoreEntry): number {
    const bytes = Buffer.from(`${key} ${revision}`);
    return crc32c(bytes, 0, bytes.byteLength);
  }
}

/** The revision of a record; 0 in a store that was never written. Throws STORE_CORRUPT. */
export function readRevision(record: Uint8Array | undefined): number {
  if (record === undefined) return 0;
  const revision = Number(/^(\d+)(?: \d+ \d+)?$/.exec(Buffer.from(record).toString())?.[1] ?? "x");
  if (!Number.isSafeInteger(revision)) throw storeError("STORE_CORRUPT", "the revision is not a number");
  return revision;
}

/** Throws STORE_CORRUPT when `record` counts other entries than those that were found. */
export function checkCensus(record: Uint8Array | undefined, found: Census): void {
  const text = record === undefined ? "0" : Buffer.from(record).toString();
  const isCounted = text.includes(" ");
  if (record === undefined ? found.count === 0 : !isCounted) return;
  if (Buffer.from(found.encode(readRevision(record))).toString() === text) return;
  const wanted = text.split(" ")[1] ?? "none";
  throw storeError("STORE_CORRUPT", `it should have ${wanted} entries, and has ${found.count}, or others`);
}
