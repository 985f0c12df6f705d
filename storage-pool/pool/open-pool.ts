// Opening a pool: finds the segments on its disks, loads the tables of the maps that the catalogue names, replays each
// log's tail. Pages of maps are read where the tail changes them, and a bounded number more; the rest is counted later.
// Invariant: nothing on a disk is changed before every volume's log has been read; then everything found is synced, so
// that what was recovered stays. A volume that is damaged is kept exactly as it is and not served.
// Thread: the pool's worker. Hot: no.
import { PlinthError } from "../../base/errors/index.js";
import type { Disk } from "../disk/disk.js";
import { BLOCK_SIZE, MAP_DIRTY_SHARE, MAP_MEMORY_BYTES, MAP_PAGES_AT_OPEN } from "../limits.js";
import { collectSegments } from "../log/collect-segments.js";
import {
  FORMAT_VERSION,
  LOCATION_LOST,
  PAGE_ENTRIES,
  PAGE_SIZE,
  RECORD_MARK,
  SEGMENT_LOG,
} from "../log/format.js";
import type { MapFiles } from "../log/map-files.js";
import { installMap, type LoadedMap, MapLoader, retainFiles } from "../log/map-loader.js";
import { MapStore } from "../log/map-store.js";
import { replayLog, replayRange } from "../log/recovery.js";
import { Segment, SegmentTable } from "../log/segment-table.js";
import { BlockMap } from "../volume/block-map.js";
import type { Compression } from "../volume/compression.js";
import { Keyframe } from "../volume/history.js";
import { MapReader } from "../volume/map-reader.js";
import { Root } from "../volume/volume.js";
import { refuseOldCatalogue } from "./catalogue-age.js";
import { completeCopies } from "./complete-tail.js";
import { noteCutFiles } from "./cut-files.js";
import { PageForesight } from "./page-foresight.js";
import { applyRecord } from "./rewind.js";

/** What the catalogue knows of a snapshot. */
export interface SnapshotSpec {
  readonly name: string;
  readonly sequence: number;
  readonly sizeBytes: number;
  /** "" for one that is newer than the volume's last checkpoint: it is the log up to `sequence`. */
  readonly mapFile: string;
}

/** What the catalogue knows of a moment that rewinding starts from. */
export interface KeyframeSpec extends SnapshotSpec {
  /** Milliseconds since 1970: everything written up to then is in it, and nothing later. */
  readonly timeMs: number;
}

/** What the catalogue knows of a volume. */
export interface VolumeSpec {
  readonly id: number;
  readonly name: string;
  readonly sizeBytes: number;
  readonly copies: number;
  /** Class of disks that it is kept on; "": any. */
  readonly diskClass: string;
  /** The key that it is encrypted with, shared with its clones; "": it is not. */
  readonly keyId: string;
  /** The epoch in which it is opened now: already recorded, higher than any before. */
  readonly epoch: number;
  /** "" for one that was never checkpointed. */
  readonly mapFile: string;
  /** Records up to this one are in `mapFile`. */
  readonly checkpointSequence: number;
  /** Everything up to this record was on the medium at some time; 0 when that was not noted. */
  readonly durableSequence: number;
  /** Shares blocks with the volume that it was cloned from (or 0). */
  readonly originVolume: number;
  readonly snapshots: readonly SnapshotSpec[];
  /** How far back it can be rewound; 0: not at all. */
  readonly rewindMs: number;
  /** Where rewinding starts from, oldest first; empty when `rewindMs` is 0. */
  readonly keyframes: readonly KeyframeSpec[];
  /** The latest time that its log said at the last checkpoint, ms since 1970. */
  readonly clockMs: number;
  /** When it was deleted, ms since 1970: it may still be asked back. 0: it was not. */
  readonly deletedAtMs: number;
  /** How what of it is cold is packed. */
  readonly compression: Compression;
  /** A disk was given up where its log may have ended: nobody knows what was flushed last. */
  readonly endLost?: boolean;
}

export interface RecoveredVolume {
  readonly spec: VolumeSpec;
  readonly head: Root;
  readonly snapshots: ReadonlyMap<string, Root>;
  /** Where rewinding starts from, oldest first. */
  readonly keyframes: readonly Keyframe[];
  /** Why what was kept for rewinding is of no use; undefined when it is. */
  readonly historyLost: string | undefined;
  /** The latest time that the log says. */
  readonly clockMs: number;
  readonly sequence: number;
  readonly replayedRecords: number;
  /** Somewhere there are records behind the log's end, or may be: what comes next has to begin a new segment. */
  readonly cut: boolean;
}

export interface OpenedPool {
  readonly table: SegmentTable;
  readonly store: MapStore;
  readonly reader: MapReader;
  readonly volumes: readonly RecoveredVolume[];
  /** Volume id → why it is not served. */
  readonly damaged: ReadonlyMap<number, string>;
  /** Of these, those that only lack what may be on disks that are missing; whether that is the end of their log. */
  readonly waiting: ReadonlyMap<number, boolean>;
}

interface Loaded {
  readonly spec: VolumeSpec;
  readonly head: LoadedMap | undefined;
  readonly snapshots: readonly { spec: SnapshotSpec; map: LoadedMap | undefined }[];
  readonly keyframes: readonly { spec: KeyframeSpec; map: LoadedMap | undefined }[];
  readonly historyLost: string | undefined;
}

/** Pages of maps that may be in memory, that may be changed before a checkpoint is due, that an opening reads, and then a step of housekeeping. */
export interface MapMemory {
  readonly residentPages: number;
  readonly dirtyPages: number;
  readonly pagesAtOpen: number;
  /** Counted in one breath: a fraction of a millisecond when they are in the page cache. */
  readonly pagesPerStep: number;
  /** Written in one step of a checkpoint; default: what map-store.ts says. */
  readonly pagesPerWrite?: number;
}

/** Of so many bytes in all. */
export function mapMemoryOf(bytes: number): MapMemory {
  const residentPages = Math.floor(bytes / PAGE_SIZE);
  const dirtyPages = Math.floor(residentPages * MAP_DIRTY_SHARE);
  return { residentPages, dirtyPages, pagesAtOpen: MAP_PAGES_AT_OPEN, pagesPerStep: 16 };
}

export const MAP_MEMORY = mapMemoryOf(MAP_MEMORY_BYTES);

/** One opening of a pool, as the catalogue has it. */
export interface Opening {
  /** Of the pool: recorded before, higher than at any opening before. */
  readonly epoch: number;
  /** Every volume was checkpointed when the pool was closed, so that no log has a tail. */
  readonly clean: boolean;
  /** No volume ever had this number or a higher one. */
  readonly nextVolumeId: number;
}

const END_LOST =
  "its log may have ended on a disk that was given up: what is left is as it was at some moment before, and plinth volume accept takes that";

/** Serials of one opening of the pool; what a crash made the disks forget is never given out again. */
const SERIALS_PER_EPOCH = 2 ** 24;

/** Throws CATALOGUE_OLD before anything is changed. */
export function openPool(
  disks: readonly Disk[],
  files: MapFiles,
  specs: readonly VolumeSpec[],
  { epoch, clean, nextVolumeId }: Opening,
  memory: MapMemory = MAP_MEMORY,
): OpenedPool {
  const { found, stale } = collectSegments(disks);
  refuseOldCatalogue(disks, found, { epoch, nextVolumeId, volumes: specs });
  const damaged = new Map<number, string>();
  const waiting = new Map<number, boolean>();
  const loaded = loadAll(files, specs, damaged);
  const table = new SegmentTable(disks);
  table.pages.limit = memory.residentPages;
  const store = new MapStore(files, table, memory.pagesPerWrite);
  const reader = new MapReader(table);
  for (const segment of found) table.raiseSerial(segment.serial);
  table.raiseSerial(epoch * SERIALS_PER_EPOCH);
  reviveIndexes(found, loaded);
  const { kept, renumbered, dropped } = chooseSegments(found, loaded, damaged);
  table.adopt(kept);
  noteCutFiles(table);
  const logs = logsOf(kept);
  const tails = new Map(loaded.map((each) => [each.spec.id, tailOf(each, logs)]));
  const volumes: RecoveredVolume[] = [];
  const installed = loaded.map((each) => installMaps(each, store));
  store.installed();
  for (const { spec, head, snapshots, frames, historyLost } of installed) {
    const frameNames = new Set(spec.keyframes.map((keyframe) => keyframe.name));
    const recent = [...spec.snapshots, ...(historyLost === undefined ? spec.keyframes : [])]
      .filter((each) => each.mapFile === "")
      .sort((a, b) => a.sequence - b.sequence);
    const keep = (before: number) => {
      for (let next = recent[0]; next !== undefined && next.sequence < before; next = recent[0]) {
        recent.shift();
        const root = new Root(next.name, head.map.freeze(), [], next.sizeBytes, next.sequence);
        (frameNames.has(next.name) ? frames : snapshots).set(next.name, root);
      }
    };
    let { clockMs } = spec;
    // A snapshot was flushed before it was recorded.
    const known = Math.max(spec.checkpointSequence, spec.durableSequence);
    const durable = Math.max(known, ...recent.map((snapshot) => snapshot.sequence));
    const log = tails.get(spec.id) ?? [];
    // The mark of an opening after which nothing came ends what older segments hold already.
    let isMarked = false;
    const foresight = new PageForesight(head.map);
    const replay = replayLog(spec.id, log, spec.checkpointSequence, durable, reader, {
      foresee: (record) => foresight.note(record),
      foreseen: () => foresight.ask(),
      apply: (segment, record) => {
        keep(record.sequence);
        isMarked = record.kind === RECORD_MARK && record.sequence === segment.firstSequence;
        if (record.kind === RECORD_MARK) clockMs = Math.max(clockMs, record.offset);
        else head.dirty = true;
        applyRecord(head.map, segment, record, spec.sizeBytes);
      },
    });
    const early = recent.some((snapshot) => snapshot.sequence < spec.checkpointSequence);
    const away = early ? undefined : absence(spec, [head, ...snapshots.values()], table, clean);
    const damage = early
      ? "the catalogue names a snapshot that is older than its checkpoint"
      : (away?.why ?? replay.damage ?? (spec.endLost ? END_LOST : undefined));
    if (damage !== undefined) {
      damaged.set(spec.id, damage);
      if (away !== undefined) waiting.set(spec.id, away.lacksEnd);
      continue;
    }
    keep(Number.POSITIVE_INFINITY);
    const cut = replay.cut || (!isMarked && disks.some((disk) => disk.missing));
    const { sequence, records: replayedRecords } = replay;
    const keyframes: Keyframe[] = [];
    for (const { name, timeMs } of spec.keyframes) {
      const root = frames.get(name);
      if (root !== undefined) keyframes.push(new Keyframe(root, timeMs));
    }
    clockMs = Math.max(clockMs, ...keyframes.map((keyframe) => keyframe.timeMs));
    const history = { keyframes, historyLost, clockMs };
    volumes.push({ spec, head, snapshots, ...history, sequence, replayedRecords, cut });
  }
  for (const { spec, sequence } of volumes) {
    for (const { segment } of replayRange(tails.get(spec.id) ?? [], spec.checkpointSequence)) {
      completeCopies(segment, table, sequence);
    }
  }
  for (const segment of new Set([...renumbered, ...kept.filter((each) => each.revived)])) {
    const header = segment.header(segment.places, segment.revision);
    for (const { disk, slot } of segment.places) disk.writeCell(slot, header);
  }
  for (const { disk, slot } of [...dropped.flatMap((segment) => segment.places), ...stale]) {
    if (disk.isUsed(slot)) continue;
    disk.markUsed(slot);
    disk.freeSlot(slot);
  }
  for (const disk of disks) {
    if (disk.missing) continue;
    disk.punchFree();
    disk.dirty = true;
    const upgraded = disk.upgrade();
    disk.stamp(epoch);
    if (upgraded !== 0 || disk.sync() !== 0)
      throw new PlinthError("DISK_DAMAGED", `${disk.file.path} cannot be synced`);
  }
  table.opened();
  table.pages.step(memory.pagesAtOpen);
  return { table, store, reader, volumes, damaged, waiting };
}

/**
 * Why a volume cannot be served while disks are missing: blocks of it are there only, or the end of its log may be.
 * With as many copies as disks that are away or may be old, and one more, a whole log is on the others.
 */
function absence(
  spec: VolumeSpec,
  roots: readonly Root[],
  table: SegmentTable,
  clean: boolean,
): { readonly why: string; readonly lacksEnd: boolean } | undefined {
  const missing = table.disks.filter((disk) => disk.missing);
  if (missing.length === 0) return undefined;
  const paths = missing.map((disk) => disk.file.path).join(", ");
  const away = table.disks.filter((disk) => disk.missing || disk.suspect).length;
  const waits = `it waits for ${paths}, which is missing`;
  if (!clean && away >= spec.copies)
    return { why: `${waits}: the end of its log may be there`, lacksEnd: true };
  const unreadable = new Set<number>();
  for (const { map } of roots) {
    for (let index = 0; index < map.pageCount; index++) {
      const page = map.page(index);
      const words = page === null ? undefined : table.pages.words(page);
      for (let i = 0; words !== undefined && i < PAGE_ENTRIES; i++) {
        const location = words[i] as number;
        if (location !== 0 && location !== LOCATION_LOST && !table.holder(location).readable)
          unreadable.add(location >>> 10);
      }
    }
  }
  if (unreadable.size === 0) return undefined;
  return { why: `${waits}: ${unreadable.size} of its segments are only there`, lacksEnd: false };
}

function loadAll(files: MapFiles, specs: readonly VolumeSpec[], damaged: Map<number, string>): Loaded[] {
  const loaded: Loaded[] = [];
  const loader = new MapLoader(files);
  const load = (name: string) => (name === "" ? undefined : loader.load(name));
  for (const spec of specs) {
    try {
      const head = load(spec.mapFile);
      const snapshots = spec.snapshots.map((snapshot) => ({ spec: snapshot, map: load(snapshot.mapFile) }));
      loaded.push({ spec, head, snapshots, ...loadKeyframes(spec, load) });
    } catch (thrown) {
      if (!(thrown instanceof PlinthError) || thrown.code !== "VOLUME_DAMAGED") throw thrown;
      damaged.set(spec.id, thrown.message);
    }
  }
  loader.close();
  return loaded;
}

/** What rewinding starts from; without any of it the volume is served all the same. */
function loadKeyframes(
  spec: VolumeSpec,
  load: (name: string) => LoadedMap | undefined,
): Pick<Loaded, "keyframes" | "historyLost"> {
  try {
    const keyframes = spec.keyframes.map((keyframe) => ({ spec: keyframe, map: load(keyframe.mapFile) }));
    return { keyframes, historyLost: undefined };
  } catch (thrown) {
    if (!(thrown instanceof PlinthError) || thrown.code !== "VOLUME_DAMAGED") throw thrown;
    return { keyframes: [], historyLost: thrown.message };
  }
}

/** Every map file of a volume that was read. */
function mapsOf({ head, snapshots, keyframes }: Loaded): (LoadedMap | undefined)[] {
  return [head, ...snapshots.map((snapshot) => snapshot.map), ...keyframes.map((keyframe) => keyframe.map)];
}

/**
 * Segments that may hold records behind the checkpoint. What the log lost its end to when it was opened before the
 * checkpoint was made stays in older segments, while the one that cut it off may be freed.
 */
function tailOf({ spec, head }: Loaded, logs: ReadonlyMap<number, Segment[]>): Segment[] {
  const least = head?.epoch ?? 0;
  return (logs.get(spec.id) ?? []).filter((segment) => segment.epoch >= least);
}

/** Log segments by volume, oldest first. */
function logsOf(segments: readonly Segment[]): ReadonlyMap<number, Segment[]> {
  const logs = new Map<number, Segment[]>();
  for (const segment of segments) {
    if (segment.kind !== SEGMENT_LOG) continue;
    const log = logs.get(segment.volume);
    if (log === undefined) logs.set(segment.volume, [segment]);
    else log.push(segment);
  }
  for (const log of logs.values()) log.sort((a, b) => a.serial - b.serial);
  return logs;
}

/** Index and serial of each segment that a map lists. */
function visitPairs(map: LoadedMap | undefined, visit: (index: number, serial: number) => void): void {
  const segments = map?.segments ?? [];
  for (let i = 0; i + 1 < segments.length; i += 2) visit(segments[i] as number, segments[i + 1] as number);
}

/** From here on the records of a volume's log are needed. */
function neededFrom({ spec, keyframes }: Loaded): number {
  return Math.min(spec.checkpointSequence, ...keyframes.map((keyframe) => keyframe.spec.sequence));
}

/** A segment whose header cell was damaged has lost its number; a map may know it. */
function reviveIndexes(found: readonly Segment[], loaded: readonly Loaded[]): void {
  const revived = found.filter((segment) => segment.index === 0);
  if (revived.length === 0) return;
  const bySerial = new Map<number, number>();
  for (const each of loaded) {
    for (const map of mapsOf(each)) {
      visitPairs(map, (index, serial) => bySerial.set(serial, index));
    }
  }
  const used = new Set([...bySerial.values(), ...found.map((segment) => segment.index)]);
  let next = 1;
  for (const segment of revived) {
    while (used.has(next)) next++;
    segment.index = bySerial.get(segment.serial) ?? next;
    segment.numbers = [segment.index];
    used.add(segment.index);
  }
}

/** Segments that a map names or a log's tail needs stay; of two with one index the named, then the newer one. */
function chooseSegments(
  found: readonly Segment[],
  loaded: readonly Loaded[],
  damaged: ReadonlyMap<number, string>,
): { kept: Segment[]; renumbered: Segment[]; dropped: Segment[] } {
  const named = new Map<number, number>();
  for (const each of loaded) {
    for (const map of mapsOf(each)) {
      // A map file lists every segment of its time, others' too: what a map really names was not made anew since.
      visitPairs(map, (index, serial) => {
        if (serial > (named.get(index) ?? 0)) named.set(index, serial);
      });
    }
  }
  const logs = logsOf(found);
  const tails = new Set<Segment>();
  for (const each of loaded) {
    const { spec } = each;
    for (const { segment } of replayRange(logs.get(spec.id) ?? [], neededFrom(each))) tails.add(segment);
  }
  const byIndex = new Map<number, Segment>();
  const renumbered: Segment[] = [];
  // With a map that cannot be read nobody knows what else it named: then everything stays.
  const isNamed = (segment: Segment) =>
    segment.numbers.some((number) => named.get(number) === segment.serial);
  const wanted = (segment: Segment) => isNamed(segment) || tails.has(segment) || damaged.size > 0;
  const isBetter = (a: Segment, b: Segment) => (isNamed(a) !== isNamed(b) ? isNamed(a) : a.serial > b.serial);
  for (const segment of found) {
    if (!wanted(segment)) continue;
    const others = new Set(segment.numbers.map((number) => byIndex.get(number)));
    others.delete(undefined);
    const rivals = [...others] as Segment[];
    const better = rivals.every((other) => isBetter(segment, other));
    const worse = better ? rivals : [segment];
    // One that is packed needs all its numbers: whoever has one of them since had it when nothing named the other any more.
    for (const each of better ? rivals : []) for (const number of each.numbers) byIndex.delete(number);
    if (better) for (const number of segment.numbers) byIndex.set(number, segment);
    // A disk that was away is back: its number was given to another meanwhile. Only the log's order names it.
    renumbered.push(...worse.filter((each) => tails.has(each)));
  }
  for (const segment of renumbered) {
    let index = 1;
    while (byIndex.has(index) || named.has(index)) index++;
    segment.index = index;
    segment.numbers = [index];
    segment.revision++;
    byIndex.set(index, segment);
  }
  const keptSet = new Set(byIndex.values());
  const kept = [...keptSet];
  for (const [index, serial] of named) {
    if (byIndex.has(index)) continue;
    // The maps name a segment that no disk has: its blocks read as errors, the rest of the volume is served.
    const header = {
      formatVersion: FORMAT_VERSION,
      serial,
      index,
      kind: 2,
      volume: 0,
      epoch: 0,
      firstSequence: 0,
      places: [],
      revision: 0,
      copies: 0,
      diskClass: "",
      numbers: [],
      storedBlocks: 0,
    };
    kept.push(new Segment(header, [], []));
  }
  return { kept, renumbered, dropped: found.filter((segment) => !keptSet.has(segment)) };
}

function installMaps(
  { spec, head, snapshots, keyframes, historyLost }: Loaded,
  store: MapStore,
): {
  spec: VolumeSpec;
  head: Root;
  snapshots: Map<string, Root>;
  frames: Map<string, Root>;
  historyLost: string | undefined;
} {
  // Oldest first: each map differs little from the one before.
  let before: BlockMap | undefined;
  const install = (found: readonly { spec: SnapshotSpec; map: LoadedMap | undefined }[]) => {
    const roots = new Map<string, Root>();
    for (const { spec: snapshot, map: content } of found) {
      if (content === undefined) continue;
      const { name, sizeBytes, sequence } = snapshot;
      before = installMap(store, content, sizeBytes, before);
      roots.set(name, new Root(name, before, retainFiles(store, content), sizeBytes, sequence));
    }
    return roots;
  };
  const roots = install(snapshots);
  const frames = install(keyframes);
  const map =
    head === undefined
      ? new BlockMap(store.table, spec.sizeBytes / BLOCK_SIZE)
      : installMap(store, head, spec.sizeBytes, before);
  const files = head === undefined ? [] : retainFiles(store, head);
  return {
    spec,
    head: new Root("", map, files, spec.sizeBytes, spec.checkpointSequence),
    snapshots: roots,
    frames,
    historyLost,
  };
}
