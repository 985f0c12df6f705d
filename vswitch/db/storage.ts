// Keeps a database in its file: loads it, writes each commit, rewrites the file when it has grown.
// Invariant: what `persist` took is what the next `openStorage` brings back, without ephemeral columns.
import { copyFileSync } from "node:fs";
import { stringifyExactJson } from "../../base/json/index.js";
import { type Logger, silentLog } from "../../base/log/index.js";
import {
  applyDiff,
  type DatabaseSchema,
  type Datum,
  defaultDatum,
  encodeDatum,
  encodeSchema,
  equalDatums,
  isUuid,
  OvsdbError,
  parseDatum,
  type TableSchema,
} from "../../base/ovsdb/index.js";
import { type Commit, Database, type DatabaseChange, type DatabaseRow } from "./database.js";
import { foreign, newer } from "./errors.js";
import { COMPACT_BYTES_MIN, COMPACT_FACTOR } from "./limits.js";
import { type LogFileSystem, RecordLog } from "./record-log.js";
import { Transaction } from "./transaction.js";

type Json = Record<string, unknown>;
type LoadedRows = Map<string, Map<string, Map<string, Datum>>>;

export interface Storage {
  readonly database: Database;
  /** Rewrites the file without its past. Throws OvsdbError "I/O error"; the file then stays as it was. */
  compact(): void;
  /** Resolves when every commit so far is on the medium. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface StorageOptions {
  readonly log?: Logger;
  readonly wallMs?: () => number;
  readonly files?: LogFileSystem;
}

/** Opens the database of `schema` in the file at `path`, made when absent. Throws DATABASE_UNREADABLE, DATABASE_DAMAGED, DATABASE_FOREIGN, DATABASE_NEWER. */
export function openStorage(path: string, schema: DatabaseSchema, options: StorageOptions = {}): Storage {
  const log = options.log ?? silentLog;
  const wallMs = options.wallMs ?? Date.now;
  const { log: file, parsed } = RecordLog.open(path, options.files);
  if (parsed.damage !== undefined) {
    log.warn(
      { path, offset: parsed.goodBytes, why: parsed.damage },
      "cut a torn end off the database; kept as .cut",
    );
  }
  const database = new Database(schema);
  const [header, ...records] = parsed.records;
  checkHeader(path, header, schema);
  const { rows, leftOut } = replay(schema, records);
  if (leftOut.size > 0) {
    // Of another schema: kept aside whole, because compacting forgets what this one has no place for.
    const copy = `${path}.before-${schema.version}`;
    copyFileSync(path, copy);
    log.warn(
      { path, copy, leftOut: [...leftOut] },
      "the database file holds what this schema has no place for",
    );
  }
  loadRows(database, rows, log);
  const encodedSchema = encodeSchema(schema);
  const compact = (): void => {
    file.rewrite([encodedSchema, { _date: wallMs(), _comment: "compacted", ...encodeAll(database) }]);
    compactBytes = file.sizeBytes;
  };
  let compactBytes = file.sizeBytes;
  if (stringifyExactJson(header) !== stringifyExactJson(encodedSchema) || records.length > 1) compact();

  database.persist = (commit) => {
    const record = encodeCommit(commit);
    if (record === undefined) return;
    file.append({
      ...record,
      _date: wallMs(),
      ...(commit.comment === "" ? {} : { _comment: commit.comment }),
    });
  };
  const unsubscribe = database.subscribe(() => {
    if (file.sizeBytes < COMPACT_BYTES_MIN || file.sizeBytes < compactBytes * COMPACT_FACTOR) return;
    try {
      compact();
    } catch (thrown) {
      // The long file stays good; the next growth tries again.
      compactBytes = file.sizeBytes;
      log.warn({ err: thrown }, "could not compact the database");
    }
  });
  return {
    database,
    compact,
    sync: () => file.sync(),
    close: async () => {
      unsubscribe();
      database.persist = undefined;
      await file.close();
    },
  };
}

/** Throws as openStorage() would for the database at `path`, which another process may have open; changes nothing. */
export function checkStorage(path: string, schema: DatabaseSchema): void {
  const parsed = RecordLog.peek(path);
  if (parsed !== undefined) checkHeader(path, parsed.records[0], schema);
}

function checkHeader(path: string, header: unknown, schema: DatabaseSchema): void {
  if (header === undefined) return;
  const { name, version } = (typeof header === "object" ? (header ?? {}) : {}) as Json;
  if (name !== schema.name) throw foreign(path, schema.name);
  // The first of x.y.z rises when what is there takes another meaning (ovsdb(7)); columns that were added are left out.
  if (typeof version === "string" && majorOf(version) > majorOf(schema.version))
    throw newer(path, version, schema.version);
}

function majorOf(version: string): number {
  return Number.parseInt(version, 10);
}

interface Replayed {
  readonly rows: LoadedRows;
  /** Tables and columns ("Table.column") of another schema whose contents have no place in this one. */
  readonly leftOut: Set<string>;
}

/** The rows that the records add up to. Unknown tables and columns (an older or newer schema) are left out. */
function replay(schema: DatabaseSchema, records: readonly unknown[]): Replayed {
  const loaded: LoadedRows = new Map();
  const leftOut = new Set<string>();
  for (const record of records) {
    if (typeof record !== "object" || record === null) continue;
    const isDiff = (record as Json)["_is_diff"] === true;
    for (const [name, rows] of Object.entries(record as Json)) {
      const table = schema.tables.get(name);
      if (table === undefined && !name.startsWith("_")) leftOut.add(name);
      if (table === undefined || typeof rows !== "object" || rows === null) continue;
      let target = loaded.get(name);
      if (target === undefined) {
        target = new Map();
        loaded.set(name, target);
      }
      for (const [uuid, row] of Object.entries(rows)) {
        if (!isUuid(uuid)) continue;
        if (row === null) target.delete(uuid);
        else if (typeof row === "object") {
          for (const column of replayRow(table, target, uuid, row as Json, isDiff))
            leftOut.add(`${name}.${column}`);
        }
      }
    }
  }
  return { rows: loaded, leftOut };
}

/** Returns the columns that could not be taken. */
function replayRow(
  table: TableSchema,
  rows: Map<string, Map<string, Datum>>,
  uuid: string,
  json: Json,
  isDiff: boolean,
): string[] {
  const leftOut: string[] = [];
  const known = rows.get(uuid);
  const data = known ?? new Map<string, Datum>();
  for (const [column, value] of Object.entries(json)) {
    const schema = table.columns.get(column);
    if (schema === undefined) leftOut.push(column);
    if (schema === undefined || schema.ephemeral) continue;
    try {
      const datum = parseDatum(value, schema.type, { unconstrained: true, anySize: true });
      const before = data.get(column) ?? defaultDatum(schema.type);
      // Only changes of existing rows are differences, as ovsdb-server writes them.
      data.set(column, isDiff && known !== undefined ? applyDiff(before, datum, schema.type) : datum);
    } catch (thrown) {
      // A value of another schema's type: the column keeps its default.
      if (!(thrown instanceof OvsdbError)) throw thrown;
      leftOut.push(column);
    }
  }
  rows.set(uuid, data);
  return leftOut;
}

function loadRows(database: Database, loaded: LoadedRows, log: Logger): void {
  const load = (skipBroken: boolean): void => {
    const transaction = new Transaction(database);
    for (const [name, rows] of loaded) {
      const table = transaction.table(name) as TableSchema;
      for (const [uuid, data] of rows)
        transaction.insert(table, uuid, skipBroken ? onlyAlive(table, data, loaded) : data);
    }
    transaction.commit();
  };
  try {
    load(false);
  } catch (thrown) {
    if (!(thrown instanceof OvsdbError)) throw thrown;
    log.warn({ err: thrown }, "the database file breaks a constraint; dangling references are left out");
    load(true);
  }
}

/** `data` without references to rows that the file does not hold. */
function onlyAlive(
  table: TableSchema,
  data: ReadonlyMap<string, Datum>,
  loaded: LoadedRows,
): Map<string, Datum> {
  const result = new Map<string, Datum>();
  for (const [column, datum] of data) {
    const type = table.columns.get(column)?.type;
    const alive = (refTable: string | undefined, atom: unknown): boolean =>
      refTable === undefined || loaded.get(refTable)?.has(atom as string) === true;
    const keep = datum.keys.flatMap((key, i) =>
      alive(type?.key.refTable, key) &&
      (datum.values === undefined || alive(type?.value?.refTable, datum.values[i]))
        ? [i]
        : [],
    );
    result.set(column, {
      keys: keep.map((i) => datum.keys[i]!),
      values: datum.values && keep.map((i) => datum.values![i]!),
    });
  }
  return result;
}

/** The record of a commit; undefined when it changed ephemeral columns only. */
function encodeCommit({ changes }: Commit): Json | undefined {
  const record: Json = {};
  let any = false;
  for (const change of changes) {
    const row = encodeChange(change);
    if (row === undefined) continue;
    record[change.table.name] ??= {};
    (record[change.table.name] as Json)[change.uuid] = row;
    any = true;
  }
  return any ? record : undefined;
}

function encodeChange({ before, after }: DatabaseChange): Json | null | undefined {
  if (after === undefined) return null;
  const row = encodeColumns(after, before);
  return before !== undefined && Object.keys(row).length === 0 ? undefined : row;
}

/** The lasting columns of `row` that differ from `before`, or from their defaults when the row is new. */
function encodeColumns(row: DatabaseRow, before: DatabaseRow | undefined): Json {
  const json: Json = {};
  for (const [column, { type, ephemeral }] of row.schema.columns) {
    if (ephemeral) continue;
    const datum = row.datum(column);
    const old = before === undefined ? defaultDatum(type) : before.datum(column);
    if (!equalDatums(datum, old)) json[column] = encodeDatum(datum, type);
  }
  return json;
}

function encodeAll(database: Database): Json {
  const all: Json = {};
  for (const name of database.schema.tables.keys()) {
    const rows = [...database.rows(name)].map(([uuid, row]) => [uuid, encodeColumns(row, undefined)]);
    if (rows.length > 0) all[name] = Object.fromEntries(rows);
  }
  return all;
}
