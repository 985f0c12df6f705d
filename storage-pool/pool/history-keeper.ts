// Keeps the histories of volumes: pins the segments that rewinding needs, and lets the first keyframes follow.
// Invariant: a segment is taken up only when everything in it is older than the window, or when room is short.
// Thread: the pool's worker. Hot: no (a segment at a time).
import { BLOCK_SIZE } from "../limits.js";
import { RECORD_DATA, RECORD_MARK, SEGMENT_LOG } from "../log/format.js";
import type { LogRecord } from "../log/record-reader.js";
import { readRecords, replayRange } from "../log/recovery.js";
import type { Segment, SegmentTable } from "../log/segment-table.js";
import type { BlockMap } from "../volume/block-map.js";
import type { MapPage } from "../volume/map-page.js";
import type { PageCache } from "../volume/page-cache.js";
import type { Volume } from "../volume/volume.js";
import { applyRecord } from "./rewind.js";

/** While nothing can be told of how long to wait. */
const LOOK_AGAIN_MS = 1000;

export interface HistoryKeeperOptions {
  readonly table: SegmentTable;
  readonly volumes: ReadonlyMap<number, Volume>;
  /** Milliseconds since 1970. */
  readonly wallClock: () => number;
  /** Room was short: the window of a volume is not kept for now. */
  readonly onShort: (volume: Volume) => void;
  /** What was kept of a volume is given up. */
  readonly onLost: (volume: Volume, why: string) => void;
}

export class HistoryKeeper {
  readonly #options: HistoryKeeperOptions;
  #pinning = false;

  constructor(options: HistoryKeeperOptions) {
    this.#options = options;
  }

  /** Brings `pinned` of every segment up to date. */
  pin(): void {
    const { table, volumes } = this.#options;
    const logs = new Map<number, Segment[]>();
    for (const volume of volumes.values()) {
      if (volume.history.pinnedFrom !== undefined) logs.set(volume.id, []);
    }
    if (logs.size === 0 && !this.#pinning) return;
    this.#pinning = logs.size > 0;
    table.visit((segment) => {
      segment.pinned = false;
      if (segment.kind === SEGMENT_LOG) logs.get(segment.volume)?.push(segment);
    });
    for (const [id, log] of logs) {
      log.sort((a, b) => a.serial - b.serial);
      const from = (volumes.get(id) as Volume).history.pinnedFrom as number;
      for (const { segment } of replayRange(log, from)) segment.pinned = true;
    }
  }

  /** Takes up one segment of one volume if it is older than the window; true when something was done. */
  follow(): boolean {
    const now = this.#options.wallClock();
    for (const volume of this.#options.volumes.values()) {
      const { history } = volume;
      if (history.keyframes.length === 0 || now < history.nextLookMs) continue;
      if (this.#advance(volume, now - history.windowMs)) return true;
    }
    return false;
  }

  /** Room is short: gives up the oldest part of the longest history; false when there is none to give. */
  shorten(): boolean {
    let best: Volume | undefined;
    let most = 0;
    for (const volume of this.#options.volumes.values()) {
      const [first] = volume.history.keyframes;
      if (first === undefined) continue;
      const count = volume.writer.sequence - first.root.sequence;
      if (count <= most) continue;
      most = count;
      best = volume;
    }
    if (best === undefined) return false;
    if (!this.#advance(best, Number.POSITIVE_INFINITY)) return false;
    if (!best.history.shortened) this.#options.onShort(best);
    best.history.shortened = true;
    return true;
  }

  #advance(volume: Volume, untilMs: number): boolean {
    const { history } = volume;
    const [first, second] = history.keyframes;
    if (first === undefined) return false;
    if (second !== undefined && second.timeMs <= untilMs) {
      volume.head.dirty = true;
      return history.dropFirst();
    }
    const { table, wallClock } = this.#options;
    const { root } = first;
    const range = replayRange(table.logOf(volume.id), root.sequence);
    const next = range[0];
    const end = second?.root.sequence ?? volume.writer.sequence;
    const short = untilMs === Number.POSITIVE_INFINITY;
    if (short && next?.segment === volume.writer.segment) {
      volume.settle();
      volume.writer.seal();
    }
    if (next === undefined || root.sequence >= end || !next.segment.sealed) {
      history.nextLookMs = wallClock() + LOOK_AGAIN_MS;
      return false;
    }
    if (!short) {
      const followedMs = this.#timeOf(range.slice(1), volume.id);
      if (followedMs === undefined || followedMs > untilMs) {
        history.nextLookMs =
          followedMs === undefined ? wallClock() + LOOK_AGAIN_MS : followedMs + history.windowMs;
        return false;
      }
    }
    const records = readRecords(next.segment).filter(
      ({ volume: owner, sequence }) =>
        owner === volume.id && sequence < next.limit && sequence > root.sequence,
    );
    let { sequence } = root;
    const touched = new Set<number>();
    for (const record of records) {
      if (record.sequence > end) break;
      if (record.sequence !== sequence + 1) return this.#giveUp(volume, sequence + 1);
      sequence = record.sequence;
      if (record.kind === RECORD_MARK) first.timeMs = Math.max(first.timeMs, record.offset);
      applyRecord(root.map, next.segment, record, volume.sizeBytes);
      note(touched, record);
    }
    if (sequence === root.sequence) return this.#giveUp(volume, sequence + 1);
    for (const index of touched) shareEqual(root.map, volume.head.map, index, table.pages);
    root.sequence = sequence;
    root.dirty = true;
    volume.generation++;
    return true;
  }

  /** The first time that a later segment says: everything before it was written by then. */
  #timeOf(range: readonly { segment: Segment; limit: number }[], id: number): number | undefined {
    for (const { segment, limit } of range) {
      for (const record of readRecords(segment)) {
        if (record.volume !== id || record.sequence >= limit) continue;
        if (record.kind === RECORD_MARK) return record.offset;
      }
    }
    return undefined;
  }

  /** A record is missing: with a disk away it may come back, else nothing before it can be taken up any more. */
  #giveUp(volume: Volume, sequence: number): boolean {
    const { table, wallClock, onLost } = this.#options;
    if (table.disks.some((disk) => disk.missing)) {
      volume.history.nextLookMs = wallClock() + 60_000;
      return false;
    }
    volume.restartHistory(wallClock());
    onLost(volume, `record ${sequence} of its log cannot be read`);
    return true;
  }
}

function note(touched: Set<number>, { kind, offset, length }: LogRecord): void {
  if (kind !== RECORD_DATA) return;
  for (let block = offset / BLOCK_SIZE; block < (offset + length) / BLOCK_SIZE; block++)
    touched.add(block >>> 9);
}

/** Where the volume was not written since, its map has the same page: one is enough. */
function shareEqual(map: BlockMap, head: BlockMap, index: number, pages: PageCache): void {
  if (index >= head.pageCount || index >= map.pageCount) return;
  const mine: MapPage | null = map.page(index);
  const theirs: MapPage | null = head.page(index);
  if (mine === null || theirs === null || mine === theirs) return;
  if (mine.mapped !== theirs.mapped) return;
  // A copy: reading one page may be at the cost of the other.
  const words = Uint32Array.from(pages.words(mine));
  const others = pages.words(theirs);
  if (mine.lost || theirs.lost || words.some((word, i) => word !== others[i])) return;
  map.replacePage(index, theirs);
}
