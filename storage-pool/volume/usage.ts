// Exact space accounting: what a volume and each of its snapshots hold, and what deleting them would free.
// A block belongs to whoever's map pages name it; it is exclusive when no other page names it. Everything is counted
// from the maps themselves, one page index at a time. Thread: the pool's worker. Hot: no.
import { BLOCK_SIZE } from "../limits.js";
import { PAGE_ENTRIES } from "../log/format.js";
import type { SegmentTable } from "../log/segment-table.js";
import type { BlockMap, MapPage } from "./block-map.js";
import type { Root, Volume } from "./volume.js";

export interface VolumeUsage {
  /** Bytes of blocks that the head or a snapshot names, one copy counted. */
  readonly allocatedBytes: number;
  /** Of these, what no other volume shares: freed by deleting the volume with its snapshots. */
  readonly exclusiveBytes: number;
  /** Freed by deleting just this snapshot, by name. */
  readonly snapshotExclusiveBytes: ReadonlyMap<string, number>;
}

export function usageOf(volume: Volume, table: SegmentTable): VolumeUsage {
  if (volume.snapshots.size === 0 && !volume.related) {
    const bytes = volume.head.map.mappedBlocks * BLOCK_SIZE;
    return { allocatedBytes: bytes, exclusiveBytes: bytes, snapshotExclusiveBytes: new Map() };
  }
  const roots = volume.roots();
  const all = countBlocks(roots, table);
  const snapshots = new Map<string, number>();
  for (const root of volume.snapshots.values()) {
    snapshots.set(root.name, countBlocks([root], table).exclusive * BLOCK_SIZE);
  }
  return {
    allocatedBytes: all.allocated * BLOCK_SIZE,
    exclusiveBytes: all.exclusive * BLOCK_SIZE,
    snapshotExclusiveBytes: snapshots,
  };
}

/** How many of the maps looked at name a page, and whether a live one does. */
interface PageUse {
  uses: number;
  live: boolean;
}

function countBlocks(roots: readonly Root[], table: SegmentTable): { allocated: number; exclusive: number } {
  let allocated = 0;
  let exclusive = 0;
  const counts = new Map<number, number>();
  const maps = roots
    .flatMap((root) => [root.map, root.durable, root.pending])
    .filter((map): map is BlockMap => map !== undefined);
  const live = new Set(roots.map((root) => root.map));
  const pageCount = Math.max(...maps.map((map) => map.pages.length));
  for (let index = 0; index < pageCount; index++) {
    const pages = new Map<MapPage, PageUse>();
    for (const map of maps) note(pages, map, index, live.has(map));
    if (pages.size === 0) continue;
    if (pages.size === 1) {
      // The usual case, kept cheap: every map of the volume has the same page here.
      const [[page, { uses, live: isLive }]] = [...pages] as [[MapPage, PageUse]];
      for (let entry = 0; isLive && entry < PAGE_ENTRIES; entry++) {
        const location = page.words[entry] as number;
        if (location === 0) continue;
        allocated++;
        if (uses === page.refs && table.countOf(location) === 1) exclusive++;
      }
      continue;
    }
    for (let entry = 0; entry < PAGE_ENTRIES; entry++) {
      counts.clear();
      const named = new Set<number>();
      for (const [page, { uses, live: isLive }] of pages) {
        const location = page.words[entry] as number;
        if (location === 0) continue;
        // A page that others name too keeps its blocks alive: it does not count as ours.
        if (uses === page.refs) counts.set(location, (counts.get(location) ?? 0) + 1);
        if (isLive) named.add(location);
      }
      allocated += named.size;
      for (const location of named) if (counts.get(location) === table.countOf(location)) exclusive++;
    }
  }
  return { allocated, exclusive };
}

function note(pages: Map<MapPage, PageUse>, map: BlockMap, index: number, live: boolean): void {
  const page = map.pages[index] ?? null;
  if (page === null) return;
  const known = pages.get(page) ?? { uses: 0, live: false };
  known.uses++;
  known.live ||= live;
  pages.set(page, known);
}
