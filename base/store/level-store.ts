// A Store in a level database: one directory, one process.
//
// On disk:   "e" + key  → version u8 = 1 · createRevision u64 · revision u64 (big endian) · value
//            "revision" → the newest revision as decimal digits ("r" sorts after every "e…" key)
// Invariant: the revision and the entries it counts are written by one synchronous batch (fdatasync), so an
// acknowledged write survives SIGKILL and power loss, and a torn one is never seen.
import { mkdir } from "node:fs/promises";
import { Level } from "level";
import { storeError } from "./errors.js";
import type { HistoryLimits } from "./history.js";
import { LevelHistory } from "./level-history.js";
import { type InitialState, type Journal, RevisionedStore } from "./revisioned-store.js";
import type { Store, StoreEntry, StoreEvent } from "./store.js";

const ENTRY_PREFIX = "e";
const REVISION_KEY = "revision";
const HEADER_SIZE = 17;
const RECORD_VERSION = 1;

type Database = Level<string, Uint8Array>;

export interface LevelStoreOptions extends HistoryLimits {
  /** The newest changes outlive a restart, so that watches go on from before it. */
  readonly keepHistory?: boolean;
}

/**
 * Opens (or makes, mode 0700) the directory. Throws STORE_LOCKED when another process has it, STORE_CORRUPT when it
 * cannot be read.
 */
export async function openLevelStore(directory: string, options: LevelStoreOptions = {}): Promise<Store> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const database: Database = new Level(directory, { keyEncoding: "utf8", valueEncoding: "view" });
  try {
    await database.open();
  } catch (thrown) {
    throw openingError(directory, thrown);
  }
  let history: LevelHistory | undefined;
  try {
    const state = await load(database);
    if (options.keepHistory !== true) return new RevisionedStore(new LevelJournal(database), state, options);
    history = await LevelHistory.open(directory);
    const byKey = new Map(state.entries.map((entry) => [entry.key, entry]));
    const events = await history.load(state.revision, (key) => byKey.get(key));
    return new RevisionedStore(new LevelJournal(database, history), { ...state, events }, options);
  } catch (thrown) {
    await history?.close();
    await database.close();
    throw openingError(directory, thrown);
  }
}

class LevelJournal implements Journal {
  readonly #database: Database;
  readonly #history: LevelHistory | undefined;

  constructor(database: Database, history?: LevelHistory) {
    this.#database = database;
    this.#history = history;
  }

  async write(events: readonly StoreEvent[], revision: number): Promise<void> {
    await this.#history?.write(events);
    const batch = this.#database.batch();
    for (const event of events) {
      if (event.type === "put") batch.put(ENTRY_PREFIX + event.entry.key, encodeEntry(event.entry));
      else batch.del(ENTRY_PREFIX + event.previous.key);
    }
    batch.put(REVISION_KEY, Buffer.from(String(revision)));
    await batch.write({ sync: true });
  }

  /** LevelDB writes nothing more after an error until it is opened again; that drops a torn batch. */
  async reopen(): Promise<number> {
    await this.#database.close();
    await this.#database.open();
    return readRevision(await this.#database.get(REVISION_KEY));
  }

  async close(): Promise<void> {
    await this.#history?.close();
    await this.#database.close();
  }
}

async function load(database: Database): Promise<InitialState> {
  const entries: StoreEntry[] = [];
  let revision = 0;
  for await (const [key, record] of database.iterator()) {
    if (key.startsWith(ENTRY_PREFIX)) entries.push(parseEntry(key.slice(ENTRY_PREFIX.length), record));
    else if (key === REVISION_KEY) revision = readRevision(record);
    else throw storeError("STORE_CORRUPT", `unknown record ${JSON.stringify(key.slice(0, 80))}`);
  }
  for (const entry of entries) {
    if (entry.revision > revision) {
      throw storeError("STORE_CORRUPT", `${entry.key} has revision ${entry.revision} beyond ${revision}`);
    }
  }
  return { entries, revision };
}

/** 0 in a store that was never written. */
function readRevision(record: Uint8Array | undefined): number {
  const revision = record === undefined ? 0 : Number(Buffer.from(record).toString());
  if (!Number.isSafeInteger(revision)) throw storeError("STORE_CORRUPT", "the revision is not a number");
  return revision;
}

function encodeEntry(entry: StoreEntry): Uint8Array {
  const record = Buffer.allocUnsafe(HEADER_SIZE + entry.value.byteLength);
  record[0] = RECORD_VERSION;
  record.writeBigUInt64BE(BigInt(entry.createRevision), 1);
  record.writeBigUInt64BE(BigInt(entry.revision), 9);
  record.set(entry.value, HEADER_SIZE);
  return record;
}

function parseEntry(key: string, record: Uint8Array): StoreEntry {
  if (record.byteLength < HEADER_SIZE || record[0] !== RECORD_VERSION) {
    throw storeError("STORE_CORRUPT", `the record of ${key} has an unknown form`, { key });
  }
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  return {
    key,
    value: new Uint8Array(record.buffer, record.byteOffset + HEADER_SIZE, record.byteLength - HEADER_SIZE),
    createRevision: Number(view.getBigUint64(1)),
    revision: Number(view.getBigUint64(9)),
  };
}

function openingError(directory: string, thrown: unknown): Error {
  const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
  const code = (cause as { code?: unknown }).code;
  if (code === "LEVEL_LOCKED") {
    return storeError("STORE_LOCKED", `another process uses ${directory}`, { directory }, cause);
  }
  if (code === "STORE_CORRUPT") return cause as Error;
  const message = cause instanceof Error ? cause.message : String(cause);
  return storeError(
    "STORE_CORRUPT",
    `cannot open the store in ${directory}: ${message}`,
    { directory },
    cause,
  );
}
