// A Store in a level database: one directory, one process.
//
// On disk:   "e" + key  → an entry, "revision" → the newest revision and a count of all entries ("r" sorts after every
//            "e…" key): level-record.ts
// Invariant: the revision and the entries it counts are written by one synchronous batch (fdatasync), so an
// acknowledged write survives SIGKILL and power loss, and a torn one is never seen.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Level } from "level";
import { storeError } from "./errors.js";
import type { HistoryLimits } from "./history.js";
import { checkLevelFiles } from "./level-files.js";
import { LevelHistory } from "./level-history.js";
import { Census, checkCensus, encodeEntry, parseEntry, readRevision } from "./level-record.js";
import { type InitialState, type Journal, RevisionedStore } from "./revisioned-store.js";
import type { Store, StoreEntry, StoreEvent } from "./store.js";

const ENTRY_PREFIX = "e";
const REVISION_KEY = "revision";

type Database = Level<string, Uint8Array>;

export interface LevelStoreOptions extends HistoryLimits {
  /** The newest changes outlive a restart, so that watches go on from before it. */
  readonly keepHistory?: boolean;
  /** Told of what is not as it should be in files that can be opened all the same. */
  readonly onRemark?: (remark: string) => void;
}

/**
 * Opens (or makes, mode 0700) the directory. Throws STORE_LOCKED when another process has it, STORE_INACCESSIBLE when
 * its files may not be made, read or written, STORE_CORRUPT when they are not what was written.
 */
export async function openLevelStore(directory: string, options: LevelStoreOptions = {}): Promise<Store> {
  let database: Database;
  let remarks: readonly string[];
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    remarks = await checkLevelFiles(directory);
    // It begins to open by itself.
    database = new Level(directory, { keyEncoding: "utf8", valueEncoding: "view" });
    await database.open();
  } catch (thrown) {
    throw openingError(directory, thrown);
  }
  let history: LevelHistory | undefined;
  try {
    const { census, ...state } = await load(database);
    for (const remark of remarks) options.onRemark?.(remark);
    if (options.keepHistory !== true)
      return new RevisionedStore(new LevelJournal(database, census), state, options);
    history = await LevelHistory.open(directory);
    const byKey = new Map(state.entries.map((entry) => [entry.key, entry]));
    const events = await history.load(state.revision, (key) => byKey.get(key));
    return new RevisionedStore(new LevelJournal(database, census, history), { ...state, events }, options);
  } catch (thrown) {
    await history?.close();
    await database.close();
    throw openingError(directory, thrown);
  }
}

class LevelJournal implements Journal {
  readonly #database: Database;
  readonly #history: LevelHistory | undefined;
  /** Of what is on the disk. */
  #census: Census;

  constructor(database: Database, census: Census, history?: LevelHistory) {
    this.#database = database;
    this.#census = census;
    this.#history = history;
  }

  async write(events: readonly StoreEvent[], revision: number): Promise<void> {
    await this.#history?.write(events);
    const batch = this.#database.batch();
    const census = this.#census.copy();
    for (const event of events) {
      if (event.previous !== undefined) census.remove(event.previous);
      if (event.type === "put") {
        census.add(event.entry);
        batch.put(ENTRY_PREFIX + event.entry.key, encodeEntry(event.entry));
      } else batch.del(ENTRY_PREFIX + event.previous.key);
    }
    batch.put(REVISION_KEY, census.encode(revision));
    await batch.write({ sync: true });
    this.#census = census;
  }

  /** LevelDB writes nothing more after an error until it is opened again; that drops a torn batch. */
  async reopen(): Promise<number> {
    await this.#database.close();
    await this.#database.open();
    const { census, revision } = await load(this.#database);
    this.#census = census;
    return revision;
  }

  async close(): Promise<void> {
    await this.#history?.close();
    await this.#database.close();
  }
}

async function load(database: Database): Promise<InitialState & { readonly census: Census }> {
  const entries: StoreEntry[] = [];
  const census = new Census();
  let newest: Uint8Array | undefined;
  for await (const [key, record] of database.iterator()) {
    if (key === REVISION_KEY) newest = record;
    else if (key.startsWith(ENTRY_PREFIX)) {
      const entry = parseEntry(key.slice(ENTRY_PREFIX.length), record);
      entries.push(entry);
      census.add(entry);
    } else throw storeError("STORE_CORRUPT", `unknown record ${JSON.stringify(key.slice(0, 80))}`);
  }
  const revision = readRevision(newest);
  for (const entry of entries) {
    if (entry.revision > revision) {
      throw storeError("STORE_CORRUPT", `${entry.key} has revision ${entry.revision} beyond ${revision}`);
    }
  }
  checkCensus(newest, census);
  return { entries, revision, census };
}

/** What LevelDB and Node say of files that are as they should be, but not to be had. */
const INACCESSIBLE =
  /permission denied|operation not permitted|read-only file system|no space left|quota exceeded|too many open files|not a directory|file already exists|EROFS|EACCES|ENOSPC|EDQUOT|EMFILE/i;

function openingError(directory: string, thrown: unknown): Error {
  const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
  const { code, context, syscall } = cause as {
    code?: unknown;
    context?: Readonly<Record<string, unknown>>;
    syscall?: unknown;
  };
  const message = cause instanceof Error ? cause.message : String(cause);
  if (code === "LEVEL_LOCKED")
    return storeError(
      "STORE_LOCKED",
      `another process uses ${directory}: it holds ${join(directory, "LOCK")}`,
      { directory },
      cause,
      "stop it, or use another directory",
    );
  const isOfFiles = code !== "STORE_CORRUPT" && code !== "LEVEL_CORRUPTION";
  // Node says ENOENT of what cannot be made on a read-only disk.
  if (syscall === "mkdir" || (isOfFiles && INACCESSIBLE.test(message)))
    return storeError(
      "STORE_INACCESSIBLE",
      `cannot open the store in ${directory}: ${message.replace(/^IO error: /, "")}`,
      { directory },
      cause,
      /no space|quota|ENOSPC|EDQUOT/i.test(message)
        ? "free space, then start again"
        : "make it a directory that may be read and written, then start again",
    );
  const where = message.includes(directory) ? "" : ` in ${directory}`;
  const what = message
    .replace(/^cannot open the store: /, "")
    .replace(/^Corruption: no \S+ entry in descriptor/, "the MANIFEST file that CURRENT names is cut short");
  return storeError(
    "STORE_CORRUPT",
    `cannot open the store${where}: ${what}`,
    { directory, ...context },
    cause,
    `restore ${directory} from a backup`,
  );
}
