// Reads through a map: every block checked, a bad copy repaired from a good one.
//
//   64 blocks ─► runs that lie side by side on a disk ─► read, several in one system call ─► one checksum for all
//                                                          a bad one: block by block, from every copy
//
// Invariant: bytes are returned only if their checksum is the one in the map. Thread: the pool's worker. Hot: yes.
import { DataBuffer } from "../disk/data-buffer.js";
import type { Disk } from "../disk/disk.js";
import { ReadBatch } from "../disk/read-batch.js";
import { EAGAIN, EIO, OK } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { bufferChecksum } from "../log/checksum.js";
import { LOCATION_LOST, SEGMENT_BLOCKS } from "../log/format.js";
import { runChecksum } from "../log/run-checksum.js";
import type { Segment, SegmentTable } from "../log/segment-table.js";
import type { BlockCipher } from "./block-cipher.js";
import type { BlockMap } from "./block-map.js";

/** Blocks read and then checked at a time, so that they are still in the processor's cache. */
const GROUP_MAX = 64;
/** Fewer runs are read one by one. */
const BATCH_MIN = 3;

export class MapReader {
  readonly #table: SegmentTable;
  readonly #scratch = new DataBuffer(BLOCK_SIZE);
  readonly #batch = new ReadBatch(GROUP_MAX);
  /** The runs of a group: first block in it, blocks, location, and how reading went. */
  readonly #firsts = new Uint32Array(GROUP_MAX);
  readonly #counts = new Uint32Array(GROUP_MAX);
  readonly #locations = new Float64Array(GROUP_MAX);
  readonly #results = new Int32Array(GROUP_MAX);
  /** Blocks put right from another copy, and blocks of which no good copy was left. */
  repairedBlocks = 0;
  /** Requests served; for telling whether clients are busy. */
  readCount = 0;
  lostBlocks = 0;
  /** Told of each block that cannot be read. */
  onLost: ((map: BlockMap, block: number) => void) | undefined;

  constructor(table: SegmentTable) {
    this.#table = table;
  }

  /** Any range inside the map, decrypted by `cipher` if it is given; 0, EIO, or EAGAIN if `wait` is false. */
  read(
    map: BlockMap,
    target: DataBuffer,
    at: number,
    offset: number,
    length: number,
    cipher?: BlockCipher | undefined,
    wait = true,
  ): number {
    this.readCount++;
    const head = offset % BLOCK_SIZE;
    if (head === 0 && length % BLOCK_SIZE === 0) {
      return this.readBlocks(map, target, at, offset / BLOCK_SIZE, length / BLOCK_SIZE, cipher, wait);
    }
    let block = (offset - head) / BLOCK_SIZE;
    let from = head;
    let left = length;
    while (left > 0) {
      const count = Math.min(left, BLOCK_SIZE - from);
      if (from === 0 && left >= BLOCK_SIZE) {
        const whole = Math.floor(left / BLOCK_SIZE);
        const result = this.readBlocks(map, target, at, block, whole, cipher, wait);
        if (result !== OK) return result;
        block += whole;
        at += whole * BLOCK_SIZE;
        left -= whole * BLOCK_SIZE;
        continue;
      }
      const result = this.readBlocks(map, this.#scratch, 0, block, 1, cipher, wait);
      if (result !== OK) return result;
      this.#scratch.bytes.copy(target.bytes, at, from, from + count);
      block++;
      at += count;
      left -= count;
      from = 0;
    }
    return OK;
  }

  /** Whole blocks. With `wait` false the disks are asked for all that has to be waited for, before it is EAGAIN. */
  readBlocks(
    map: BlockMap,
    target: DataBuffer,
    at: number,
    block: number,
    count: number,
    cipher?: BlockCipher | undefined,
    wait = true,
  ): number {
    if (count === 1) {
      const result = this.#readAlone(map, target, at, block, cipher, wait);
      if (result === OK || result === EAGAIN) return result;
    }
    const end = block + count;
    let outcome: number = OK;
    while (block < end) {
      const group = Math.min(end - block, GROUP_MAX);
      const result = this.#readGroup(map, target, at, block, group, cipher, wait);
      if (result === EAGAIN) outcome = EAGAIN;
      else if (result !== OK) return result;
      block += group;
      at += group * BLOCK_SIZE;
    }
    return outcome;
  }

  /** Nothing is under way. Reads one by one from now on. */
  close(): void {
    this.#batch.close();
  }

  /** A block that is stored and good, the short way; anything but OK and EAGAIN asks for the long one. */
  #readAlone(
    map: BlockMap,
    target: DataBuffer,
    at: number,
    block: number,
    cipher: BlockCipher | undefined,
    wait: boolean,
  ): number {
    const location = map.location(block);
    if (location === 0 || location === LOCATION_LOST) return EIO;
    const segment = this.#table.of(location);
    const copy = this.#copyOf(segment);
    const disk = segment.disks[copy];
    if (disk === undefined) return EIO;
    const offset = (location & (SEGMENT_BLOCKS - 1)) * BLOCK_SIZE;
    const result = disk.read(segment.slots[copy] as number, target, at, BLOCK_SIZE, offset, wait);
    if (result === EAGAIN) return wait ? EIO : EAGAIN;
    if (result !== OK || bufferChecksum(target, at, BLOCK_SIZE) !== map.checksum(block)) return EIO;
    cipher?.decrypt(target, at, block, 1);
    return OK;
  }

  #readGroup(
    map: BlockMap,
    target: DataBuffer,
    at: number,
    block: number,
    count: number,
    cipher: BlockCipher | undefined,
    wait: boolean,
  ): number {
    const runs = this.#findRuns(map, target, at, block, count);
    if (runs < 0) return EIO;
    if (runs < BATCH_MIN || !this.#readTogether(target, at, runs, wait)) {
      for (let n = 0; n < runs; n++) this.#results[n] = this.#readOne(target, at, n, wait);
    }
    let outcome: number = OK;
    for (let n = 0; n < runs; ) {
      // Runs that are side by side in the target are checked together.
      let behind = n + 1;
      let blocks = this.#counts[n] as number;
      const first = this.#firsts[n] as number;
      if (this.#results[n] === OK) {
        while (behind < runs && this.#results[behind] === OK && this.#firsts[behind] === first + blocks) {
          blocks += this.#counts[behind++] as number;
        }
      }
      const waits = this.#results[n] === EAGAIN && !wait;
      if (waits) outcome = EAGAIN;
      else if (
        this.#results[n] !== OK ||
        !this.#isGood(map, target, at + first * BLOCK_SIZE, block + first, blocks)
      ) {
        for (; n < behind; n++) if (!this.#readSingly(map, target, at, block, n)) return EIO;
      }
      if (!waits) cipher?.decrypt(target, at + first * BLOCK_SIZE, block + first, blocks);
      n = behind;
    }
    return outcome;
  }

  /** Splits a group into runs, and fills in its holes. How many there are, or −1 when a block of it is lost. */
  #findRuns(map: BlockMap, target: DataBuffer, at: number, block: number, count: number): number {
    let runs = 0;
    for (let i = 0; i < count; ) {
      const location = map.location(block + i);
      let run = 1;
      if (location === 0) {
        while (i + run < count && map.location(block + i + run) === 0) run++;
        target.bytes.fill(0, at + i * BLOCK_SIZE, at + (i + run) * BLOCK_SIZE);
      } else if (location === LOCATION_LOST) {
        this.lostBlocks++;
        this.onLost?.(map, block + i);
        return -1;
      } else {
        const max = Math.min(count - i, SEGMENT_BLOCKS - (location & (SEGMENT_BLOCKS - 1)));
        while (run < max && map.location(block + i + run) === location + run) run++;
        this.#firsts[runs] = i;
        this.#counts[runs] = run;
        this.#locations[runs++] = location;
      }
      i += run;
    }
    return runs;
  }

  /** The first copy of a segment that can be read, as far as is known. */
  #copyOf({ disks }: Segment): number {
    let copy = 0;
    while (copy + 1 < disks.length && !(disks[copy] as Disk).online) copy++;
    return copy;
  }

  #readOne(target: DataBuffer, at: number, n: number, wait: boolean): number {
    const location = this.#locations[n] as number;
    const segment = this.#table.of(location);
    const copy = this.#copyOf(segment);
    const disk = segment.disks[copy];
    if (disk === undefined) return EIO;
    const offset = (location & (SEGMENT_BLOCKS - 1)) * BLOCK_SIZE;
    const to = at + (this.#firsts[n] as number) * BLOCK_SIZE;
    const length = (this.#counts[n] as number) * BLOCK_SIZE;
    return disk.read(segment.slots[copy] as number, target, to, length, offset, wait);
  }

  /** False when nothing was read: some disk has no descriptor, or there is no io_uring. */
  #readTogether(target: DataBuffer, at: number, runs: number, wait: boolean): boolean {
    for (let n = 0; n < runs; n++) {
      const segment = this.#table.of(this.#locations[n] as number);
      const disk = segment.disks[this.#copyOf(segment)];
      if (disk === undefined || disk.file.descriptor < 0) return false;
    }
    const batch = this.#batch;
    if (!batch.begin()) return false;
    for (let n = 0; n < runs; n++) {
      const location = this.#locations[n] as number;
      const segment = this.#table.of(location);
      const copy = this.#copyOf(segment);
      const disk = segment.disks[copy] as Disk;
      const offset = (location & (SEGMENT_BLOCKS - 1)) * BLOCK_SIZE;
      const to = at + (this.#firsts[n] as number) * BLOCK_SIZE;
      const length = (this.#counts[n] as number) * BLOCK_SIZE;
      const position = disk.position(segment.slots[copy] as number) + offset;
      batch.add(disk.file.descriptor, target.address + to, length, position, wait);
    }
    batch.run();
    for (let n = 0; n < runs; n++) {
      const result = batch.results[n] as number;
      // Cut short or failed: the plain way knows what to do.
      this.#results[n] =
        result === EIO || (result === EAGAIN && wait) ? this.#readOne(target, at, n, wait) : result;
    }
    return true;
  }

  /** A run of which something is bad, block by block. False when one is lost. */
  #readSingly(map: BlockMap, target: DataBuffer, at: number, block: number, n: number): boolean {
    const location = this.#locations[n] as number;
    const segment = this.#table.of(location);
    const count = this.#counts[n] as number;
    for (let i = 0; i < count; i++) {
      const at0 = (this.#firsts[n] as number) + i;
      const here = at + at0 * BLOCK_SIZE;
      const expected = map.checksum(block + at0);
      if (this.#results[n] === OK && bufferChecksum(target, here, BLOCK_SIZE) === expected) continue;
      const offset = ((location & (SEGMENT_BLOCKS - 1)) + i) * BLOCK_SIZE;
      if (this.repair(segment, offset, expected, target, here)) continue;
      this.onLost?.(map, block + at0);
      return false;
    }
    return true;
  }

  /** All blocks at once; who is to blame is found out block by block. */
  #isGood(map: BlockMap, target: DataBuffer, at: number, block: number, run: number): boolean {
    let expected = map.checksum(block);
    for (let i = 1; i < run; i++) expected = runChecksum(expected, map.checksum(block + i));
    return bufferChecksum(target, at, run * BLOCK_SIZE) === expected;
  }

  /**
   * Looks for a copy with the right checksum, puts it into `target` and over every copy that differs. False when there is
   * none: the block is lost, unless nothing names it (`wanted` false).
   */
  repair(
    segment: Segment,
    offset: number,
    expected: number,
    target: DataBuffer,
    at: number,
    wanted = true,
  ): boolean {
    let good = -1;
    for (let i = 0; i < segment.disks.length && good < 0; i++) {
      const disk = segment.disks[i] as Segment["disks"][number];
      const result = disk.read(segment.slots[i] as number, target, at, BLOCK_SIZE, offset);
      if (result === OK && bufferChecksum(target, at, BLOCK_SIZE) === expected) good = i;
    }
    if (good < 0) {
      if (wanted) this.lostBlocks++;
      return false;
    }
    for (let i = 0; i < segment.disks.length; i++) {
      if (i === good) continue;
      const disk = segment.disks[i] as Segment["disks"][number];
      const result = disk.read(segment.slots[i] as number, this.#repairScratch, 0, BLOCK_SIZE, offset);
      if (result === OK && bufferChecksum(this.#repairScratch, 0, BLOCK_SIZE) === expected) continue;
      disk.write(segment.slots[i] as number, target, at, BLOCK_SIZE, offset);
      this.repairedBlocks++;
    }
    return true;
  }

  readonly #repairScratch = new DataBuffer(BLOCK_SIZE);
}
