// Opening a pool: finds the segments on its disks, loads the maps that the catalogue names, replays each log's tail.
// Invariant: nothing on a disk is changed before every volume's log has been read; then everything found is synced, so
// that what was recovered stays. A volume that is damaged is kept exactly as it is and not served.
// Thread: the pool's worker. Hot: no.
import { PlinthError } from "../../base/errors/index.js";
import type { Disk } from "../disk/disk.js";
import { BLOCK_SIZE } from "../limits.js";
import { collectSegments } from "../log/collect-segments.js";
import { RECORD_DATA, SEGMENT_BLOCKS, SEGMENT_LOG } from "../log/format.js";
import { type LoadedMap, loadMapFile, type MapFiles, MapInstaller } from "../log/map-files.js";
import { replayLog, replayRange } from "../log/recovery.js";
import { Segment, SegmentTable } from "../log/segment-table.js";
import { BlockMap } from "../volume/block-map.js";
import { MapReader } from "../volume/map-reader.js";
import { Root } from "../volume/volume.js";

/** What the catalogue knows of a snapshot. */
export interface SnapshotSpec {
  readonly name: string;
  readonly sequence: number;
  readonly sizeBytes: number;
  readonly mapFile: string;
}

/** What the catalogue knows of a volume. */
export interface VolumeSpec {
  readonly id: number;
  readonly name: string;
  readonly sizeBytes: number;
  readonly copies: number;
  /** The epoch in which it is opened now: already recorded, higher than any before. */
  readonly epoch: number;
  /** "" for one that was never checkpointed. */
  readonly mapFile: string;
  /** Records up to this one are in `mapFile`. */
  readonly checkpointSequence: number;
  /** Shares blocks with the volume that it was cloned from (or 0). */
  readonly originVolume: number;
  readonly snapshots: readonly SnapshotSpec[];
}

export interface RecoveredVolume {
  readonly spec: VolumeSpec;
  readonly head: Root;
  readonly snapshots: ReadonlyMap<string, Root>;
  readonly sequence: number;
  readonly replayedRecords: number;
}

export interface OpenedPool {
  readonly table: SegmentTable;
  readonly reader: MapReader;
  readonly volumes: readonly RecoveredVolume[];
  /** Volume id → what is wrong with it. */
  readonly damaged: ReadonlyMap<number, string>;
}

interface Loaded {
  readonly spec: VolumeSpec;
  readonly head: LoadedMap | undefined;
  readonly snapshots: readonly { spec: SnapshotSpec; map: LoadedMap }[];
}

/** Serials of one opening of the pool; what a crash made the disks forget is never given out again. */
const SERIALS_PER_EPOCH = 2 ** 24;

/** `epoch` of the pool: recorded in the catalogue before, higher than at any opening before. */
export function openPool(
  disks: readonly Disk[],
  files: MapFiles,
  specs: readonly VolumeSpec[],
  epoch: number,
): OpenedPool {
  const damaged = new Map<number, string>();
  const loaded = loadAll(files, specs, damaged);
  const table = new SegmentTable(disks);
  const reader = new MapReader(table);
  const found = collectSegments(disks);
  for (const segment of found) table.raiseSerial(segment.serial);
  table.raiseSerial(epoch * SERIALS_PER_EPOCH);
  const { kept, dropped } = chooseSegments(found, loaded, damaged);
  table.adopt(kept);
  const volumes: RecoveredVolume[] = [];
  const installer = new MapInstaller(table);
  const installed = loaded.map((each) => installMaps(each, installer, table));
  for (const { spec, head, snapshots } of installed) {
    const log = table.logOf(spec.id);
    const replay = replayLog(
      spec.id,
      log,
      spec.checkpointSequence,
      spec.checkpointSequence,
      reader,
      (segment, record) => {
        const block = record.offset / BLOCK_SIZE;
        const count = Math.min(record.length / BLOCK_SIZE, Math.max(0, spec.sizeBytes / BLOCK_SIZE - block));
        if (record.kind !== RECORD_DATA) {
          head.map.unmap(block, count);
        } else {
          const location = segment.index * SEGMENT_BLOCKS + record.dataBlock;
          for (let i = 0; i < count; i++)
            head.map.set(block + i, location + i, record.checksums[i] as number);
        }
        head.dirty = true;
      },
    );
    if (replay.damage !== undefined) {
      damaged.set(spec.id, replay.damage);
      continue;
    }
    volumes.push({ spec, head, snapshots, sequence: replay.sequence, replayedRecords: replay.records });
  }
  for (const segment of dropped) {
    for (const [i, disk] of segment.disks.entries()) {
      disk.markUsed(segment.slots[i] as number);
      disk.freeSlot(segment.slots[i] as number);
    }
  }
  for (const disk of disks) {
    disk.punchFree();
    disk.dirty = true;
    if (disk.sync() !== 0) throw new PlinthError("DISK_DAMAGED", `${disk.file.path} cannot be synced`);
  }
  return { table, reader, volumes, damaged };
}

function loadAll(files: MapFiles, specs: readonly VolumeSpec[], damaged: Map<number, string>): Loaded[] {
  const loaded: Loaded[] = [];
  for (const spec of specs) {
    try {
      const head = spec.mapFile === "" ? undefined : loadMapFile(files, spec.mapFile);
      const snapshots = spec.snapshots.map((snapshot) => ({
        spec: snapshot,
        map: loadMapFile(files, snapshot.mapFile),
      }));
      loaded.push({ spec, head, snapshots });
    } catch (thrown) {
      if (!(thrown instanceof PlinthError) || thrown.code !== "VOLUME_DAMAGED") throw thrown;
      damaged.set(spec.id, thrown.message);
    }
  }
  return loaded;
}

/** Segments that a map names or a log's tail needs stay; of two with one index the named, then the newer one. */
function chooseSegments(
  found: readonly Segment[],
  loaded: readonly Loaded[],
  damaged: ReadonlyMap<number, string>,
): { kept: Segment[]; dropped: Segment[] } {
  const named = new Map<number, number>();
  for (const { head, snapshots } of loaded) {
    for (const map of [head, ...snapshots.map((snapshot) => snapshot.map)]) {
      for (const [index, serial] of map?.segments ?? []) named.set(index, serial);
    }
  }
  const tails = new Set<Segment>();
  for (const { spec } of loaded) {
    const log = found
      .filter((segment) => segment.kind === SEGMENT_LOG && segment.volume === spec.id)
      .sort((a, b) => a.serial - b.serial);
    for (const { segment } of replayRange(log, spec.checkpointSequence)) tails.add(segment);
  }
  const byIndex = new Map<number, Segment>();
  // With a map that cannot be read nobody knows what else it named: then everything stays.
  const wanted = (segment: Segment) =>
    named.get(segment.index) === segment.serial || tails.has(segment) || damaged.size > 0;
  const isBetter = (a: Segment, b: Segment) =>
    (named.get(a.index) === a.serial) !== (named.get(b.index) === b.serial)
      ? named.get(a.index) === a.serial
      : a.serial > b.serial;
  for (const segment of found) {
    if (!wanted(segment)) continue;
    const other = byIndex.get(segment.index);
    if (other === undefined || isBetter(segment, other)) byIndex.set(segment.index, segment);
  }
  const kept = [...byIndex.values()];
  const keptSet = new Set(kept);
  for (const [index, serial] of named) {
    if (byIndex.has(index)) continue;
    // The maps name a segment that no disk has: its blocks read as errors, the rest of the volume is served.
    const header = {
      formatVersion: 1,
      serial,
      index,
      kind: 2,
      volume: 0,
      epoch: 0,
      firstSequence: 0,
      places: [],
    };
    kept.push(new Segment(header, [], []));
  }
  return { kept, dropped: found.filter((segment) => !keptSet.has(segment)) };
}

function installMaps(
  { spec, head, snapshots }: Loaded,
  installer: MapInstaller,
  table: SegmentTable,
): { spec: VolumeSpec; head: Root; snapshots: Map<string, Root> } {
  const map =
    head === undefined
      ? new BlockMap(table, spec.sizeBytes / BLOCK_SIZE)
      : installer.install(head, spec.sizeBytes);
  const roots = new Map<string, Root>();
  for (const { spec: snapshot, map: content } of snapshots) {
    const { name, mapFile, sizeBytes, sequence } = snapshot;
    roots.set(name, new Root(name, installer.install(content, sizeBytes), mapFile, sizeBytes, sequence));
  }
  return {
    spec,
    head: new Root("", map, spec.mapFile, spec.sizeBytes, spec.checkpointSequence),
    snapshots: roots,
  };
}
