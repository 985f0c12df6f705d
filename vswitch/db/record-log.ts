// The database file: checksummed JSON records, appended; the layout of ovsdb(5), so that ovsdb-tool reads it.
//
//   OVSDB JSON <bytes> <sha1 of the JSON, hex>\n
//   <JSON>\n                                       first record: the schema; each further one: a transaction
//
// Invariants: what a crash tore at the end is cut off; a bad record that whole ones follow is damage, and then nothing
// is touched; a failed append leaves no trace.
// Thread: main. A record is handed to the kernel before `append` returns (SIGKILL loses none) and is on the
// medium when `sync` resolves (power loss loses none).
import { createHash } from "node:crypto";
import {
  closeSync,
  fdatasync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { PlinthError } from "../../base/errors/index.js";
import { parseExactJson, stringifyExactJson } from "../../base/json/index.js";
import { syncDirectory } from "../../base/linux/index.js";
import { OvsdbError } from "../../base/ovsdb/index.js";
import { damaged, unreadable } from "./errors.js";
import { RECORD_BYTES_MAX } from "./limits.js";

const HEADER = /^OVSDB JSON (\d{1,12}) ([0-9a-f]{40})$/;
const HEADER_BYTES_MAX = 80;
const MAGIC = "OVSDB JSON ";

export interface ParsedLog {
  readonly records: readonly unknown[];
  /** Bytes up to the end of the last whole record. */
  readonly goodBytes: number;
  /** Why the rest is no record; undefined when there is no rest. */
  readonly damage: string | undefined;
  /** Where a whole record begins in that rest: then a crash did not make it. */
  readonly nextGoodBytes: number | undefined;
}

/** Reads records from the start of `bytes` until the first that is not whole. Never throws. */
export function parseLog(bytes: Uint8Array): ParsedLog {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const records: unknown[] = [];
  let offset = 0;
  while (offset < buffer.length) {
    const next = parseRecord(buffer, offset);
    if (typeof next === "string") {
      return { records, goodBytes: offset, damage: next, nextGoodBytes: findRecord(buffer, offset + 1) };
    }
    records.push(next.value);
    offset = next.end;
  }
  return { records, goodBytes: offset, damage: undefined, nextGoodBytes: undefined };
}

/** The first place at or after `offset` where a whole record begins. */
function findRecord(buffer: Buffer, offset: number): number | undefined {
  for (let at = buffer.indexOf(MAGIC, offset); at >= 0; at = buffer.indexOf(MAGIC, at + 1)) {
    if (typeof parseRecord(buffer, at) !== "string") return at;
  }
  return undefined;
}

function parseRecord(buffer: Buffer, offset: number): { value: unknown; end: number } | string {
  const newline = buffer.indexOf(0x0a, offset);
  if (newline < 0 || newline - offset > HEADER_BYTES_MAX) return "no record header";
  const match = HEADER.exec(buffer.toString("latin1", offset, newline));
  if (match === null) return "no record header";
  const sizeBytes = Number(match[1]);
  const begin = newline + 1;
  const end = begin + sizeBytes;
  if (sizeBytes > RECORD_BYTES_MAX || end > buffer.length) return "the record is cut off";
  const json = buffer.subarray(begin, end);
  if (createHash("sha1").update(json).digest("hex") !== match[2]) return "the checksum does not match";
  try {
    return { value: parseExactJson(json.toString("utf8")), end };
  } catch {
    return "the record is no JSON";
  }
}

/** One record with its header. */
export function encodeRecord(value: unknown): Buffer {
  const json = Buffer.from(`${stringifyExactJson(value)}\n`);
  const checksum = createHash("sha1").update(json).digest("hex");
  return Buffer.concat([Buffer.from(`OVSDB JSON ${json.length} ${checksum}\n`), json]);
}

/** What the log needs of the file system; tests put faults in. */
export interface LogFileSystem {
  write(fd: number, bytes: Uint8Array, position: number): number;
  sync(fd: number, done: (error: Error | null) => void): void;
}

const systemFiles: LogFileSystem = {
  write: (fd, bytes, position) => writeSync(fd, bytes, 0, bytes.length, position),
  sync: (fd, done) => fdatasync(fd, done),
};

export class RecordLog {
  readonly path: string;
  readonly #files: LogFileSystem;
  #fd: number;
  #sizeBytes: number;
  #syncing: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #retired: number[] = [];

  private constructor(path: string, fd: number, sizeBytes: number, files: LogFileSystem) {
    this.path = path;
    this.#fd = fd;
    this.#sizeBytes = sizeBytes;
    this.#files = files;
  }

  /**
   * Opens or makes the file and returns its records. A torn tail is cut; the bytes are kept in `PATH.cut`.
   * Throws DATABASE_UNREADABLE or DATABASE_DAMAGED.
   */
  static open(path: string, files: LogFileSystem = systemFiles): { log: RecordLog; parsed: ParsedLog } {
    try {
      const fd = openSync(path, "a+", 0o600);
      closeSync(fd);
      const bytes = readFileSync(path);
      const parsed = parseLog(bytes);
      // The first record is written by `rewrite`, never torn: without it this is somebody else's file.
      if (bytes.length > 0 && parsed.goodBytes === 0) throw new Error("it is no OVSDB file");
      if (parsed.nextGoodBytes !== undefined) throw damaged(path, parsed);
      const writable = openSync(path, "r+");
      if (parsed.goodBytes < bytes.length) {
        writeFileSync(`${path}.cut`, bytes.subarray(parsed.goodBytes), { mode: 0o600 });
        ftruncateSync(writable, parsed.goodBytes);
        fsyncSync(writable);
      }
      return { log: new RecordLog(path, writable, parsed.goodBytes, files), parsed };
    } catch (cause) {
      if (cause instanceof PlinthError) throw cause;
      throw unreadable(path, cause);
    }
  }

  /** What the file at `path`, which may be another process's, holds; undefined when there is none. Throws as open(). */
  static peek(path: string): ParsedLog | undefined {
    let bytes: Buffer;
    try {
      bytes = readFileSync(path);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw unreadable(path, cause);
    }
    const parsed = parseLog(bytes);
    if (bytes.length > 0 && parsed.goodBytes === 0) throw unreadable(path, new Error("it is no OVSDB file"));
    if (parsed.nextGoodBytes !== undefined) throw damaged(path, parsed);
    return parsed;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Appends one record. Throws OvsdbError "I/O error"; the file is then as before. */
  append(value: unknown): void {
    const bytes = encodeRecord(value);
    let written = 0;
    try {
      while (written < bytes.length) {
        written += this.#files.write(this.#fd, bytes.subarray(written), this.#sizeBytes + written);
      }
    } catch (thrown) {
      if (fstatSync(this.#fd).size > this.#sizeBytes) ftruncateSync(this.#fd, this.#sizeBytes);
      throw new OvsdbError("I/O error", `cannot write ${this.path}: ${(thrown as Error).message}`);
    }
    this.#sizeBytes += bytes.length;
  }

  /** Resolves when everything appended so far is on the medium. Callers in between share one fdatasync. */
  sync(): Promise<void> {
    if (this.#syncing === undefined) return this.#beginSync();
    // What is on its way may have begun before the last append; the one after it has not.
    this.#next ??= this.#syncing
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.#syncing ?? this.#beginSync();
      });
    return this.#next;
  }

  #beginSync(): Promise<void> {
    const syncing = new Promise<void>((resolve, reject) => {
      this.#files.sync(this.#fd, (error) => {
        this.#syncing = undefined;
        for (const fd of this.#retired.splice(0)) closeSync(fd);
        if (error === null) resolve();
        else reject(new OvsdbError("I/O error", `cannot sync ${this.path}: ${error.message}`));
      });
    });
    this.#syncing = syncing;
    return syncing;
  }

  /** Replaces the whole file by `records`, durably and at once: after a crash there is the old file or the new one. */
  rewrite(records: readonly unknown[]): void {
    const draft = `${this.path}.new`;
    const bytes = Buffer.concat(records.map(encodeRecord));
    const fd = openSync(draft, "w+", 0o600);
    try {
      writeFileSync(fd, bytes);
      fsyncSync(fd);
      renameSync(draft, this.path);
    } catch (thrown) {
      closeSync(fd);
      throw new OvsdbError("I/O error", `cannot rewrite ${this.path}: ${(thrown as Error).message}`);
    }
    syncDirectory(dirname(this.path));
    if (this.#syncing === undefined) closeSync(this.#fd);
    else this.#retired.push(this.#fd);
    this.#fd = fd;
    this.#sizeBytes = bytes.length;
  }

  /** Syncs and closes the file. */
  async close(): Promise<void> {
    try {
      await this.sync();
    } finally {
      closeSync(this.#fd);
    }
  }
}
