// Proving a volume: reads every block of the volume and its snapshots from every copy and holds it against the map, and
// the log's tail against its sequence, and reads what map files hold of it. One verdict; nothing is repaired. What has no good copy is named in the volumes
// that have it, as if it had been read. Thread: the pool's worker. Hot: no.
import { DataBuffer } from "../disk/data-buffer.js";
import { BLOCK_SIZE } from "../limits.js";
import { bufferChecksum } from "../log/checksum.js";
import { GROUP_BLOCKS, LOCATION_LOST, PAGE_ENTRIES, SEGMENT_BLOCKS } from "../log/format.js";
import type { MapFiles } from "../log/map-files.js";
import { readRecords, replayRange } from "../log/recovery.js";
import type { Segment, SegmentTable } from "../log/segment-table.js";
import { type BlockMap, BRANCH_PAGES } from "../volume/block-map.js";
import type { MapPage } from "../volume/map-page.js";
import type { PackedReader } from "../volume/packed-reader.js";
import type { Volume } from "../volume/volume.js";
import { find, type Job, type JobProgress, newProgress } from "./job.js";
import { LostSearch, type LostSearchModules } from "./lost-search.js";
import { describePage, StoredPages } from "./stored-pages.js";

const RUN_BLOCKS = 64;

interface Proven {
  readonly map: BlockMap;
  /** "" for the volume as it was when the job began. */
  readonly name: string;
}

export class ProveJob implements Job {
  readonly kind = "prove";
  readonly subject: string;
  readonly progress: JobProgress = newProgress();
  readonly #table: SegmentTable;
  readonly #volume: Volume;
  readonly #buffer = new DataBuffer(RUN_BLOCKS * BLOCK_SIZE);
  readonly #seen = new Set<MapPage>();
  readonly #stored: StoredPages;
  readonly #lost: LostSearch;
  readonly #packed: PackedReader;
  /** Root and what was found → the last run of it: where it stands among the findings, and its blocks. */
  readonly #runs = new Map<string, { readonly at: number; readonly first: number; end: number }>();
  #roots: Proven[] | undefined;
  #next = 0;

  constructor(
    volume: Volume,
    modules: LostSearchModules & { readonly packed: PackedReader },
    files: MapFiles,
  ) {
    const { table } = modules;
    this.#packed = modules.packed;
    this.subject = volume.name;
    this.#volume = volume;
    this.#table = table;
    this.#lost = new LostSearch(modules);
    this.#stored = new StoredPages([volume], files, table.pages, {
      onBadPage: (bad) => {
        // What is lost is said where its blocks are looked at.
        if (!bad.page.lost) this.#bad(`${describePage(bad)} is damaged on the medium`);
      },
      onBadFile: (_volume, _root, why) => this.#bad(why),
    });
  }

  step(): "more" | "done" {
    if (this.#roots === undefined) {
      this.#begin();
      return "more";
    }
    const root = this.#roots[0];
    if (root === undefined) {
      return this.#stored.step() !== undefined || this.#lost.step() ? "more" : "done";
    }
    for (; this.#next < root.map.pageCount; this.#next++) {
      const page = root.map.page(this.#next);
      if (page === null || this.#seen.has(page)) continue;
      this.#seen.add(page);
      this.#provePage(root, this.#next++, page);
      return "more";
    }
    root.map.release();
    this.#roots.shift();
    this.#next = 0;
    return "more";
  }

  cancel(): void {
    for (const { map } of this.#roots ?? []) map.release();
    this.#roots = [];
  }

  /** The maps are frozen: what is written meanwhile is not looked at. */
  #begin(): void {
    this.#volume.settle();
    this.#roots = this.#volume.roots().map((root) => ({ map: root.map.freeze(), name: root.name }));
    const pages = new Set<MapPage>();
    for (const { map } of this.#roots) {
      for (const branch of map.branches) {
        for (let i = 0; branch !== null && i < BRANCH_PAGES; i++) {
          const page = branch.pages[i] as MapPage | null;
          if (page !== null) pages.add(page);
        }
      }
    }
    for (const { mapped } of pages) this.progress.totalBytes += mapped * BLOCK_SIZE;
    this.#proveLog();
  }

  #proveLog(): void {
    const { checkpointSequence, writer, id } = this.#volume;
    let expected = checkpointSequence + 1;
    for (const { segment, limit } of replayRange(this.#table.logOf(id), checkpointSequence)) {
      for (const { volume, sequence } of readRecords(segment)) {
        if (volume !== id || sequence >= limit || sequence < expected) continue;
        if (sequence > expected) {
          this.#bad(`record ${expected} of the log is not there, but ${sequence} is`);
          return;
        }
        expected++;
      }
    }
    if (expected <= writer.sequence)
      this.#bad(`the log ends before record ${expected} of ${writer.sequence}`);
  }

  #provePage(root: Proven, index: number, page: MapPage): void {
    this.progress.doneBytes += page.mapped * BLOCK_SIZE;
    const words = this.#table.pages.words(page);
    if (page.lost) {
      const where = `block ${index * PAGE_ENTRIES}${ofRoot(root.name)}`;
      this.#bad(`the map of the 2 MiB from ${where} on is damaged`);
      return;
    }
    for (let entry = 0; entry < PAGE_ENTRIES; ) {
      const location = words[entry] as number;
      let run = 1;
      if (location === LOCATION_LOST) {
        this.#bad(`block ${index * PAGE_ENTRIES + entry} was lost with its map`);
      } else if (location !== 0) {
        const max = Math.min(
          RUN_BLOCKS,
          PAGE_ENTRIES - entry,
          SEGMENT_BLOCKS - (location & (SEGMENT_BLOCKS - 1)),
        );
        while (run < max && words[entry + run] === location + run) run++;
        this.#proveRun(root, index * PAGE_ENTRIES + entry, location, words, entry, run);
      }
      entry += run;
    }
  }

  #proveRun(
    root: Proven,
    block: number,
    location: number,
    words: Uint32Array,
    entry: number,
    run: number,
  ): void {
    const where = `block ${block}${ofRoot(root.name)}`;
    const segment = this.#table.at(location >>> 10);
    if (segment === undefined || segment.disks.length === 0) {
      this.progress.lostBlocks += run;
      this.#badRun(root, block, run, "in a segment that is not there");
      for (let i = 0; i < run; i++) this.#lost.add(location + i);
      return;
    }
    for (let i = 0; i < run; i++) {
      if (this.#table.countOf(location + i) === 0) this.#bad(`${where}: its place counts as free`);
    }
    if (segment.isPacked) {
      this.#provePacked(root, block, location, words, entry, run, segment);
      return;
    }
    const bad = new Uint8Array(run);
    for (const { disk, slot } of segment.places) {
      const offset = (location & (SEGMENT_BLOCKS - 1)) * BLOCK_SIZE;
      const result = disk.read(slot, this.#buffer, 0, run * BLOCK_SIZE, offset);
      const isGood = (i: number) =>
        result === 0 &&
        bufferChecksum(this.#buffer, i * BLOCK_SIZE, BLOCK_SIZE) === words[entry + i + PAGE_ENTRIES];
      for (let i = 0; i < run; i++) {
        const first = i;
        for (; i < run && !isGood(i); i++) {
          this.progress.lostBlocks++;
          bad[i] = (bad[i] as number) + 1;
          if (disk.online) disk.faults.note(slot, (location & (SEGMENT_BLOCKS - 1)) + i, false);
          if (bad[i] === segment.disks.length) this.#lost.add(location + i);
        }
        if (i === first) continue;
        const what = result === 0 ? "another checksum than in the map" : `not to be read (errno ${result})`;
        this.#badRun(root, block + first, i - first, `${what} on ${disk.file.path}`);
      }
    }
  }

  /** Blocks that are packed, each group unpacked from every copy. */
  #provePacked(
    root: Proven,
    block: number,
    location: number,
    words: Uint32Array,
    entry: number,
    run: number,
    segment: Segment,
  ): void {
    for (let i = 0; i < run; ) {
      const count = Math.min(run - i, GROUP_BLOCKS - ((location + i) % GROUP_BLOCKS));
      const bad = new Uint8Array(count);
      for (const [copy, { disk, slot }] of segment.places.entries()) {
        const payload = this.#packed.payloadOf(segment, location + i);
        const isThere = this.#packed.readCopy(segment, copy, location + i, this.#buffer);
        for (let n = 0; n < count; n++) {
          const at = ((location + i + n) % GROUP_BLOCKS) * BLOCK_SIZE;
          const sum = words[entry + i + n + PAGE_ENTRIES];
          if (isThere && bufferChecksum(this.#buffer, at, BLOCK_SIZE) === sum) continue;
          this.progress.lostBlocks++;
          bad[n] = (bad[n] as number) + 1;
          if (disk.online) disk.faults.note(slot, payload, false);
          if (bad[n] === segment.disks.length) this.#lost.add(location + i + n);
          this.#badRun(root, block + i + n, 1, `packed, and not to be unpacked from ${disk.file.path}`);
        }
      }
      i += count;
    }
  }

  /** What follows on a run of which the same was found is told together with it. */
  #badRun(root: Proven, block: number, count: number, what: string): void {
    const { findings } = this.progress;
    const key = `${root.name} ${what}`;
    const known = this.#runs.get(key);
    const run = known?.end === block ? known : { at: findings.length, first: block, end: block };
    run.end = block + count;
    this.#runs.set(key, run);
    const text = `${blocksText(run.first, run.end - run.first, root)}: ${what}`;
    if (run.at < findings.length) findings[run.at] = text;
    else find(this.progress, text);
  }

  #bad(what: string): void {
    this.progress.lostBlocks++;
    find(this.progress, what);
  }
}

/** Names that nobody can give are those of moments that are kept to be rewound to. */
function ofRoot(name: string): string {
  if (name === "") return "";
  return name.startsWith("~") ? " of what is kept to be rewound to" : ` of snapshot ${name}`;
}

function blocksText(block: number, count: number, { name }: Proven): string {
  const which = count === 1 ? `block ${block}` : `blocks ${block} to ${block + count - 1}`;
  return `${which}${ofRoot(name)}`;
}
