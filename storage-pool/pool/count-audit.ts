// Counting anew, from the maps themselves, what the segment table keeps as it goes: for checks, which compare the two.
// Thread: the pool's worker. Hot: no (all at once).
import { DATA_BLOCKS, LOCATION_LOST, PAGE_ENTRIES, SEGMENT_BLOCKS } from "../log/format.js";
import type { SegmentTable } from "../log/segment-table.js";
import type { BlockMap } from "../volume/block-map.js";
import type { MapPage } from "../volume/map-page.js";
import type { Volume } from "../volume/volume.js";

/** Sentences about what does not agree, a few at most; none when all does. Whatever is uncounted is counted before. */
export function auditCounts(volumes: Iterable<Volume>, table: SegmentTable): string[] {
  const { pages } = table;
  while (pages.step(256));
  pages.settle();
  const findings: string[] = [];
  const seen = new Set<MapPage>();
  const references = new Map<number, Uint16Array>();
  const visit = (map: BlockMap, name: string): void => {
    let mapped = 0;
    for (let index = 0; index < map.pageCount; index++) {
      const page = map.page(index);
      if (page === null) continue;
      mapped += page.mapped;
      if (seen.has(page)) continue;
      seen.add(page);
      const words = pages.words(page);
      let stored = 0;
      for (let i = 0; i < PAGE_ENTRIES; i++) {
        const location = words[i] as number;
        if (location !== 0) stored++;
        if (location !== 0 && location !== LOCATION_LOST) note(references, location);
      }
      if (!page.lost && stored !== page.mapped) {
        findings.push(`page ${index} of ${name} holds ${stored} blocks and not ${page.mapped}`);
      }
    }
    if (mapped !== map.mappedBlocks) {
      findings.push(`the map of ${name} holds ${mapped} blocks and not ${map.mappedBlocks}`);
    }
  };
  for (const volume of volumes) {
    for (const root of [...volume.roots(), ...volume.history.dropped]) {
      const name = root.name === "" ? volume.name : `${volume.name}@${root.name}`;
      for (const map of [root.map, root.durable, root.pending]) if (map !== undefined) visit(map, name);
    }
  }
  let live = 0;
  let gain = 0;
  table.visit((segment) => {
    let wrong = 0;
    let held = 0;
    for (const number of segment.numbers) {
      const expected = references.get(number);
      for (let block = 0; block < SEGMENT_BLOCKS; block++) {
        const count = table.countOf(number * SEGMENT_BLOCKS + block);
        if (count !== 0) held++;
        if (count !== (expected?.[block] ?? 0)) wrong++;
      }
      references.delete(number);
    }
    live += held;
    gain += Math.max(0, held - DATA_BLOCKS);
    if (wrong > 0) findings.push(`${wrong} blocks of segment ${segment.index} are counted wrongly`);
  });
  for (const index of references.keys()) findings.push(`segment ${index} is named and not there`);
  if (live !== table.liveBlocks) findings.push(`${live} blocks are in use and not ${table.liveBlocks}`);
  if (gain !== table.packedGain) findings.push(`packing has won ${gain} blocks and not ${table.packedGain}`);
  return findings.slice(0, 8);
}

function note(references: Map<number, Uint16Array>, location: number): void {
  const index = location >>> 10;
  let counts = references.get(index);
  if (counts === undefined) {
    counts = new Uint16Array(SEGMENT_BLOCKS);
    references.set(index, counts);
  }
  const block = location & (SEGMENT_BLOCKS - 1);
  counts[block] = (counts[block] as number) + 1;
}
