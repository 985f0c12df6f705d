// Exact space accounting: what a volume and each of its snapshots hold, and what deleting them would free.
// A block belongs to whoever's map pages name it; it is exclusive when no other page names it. Everything is counted
// from the maps themselves, one page index at a time. Thread: the pool's worker. Hot: no.
import { BLOCK_SIZE } from "../limits.js";
import { DATA_BLOCKS, LOCATION_LOST, PAGE_ENTRIES } from "../log/format.js";
import type { SegmentTable } from "../log/segment-table.js";
import { type BlockMap, BRANCH_PAGES, type MapBranch } from "./block-map.js";
import type { MapPage } from "./map-page.js";
import type { Root, Volume } from "./volume.js";

export interface VolumeUsage {
  /** Bytes of blocks that the head or a snapshot names, one copy counted. */
  readonly allocatedBytes: number;
  /** Of these, what no other volume shares: freed by deleting the volume with its snapshots. */
  readonly exclusiveBytes: number;
  /** Held only to be rewound to. */
  readonly historyBytes: number;
  /** Freed by deleting just this snapshot, by name. */
  readonly snapshotExclusiveBytes: ReadonlyMap<string, number>;
}

export function usageOf(volume: Volume, table: SegmentTable): VolumeUsage {
  const { history } = volume;
  const past = [...history.keyframes.map((keyframe) => keyframe.root), ...history.dropped];
  if (volume.snapshots.size === 0 && !volume.related && past.length === 0) {
    const bytes = volume.head.map.mappedBlocks * BLOCK_SIZE;
    const none = { historyBytes: 0, snapshotExclusiveBytes: new Map<string, number>() };
    return { allocatedBytes: bytes, exclusiveBytes: bytes, ...none };
  }
  table.pages.settle();
  const present = [volume.head, ...volume.snapshots.values()];
  const roots = [...present, ...past];
  const all = countBlocks(mapsOf(roots), new Set(present), table, true);
  // What the medium has of them goes with the next checkpoint.
  const fading = roots.flatMap(fadingOf);
  const snapshots = new Map<string, number>();
  for (const root of volume.snapshots.values()) {
    // What rewinding needs stays when a snapshot goes.
    const { exclusive } = countBlocks([root.map, ...fading], new Set([root]), table, false);
    snapshots.set(root.name, exclusive * BLOCK_SIZE);
  }
  return {
    allocatedBytes: all.allocated * BLOCK_SIZE,
    exclusiveBytes: all.exclusive * BLOCK_SIZE,
    historyBytes: past.length === 0 ? 0 : historyBlocks(volume, present, past, table) * BLOCK_SIZE,
    snapshotExclusiveBytes: snapshots,
  };
}

/**
 * What is certain before the maps are counted, a while after a start: what the head holds, and of what snapshots or other
 * volumes may share nothing that deleting would free.
 */
export function usageWhileCounting(volume: Volume): VolumeUsage {
  const bytes = volume.head.map.mappedBlocks * BLOCK_SIZE;
  const alone = volume.snapshots.size === 0 && !volume.related && volume.history.keyframes.length === 0;
  return {
    allocatedBytes: bytes,
    exclusiveBytes: alone ? bytes : 0,
    historyBytes: 0,
    snapshotExclusiveBytes: new Map([...volume.snapshots.keys()].map((name) => [name, 0])),
  };
}

/** Blocks that only rewinding needs: those that only the past names, and dead ones in segments that it holds. */
function historyBlocks(
  volume: Volume,
  present: readonly Root[],
  past: readonly Root[],
  table: SegmentTable,
): number {
  const roots = [...present, ...past];
  const maps = mapsOf(roots);
  const { allocated } = countBlocks(maps, new Set(roots), table, true);
  let blocks = allocated - countBlocks(maps, new Set(present), table, true).allocated;
  table.visit((segment) => {
    if (segment.pinned && segment.volume === volume.id) blocks += DATA_BLOCKS - segment.liveBlocks;
  });
  return blocks;
}

/** How many of the branches or maps looked at name something, and whether a live one does. */
interface Use {
  uses: number;
  live: boolean;
}

interface Counted {
  allocated: number;
  exclusive: number;
}

/** Blocks of the head, within one branch of it, that a live map outside the head and its history names. */
export function sharedBlocksAt(volume: Volume, table: SegmentTable, at: number): number {
  table.pages.settle();
  const { head, history } = volume;
  const ours = [head, ...history.keyframes.map((keyframe) => keyframe.root), ...history.dropped];
  const branches = new Map<MapBranch, Use>();
  for (const map of mapsOf(ours)) note(branches, map.branches[at] ?? null, 1, map === head.map);
  const counted = { allocated: 0, exclusive: 0 };
  countInBranches(branches, table, counted, true);
  return counted.allocated - counted.exclusive;
}

function mapsOf(roots: readonly Root[]): BlockMap[] {
  return roots.flatMap((root) => [root.map, ...fadingOf(root)]);
}

function fadingOf({ durable, pending }: Root): BlockMap[] {
  return [durable, pending].filter((map): map is BlockMap => map !== undefined);
}

/** Of what `shown` name: all, and what only `maps` name. `pinned`: whether blocks that rewinding holds count as that. */
function countBlocks(
  maps: readonly BlockMap[],
  shown: ReadonlySet<Root>,
  table: SegmentTable,
  pinned: boolean,
): Counted {
  const counted = { allocated: 0, exclusive: 0 };
  const live = new Set([...shown].map((root) => root.map));
  const branchCount = Math.max(...maps.map((map) => map.branches.length));
  for (let at = 0; at < branchCount; at++) {
    const branches = new Map<MapBranch, Use>();
    for (const map of maps) note(branches, map.branches[at] ?? null, 1, live.has(map));
    if (branches.size > 0) countInBranches(branches, table, counted, pinned);
  }
  return counted;
}

/** Whatever others name too keeps its pages and blocks alive: it does not count as ours. */
function countInBranches(
  branches: ReadonlyMap<MapBranch, Use>,
  table: SegmentTable,
  counted: Counted,
  pinned: boolean,
): void {
  const owned = [...branches].map(([branch, { uses, live }]) => ({
    pages: branch.pages,
    uses: uses === branch.refs ? 1 : 0,
    live,
  }));
  const pages = new Map<MapPage, Use>();
  for (let index = 0; index < BRANCH_PAGES; index++) {
    pages.clear();
    for (const { pages: own, uses, live } of owned) note(pages, own[index] as MapPage | null, uses, live);
    if (pages.size > 0) countInPages(pages, table, counted, pinned);
  }
}

function countInPages(
  pages: ReadonlyMap<MapPage, Use>,
  table: SegmentTable,
  counted: Counted,
  pinned: boolean,
): void {
  if (pages.size === 1) {
    // The usual case, kept cheap: every map of the volume has the same page here.
    const [[page, { uses, live }]] = [...pages] as [[MapPage, Use]];
    if (!live) return;
    const words = table.pages.words(page);
    for (let entry = 0; entry < PAGE_ENTRIES; entry++) {
      const location = words[entry] as number;
      if (location === 0 || location === LOCATION_LOST) continue;
      counted.allocated++;
      if (uses !== page.refs || table.countOf(location) !== 1) continue;
      if (pinned || !table.holder(location).pinned) counted.exclusive++;
    }
    return;
  }
  const counts = new Map<number, number>();
  for (let entry = 0; entry < PAGE_ENTRIES; entry++) {
    counts.clear();
    const named = new Set<number>();
    for (const [page, { uses, live }] of pages) {
      const location = table.pages.words(page)[entry] as number;
      if (location === 0 || location === LOCATION_LOST) continue;
      if (uses === page.refs) counts.set(location, (counts.get(location) ?? 0) + 1);
      if (live) named.add(location);
    }
    counted.allocated += named.size;
    for (const location of named) {
      if (counts.get(location) !== table.countOf(location)) continue;
      if (pinned || !table.holder(location).pinned) counted.exclusive++;
    }
  }
}

function note<T>(seen: Map<T, Use>, named: T | null, uses: number, live: boolean): void {
  if (named === null) return;
  const known = seen.get(named) ?? { uses: 0, live: false };
  known.uses += uses;
  known.live ||= live;
  seen.set(named, known);
}
