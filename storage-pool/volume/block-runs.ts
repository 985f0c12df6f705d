// Runs: blocks of a range that lie side by side on a disk, read several in one system call.
//
//   clear ─► add (a range: its runs) … ─► read ─► results[run]
//
// What is not in the page cache may be read around it: straight to its target where that is aligned as such reads have to
// be, else by a buffer that is.
// Thread: the pool's worker. Hot: yes.
import { DataBuffer } from "../disk/data-buffer.js";
import { DIRECT_ALIGN, type DirectFile } from "../disk/direct-file.js";
import type { Disk } from "../disk/disk.js";
import { ReadBatch } from "../disk/read-batch.js";
import { EAGAIN, EIO, OK } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { SEGMENT_BLOCKS } from "../log/format.js";
import type { Segment, SegmentTable } from "../log/segment-table.js";
import type { BlockMap } from "./block-map.js";
import type { ColdReads } from "./cold-reads.js";

/** Fewer runs are read one by one. */
const BATCH_MIN = 3;
/** In `#bounces`: read through the page cache; around it, to where it goes. */
const CACHED = -1;
const STRAIGHT = -2;

export class BlockRuns {
  count = 0;
  /** Of each run: its first block, how many it has, where the first lies, where it goes in its target, how reading went. */
  readonly blocks: Float64Array;
  readonly counts: Uint32Array;
  readonly locations: Float64Array;
  readonly places: Float64Array;
  readonly results: Int32Array;
  readonly #targets: (DataBuffer | undefined)[];
  readonly #table: SegmentTable;
  readonly #batch: ReadBatch;
  readonly #size: number;
  readonly #cold: ColdReads;
  /** Where in the bounce buffer a run is read to. */
  readonly #bounces: Int32Array;
  #bounce: DataBuffer | undefined;
  #bounceStart = 0;
  /** Read around the page cache, in all. */
  #bypassedBytes = 0;

  constructor(table: SegmentTable, size: number, cold: ColdReads) {
    this.#table = table;
    this.#cold = cold;
    this.#bounces = new Int32Array(size).fill(CACHED);
    this.#size = size;
    this.#batch = new ReadBatch(size);
    this.blocks = new Float64Array(size);
    this.counts = new Uint32Array(size);
    this.locations = new Float64Array(size);
    this.places = new Float64Array(size);
    this.results = new Int32Array(size);
    this.#targets = new Array<DataBuffer | undefined>(size).fill(undefined);
  }

  /** How many more runs fit. */
  get room(): number {
    return this.#size - this.count;
  }

  clear(): void {
    this.count = 0;
  }

  /**
   * Splits a range of at most `room` blocks into runs, and fills in its holes. −1, or a block of it that is packed or lost:
   * nothing was added then.
   */
  add(map: BlockMap, target: DataBuffer, at: number, block: number, count: number): number {
    let n = this.count;
    const { packedFrom } = this.#table;
    for (let i = 0; i < count; ) {
      const location = map.location(block + i);
      let run = 1;
      if (location === 0) {
        while (i + run < count && map.location(block + i + run) === 0) run++;
        target.bytes.fill(0, at + i * BLOCK_SIZE, at + (i + run) * BLOCK_SIZE);
      } else if (location >>> 10 >= packedFrom) {
        return block + i;
      } else {
        const max = Math.min(count - i, SEGMENT_BLOCKS - (location & (SEGMENT_BLOCKS - 1)));
        while (run < max && map.location(block + i + run) === location + run) run++;
        this.blocks[n] = block + i;
        this.counts[n] = run;
        this.locations[n] = location;
        this.places[n] = at + i * BLOCK_SIZE;
        this.#targets[n++] = target;
      }
      i += run;
    }
    this.count = n;
    return -1;
  }

  /** Reads what was added since clear(). With `wait` false results may be EAGAIN; the disks have been asked. */
  read(wait: boolean): void {
    const { count, results } = this;
    const bypassing = this.#chooseBypasses(wait);
    if ((count < BATCH_MIN && !bypassing) || (bypassing && !wait) || !this.#readTogether(wait)) {
      // The disks are asked for all before one is waited for.
      const waitFirst = wait && count === 1;
      for (let n = 0; n < count; n++) {
        // What will be read around the cache is not to be read into it.
        results[n] = this.#bounces[n] === CACHED || wait ? this.#readOne(n, waitFirst) : EAGAIN;
      }
      for (let n = 0; wait && n < count; n++) if (results[n] === EAGAIN) results[n] = this.#readOne(n, true);
    }
    for (let n = 0; n < count; n++) this.#targets[n] = undefined;
  }

  /**
   * Finds out which runs are read around the page cache, of those that are not aligned as many as the bounce buffer holds;
   * true when there are some.
   */
  #chooseBypasses(wait: boolean): boolean {
    const room = this.#size * BLOCK_SIZE;
    let used = 0;
    this.#bypassedBytes = 0;
    for (let n = 0; n < this.count; n++) {
      this.#bounces[n] = CACHED;
      const location = this.locations[n] as number;
      const segment = this.#table.of(location);
      const copy = copyOf(segment);
      const disk = segment.disks[copy];
      const direct = disk?.file.direct;
      if (disk === undefined || direct === undefined) continue;
      const count = this.counts[n] as number;
      const address = (this.#targets[n] as DataBuffer).address + (this.places[n] as number);
      const isAligned = address % DIRECT_ALIGN === 0;
      if (!isAligned && used + count * BLOCK_SIZE > room) continue;
      const offset =
        disk.position(segment.slots[copy] as number) + (location & (SEGMENT_BLOCKS - 1)) * BLOCK_SIZE;
      if (!this.#cold.bypasses(direct, offset, location, count, wait)) continue;
      this.#bypassedBytes += count * BLOCK_SIZE;
      this.#bounces[n] = isAligned ? STRAIGHT : used;
      if (!isAligned) used += count * BLOCK_SIZE;
    }
    if (used > 0 && this.#bounce === undefined) {
      this.#bounce = new DataBuffer(room + DIRECT_ALIGN);
      this.#bounceStart = DIRECT_ALIGN - (this.#bounce.address % DIRECT_ALIGN);
    }
    return this.#bypassedBytes > 0;
  }

  #readOne(n: number, wait: boolean): number {
    const location = this.locations[n] as number;
    const segment = this.#table.of(location);
    const copy = copyOf(segment);
    const disk = segment.disks[copy];
    if (disk === undefined) return EIO;
    const offset = (location & (SEGMENT_BLOCKS - 1)) * BLOCK_SIZE;
    const target = this.#targets[n] as DataBuffer;
    const length = (this.counts[n] as number) * BLOCK_SIZE;
    return disk.read(segment.slots[copy] as number, target, this.places[n] as number, length, offset, wait);
  }

  /** False when nothing was read: some disk has no descriptor, or there is no io_uring. */
  #readTogether(wait: boolean): boolean {
    const { count } = this;
    for (let n = 0; n < count; n++) {
      const segment = this.#table.of(this.locations[n] as number);
      const disk = segment.disks[copyOf(segment)];
      if (disk === undefined || disk.file.descriptor < 0) return false;
    }
    const batch = this.#batch;
    if (!batch.begin()) return false;
    for (let n = 0; n < count; n++) {
      const location = this.locations[n] as number;
      const segment = this.#table.of(location);
      const copy = copyOf(segment);
      const disk = segment.disks[copy] as Disk;
      const offset = (location & (SEGMENT_BLOCKS - 1)) * BLOCK_SIZE;
      const length = (this.counts[n] as number) * BLOCK_SIZE;
      const position = disk.position(segment.slots[copy] as number) + offset;
      const bounce = this.#bounces[n] as number;
      const address =
        bounce < 0
          ? (this.#targets[n] as DataBuffer).address + (this.places[n] as number)
          : (this.#bounce as DataBuffer).address + this.#bounceStart + bounce;
      if (bounce === CACHED) batch.add(disk.file.descriptor, address, length, position, wait);
      else batch.add((disk.file.direct as DirectFile).descriptor, address, length, position, true);
    }
    this.#run(batch);
    for (let n = 0; n < count; n++) {
      const result = batch.results[n] as number;
      const bounce = this.#bounces[n] as number;
      if (bounce >= 0 && result === OK) this.#takeBounced(n, bounce);
      // Cut short or failed: the plain way knows what to do.
      const isPlain = result === EIO || (result === EAGAIN && wait);
      this.results[n] = isPlain ? this.#readOne(n, wait) : result;
      if (isPlain && bounce !== CACHED && this.results[n] === OK) this.#distrust(n);
    }
    return true;
  }

  #run(batch: ReadBatch): void {
    if (this.#bypassedBytes === 0) {
      batch.run();
      return;
    }
    const beganMs = performance.now(); // cold: a disk is waited for
    batch.run();
    const tookMs = performance.now() - beganMs; // cold
    this.#cold.took(tookMs, this.#bypassedBytes / BLOCK_SIZE);
  }

  #takeBounced(n: number, bounce: number): void {
    const from = this.#bounceStart + bounce;
    const length = (this.counts[n] as number) * BLOCK_SIZE;
    const target = this.#targets[n] as DataBuffer;
    (this.#bounce as DataBuffer).bytes.copy(target.bytes, this.places[n] as number, from, from + length);
  }

  /** The file of a run cannot be read around the page cache after all. */
  #distrust(n: number): void {
    const segment = this.#table.of(this.locations[n] as number);
    const direct = segment.disks[copyOf(segment)]?.file.direct;
    if (direct !== undefined) direct.failed = true;
  }

  close(): void {
    this.#batch.close();
  }
}

/** The first copy of a segment that can be read, as far as is known. */
export function copyOf({ disks }: Segment): number {
  let copy = 0;
  while (copy + 1 < disks.length && !(disks[copy] as Disk).online) copy++;
  return copy;
}
