// The newest changes of a level store on the disk, in a database of their own inside its directory, so that watchers come
// back after a restart without listing again. Nothing here is needed to be right: whatever is missing, torn or not
// of this state is dropped, and watchers from before are then told to list.
//
// On disk:  revision as 16 hex digits → version u8 = 2 · type u8 (1 put, 2 delete) · has previous u8
//                                       · createRevision u64 · previous createRevision u64 · previous revision u64
//                                       · key size u32 · previous size u32 · key · previous value · value
//                                       · CRC32c u32 of all before it (big endian)
// Invariant: a change is written before the state that it leads to, so the changes up to the state's revision are there
// after SIGKILL; after a power failure some or all may not be.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { Level } from "level";
import { crc32c } from "../wire/index.js";
import { LEVEL_HISTORY_EVENTS_MAX, LEVEL_HISTORY_SIZE_BYTES_MAX } from "./limits.js";
import type { StoreEntry, StoreEvent } from "./store.js";

const RECORD_VERSION = 2;
const [PUT, DELETE] = [1, 2];
const HEADER_SIZE = 35;
const CRC_SIZE = 4;

type Database = Level<string, Uint8Array>;

export class LevelHistory {
  readonly #database: Database;
  /** Revisions and sizes of what is on the disk, oldest first. */
  #kept: { readonly revision: number; readonly sizeBytes: number }[] = [];
  #sizeBytes = 0;
  /** After a failed write nothing more is kept: the state goes on without. */
  #failed = false;

  private constructor(database: Database) {
    this.#database = database;
  }

  /** Begins anew where what is there cannot be opened or read. */
  static async open(directory: string): Promise<LevelHistory> {
    const path = join(directory, "history");
    const open = async (): Promise<LevelHistory> => {
      const database: Database = new Level(path, { keyEncoding: "utf8", valueEncoding: "view" });
      await database.open();
      const history = new LevelHistory(database);
      try {
        for await (const _ of database.keys());
        return history;
      } catch (thrown) {
        await history.close();
        throw thrown;
      }
    };
    try {
      return await open();
    } catch {
      await rm(path, { recursive: true, force: true });
      return open();
    }
  }

  /** The changes that led to `revision` without a gap, oldest first; others are removed. */
  async load(revision: number, current: (key: string) => StoreEntry | undefined): Promise<StoreEvent[]> {
    const events: StoreEvent[] = [];
    let next = revision;
    for await (const [name, record] of this.#database.iterator({ reverse: true, lte: nameOf(revision) })) {
      const event = name === nameOf(next) ? parseEvent(next, record, current) : undefined;
      if (event === undefined) break;
      events.push(event);
      this.#kept.push({ revision: next, sizeBytes: record.byteLength });
      this.#sizeBytes += record.byteLength;
      next--;
    }
    await this.#database.clear({ gt: nameOf(revision) });
    await this.#database.clear({ lte: nameOf(next) });
    this.#kept.reverse();
    return events.reverse();
  }

  /** Never rejects: what cannot be kept is missing after a restart. */
  async write(events: readonly StoreEvent[]): Promise<void> {
    if (this.#failed) return;
    try {
      const batch = this.#database.batch();
      for (const event of events) {
        const record = encodeEvent(event);
        batch.put(nameOf(event.revision), record);
        this.#kept.push({ revision: event.revision, sizeBytes: record.byteLength });
        this.#sizeBytes += record.byteLength;
      }
      for (const revision of this.#excess()) batch.del(nameOf(revision));
      await batch.write();
    } catch {
      this.#failed = true;
    }
  }

  async close(): Promise<void> {
    await this.#database.close();
  }

  #excess(): number[] {
    let count = 0;
    while (
      this.#kept.length - count > LEVEL_HISTORY_EVENTS_MAX ||
      (this.#sizeBytes > LEVEL_HISTORY_SIZE_BYTES_MAX && count < this.#kept.length)
    ) {
      this.#sizeBytes -= this.#kept[count++]?.sizeBytes ?? 0;
    }
    return this.#kept.splice(0, count).map(({ revision }) => revision);
  }
}

function nameOf(revision: number): string {
  return Math.max(0, revision).toString(16).padStart(16, "0");
}

function encodeEvent(event: StoreEvent): Uint8Array {
  const { previous } = event;
  const entry = event.type === "put" ? event.entry : undefined;
  const key = Buffer.from((entry ?? (previous as StoreEntry)).key);
  const header = Buffer.alloc(HEADER_SIZE);
  header[0] = RECORD_VERSION;
  header[1] = entry === undefined ? (DELETE as number) : (PUT as number);
  header[2] = previous === undefined ? 0 : 1;
  header.writeBigUInt64BE(BigInt(entry?.createRevision ?? 0), 3);
  header.writeBigUInt64BE(BigInt(previous?.createRevision ?? 0), 11);
  header.writeBigUInt64BE(BigInt(previous?.revision ?? 0), 19);
  header.writeUInt32BE(key.byteLength, 27);
  header.writeUInt32BE(previous?.value.byteLength ?? 0, 31);
  const none = new Uint8Array();
  return sealed(Buffer.concat([header, key, previous?.value ?? none, entry?.value ?? none]));
}

/** With its checksum behind it. */
export function sealed(record: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(record.byteLength + CRC_SIZE);
  bytes.set(record);
  bytes.writeUInt32BE(crc32c(record, 0, record.byteLength), record.byteLength);
  return bytes;
}

/** Undefined for a record that is not one of ours. The newest entry of a key is the one that the state holds. */
export function parseEvent(
  revision: number,
  whole: Uint8Array,
  current: (key: string) => StoreEntry | undefined,
): StoreEvent | undefined {
  const size = whole.byteLength - CRC_SIZE;
  if (size < HEADER_SIZE || whole[0] !== RECORD_VERSION) return undefined;
  const view = new DataView(whole.buffer, whole.byteOffset, whole.byteLength);
  if (view.getUint32(size) !== crc32c(whole, 0, size)) return undefined;
  const record = whole.subarray(0, size);
  const [keyEnd, type] = [HEADER_SIZE + view.getUint32(27), record[1]];
  const previousEnd = keyEnd + view.getUint32(31);
  if (previousEnd > record.byteLength) return undefined;
  const key = Buffer.from(record.subarray(HEADER_SIZE, keyEnd)).toString();
  const previous: StoreEntry | undefined =
    record[2] === 1
      ? {
          key,
          value: record.subarray(keyEnd, previousEnd),
          createRevision: Number(view.getBigUint64(11)),
          revision: Number(view.getBigUint64(19)),
        }
      : undefined;
  if (type === DELETE) return previous === undefined ? undefined : { type: "delete", revision, previous };
  if (type !== PUT) return undefined;
  const held = current(key);
  const createRevision = Number(view.getBigUint64(3));
  const entry =
    held?.revision === revision
      ? held
      : { key, value: record.subarray(previousEnd), createRevision, revision };
  return { type: "put", revision, entry, previous };
}
